//! The OpenAPI document: every endpoint with what it takes and what it answers, at `/openapi.json`.
//!
//! What is known only when a server begins (the model's name, its vocabulary, the limits) is put in then, so that the document
//! says what this server takes.

pub mod answers;
pub mod errors;
pub mod messages;
pub mod requests;
pub mod responses;
mod words;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::anthropic;
use crate::health;
use crate::metrics;
use crate::openai::{chat, completions, embeddings, models, responses as responses_api, text};
use crate::state::AppState;

/// What is the same for every server.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Laminar",
        description = "OpenAI's and Anthropic's HTTP APIs for one model.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        chat::handle,
        completions::handle,
        embeddings::handle,
        models::list,
        models::one,
        responses_api::create,
        responses_api::get,
        responses_api::delete,
        anthropic::create,
        anthropic::count_tokens,
        text::tokenize,
        text::detokenize,
        text::apply_template,
        health::health,
        metrics::metrics,
    ),
    components(schemas(errors::ErrorBody, errors::AnthropicError))
)]
struct Document;

/// The document of this server.
pub(crate) fn document(state: &AppState) -> Value {
    // Texts and numbers alone, which JSON can always hold.
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    let schemas = &mut document["components"]["schemas"];
    let mut names = vec![state.config.model_name.clone()];
    names.extend(state.config.aliases.iter().cloned());
    schemas["ModelName"]["enum"] = json!(names);
    schemas["TokenId"]["maximum"] = json!(state.tokenizer.vocab_size().saturating_sub(1));
    schemas["ChoiceCount"]["minimum"] = json!(1);
    schemas["ChoiceCount"]["maximum"] = json!(state.config.max_choices);
    document
}

/// `GET /openapi.json`.
pub(crate) fn respond(document: &str) -> Response {
    ([(CONTENT_TYPE, "application/json")], document.to_owned()).into_response()
}
