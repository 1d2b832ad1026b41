//! `POST /tokenize`, `/detokenize` and `/apply-template`: what a prompt becomes, for those who want to look (as vLLM and
//! llama.cpp name them).

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use laminar_model::tokenizer::EncodeOptions;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::chat::ChatCompletionRequest;
use super::parse::{from_json, read_body};
use crate::error::ApiError;
use crate::openapi::answers::{Detokenized, RenderedPrompt, Tokens};
use crate::openapi::errors::Refusals;
use crate::openapi::requests::{ChatMessage, TokenId};
use crate::prompt::{self, ChatPrompt};
use crate::state::AppState;

/// A request to `/tokenize`: a text, or a conversation as for chat.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct TokenizeRequest {
    /// The text, as llama.cpp names it.
    pub content: Option<String>,
    /// The text, as vLLM names it.
    pub prompt: Option<String>,
    /// A conversation instead.
    #[schema(value_type = Option<Vec<ChatMessage>>)]
    pub messages: Option<Value>,
    /// Whether BOS and EOS are added to a text, as the checkpoint says. As with those servers, a `prompt` gets them unless
    /// said otherwise, and a `content` does not.
    #[serde(alias = "add_special_tokens")]
    pub add_special: Option<bool>,
    /// Whether control markers in a text become control tokens; true unless said otherwise.
    pub parse_special: Option<bool>,
    /// Whether the texts of the tokens are wanted too.
    #[serde(alias = "return_token_strs")]
    pub with_pieces: Option<bool>,
}

/// `POST /tokenize`.
///
/// # Errors
/// No text, a text that the vocabulary cannot spell, or whatever a chat request is refused for.
#[utoipa::path(
    post,
    path = "/tokenize",
    operation_id = "tokenize",
    tag = "Prompts",
    request_body = TokenizeRequest,
    responses(
        (status = 200, description = "The tokens.", body = Tokens),
        Refusals,
    )
)]
pub async fn tokenize(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Result<Json<Value>, ApiError> {
    let bytes = read_body(&headers, body, state.config.max_body_bytes).await?;
    let request: TokenizeRequest = from_json(&bytes)?;
    let add_special = request.add_special.unwrap_or(request.content.is_none());
    let ids = match (request.content.or(request.prompt), request.messages) {
        (Some(text), _) => {
            let options = EncodeOptions { add_special, parse_special: request.parse_special != Some(false) };
            prompt::tokens(&state, text, options, "content").await?
        }
        (None, Some(_)) => chat_prompt(&state, &bytes).await?.ids,
        (None, None) => return Err(ApiError::invalid("content", "`content` (or `prompt`, or `messages`) is missing")),
    };
    let pieces = request.with_pieces == Some(true);
    let pieces = pieces.then(|| ids.iter().map(|id| state.tokenizer.token_text(*id)).collect::<Vec<_>>());
    Ok(Json(json!({
        "count": ids.len(),
        "max_model_len": state.engine.context(),
        "tokens": ids,
        "token_strs": pieces,
    })))
}

/// A request to `/detokenize`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct DetokenizeRequest {
    /// The tokens.
    #[serde(default)]
    #[schema(value_type = Vec<TokenId>, required)]
    pub tokens: Option<Vec<u32>>,
}

/// `POST /detokenize`; control tokens are shown by name.
///
/// # Errors
/// No tokens, or an id outside the vocabulary.
#[utoipa::path(
    post,
    path = "/detokenize",
    operation_id = "detokenize",
    tag = "Prompts",
    request_body = DetokenizeRequest,
    responses(
        (status = 200, description = "The text.", body = Detokenized),
        Refusals,
    )
)]
pub async fn detokenize(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let bytes = read_body(&headers, body, state.config.max_body_bytes).await?;
    let request: DetokenizeRequest = from_json(&bytes)?;
    let ids = request.tokens.ok_or_else(|| ApiError::invalid("tokens", "`tokens` is missing"))?;
    let size = state.tokenizer.vocab_size();
    if let Some(id) = ids.iter().find(|id| **id as usize >= size) {
        return Err(ApiError::invalid("tokens", format!("token id {id} is outside the vocabulary of {size}")));
    }
    let text = state.tokenizer.decode(&ids, false);
    Ok(Json(json!({"prompt": text, "content": text})))
}

/// `POST /apply-template`: the prompt that a chat request becomes.
///
/// # Errors
/// Whatever a chat request is refused for.
#[utoipa::path(
    post,
    path = "/apply-template",
    operation_id = "applyTemplate",
    tag = "Prompts",
    request_body = ChatCompletionRequest,
    responses(
        (status = 200, description = "The prompt.", body = RenderedPrompt),
        Refusals,
    )
)]
pub async fn apply_template(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let bytes = read_body(&headers, body, state.config.max_body_bytes).await?;
    Ok(Json(json!({"prompt": chat_prompt(&state, &bytes).await?.text})))
}

async fn chat_prompt(state: &AppState, bytes: &[u8]) -> Result<ChatPrompt, ApiError> {
    let request = ChatCompletionRequest::from_json(bytes)?;
    let checked = request.validate(&state.limits(), state.template_knows_developer)?;
    prompt::chat(state, request.conversation(&checked)).await
}
