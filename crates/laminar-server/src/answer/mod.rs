//! What an answer is made of: reasoning, content and tool calls, told apart while the text arrives.
//!
//! An [`AnswerParser`] takes the text of an answer in pieces, cut anywhere, and hands out [`Piece`]s. What they add up to
//! depends on the text alone and not on the cuts, so a stream and a whole response, which both are made of these pieces,
//! say the same. Text that may turn out to be the beginning of a tag is held back until that is certain.

mod calls;
mod count;
pub(crate) mod deepseek;
mod dialect;
pub(crate) mod gemma;
pub(crate) mod gemma4;
pub(crate) mod glm;
pub(crate) mod granite;
pub(crate) mod harmony;
pub(crate) mod hermes;
pub(crate) mod invoke;
pub(crate) mod kimi;
mod list;
mod literal;
pub(crate) mod llama;
mod marked;
pub(crate) mod mistral;
mod object;
pub(crate) mod phi;
pub(crate) mod python;
mod reasoning;
mod scanner;
mod tagged;
mod value;
pub(crate) mod xml;

use std::sync::Arc;

use serde_json::Value;

use calls::CallParser;
use count::TokenCount;
pub use dialect::Dialect;
use harmony::HarmonyParser;
use reasoning::{Part, ReasoningSplit};
pub use reasoning::{ReasoningTags, Thinking};

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
#[derive(Debug, Clone)]
pub struct AnswerFormat {
    /// How the model spells calls and messages.
    pub dialect: Dialect,
    /// How it marks reasoning.
    pub tags: ReasoningTags,
    /// Where the answer begins, for a model that reasons.
    pub thinking: Option<Thinking>,
    /// Whether reasoning is told apart from content; otherwise it stays there as it is written, and is only counted.
    pub separate: bool,
    /// The tools, if calls are to be recognised.
    pub tools: Option<Arc<[Value]>>,
    /// Whether there may be several calls; otherwise the answer ends where a second one begins.
    pub parallel: bool,
}

impl Default for AnswerFormat {
    /// All is content.
    fn default() -> AnswerFormat {
        let (dialect, tags) = (Dialect::default(), ReasoningTags::THINK);
        AnswerFormat { dialect, tags, thinking: None, separate: true, tools: None, parallel: true }
    }
}

/// Reads one answer.
#[derive(Debug)]
pub struct AnswerParser {
    reader: Reader,
    count: TokenCount,
    /// Calls that may still begin.
    calls_left: usize,
    /// A call was one too many.
    is_over: bool,
}

#[derive(Debug)]
enum Reader {
    /// Tags in the text.
    Tags(Box<Tags>),
    /// Messages in channels.
    Harmony(HarmonyParser),
}

impl AnswerParser {
    /// A parser at the beginning of an answer.
    pub fn new(format: &AnswerFormat) -> AnswerParser {
        let AnswerFormat { dialect, tags, thinking, separate, tools, parallel } = format;
        let reader = match dialect {
            Dialect::Harmony => Reader::Harmony(HarmonyParser::new(tools.as_ref(), *separate)),
            dialect => Reader::Tags(Box::new(Tags {
                reasoning: thinking.map(|thinking| ReasoningSplit::new(*tags, thinking)),
                separate: *separate,
                calls: tools.as_ref().map(|tools| CallParser::new(*dialect, Arc::clone(tools))),
            })),
        };
        let calls_left = if *parallel { usize::MAX } else { 1 };
        AnswerParser { reader, count: TokenCount::default(), calls_left, is_over: false }
    }

    /// Says that a token has come, with so many bytes of text of its own; its text is pushed behind it, perhaps later.
    pub fn token(&mut self, bytes: usize) {
        self.count.token(bytes);
    }

    /// Tokens of reasoning so far; all of them once the answer is finished.
    pub fn reasoning_tokens(&self) -> usize {
        self.count.inside()
    }

    /// Takes more text.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let mut out = Vec::new();
        match &mut self.reader {
            Reader::Harmony(harmony) => harmony.push(text, &mut self.count, &mut out),
            Reader::Tags(tags) => tags.push(text, &mut self.count, &mut out),
        }
        self.end_at_the_last_call(&mut out);
        out
    }

    /// Leaves out what comes from the first call on that may not be.
    fn end_at_the_last_call(&mut self, pieces: &mut Vec<Piece>) {
        pieces.retain(|piece| {
            if matches!(piece, Piece::Call { .. }) {
                self.is_over |= self.calls_left == 0;
                self.calls_left = self.calls_left.saturating_sub(1);
            }
            !self.is_over
        });
    }

    /// The text has ended.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut out = Vec::new();
        let inside = match &mut self.reader {
            Reader::Harmony(harmony) => {
                harmony.finish(&mut self.count, &mut out);
                harmony.is_inside()
            }
            Reader::Tags(tags) => {
                tags.finish(&mut self.count, &mut out);
                tags.reasoning.as_ref().is_some_and(ReasoningSplit::is_inside)
            }
        };
        self.count.finish(inside);
        self.end_at_the_last_call(&mut out);
        out
    }
}

/// Reads an answer with tags: reasoning first, and what is left of it for calls.
#[derive(Debug)]
struct Tags {
    reasoning: Option<ReasoningSplit>,
    separate: bool,
    calls: Option<CallParser>,
}

impl Tags {
    fn push(&mut self, text: &str, count: &mut TokenCount, out: &mut Vec<Piece>) {
        match &mut self.reasoning {
            Some(split) => {
                let parts = split.push(text, count);
                self.show(parts, text, out);
            }
            None => self.content(text, out),
        }
    }

    fn finish(&mut self, count: &mut TokenCount, out: &mut Vec<Piece>) {
        if let Some(split) = &mut self.reasoning {
            let parts = split.finish(count);
            self.show(parts, "", out);
        }
        if let Some(calls) = &mut self.calls {
            calls.finish(out);
        }
    }

    /// Shows the parts of a text, or the text itself where they are not to be told apart.
    fn show(&mut self, parts: Vec<Part>, text: &str, out: &mut Vec<Piece>) {
        if !self.separate {
            return self.content(text, out);
        }
        for part in parts {
            match part {
                Part::Reasoning(text) => add(out, Piece::Reasoning(text)),
                Part::Content(text) => self.content(&text, out),
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

/// Length of the longest end of `text` that is a beginning of `tag`, but not all of it.
fn overlap(text: &str, tag: &str) -> usize {
    let beginnings = tag.char_indices().map(|(length, _)| length).rev();
    beginnings.into_iter().find(|length| text.ends_with(&tag[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod block_tests;
#[cfg(test)]
mod tests;
