//! What an answer is made of: reasoning, content and tool calls, told apart while the text arrives.
//!
//! An [`AnswerParser`] takes the text of an answer in pieces, cut anywhere, and hands out [`Piece`]s. What they add up to
//! depends on the text alone and not on the cuts, so a stream and a whole response, which both are made of these pieces,
//! say the same. Text that may turn out to be the beginning of a tag is held back until that is certain.

mod calls;
mod object;
mod reasoning;
mod value;
mod xml;

use std::sync::Arc;

use serde_json::Value;

use calls::CallParser;
pub use calls::Dialect;
pub(crate) use calls::{MISTRAL_ARGUMENTS, MISTRAL_ID};
use reasoning::ReasoningSplit;
pub use reasoning::Thinking;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// More of the reasoning.
    Reasoning(String),
    /// More of the text.
    Content(String),
    /// A tool call begins; it has the next index.
    Call {
        /// The function.
        name: String,
    },
    /// More of the arguments of the newest call: JSON text.
    Arguments(String),
}

/// How the answers of one request are to be read.
#[derive(Debug, Clone, Default)]
pub struct AnswerFormat {
    /// Where the answer begins, if reasoning is to be told apart from content.
    pub thinking: Option<Thinking>,
    /// How tool calls are spelled and which tools there are, if calls are to be recognised.
    pub calls: Option<(Dialect, Arc<[Value]>)>,
}

/// Reads one answer.
#[derive(Debug)]
pub struct AnswerParser {
    reasoning: Option<ReasoningSplit>,
    calls: Option<CallParser>,
}

impl AnswerParser {
    /// A parser at the beginning of an answer.
    pub fn new(format: &AnswerFormat) -> AnswerParser {
        AnswerParser {
            reasoning: format.thinking.map(ReasoningSplit::new),
            calls: format.calls.as_ref().map(|(dialect, tools)| CallParser::new(*dialect, Arc::clone(tools))),
        }
    }

    /// Takes more text.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let mut out = Vec::new();
        match &mut self.reasoning {
            Some(split) => {
                let parts = split.push(text);
                self.parts(parts, &mut out);
            }
            None => self.content(text, &mut out),
        }
        out
    }

    /// The text has ended.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut out = Vec::new();
        if let Some(split) = &mut self.reasoning {
            let parts = split.finish();
            self.parts(parts, &mut out);
        }
        if let Some(calls) = &mut self.calls {
            calls.finish(&mut out);
        }
        out
    }

    fn parts(&mut self, parts: Vec<reasoning::Part>, out: &mut Vec<Piece>) {
        for part in parts {
            match part {
                reasoning::Part::Reasoning(text) => add(out, Piece::Reasoning(text)),
                reasoning::Part::Content(text) => self.content(&text, out),
            }
        }
    }

    fn content(&mut self, text: &str, out: &mut Vec<Piece>) {
        match &mut self.calls {
            Some(calls) => calls.push(text, out),
            None => add(out, Piece::Content(text.to_owned())),
        }
    }
}

/// Appends a piece: nothing if it is empty, and to the newest one if that is of the same kind.
fn add(out: &mut Vec<Piece>, piece: Piece) {
    match (out.last_mut(), piece) {
        (_, Piece::Content(text) | Piece::Reasoning(text) | Piece::Arguments(text)) if text.is_empty() => {}
        (Some(Piece::Content(last)), Piece::Content(text))
        | (Some(Piece::Reasoning(last)), Piece::Reasoning(text))
        | (Some(Piece::Arguments(last)), Piece::Arguments(text)) => last.push_str(&text),
        (_, piece) => out.push(piece),
    }
}

/// Length of the longest end of `text` that is a beginning of `tag`, but not all of it. Tags are ASCII.
fn overlap(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|length| text.ends_with(&tag[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests;
