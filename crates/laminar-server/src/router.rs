//! Routes and layers.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{get, post};
use laminar_engine::Engine;
use laminar_model::tokenizer::Tokenizer;
use tower_http::cors::CorsLayer;

use crate::anthropic;
use crate::error::ApiError;
use crate::health;
use crate::metrics;
use crate::openai::{chat, completions, embeddings, models, responses, text};
use crate::openapi;
use crate::state::{AppState, ServerConfig};
use crate::template::ChatTemplate;

/// The whole API as one axum router.
///
/// Routes: `POST /v1/chat/completions`, `POST /v1/completions`, `POST /v1/embeddings`, `POST /v1/responses`,
/// `GET` and `DELETE /v1/responses/{id}`, `POST /v1/messages`, `POST /v1/messages/count_tokens`, `GET /v1/models`,
/// `GET /v1/models/{id}`, `POST /tokenize`, `POST /detokenize`, `POST /apply-template`, `GET /health`, `GET /metrics`,
/// `GET /openapi.json`.
/// Anything else is a JSON 404 or 405.
pub fn router(
    engine: Engine,
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    config: ServerConfig,
) -> Router {
    let state = AppState::new(engine, tokenizer, template, config);
    let cors = state.config.cors;
    let document: Arc<str> = openapi::document(&state).to_string().into();
    let routes = Router::new()
        .route("/v1/chat/completions", post(chat::handle))
        .route("/v1/completions", post(completions::handle))
        .route("/v1/models", get(models::list))
        // Hub ids hold a slash, so the id is the rest of the path.
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/embeddings", post(embeddings::handle))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/{id}", get(responses::get).delete(responses::delete))
        .route("/v1/messages", post(anthropic::create))
        .route("/v1/messages/count_tokens", post(anthropic::count_tokens))
        .route("/tokenize", post(text::tokenize))
        .route("/detokenize", post(text::detokenize))
        .route("/apply-template", post(text::apply_template))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(async move || openapi::respond(&document)))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(state);
    if cors { routes.layer(CorsLayer::permissive()) } else { routes }
}

async fn unknown_route(method: Method, uri: Uri) -> ApiError {
    ApiError::UnknownRoute { method: method.to_string(), path: uri.path().to_owned() }
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::MethodNotAllowed { method: method.to_string(), path: uri.path().to_owned() }
}
