//! From messages or raw prompts to token ids, off the async threads.

use std::sync::Arc;

use laminar_engine::Constraint;
use laminar_model::tokenizer::{EncodeOptions, Tokenizer, TokenizerError};
use serde_json::{Map, Value};

use crate::answer::Thinking;
use crate::error::ApiError;
use crate::family::Family;
use crate::grammar::Wanted;
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
    messages: Value,
    extra: &Map<String, Value>,
    add_generation_prompt: bool,
) -> Result<Vec<u32>, ApiError> {
    let family = Family::of_template(template, tokenizer);
    let chat = Chat { messages, tools: None, extra: extra.clone(), add_generation_prompt };
    Ok(chat.encode(tokenizer, markers, template, &family)?.ids)
}

/// What a chat prompt is made of.
#[derive(Debug, Clone)]
pub struct Chat {
    /// The conversation as templates take it.
    pub messages: Value,
    /// The tools that the model is told of.
    pub tools: Option<Arc<[Value]>>,
    /// Further variables of the template.
    pub extra: Map<String, Value>,
    /// Whether the assistant's turn is opened at the end.
    pub add_generation_prompt: bool,
}

/// A chat prompt.
#[derive(Debug, Clone)]
pub struct ChatPrompt {
    /// The text, without the marks that protect user text.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Where the answer begins, for models that reason.
    pub thinking: Option<Thinking>,
}

impl Chat {
    /// Renders and tokenises the conversation; see [`encode_chat`].
    ///
    /// # Errors
    /// As [`encode_chat`].
    pub fn encode(
        self,
        tokenizer: &Tokenizer,
        markers: &Markers,
        template: &ChatTemplate,
        family: &Family,
    ) -> Result<ChatPrompt, ApiError> {
        // Tools are a client's text too.
        let tools = self.tools.map(|tools| Value::from(tools.to_vec()));
        let mut parts = Value::from(vec![self.messages, tools.unwrap_or_default()]);
        let breaker = markers.protect(&mut parts);
        let (mut messages, tools) = (parts[0].take(), parts[1].take());
        // What is added here is ours: its markers are markers.
        let tools = family.describe_tools(&mut messages, Some(tools).filter(|tools| !tools.is_null()));
        family.place_reasoning(&mut messages);
        let mut text = template
            .render(&messages, tools.as_ref(), self.add_generation_prompt, &self.extra)
            .map_err(|error| ApiError::invalid("messages", error.to_string()))?;
        let ids = match breaker {
            Some(breaker) => markers.encode(tokenizer, &text, breaker),
            None => tokenizer.encode(&text, EncodeOptions { add_special: false, parse_special: true }),
        };
        let ids = ids.map_err(|error| refused("messages", &error))?;
        text.retain(|c| Some(c) != breaker);
        let end = text.trim_end();
        let thinking = family.thinks.then(|| match self.add_generation_prompt {
            true if end.ends_with(family.tags.open) => Thinking::Opened,
            true if end.ends_with(family.tags.close) => Thinking::Closed,
            _ => Thinking::NotOpened,
        });
        Ok(ChatPrompt { text, ids, thinking })
    }
}

/// [`Chat::encode`] for a request, off the async threads.
///
/// # Errors
/// No template in the model, or what [`Chat::encode`] refuses; all are the client's to solve (400).
pub(crate) async fn chat(state: &AppState, chat: Chat) -> Result<ChatPrompt, ApiError> {
    let Some(template) = state.template.clone() else {
        return Err(ApiError::invalid(
            "messages",
            "this model has no chat template; use /v1/completions with a prompt instead",
        ));
    };
    let shared = state.clone();
    blocking(state, move || chat.encode(&shared.tokenizer, &shared.markers, &template, &shared.family)).await
}

/// Compiles what an answer must look like, off the async threads.
///
/// # Errors
/// What is wrong with the schema, the expression or the grammar (400).
pub(crate) async fn compile(
    state: &AppState,
    wanted: Wanted,
    thinking: Option<Thinking>,
) -> Result<Option<Constraint>, ApiError> {
    if wanted.grammar(&state.family, thinking).is_none() {
        return Ok(None);
    }
    let shared = state.clone();
    blocking(state, move || wanted.compile(&shared.grammars, &shared.tokenizer, &shared.family, thinking)).await
}

/// Tokenises one raw prompt.
///
/// # Errors
/// An id outside the vocabulary, an empty prompt, or one too long for the context (400).
pub(crate) async fn raw(state: &AppState, prompt: RawPrompt) -> Result<Vec<u32>, ApiError> {
    raw_for(state, prompt, "prompt").await
}

/// [`raw`] for the field `param`.
///
/// # Errors
/// As [`raw`].
pub(crate) async fn raw_for(state: &AppState, prompt: RawPrompt, param: &'static str) -> Result<Vec<u32>, ApiError> {
    let ids = match prompt {
        RawPrompt::Ids(ids) => {
            let size = state.tokenizer.vocab_size();
            if let Some(id) = ids.iter().find(|id| **id as usize >= size) {
                return Err(ApiError::invalid(param, format!("token id {id} is outside the vocabulary of {size}")));
            }
            ids
        }
        RawPrompt::Text(text) => {
            let options = EncodeOptions { add_special: true, parse_special: true };
            tokens(state, text, options, param).await?
        }
    };
    check_length(state, &ids, param)?;
    Ok(ids)
}

/// Tokenises a text, off the async threads.
///
/// # Errors
/// A text that the vocabulary cannot spell (400).
pub(crate) async fn tokens(
    state: &AppState,
    text: String,
    options: EncodeOptions,
    param: &'static str,
) -> Result<Vec<u32>, ApiError> {
    let tokenizer = Arc::clone(&state.tokenizer);
    blocking(state, move || tokenizer.encode(&text, options).map_err(|error| refused(param, &error))).await
}

fn refused(param: &str, error: &TokenizerError) -> ApiError {
    ApiError::invalid(param, error.to_string())
}

/// A prompt needs at least one token and must leave room for one more in the context.
pub(crate) fn check_length(state: &AppState, ids: &[u32], param: &'static str) -> Result<(), ApiError> {
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
pub(crate) async fn blocking<T: Send + 'static>(
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
