//! `POST /v1/completions`: the request and its way to an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::caller::Caller;
use super::completions_response::{CompletionChunks, whole};
use super::head::Head;
use super::logprobs::Echo;
use super::options::{Limits, MAX_TOP_LOGPROBS, Options, Plan, unsupported};
use super::parse::{from_json, read_body};
use super::structured::FormatFields;
use crate::error::ApiError;
use crate::generation;
use crate::grammar::Wanted;
use crate::openapi::answers::{Completion, EventStream};
use crate::openapi::errors::Refusals;
use crate::openapi::requests::{ChoiceCount, PromptInput, TargetHeaders};
use crate::prompt::{self, RawPrompt};
use crate::state::AppState;
use crate::stream::{self, StreamPlan};

/// Tokens generated when the request gives no bound, as OpenAI documents for this endpoint.
const DEFAULT_MAX_TOKENS: usize = 16;

/// A request to `/v1/completions`.
#[derive(Debug, Clone)]
pub struct CompletionRequest {
    /// The fields shared with chat.
    pub options: Options,
    /// The fields of this endpoint alone.
    pub completion: CompletionFields,
    /// The form of the answer.
    pub format: FormatFields,
}

/// The fields of a completion request that chat does not have.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct CompletionFields {
    /// A string, a list of strings, a list of token ids, or a list of such lists.
    #[schema(value_type = PromptInput)]
    pub prompt: Value,
    /// Whether the text begins with the prompt.
    #[serde(default)]
    pub echo: Option<bool>,
    /// Alternatives per token, 0 to 20; any value turns log-probabilities on.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 20)]
    pub logprobs: Option<i64>,
    /// Not supported.
    #[serde(default)]
    #[schema(max_length = 0)]
    pub suffix: Option<String>,
    /// Only equal to `n`.
    #[serde(default)]
    #[schema(value_type = Option<ChoiceCount>)]
    pub best_of: Option<i64>,
}

/// A checked completion request.
#[derive(Debug, Clone)]
pub struct CompletionPlan {
    /// The prompts, at least one.
    pub prompts: Vec<RawPrompt>,
    /// How to generate.
    pub plan: Plan,
    /// Whether log-probabilities are reported.
    pub logprobs: bool,
    /// Whether the text begins with the prompt.
    pub echo: bool,
    /// What the text must look like.
    pub wanted: Wanted,
}

impl CompletionRequest {
    /// Parses a request body; unknown fields are ignored.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for text that is not JSON or a field of the wrong type.
    pub fn from_json(bytes: &[u8]) -> Result<CompletionRequest, ApiError> {
        // Several passes over the same bytes: serde's `flatten` would lose the path of an error.
        Ok(CompletionRequest { completion: from_json(bytes)?, options: from_json(bytes)?, format: from_json(bytes)? })
    }

    /// Checks every field. Pure: no model, no engine.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the first field that is out of range or not supported.
    pub fn validate(&self, limits: &Limits) -> Result<CompletionPlan, ApiError> {
        let fields = &self.completion;
        let prompts = prompts(&fields.prompt, "prompt")?;
        if prompts.len() > limits.max_choices {
            return Err(ApiError::invalid(
                "prompt",
                format!("at most {} prompts are allowed in one request, got {}", limits.max_choices, prompts.len()),
            ));
        }
        if fields.suffix.as_ref().is_some_and(|text| !text.is_empty()) {
            return Err(unsupported("suffix", "leave it out"));
        }
        let top_logprobs = self.top_logprobs()?;
        let echo = fields.echo == Some(true);
        let plan = Plan::new(&self.options, limits, prompts.len(), 0, top_logprobs)?
            .default_max_tokens(DEFAULT_MAX_TOKENS)
            .with_prompt_scores(echo && top_logprobs.is_some());
        let choices = i64::try_from(plan.choices).unwrap_or(i64::MAX);
        if fields.best_of.is_some_and(|best| best != choices) {
            return Err(ApiError::invalid("best_of", "`best_of` other than `n` is not supported; leave it out"));
        }
        let wanted = Wanted { format: self.format.format()?, tools: None };
        Ok(CompletionPlan { prompts, plan, logprobs: top_logprobs.is_some(), echo, wanted })
    }

    fn top_logprobs(&self) -> Result<Option<usize>, ApiError> {
        let Some(top) = self.completion.logprobs else {
            return Ok(None);
        };
        if !(0..=MAX_TOP_LOGPROBS).contains(&top) {
            return Err(ApiError::invalid(
                "logprobs",
                format!("`logprobs` must be between 0 and {MAX_TOP_LOGPROBS}, got {top}"),
            ));
        }
        Ok(usize::try_from(top).ok())
    }
}

/// The four forms of the field `name`, which holds prompts.
///
/// # Errors
/// Anything else, by its path.
pub(super) fn prompts(value: &Value, name: &str) -> Result<Vec<RawPrompt>, ApiError> {
    let wrong = |path: String| {
        let message = format!(
            "`{name}` must be a string, a list of strings, a list of token ids or a list of lists of token ids"
        );
        ApiError::invalid(path, message)
    };
    match value {
        Value::String(text) => Ok(vec![RawPrompt::Text(text.clone())]),
        Value::Array(items) => match items.first() {
            None => Err(ApiError::invalid(name, format!("`{name}` must not be empty"))),
            Some(Value::Number(_)) => Ok(vec![ids(items, name).map_err(wrong)?]),
            Some(_) => items
                .iter()
                .enumerate()
                .map(|(index, item)| match item {
                    Value::String(text) => Ok(RawPrompt::Text(text.clone())),
                    Value::Array(items) => ids(items, &format!("{name}[{index}]")).map_err(wrong),
                    _ => Err(wrong(format!("{name}[{index}]"))),
                })
                .collect(),
        },
        _ => Err(wrong(name.to_owned())),
    }
}

