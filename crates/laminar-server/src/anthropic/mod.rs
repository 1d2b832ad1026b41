//! Anthropic's Messages API: `POST /v1/messages` and `/v1/messages/count_tokens`.
//!
//! A request becomes a chat request, its answer blocks. Errors have Anthropic's shape.

mod input;
mod output;

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use self::input::MessagesRequest;
use self::output::{Blocks, MessageEvents};
use crate::error::ApiError;
use crate::events;
use crate::generation;
use crate::openai::caller::Caller;
use crate::openai::chat::{self, ChatCompletionRequest};
use crate::openai::head::random;
use crate::openai::parse::{from_json, read_body};
use crate::openapi::answers::EventStream;
use crate::openapi::errors::AnthropicRefusals;
use crate::openapi::messages::{CountedTokens, MessageAnswer};
use crate::openapi::requests::TargetHeaders;
use crate::prompt;
use crate::state::AppState;

/// An error in Anthropic's shape.
#[derive(Debug)]
pub struct Refusal(ApiError);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Refusal {
        Refusal(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = error_body(&self.0);
        // The status and the headers are the same for everyone.
        let (mut parts, _) = self.0.into_response().into_parts();
        let retry = parts.headers.remove(RETRY_AFTER);
        let mut response = (parts.status, Json(body)).into_response();
        response.headers_mut().extend(retry.map(|value| (RETRY_AFTER, value)));
        response
    }
}

fn error_body(error: &ApiError) -> Value {
    let kind = match error.status() {
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": error.to_string()}})
}

/// A request and what it is for chat.
async fn read(
    state: &AppState,
    headers: &HeaderMap,
    body: Body,
) -> Result<(MessagesRequest, ChatCompletionRequest), ApiError> {
    let bytes = read_body(headers, body, state.config.max_body_bytes).await?;
    let request: MessagesRequest = from_json(&bytes)?;
    let chat = ChatCompletionRequest::from_json(request.chat()?.to_string().as_bytes())?;
    Ok((request, chat))
}

/// Answers a conversation.
///
/// # Errors
/// Whatever is wrong before the first token, as plain HTTP, also for a stream.
#[utoipa::path(
    post,
    path = "/v1/messages",
    operation_id = "createMessage",
    tag = "Anthropic",
    params(TargetHeaders),
    request_body = MessagesRequest,
    responses(
        (
            status = 200,
            description = "The answer; with `stream` its events, as they come.",
            content((MessageAnswer = "application/json"), (EventStream = "text/event-stream"))
        ),
        AnthropicRefusals,
    )
)]
pub async fn create(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let (request, chat) = read(&state, &headers, body).await?;
    if request.max_tokens.is_none() {
        return Err(ApiError::invalid("max_tokens", "`max_tokens` is missing").into());
    }
    let caller = Caller::new(&headers, &state.tenants)?;
    let begun = chat::begin(&state, &chat, caller).await?;
    let head = json!({
        "id": format!("msg_{:016x}{:08x}", random(), random() >> 32),
        "type": "message",
        "role": "assistant",
        "model": state.config.model_name,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {"input_tokens": begun.prompt_tokens, "output_tokens": 0},
    });
    let mut blocks = Blocks::new(&begun.format);
    if request.stream == Some(true) {
        let keep_alive = Duration::from_secs(state.config.keep_alive_seconds);
        return Ok(events::respond(begun.updates, MessageEvents { head, blocks }, keep_alive));
    }
    let done = generation::collect(begun.updates, 1, false).await?;
    let choice = done.into_iter().next().unwrap_or_default();
    let Some(mut finish) = choice.finish else {
        return Err(ApiError::Internal { message: "the answer is missing".to_owned() }.into());
    };
    finish.text = choice.text;
    blocks.finish(&finish, &mut Vec::new());
    let mut message = head;
    let (reason, sequence) = blocks.stop(&finish);
    message["content"] = Value::from(blocks.into_content());
    message["stop_reason"] = Value::from(reason);
    message["stop_sequence"] = Value::from(sequence);
    message["usage"] = output::usage(&finish);
    Ok(Json(message).into_response())
}

/// Counts the tokens of a conversation.
///
/// # Errors
/// Whatever a request for a message is refused for.
#[utoipa::path(
    post,
    path = "/v1/messages/count_tokens",
    operation_id = "countMessageTokens",
    tag = "Anthropic",
    request_body = MessagesRequest,
    responses(
        (status = 200, description = "The count.", body = CountedTokens),
        AnthropicRefusals,
    )
)]
pub async fn count_tokens(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let (_, chat) = read(&state, &headers, body).await?;
    let checked = chat.validate(&state.limits(), state.template_knows_developer)?;
    let prompt = prompt::chat(&state, chat.conversation(&checked)).await?;
    Ok(Json(json!({"input_tokens": prompt.ids.len()})))
}
