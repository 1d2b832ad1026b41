//! gpt-oss: the harmony format. An answer is a row of messages, each `header<|message|>text` and an end. The header names
//! a channel (`<|channel|>analysis`, `commentary`, `final`) and may name a receiver (`to=functions.name`, before the
//! channel or behind it) and a type (`<|constrain|>json`). Analysis is reasoning, a message to a function is a call, and
//! the rest is content. `<|end|>` closes one message of several; `<|return|>` and `<|call|>` end the answer. Source:
//! OpenAI's description of the format, and the chat template of the models.

use std::sync::Arc;

use serde_json::Value;

use super::count::TokenCount;
use super::scanner::{Progress, Scanner, Spelling};
use super::{Piece, add, overlap};

/// Begins a message, before its role.
pub(crate) const START: &str = "<|start|>";
/// Before the channel.
pub(crate) const CHANNEL: &str = "<|channel|>";
/// Before the type of the text.
pub(crate) const CONSTRAIN: &str = "<|constrain|>";
/// Between header and text.
pub(crate) const MESSAGE: &str = "<|message|>";
/// Closes one message of several.
pub(crate) const END: &str = "<|end|>";
/// Ends the answer with a call.
pub(crate) const CALL: &str = "<|call|>";
const RETURN: &str = "<|return|>";
/// Before the name of a function that is called.
pub(crate) const FUNCTIONS: &str = "functions.";

/// What a header may begin with. The prompt has opened the first one and named its role.
static HEADS: [&str; 5] = [START, CHANNEL, CONSTRAIN, MESSAGE, "to="];
/// What ends a message. The last two begin the next one.
static ENDS: [&str; 5] = [END, CALL, RETURN, START, CHANNEL];
/// Bytes of a header.
const MAX_HEADER: usize = 512;

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[],
    first: &[],
    bare: &[],
    closings: &[],
    separators: &[],
    only_tools: false,
    scanner: |_| Box::new(NoCalls),
    write: |name, arguments| {
        format!("{CHANNEL}commentary to={FUNCTIONS}{name} {CONSTRAIN}json{MESSAGE}{arguments}{CALL}")
    },
};

/// Calls are messages, which [`HarmonyParser`] reads; there are none within a message.
#[derive(Debug)]
struct NoCalls;

impl Scanner for NoCalls {
    fn push(&mut self, _pending: &mut String, _arguments: &mut String) -> Progress {
        Progress::Wrong
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Content,
    Call,
    /// Content, markers included; reasoning that is not told apart, or what no tool was there for.
    Raw {
        reasoning: bool,
    },
}

impl Kind {
    fn is_reasoning(self) -> bool {
        matches!(self, Kind::Reasoning | Kind::Raw { reasoning: true })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a header.
    Between,
    Header,
    Body(Kind),
}

/// Reads an answer in harmony.
#[derive(Debug)]
pub(super) struct HarmonyParser {
    /// Whether there are tools to be called.
    has_tools: bool,
    /// Whether reasoning is told apart; otherwise it stays in the content as it is written.
    separate: bool,
    state: State,
    pending: String,
    /// What was shown last, and whether the message at hand has shown anything.
    last: Option<Kind>,
    silent: bool,
}

impl HarmonyParser {
    pub(super) fn new(tools: Option<&Arc<[Value]>>, separate: bool) -> HarmonyParser {
        let (state, pending) = (State::Between, String::new());
        HarmonyParser { has_tools: tools.is_some(), separate, state, pending, last: None, silent: true }
    }

    /// Whether the text so far ends inside reasoning.
    pub(super) fn is_inside(&self) -> bool {
        matches!(self.state, State::Body(kind) if kind.is_reasoning())
    }

    pub(super) fn push(&mut self, text: &str, count: &mut TokenCount, out: &mut Vec<Piece>) {
        self.pending.push_str(text);
        while self.step(count, out) {}
    }

    /// Shows what was held back, but for a header that was cut off.
    pub(super) fn finish(&mut self, count: &mut TokenCount, out: &mut Vec<Piece>) {
        let rest = std::mem::take(&mut self.pending);
        let kind = match self.state {
            State::Body(kind) => kind,
            State::Between => Kind::Content,
            State::Header => return count.span(rest.len(), false),
        };
        self.say(kind, &rest, count, out);
    }

    /// One step through the pending text; false when it needs more.
    fn step(&mut self, count: &mut TokenCount, out: &mut Vec<Piece>) -> bool {
        match self.state {
            State::Between => self.between(count),
            State::Header => self.header(count, out),
            State::Body(kind) => self.body(kind, count, out),
        }
    }

