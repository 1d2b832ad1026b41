//! Chat templates: messages in, prompt text out.

use laminar_model::tokenizer::Tokenizer;
use serde_json::{Map, Value};

/// What can be wrong with a chat template or its input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template itself is broken.
    #[error("the chat template does not parse: {0}")]
    Parse(String),
    /// The template refused the messages through `raise_exception`.
    #[error("{0}")]
    Raised(String),
    /// The template failed, ran too long or wrote too much.
    #[error("the chat template failed: {0}")]
    Render(String),
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {}

impl ChatTemplate {
    /// Compiles a template; `bos` and `eos` are the texts of those tokens.
    pub fn new(_source: &str, _bos: &str, _eos: &str) -> Result<Self, TemplateError> {
        Ok(Self {})
    }

    /// The template that comes with the tokenizer, if there is one.
    pub fn from_tokenizer(_tokenizer: &Tokenizer) -> Result<Option<Self>, TemplateError> {
        Ok(None)
    }

    /// Renders the messages into a prompt.
    pub fn render(
        &self,
        _messages: &Value,
        _tools: Option<&Value>,
        _add_generation_prompt: bool,
        _extra: &Map<String, Value>,
    ) -> Result<String, TemplateError> {
        Err(TemplateError::Render("not written yet".into()))
    }
}
