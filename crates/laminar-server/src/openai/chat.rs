//! `POST /v1/chat/completions`: the request and its way to an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use laminar_model::tokenizer::Tokenizer;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::caller::Caller;
use super::chat_response::{ChatChunks, Writer, whole};
use super::head::Head;
use super::message::{Message, template_messages};
use super::options::{Limits, MAX_TOP_LOGPROBS, Options, Plan, unsupported};
use super::parse::{from_json, read_body};
use super::structured::FormatFields;
use super::tools::Tools;
use crate::answer::AnswerFormat;
use crate::error::ApiError;
use crate::generation::{self, Updates};
use crate::grammar::Wanted;
use crate::openapi::answers::{ChatCompletion, EventStream};
use crate::openapi::errors::Refusals;
use crate::openapi::requests::{ChatMessage, Modality, TargetHeaders, Tool, ToolChoice};
use crate::prompt::{self, Chat};
use crate::state::AppState;
use crate::stream::{self, StreamPlan};

/// A request to `/v1/chat/completions`.
#[derive(Debug, Clone)]
pub struct ChatCompletionRequest {
    /// The fields shared with plain completions.
    pub options: Options,
    /// The fields of chat alone.
    pub chat: ChatFields,
    /// The form of the answer.
    pub format: FormatFields,
}

/// The fields of a chat request that plain completions do not have.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ChatFields {
    /// The conversation so far.
    #[schema(value_type = Vec<ChatMessage>, min_items = 1)]
    pub messages: Vec<Message>,
    /// Whether to report log-probabilities.
    #[serde(default)]
    pub logprobs: Option<bool>,
    /// Alternatives per token: 0 to 20; needs `logprobs`.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 20)]
    pub top_logprobs: Option<i64>,
    /// Functions that the model may call.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Tool>>, max_items = 512)]
    pub tools: Option<Vec<Value>>,
    /// `"none"`, `"auto"`, `"required"`, or one tool by name.
    #[serde(default)]
    #[schema(value_type = Option<ToolChoice>)]
    pub tool_choice: Option<Value>,
    /// Whether several tools may be called at once; true unless said otherwise.
    #[serde(default)]
    pub parallel_tool_calls: Option<bool>,
    /// Only text.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Modality>>)]
    pub modalities: Option<Vec<String>>,
    /// The older name of `tools`; not supported.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>, max_items = 0)]
    pub functions: Option<Vec<Value>>,
    /// The older name of `tool_choice`.
    #[serde(default)]
    pub function_call: Option<Value>,
    /// How much to reason, for templates that know it; `"none"` also switches `enable_thinking` off.
    #[serde(default)]
    pub reasoning_effort: Option<String>,
    /// Whether to reason, for templates that know it.
    #[serde(default)]
    pub enable_thinking: Option<bool>,
    /// Whether reasoning is kept out of the content; true unless said otherwise (as SGLang).
    #[serde(default)]
    pub separate_reasoning: Option<bool>,
    /// Whether the template opens the assistant's turn; true unless said otherwise (as vLLM).
    #[serde(default)]
    pub add_generation_prompt: Option<bool>,
    /// Further variables for the chat template (as vLLM).
    #[serde(default)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

/// A checked chat request.
#[derive(Debug, Clone)]
pub struct ChatPlan {
    /// The conversation as templates take it.
    pub messages: Value,
    /// How to generate.
    pub plan: Plan,
    /// Whether log-probabilities are reported.
    pub logprobs: bool,
    /// What the answer must look like.
    pub wanted: Wanted,
    /// Variables for the chat template.
    pub extra: Map<String, Value>,
}

impl ChatCompletionRequest {
    /// Parses a request body; unknown fields are ignored.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for text that is not JSON or a field of the wrong type.
    pub fn from_json(bytes: &[u8]) -> Result<ChatCompletionRequest, ApiError> {
        // Several passes over the same bytes: serde's `flatten` would lose the path of an error.
        Ok(ChatCompletionRequest { chat: from_json(bytes)?, options: from_json(bytes)?, format: from_json(bytes)? })
    }