/// A list of token ids, or the path of the first item that is none.
fn ids(items: &[Value], path: &str) -> Result<RawPrompt, String> {
    let ids = items.iter().enumerate().map(|(index, item)| {
        let id = item.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| format!("{path}[{index}]"))
    });
    ids.collect::<Result<_, _>>().map(RawPrompt::Ids)
}

/// Continues texts.
///
/// # Errors
/// Whatever is wrong before the first token, as plain HTTP, also for a stream.
#[utoipa::path(
    post,
    path = "/v1/completions",
    operation_id = "createCompletion",
    tag = "OpenAI",
    params(TargetHeaders),
    request_body = CompletionRequest,
    responses(
        (
            status = 200,
            description = "The answer; with `stream` its events, as they come.",
            content((Completion = "application/json"), (EventStream = "text/event-stream"))
        ),
        Refusals,
    )
)]
pub async fn handle(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let bytes = read_body(&headers, body, state.config.max_body_bytes).await?;
    let request = CompletionRequest::from_json(&bytes)?;
    drop(bytes);
    let caller = Caller::new(&headers, &state.tenants)?;
    state.check_model(request.options.model.as_deref())?;
    let checked = request.validate(&state.limits())?;

    let per_prompt = checked.plan.choices;
    let choices = per_prompt * checked.prompts.len();
    let mut echoes = Vec::with_capacity(checked.prompts.len());
    let mut prompts = Vec::with_capacity(checked.prompts.len());
    for raw in checked.prompts {
        let text = checked.echo.then(|| match &raw {
            RawPrompt::Text(text) => text.clone(),
            RawPrompt::Ids(ids) => state.tokenizer.decode(ids, false),
        });
        let ids = prompt::raw(&state, raw).await?;
        echoes.extend(text.map(|text| Echo { text, ids: ids.as_slice().into() }));
        prompts.push(ids);
    }
    let constraint = prompt::compile(&state, checked.wanted, None).await?;
    let plan = checked.plan.asked_by(caller).in_form(constraint, Vec::new());
    let requests = plan.requests(prompts);
    let updates = generation::start(&state.engine, requests).await?;
    let scorer = checked.logprobs.then(|| Arc::clone(&state.tokenizer));
    let head = Head::new("cmpl", "text_completion", &state.config.model_name);
    if request.options.streams() {
        let chunks = CompletionChunks::new(head, scorer, choices, per_prompt, echoes);
        let plan = StreamPlan {
            choices,
            per_prompt,
            include_usage: request.options.includes_usage(),
            keep_alive: Duration::from_secs(state.config.keep_alive_seconds),
        };
        return Ok(stream::respond(updates, chunks, plan));
    }
    let done = generation::collect(updates, choices, checked.logprobs).await?;
    let response = whole(&head, &done, per_prompt, &echoes, scorer.as_deref());
    Ok(Json(response).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn validate(body: &Value) -> Result<CompletionPlan, ApiError> {
        let limits = Limits { vocab_size: 100, max_choices: 8 };
        CompletionRequest::from_json(body.to_string().as_bytes())?.validate(&limits)
    }

    #[test]
    fn t25_all_four_forms_of_a_prompt() {
        let text = |text: &str| RawPrompt::Text(text.to_owned());
        for (prompt, expected) in [
            (json!("a"), vec![text("a")]),
            (json!(["a", "b"]), vec![text("a"), text("b")]),
            (json!([1, 2]), vec![RawPrompt::Ids(vec![1, 2])]),
            (json!([[1], [2, 3]]), vec![RawPrompt::Ids(vec![1]), RawPrompt::Ids(vec![2, 3])]),
        ] {
            assert_eq!(validate(&json!({"prompt": prompt})).unwrap().prompts, expected);
        }
    }

    #[test]
    fn wrong_fields_are_named() {
        for (body, param) in [
            (json!({"prompt": []}), "prompt"),
            (json!({"prompt": 5}), "prompt"),
            (json!({"prompt": [1, "a"]}), "prompt[1]"),
            (json!({"prompt": ["a", 1]}), "prompt[1]"),
            (json!({"prompt": [[1, -1]]}), "prompt[0][1]"),
            (json!({"prompt": vec!["a"; 9]}), "prompt"),
            (json!({"prompt": ["a", "b"], "n": 5}), "n"),
            (json!({"prompt": "a", "suffix": "b"}), "suffix"),
            (json!({"prompt": "a", "best_of": 2}), "best_of"),
            (json!({"prompt": "a", "n": 2, "best_of": 1}), "best_of"),
            (json!({"prompt": "a", "logprobs": 21}), "logprobs"),
            (json!({"prompt": "a", "max_tokens": -1}), "max_tokens"),
        ] {
            match validate(&body).unwrap_err() {
                ApiError::Invalid { param: got, .. } => {
                    assert_eq!(got.as_deref(), Some(param), "{body}");
                }
                other => panic!("unexpected {other}"),
            }
        }
        for body in [
            json!({"prompt": "a", "suffix": null, "best_of": 1, "max_tokens": 0}),
            json!({"prompt": "a", "suffix": "", "echo": true}),
            json!({"prompt": "a", "logprobs": 1, "echo": true}),
        ] {
            assert!(validate(&body).is_ok(), "{body}");
        }
    }
}
