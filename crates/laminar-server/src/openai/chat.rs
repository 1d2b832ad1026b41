//! `POST /v1/chat/completions`: the request and its way to an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::caller::Caller;
use super::chat_response::{ChatChunks, whole};
use super::head::Head;
use super::message::{Message, template_messages};
use super::options::{Limits, MAX_TOP_LOGPROBS, Options, Plan, unsupported};
use super::parse::{from_json, read_body};
use crate::error::ApiError;
use crate::generation;
use crate::prompt;
use crate::state::AppState;
use crate::stream::{self, StreamPlan};

/// A request to `/v1/chat/completions`.
#[derive(Debug, Clone)]
pub struct ChatCompletionRequest {
    /// The fields shared with plain completions.
    pub options: Options,
    /// The fields of chat alone.
    pub chat: ChatFields,
}

/// The fields of a chat request that plain completions do not have.
#[derive(Debug, Clone, Deserialize)]
pub struct ChatFields {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Whether to report log-probabilities.
    #[serde(default)]
    pub logprobs: Option<bool>,
    /// Alternatives per token: 0 to 20; needs `logprobs`.
    #[serde(default)]
    pub top_logprobs: Option<i64>,
    /// Not supported yet, unless empty or switched off by `tool_choice: "none"`.
    #[serde(default)]
    pub tools: Option<Vec<Value>>,
    /// `"none"` switches tools off.
    #[serde(default)]
    pub tool_choice: Option<Value>,
    /// The older name of `tools`.
    #[serde(default)]
    pub functions: Option<Vec<Value>>,
    /// The older name of `tool_choice`.
    #[serde(default)]
    pub function_call: Option<Value>,
    /// Only `{"type": "text"}` is supported yet.
    #[serde(default)]
    pub response_format: Option<Value>,
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
}

impl ChatCompletionRequest {
    /// Parses a request body; unknown fields are ignored.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] for text that is not JSON or a field of the wrong type.
    pub fn from_json(bytes: &[u8]) -> Result<ChatCompletionRequest, ApiError> {
        // Two passes over the same bytes: serde's `flatten` would lose the path of an error.
        Ok(ChatCompletionRequest { chat: from_json(bytes)?, options: from_json(bytes)? })
    }

    /// Checks every field. Pure: no model, no engine.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] naming the first field that is out of range or not supported.
    pub fn validate(&self, limits: &Limits, template_knows_developer: bool) -> Result<ChatPlan, ApiError> {
        self.refuse_unsupported()?;
        let top_logprobs = self.top_logprobs()?;
        Ok(ChatPlan {
            messages: template_messages(&self.chat.messages, template_knows_developer)?,
            plan: Plan::new(&self.options, limits, 1, 1, top_logprobs)?,
            logprobs: top_logprobs.is_some(),
        })
    }

    fn refuse_unsupported(&self) -> Result<(), ApiError> {
        let chat = &self.chat;
        let given = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let off = |choice: &Option<Value>| choice.as_ref().is_some_and(|choice| choice == "none");
        if given(&chat.tools) && !off(&chat.tool_choice) {
            return Err(unsupported("tools", "leave it out or set `tool_choice` to \"none\""));
        }
        if given(&chat.functions) && !off(&chat.function_call) {
            return Err(unsupported("functions", "leave it out or set `function_call` to \"none\""));
        }
        let free = |choice: &Value| choice.is_null() || choice == "none" || choice == "auto";
        if chat.tool_choice.as_ref().is_some_and(|choice| !free(choice)) {
            return Err(unsupported("tool_choice", "use \"none\" or \"auto\""));
        }
        if let Some(format) = chat.response_format.as_ref().filter(|f| !f.is_null())
            && format.get("type").and_then(Value::as_str) != Some("text")
        {
            return Err(unsupported("response_format", "only {\"type\": \"text\"} is"));
        }
        Ok(())
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

/// The handler.
///
/// # Errors
/// Whatever is wrong before the first token, as plain HTTP, also for a stream.
pub async fn handle(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let bytes = read_body(&headers, body, state.config.max_body_bytes).await?;
    let mut request = ChatCompletionRequest::from_json(&bytes)?;
    drop(bytes);
    let caller = Caller::new(&headers, &state.tenants)?;
    state.check_model(request.options.model.as_deref())?;
    let checked = request.validate(&state.limits(), state.template_knows_developer)?;
    let extra = request.chat.chat_template_kwargs.take().unwrap_or_default();
    let open_turn = request.chat.add_generation_prompt != Some(false);
    let prompt = prompt::chat(&state, checked.messages, extra, open_turn).await?;

    let choices = checked.plan.choices;
    let requests = checked.plan.asked_by(caller).requests(vec![prompt]);
    let updates = generation::start(&state.engine, requests).await?;
    let scorer = checked.logprobs.then(|| Arc::clone(&state.tokenizer));
    let name = &state.config.model_name;
    if request.options.streams() {
        let head = Head::new("chatcmpl", "chat.completion.chunk", name);
        let plan = StreamPlan {
            choices,
            per_prompt: choices,
            include_usage: request.options.includes_usage(),
            keep_alive: Duration::from_secs(state.config.keep_alive_seconds),
        };
        return Ok(stream::respond(updates, ChatChunks::new(head, scorer), plan));
    }
    let done = generation::collect(updates, choices, checked.logprobs).await?;
    let head = Head::new("chatcmpl", "chat.completion", name);
    Ok(Json(whole(&head, &done, scorer.as_deref())).into_response())
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
            (json!({"tools": tool}), "tools"),
            (json!({"tools": tool, "tool_choice": "required"}), "tools"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"functions": tool}), "functions"),
            (json!({"response_format": {"type": "json_object"}}), "response_format"),
        ] {
            assert_eq!(refused(body.clone()).as_deref(), Some(param), "{body}");
        }
        for body in [
            json!({"tools": [], "response_format": {"type": "text"}}),
            json!({"tools": tool, "tool_choice": "none"}),
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