    /// Checks every field. Pure: no model, no engine.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the first field that is out of range or not supported.
    pub fn validate(&self, limits: &Limits, template_knows_developer: bool) -> Result<ChatPlan, ApiError> {
        self.refuse_unsupported()?;
        let top_logprobs = self.top_logprobs()?;
        let chat = &self.chat;
        let tools = Tools::new(chat.tools.as_deref(), chat.tool_choice.as_ref(), chat.parallel_tool_calls)?;
        Ok(ChatPlan {
            wanted: Wanted { format: self.format.format()?, tools },
            extra: self.extra(),
            messages: template_messages(&self.chat.messages, template_knows_developer)?,
            plan: Plan::new(&self.options, limits, 1, 1, top_logprobs)?,
            logprobs: top_logprobs.is_some(),
        })
    }

    /// What the prompt is made of.
    pub(crate) fn conversation(&self, checked: &ChatPlan) -> Chat {
        Chat {
            messages: checked.messages.clone(),
            tools: checked.wanted.tools.as_ref().map(|tools| Arc::clone(&tools.list)),
            extra: checked.extra.clone(),
            add_generation_prompt: self.chat.add_generation_prompt != Some(false),
        }
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let chat = &self.chat;
        let off = chat.function_call.as_ref().is_some_and(|choice| choice == "none");
        if chat.functions.as_ref().is_some_and(|list| !list.is_empty()) && !off {
            return Err(unsupported("functions", "use `tools` instead"));
        }
        if let Some(other) = chat.modalities.iter().flatten().find(|modality| *modality != "text") {
            let message = format!("`modalities` can hold \"text\" alone: this model does not write {other}");
            return Err(ApiError::invalid("modalities", message));
        }
        Ok(())
    }

    /// The template's variables: those given by name, then the short forms.
    fn extra(&self) -> Map<String, Value> {
        let chat = &self.chat;
        let mut extra = chat.chat_template_kwargs.clone().unwrap_or_default();
        if let Some(effort) = &chat.reasoning_effort {
            if effort == "none" {
                extra.entry("enable_thinking").or_insert(Value::from(false));
            }
            extra.entry("reasoning_effort").or_insert(Value::from(effort.as_str()));
        }
        if let Some(thinks) = chat.enable_thinking {
            extra.entry("enable_thinking").or_insert(Value::from(thinks));
        }
        // DeepSeek V3.1 and Granite have another name for it.
        if let Some(thinks) = extra.get("enable_thinking").cloned() {
            extra.entry("thinking").or_insert(thinks);
        }
        extra
    }

    fn top_logprobs(&self) -> Result<Option<usize>, ApiError> {
        let wanted = self.chat.logprobs == Some(true);
        let top = self.chat.top_logprobs.unwrap_or(0);
        if !(0..=MAX_TOP_LOGPROBS).contains(&top) {
            return Err(ApiError::invalid(
                "top_logprobs",
                format!("`top_logprobs` must be between 0 and {MAX_TOP_LOGPROBS}, got {top}"),
            ));
        }
        if top > 0 && !wanted {
            return Err(ApiError::invalid("top_logprobs", "`top_logprobs` needs `logprobs` to be true"));
        }
        Ok(wanted.then(|| usize::try_from(top).unwrap_or(0)))
    }
}

/// A chat whose first token is there.
pub(crate) struct Begun {
    /// What comes.
    pub(crate) updates: Updates,
    /// Choices in it.
    pub(crate) choices: usize,
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: usize,
    /// How the answers are to be read.
    pub(crate) format: AnswerFormat,
    /// The tokenizer, if log-probabilities were asked for.
    pub(crate) scorer: Option<Arc<Tokenizer>>,
}

impl Begun {
    /// A writer for each choice.
    pub(crate) fn writers(&self, state: &AppState) -> Vec<Writer> {
        (0..self.choices).map(|_| Writer::new(&self.format, &state.family)).collect()
    }
}