    fn between(&mut self, count: &mut TokenCount) -> bool {
        let trimmed = self.pending.trim_start();
        let known = || HEADS.iter().chain(ENDS.iter());
        let Some(tag) = known().find(|tag| trimmed.starts_with(**tag)) else {
            if known().any(|tag| tag.starts_with(trimmed)) {
                return false;
            }
            // No header at all: a model that has lost the format.
            self.begin(Kind::Content);
            return true;
        };
        if HEADS.contains(tag) {
            self.state = State::Header;
        } else {
            // The end of nothing.
            let taken = self.pending.len() - trimmed.len() + tag.len();
            count.span(taken, false);
            self.pending.drain(..taken);
        }
        true
    }

    fn header(&mut self, count: &mut TokenCount, out: &mut Vec<Piece>) -> bool {
        match self.pending.find(MESSAGE) {
            Some(at) if at <= MAX_HEADER => {
                let header = self.pending[..at + MESSAGE.len()].to_owned();
                self.pending.drain(..header.len());
                let name = receiver(&header).and_then(|receiver| receiver.strip_prefix(FUNCTIONS));
                let kind = match (name, channel(&header)) {
                    (Some(_), _) if self.has_tools => Kind::Call,
                    (Some(_), _) => Kind::Raw { reasoning: false },
                    (None, Some("analysis")) if self.separate => Kind::Reasoning,
                    (None, Some("analysis")) => Kind::Raw { reasoning: true },
                    _ => Kind::Content,
                };
                self.begin(kind);
                match (kind, name) {
                    (Kind::Call, Some(name)) => out.push(Piece::Call { name: name.to_owned() }),
                    (Kind::Raw { .. }, _) => add(out, Piece::Content(header.clone())),
                    _ => {}
                }
                // What is left in the content is reasoning all the same, and its markers are not.
                count.span(header.len(), false);
            }
            None if self.pending.len() < MAX_HEADER + MESSAGE.len() => return false,
            _ => {
                self.begin(Kind::Content);
                // The marker that has begun the header would end the message.
                let first = self.pending.chars().next().map_or(0, char::len_utf8);
                let first: String = self.pending.drain(..first).collect();
                self.say(Kind::Content, &first, count, out);
            }
        }
        true
    }

    fn begin(&mut self, kind: Kind) {
        self.state = State::Body(kind);
        self.silent = true;
    }

    fn body(&mut self, kind: Kind, count: &mut TokenCount, out: &mut Vec<Piece>) -> bool {
        let found = ENDS.iter().filter_map(|tag| Some((self.pending.find(tag)?, *tag))).min();
        let end = match found {
            Some((at, _)) => at,
            None => self.pending.len() - ENDS.iter().map(|tag| overlap(&self.pending, tag)).max().unwrap_or(0),
        };
        let text: String = self.pending.drain(..end).collect();
        self.say(kind, &text, count, out);
        let Some((_, tag)) = found else {
            return false;
        };
        if kind == Kind::Call && self.silent {
            out.push(Piece::Arguments("{}".to_owned()));
        }
        if tag != START && tag != CHANNEL {
            self.pending.drain(..tag.len());
            count.span(tag.len(), false);
            if matches!(kind, Kind::Raw { .. }) {
                add(out, Piece::Content(tag.to_owned()));
            }
        }
        self.state = State::Between;
        true
    }

    /// Shows text of a message. An empty line stands between two messages of one kind.
    fn say(&mut self, kind: Kind, text: &str, count: &mut TokenCount, out: &mut Vec<Piece>) {
        count.span(text.len(), kind.is_reasoning());
        if text.is_empty() {
            return;
        }
        let apart = std::mem::replace(&mut self.silent, false) && self.last == Some(kind);
        self.last = Some(kind);
        let joined = if apart { format!("\n\n{text}") } else { text.to_owned() };
        match kind {
            Kind::Reasoning => add(out, Piece::Reasoning(joined)),
            Kind::Content => add(out, Piece::Content(joined)),
            Kind::Raw { .. } => add(out, Piece::Content(text.to_owned())),
            Kind::Call => add(out, Piece::Arguments(text.to_owned())),
        }
    }
}

/// The word behind a mark in a header.
fn word<'h>(header: &'h str, mark: &str) -> Option<&'h str> {
    let (_, rest) = header.rsplit_once(mark)?;
    let end = rest.find(|c: char| c.is_whitespace() || c == '<').unwrap_or(rest.len());
    Some(&rest[..end])
}

fn channel(header: &str) -> Option<&str> {
    word(header, CHANNEL)
}

fn receiver(header: &str) -> Option<&str> {
    word(header, "to=")
}
