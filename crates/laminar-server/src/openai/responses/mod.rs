//! `POST /v1/responses`, and `GET` and `DELETE /v1/responses/{id}`.
//!
//! A response is a chat in other words: its input becomes messages, its answer items. Responses are kept in memory, within
//! bounds, so that `previous_response_id` can continue them; a response that is no longer there is a 404.

mod input;
mod output;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

pub use self::input::ResponseRequest;
use self::input::add_item;
use self::output::{Frame, Output, ResponseEvents};
use self::store::Kept;
pub use self::store::Store;
use super::caller::Caller;
use super::chat::{self, ChatCompletionRequest};
use super::head::random;
use super::options::unsupported;
use super::parse::{from_json, read_body};
use crate::error::ApiError;
use crate::events;
use crate::generation;
use crate::openapi::answers::EventStream;
use crate::openapi::errors::{ErrorBody, Refusals};
use crate::openapi::requests::{ResponseBody, TargetHeaders};
use crate::openapi::responses::{DeletedResponse, ResponseAnswer};
use crate::state::{AppState, unix_seconds};

/// Answers an input, or goes on from an earlier response.
///
/// # Errors
/// Whatever is wrong before the first token, as plain HTTP, also for a stream.
#[utoipa::path(
    post,
    path = "/v1/responses",
    operation_id = "createResponse",
    tag = "OpenAI",
    params(TargetHeaders),
    request_body = ResponseBody,
    responses(
        (
            status = 200,
            description = "The answer; with `stream` its events, as they come.",
            content((ResponseAnswer = "application/json"), (EventStream = "text/event-stream"))
        ),
        Refusals,
    )
)]
pub async fn create(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let bytes = read_body(&headers, body, state.config.max_body_bytes).await?;
    let request: ResponseRequest = from_json(&bytes)?;
    let body: Value = from_json(&bytes)?;
    drop(bytes);
    if request.background == Some(true) {
        return Err(unsupported("background", "leave it out"));
    }
    // Each of these would change what is answered.
    for name in ["conversation", "prompt", "top_logprobs"] {
        if !(body[name].is_null() || body[name] == 0) {
            return Err(unsupported(name, "leave it out"));
        }
    }
    let mut messages = match &request.previous_response_id {
        Some(id) => find(&state, id, "previous_response_id")?.messages,
        None => Vec::new(),
    };
    messages.extend(request.messages()?);
    let chat = request.chat(&body, &messages)?;
    let chat = ChatCompletionRequest::from_json(chat.to_string().as_bytes()).map_err(in_our_words)?;
    let caller = Caller::new(&headers, &state.tenants)?;
    let begun = chat::begin(&state, &chat, caller).await.map_err(in_our_words)?;

    let id = format!("resp_{:016x}{:016x}", random(), random());
    let frame = Frame { response: frame(&state, &id, &request, &body) };
    let mut output = Output::new(&begun.format);
    let store = (request.store != Some(false)).then(|| Arc::clone(&state.responses));
    let keep = move |response: &Value| {
        if let Some(store) = &store {
            let mut messages = messages.clone();
            for item in response["output"].as_array().into_iter().flatten() {
                // Items of our own making are all known.
                let _ = add_item(&mut messages, item, "output");
            }
            store.keep(&id, Kept { response: response.clone(), messages });
        }
    };
    if request.stream == Some(true) {
        let events = ResponseEvents { frame, output, number: 0, done: keep };
        return Ok(events::respond(begun.updates, events, Duration::from_secs(state.config.keep_alive_seconds)));
    }
    let done = generation::collect(begun.updates, 1, false).await?;
    let choice = done.into_iter().next().unwrap_or_default();
    let Some(mut finish) = choice.finish else {
        return Err(ApiError::Internal { message: "the answer is missing".to_owned() });
    };
    finish.text = choice.text;
    output.tokens(&choice.pieces);
    output.finish(&finish, &mut Vec::new());
    let response = frame.complete(&output, &finish);
    keep(&response);
    Ok(Json(response).into_response())
}

/// Shows a response that was kept.
///
/// # Errors
/// [`ApiError::ResponseNotFound`].
#[utoipa::path(
    get,
    path = "/v1/responses/{id}",
    operation_id = "getResponse",
    tag = "OpenAI",
    params(("id" = String, Path, description = "The id of the response.")),
    responses(
        (status = 200, description = "The response.", body = ResponseAnswer),
        (status = 404, description = "It is not there, or no longer.", body = ErrorBody),
    )
)]
pub async fn get(
    State(state): State<AppState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id?;
    Ok(Json(find(&state, &id, "id")?.response))
}

/// Forgets a response.
///
/// # Errors
/// [`ApiError::ResponseNotFound`].
#[utoipa::path(
    delete,
    path = "/v1/responses/{id}",
    operation_id = "deleteResponse",
    tag = "OpenAI",
    params(("id" = String, Path, description = "The id of the response.")),
    responses(
        (status = 200, description = "It is forgotten.", body = DeletedResponse),
        (status = 404, description = "It is not there, or no longer.", body = ErrorBody),
    )
)]
pub async fn delete(
    State(state): State<AppState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id?;
    if !state.responses.remove(&id) {
        return Err(ApiError::ResponseNotFound { id, param: "id" });
    }
    Ok(Json(json!({"id": id, "object": "response", "deleted": true})))
}

fn find(state: &AppState, id: &str, param: &'static str) -> Result<Kept, ApiError> {
    state.responses.get(id).ok_or_else(|| ApiError::ResponseNotFound { id: id.to_owned(), param })
}

/// The fields of the response object that the request decides.
fn frame(state: &AppState, id: &str, request: &ResponseRequest, body: &Value) -> Value {
    let or = |name: &str, default: Value| body.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(default);
    json!({
        "id": id,
        "object": "response",
        "created_at": unix_seconds(),
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": or("metadata", json!({})),
        "model": state.config.model_name,
        "output": [],
        "parallel_tool_calls": or("parallel_tool_calls", Value::from(true)),
        "previous_response_id": request.previous_response_id,
        "reasoning": or("reasoning", json!({"effort": null, "summary": null})),
        "service_tier": "default",
        "store": request.store != Some(false),
        "temperature": or("temperature", Value::from(1.0)),
        "text": or("text", json!({"format": {"type": "text"}})),
        "tool_choice": or("tool_choice", Value::from("auto")),
        "tools": or("tools", json!([])),
        "top_p": or("top_p", Value::from(1.0)),
        "truncation": "disabled",
        "usage": null,
        "user": or("user", Value::Null),
    })
}

/// An error of chat with the names that its fields have here.
fn in_our_words(error: ApiError) -> ApiError {
    let rename = |param: &str| match param {
        "messages" => "input".to_owned(),
        "max_completion_tokens" => "max_output_tokens".to_owned(),
        "response_format.json_schema.schema" => "text.format.schema".to_owned(),
        param if param.starts_with("response_format") => param.replacen("response_format", "text.format", 1),
        param if param.starts_with("messages[") => "input".to_owned(),
        param => param.to_owned(),
    };
    match error {
        ApiError::Invalid { message, param } => ApiError::Invalid { message, param: param.as_deref().map(rename) },
        ApiError::ContextLength { prompt, context, .. } => ApiError::ContextLength { prompt, context, param: "input" },
        other => other,
    }
}