/// Takes a chat request as far as its first token.
///
/// # Errors
/// Whatever is wrong before the first token.
pub(crate) async fn begin(
    state: &AppState,
    request: &ChatCompletionRequest,
    caller: Caller,
) -> Result<Begun, ApiError> {
    state.check_model(request.options.model.as_deref())?;
    let checked = request.validate(&state.limits(), state.template_knows_developer)?;
    let tools = checked.wanted.tools.as_ref().map(|tools| Arc::clone(&tools.list));
    let parallel = checked.wanted.tools.as_ref().is_none_or(|tools| tools.parallel);
    let prompt = prompt::chat(state, request.conversation(&checked)).await?;
    prompt::check_length(state, &prompt.ids, "messages")?;
    let constraint = prompt::compile(state, checked.wanted, prompt.thinking).await?;

    let format = AnswerFormat {
        dialect: state.family.dialect,
        tags: state.family.tags,
        thinking: prompt.thinking,
        separate: request.chat.separate_reasoning != Some(false),
        tools,
        parallel,
    };
    let reads_tags = format.thinking.is_some() || format.tools.is_some();
    let shown = if reads_tags { state.family.shown_tokens() } else { Vec::new() };
    let choices = checked.plan.choices;
    let prompt_tokens = prompt.ids.len();
    let requests = checked.plan.asked_by(caller).in_form(constraint, shown).requests(vec![prompt.ids]);
    let updates = generation::start(&state.engine, requests).await?;
    let scorer = checked.logprobs.then(|| Arc::clone(&state.tokenizer));
    Ok(Begun { updates, choices, prompt_tokens, format, scorer })
}

/// Answers a conversation.
///
/// # Errors
/// Whatever is wrong before the first token, as plain HTTP, also for a stream.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    operation_id = "createChatCompletion",
    tag = "OpenAI",
    params(TargetHeaders),
    request_body = ChatCompletionRequest,
    responses(
        (
            status = 200,
            description = "The answer; with `stream` its events, as they come.",
            content((ChatCompletion = "application/json"), (EventStream = "text/event-stream"))
        ),
        Refusals,
    )
)]
pub async fn handle(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let bytes = read_body(&headers, body, state.config.max_body_bytes).await?;
    let request = ChatCompletionRequest::from_json(&bytes)?;
    drop(bytes);
    let caller = Caller::new(&headers, &state.tenants)?;
    let begun = begin(&state, &request, caller).await?;

    let writers = begun.writers(&state);
    let Begun { updates, choices, scorer, .. } = begun;
    let name = &state.config.model_name;
    if request.options.streams() {
        let head = Head::new("chatcmpl", "chat.completion.chunk", name);
        let plan = StreamPlan {
            choices,
            per_prompt: choices,
            include_usage: request.options.includes_usage(),
            keep_alive: Duration::from_secs(state.config.keep_alive_seconds),
        };
        return Ok(stream::respond(updates, ChatChunks::new(head, scorer, writers), plan));
    }
    let done = generation::collect(updates, choices, scorer.is_some()).await?;
    let head = Head::new("chatcmpl", "chat.completion", name);
    Ok(Json(whole(&head, &done, scorer.as_deref(), writers)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(mut body: Value) -> Option<String> {
        if body.get("messages").is_none() {
            body["messages"] = json!([{"role": "user", "content": "x"}]);
        }
        let limits = Limits { vocab_size: 100, max_choices: 8 };
        let result = ChatCompletionRequest::from_json(body.to_string().as_bytes())
            .and_then(|request| request.validate(&limits, false));
        match result {
            Ok(_) => None,
            Err(ApiError::Invalid { param, .. }) => Some(param.unwrap_or_default()),
            Err(other) => panic!("unexpected {other}"),
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let tool = json!([{"type": "function", "function": {"name": "f"}}]);
        for (body, param) in [
            (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"functions": tool}), "functions"),
            (json!({"response_format": {"type": "xml"}}), "response_format.type"),
        ] {
            assert_eq!(refused(body.clone()).as_deref(), Some(param), "{body}");
        }
        for body in [
            json!({"tools": [], "response_format": {"type": "text"}}),
            json!({"tools": tool, "tool_choice": "none"}),
            json!({"tools": tool, "response_format": {"type": "json_object"}}),
            json!({"reasoning_effort": "low", "enable_thinking": false}),
            json!({"tools": null, "tool_choice": null, "response_format": null}),
            json!({"some_future_field": {"a": [1]}}),
        ] {
            assert_eq!(refused(body.clone()), None, "{body}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        for (body, param) in [
            (json!({"n": 0, "stream": true}), "n"),
            (json!({"n": 9}), "n"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_completion_tokens": -1}), "max_completion_tokens"),
            (json!({"top_logprobs": 2}), "top_logprobs"),
            (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"stop": [1]}), "stop"),
            (json!({"logprobs": 1}), "logprobs"),
            (json!({"messages": [{"content": "x"}]}), "messages[0]"),
            (json!({"messages": "x"}), "messages"),
            (json!({"stop_token_ids": [100]}), "stop_token_ids"),
        ] {
            assert_eq!(refused(body.clone()).as_deref(), Some(param), "{body}");
        }
    }
}
