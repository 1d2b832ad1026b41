//! Log-probabilities in the two shapes of the API: per token for chat, parallel lists for
//! completions.

use std::sync::Arc;

use laminar_engine::{TokenEvent, TokenLogprobs};
use laminar_model::tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The chat shape: `{"content": [...]}`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChatLogprobs {
    /// One entry per token of the text.
    pub content: Vec<ChatLogprob>,
    /// Always null: nothing is refused in tokens of its own.
    #[schema(required)]
    pub refusal: Option<Vec<ChatLogprob>>,
}

/// One token of the chat shape.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChatLogprob {
    /// The token as text; bytes that are no whole character are escaped as `\xNN`.
    pub token: String,
    /// Natural log-probability.
    pub logprob: f32,
    /// The exact bytes, to be joined across tokens.
    pub bytes: Vec<u8>,
    /// The most probable tokens at this place; empty if not asked for.
    pub top_logprobs: Vec<TopLogprob>,
}

/// One alternative of the chat shape.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TopLogprob {
    /// The token as text.
    pub token: String,
    /// Natural log-probability.
    pub logprob: f32,
    /// The exact bytes.
    pub bytes: Vec<u8>,
}

/// The chat entry of one token; `None` for a token that ended the text or carries no score.
pub(crate) fn chat_entry(tokenizer: &Tokenizer, event: &TokenEvent) -> Option<ChatLogprob> {
    let scores = event.logprob.as_ref().filter(|_| !event.ends_text)?;
    let (token, bytes) = spell(tokenizer, event.id);
    let top = scores.top.iter().map(|top| {
        let (token, bytes) = spell(tokenizer, top.id);
        TopLogprob { token, logprob: finite(top.logprob), bytes }
    });
    Some(ChatLogprob { token, logprob: finite(scores.logprob), bytes, top_logprobs: top.collect() })
}

/// The legacy shape: parallel lists.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct LegacyLogprobs {
    /// The tokens as text.
    pub tokens: Vec<String>,
    /// Their natural log-probabilities; null for the first token of a prompt, which nothing stands before.
    pub token_logprobs: Vec<Option<f32>>,
    /// Per token: alternatives by text, the token itself included; null for the first token of a prompt.
    #[schema(value_type = Vec<Option<std::collections::HashMap<String, f32>>>)]
    pub top_logprobs: Vec<Option<Map<String, Value>>>,
    /// Characters of the text before each token.
    pub text_offset: Vec<usize>,
}

/// Builds the legacy shape token by token; remembers how much text came before.
#[derive(Debug, Default)]
pub(crate) struct LegacyWriter {
    offset: usize,
    /// The prompt that the text begins with, until its tokens are written.
    echo: Option<Echo>,
}

/// A prompt that the text begins with.
#[derive(Debug, Clone)]
pub(crate) struct Echo {
    /// As it stands in the text.
    pub(crate) text: String,
    /// Its tokens.
    pub(crate) ids: Arc<[u32]>,
}

impl LegacyWriter {
    /// A writer of a text that begins with a prompt.
    pub(crate) fn behind(echo: Option<Echo>) -> LegacyWriter {
        LegacyWriter { offset: 0, echo }
    }

    /// Appends one token, unless it ended the text or carries no score; before the first one the tokens of the prompt, if
    /// they were scored.
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, event: &TokenEvent, out: &mut LegacyLogprobs) {
        if let (Some(scores), Some(echo)) = (&event.prompt_logprobs, self.echo.take()) {
            let scores = std::iter::once(None).chain(scores.iter().map(Some));
            for (id, scores) in echo.ids.iter().zip(scores) {
                self.append(tokenizer, *id, scores, out);
            }
            // Tokens that the tokenizer has put in front of the text are not in it.
            self.offset = echo.text.chars().count();
        }
        if let Some(scores) = event.logprob.as_ref().filter(|_| !event.ends_text) {
            self.append(tokenizer, event.id, Some(scores), out);
        }
    }

    fn append(&mut self, tokenizer: &Tokenizer, id: u32, scores: Option<&TokenLogprobs>, out: &mut LegacyLogprobs) {
        let (token, bytes) = spell(tokenizer, id);
        let top = scores.map(|scores| {
            let mut top = Map::new();
            for entry in &scores.top {
                let (text, _) = spell(tokenizer, entry.id);
                // Two ids may spell the same text; the more probable one came first and stays.
                top.entry(text).or_insert_with(|| Value::from(finite(entry.logprob)));
            }
            top.entry(token.clone()).or_insert_with(|| Value::from(finite(scores.logprob)));
            top
        });
        out.tokens.push(token);
        out.token_logprobs.push(scores.map(|scores| finite(scores.logprob)));
        out.top_logprobs.push(top);
        out.text_offset.push(self.offset);
        self.offset += if tokenizer.is_control(id) { 0 } else { characters(&bytes) };
    }
}

/// A token as text and as bytes. Control tokens have no bytes and show their name.
fn spell(tokenizer: &Tokenizer, id: u32) -> (String, Vec<u8>) {
    let bytes = tokenizer.token_bytes(id);
    if bytes.is_empty() {
        let text = tokenizer.token_text(id);
        let bytes = text.clone().into_bytes();
        return (text, bytes);
    }
    (escape(&bytes), bytes)
}

/// UTF-8 as it is; anything else byte by byte as `\xNN`, so that different tokens stay different.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Characters that begin in these bytes: everything but UTF-8 continuation bytes.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// JSON has no infinity: a probability of zero becomes the most negative finite number that OpenAI
/// documents for it.
fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_character_are_escaped_apart() {
        assert_eq!(escape("né".as_bytes()), "né");
        assert_eq!(escape(&[0xf0, 0x9f]), "\\xf0\\x9f");
        assert_eq!(escape(&[b'a', 0x98, b'b']), "a\\x98b");
    }

    #[test]
    fn a_split_character_counts_once() {
        assert_eq!(characters(&[0xf0, 0x9f]) + characters(&[0x98, 0x80]), 1);
        assert_eq!(characters("aé".as_bytes()), 2);
    }
}
