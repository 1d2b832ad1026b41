//! From messages or raw prompts to token ids, off the async threads.

use std::sync::Arc;

use laminar_model::tokenizer::{EncodeOptions, Tokenizer, TokenizerError};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::markers::Markers;
use crate::state::AppState;
use crate::template::ChatTemplate;

/// A raw prompt as the completions endpoint takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawPrompt {
    /// Text, to be tokenised with the checkpoint's BOS rule.
    Text(String),
    /// Token ids, used as they are.
    Ids(Vec<u32>),
}

/// Renders messages through the chat template and tokenises the result. The template prints every
/// special token itself, so none is added: there is exactly one BOS, or none if the template has
/// none. Markers inside the messages stay ordinary text.
///
/// # Errors
/// A template that refuses the messages, or text that the vocabulary cannot spell: the asker's to
/// solve.
pub fn encode_chat(
    tokenizer: &Tokenizer,
    markers: &Markers,
    template: &ChatTemplate,
    mut messages: Value,
    extra: &Map<String, Value>,
    add_generation_prompt: bool,
) -> Result<Vec<u32>, ApiError> {
    let breaker = markers.protect(&mut messages);
    let text = template
        .render(&messages, None, add_generation_prompt, extra)
        .map_err(|error| ApiError::invalid("messages", error.to_string()))?;
    let ids = match breaker {
        Some(breaker) => markers.encode(tokenizer, &text, breaker),
        None => tokenizer.encode(&text, EncodeOptions { add_special: false, parse_special: true }),
    };
    ids.map_err(|error| refused("messages", &error))
}

/// [`encode_chat`] for a request, off the async threads.
///
/// # Errors
/// No template in the model, what [`encode_chat`] refuses, a prompt too long for the context; all
/// are the client's to solve (400).
pub(crate) async fn chat(
    state: &AppState,
    messages: Value,
    extra: Map<String, Value>,
    add_generation_prompt: bool,
) -> Result<Vec<u32>, ApiError> {
    let Some(template) = state.template.clone() else {
        return Err(ApiError::invalid(
            "messages",
            "this model has no chat template; use /v1/completions with a prompt instead",
        ));
    };
    let shared = state.clone();
    let ids = blocking(state, move || {
        encode_chat(&shared.tokenizer, &shared.markers, &template, messages, &extra, add_generation_prompt)
    })
    .await?;
    check_length(state, &ids, "messages")?;
    Ok(ids)
}

/// Tokenises one raw prompt.
///
/// # Errors
/// An id outside the vocabulary, an empty prompt, or one too long for the context (400).
pub(crate) async fn raw(state: &AppState, prompt: RawPrompt) -> Result<Vec<u32>, ApiError> {
    let ids = match prompt {
        RawPrompt::Ids(ids) => {
            let size = state.tokenizer.vocab_size();
            if let Some(id) = ids.iter().find(|id| **id as usize >= size) {
                return Err(ApiError::invalid("prompt", format!("token id {id} is outside the vocabulary of {size}")));
            }
            ids
        }
        RawPrompt::Text(text) => {
            let tokenizer = Arc::clone(&state.tokenizer);
            blocking(state, move || {
                let options = EncodeOptions { add_special: true, parse_special: true };
                tokenizer.encode(&text, options).map_err(|error| refused("prompt", &error))
            })
            .await?
        }
    };
    check_length(state, &ids, "prompt")?;
    Ok(ids)
}

fn refused(param: &str, error: &TokenizerError) -> ApiError {
    ApiError::invalid(param, error.to_string())
}

/// A prompt needs at least one token and must leave room for one more in the context.
fn check_length(state: &AppState, ids: &[u32], param: &'static str) -> Result<(), ApiError> {
    if ids.is_empty() {
        return Err(ApiError::invalid(param, "the prompt has no tokens; give it at least one character"));
    }
    let context = state.engine.context();
    if ids.len() >= context {
        return Err(ApiError::ContextLength { prompt: ids.len(), context, param });
    }
    Ok(())
}

/// Runs CPU-heavy work on a blocking thread; at most a few such jobs run at once.
async fn blocking<T: Send + 'static>(
    state: &AppState,
    job: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let closed = || ApiError::Unavailable { message: "the server is shutting down".to_owned() };
    let permit = Arc::clone(&state.prompt_jobs).acquire_owned().await.map_err(|_| closed())?;
    tokio::task::spawn_blocking(move || {
        // Held by the job itself: a client that leaves does not free a core.
        let _permit = permit;
        job()
    })
    .await
    .map_err(|error| match error.is_panic() {
        true => ApiError::Internal { message: "building the prompt failed unexpectedly".to_owned() },
        false => closed(),
    })?
}
