//! Tells reasoning between two tags apart from the answer proper.

use super::count::TokenCount;
use super::overlap;

/// The tags of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasoningTags {
    /// Before the reasoning.
    pub open: &'static str,
    /// Behind it.
    pub close: &'static str,
    /// Tags around the answer proper, which are no text either.
    pub dropped: &'static [&'static str],
}

impl ReasoningTags {
    /// Most families: Qwen 3, DeepSeek R1, GLM-4.5, Phi-4 reasoning.
    pub const THINK: ReasoningTags = ReasoningTags { open: "<think>", close: "</think>", dropped: &[] };
    /// Granite 3.3, which marks the answer proper too.
    pub const GRANITE: ReasoningTags =
        ReasoningTags { dropped: &["<response>", "</response>"], ..ReasoningTags::THINK };
    /// Granite 3.2, which says it in words.
    pub const GRANITE_WORDS: ReasoningTags =
        ReasoningTags { open: "Here is my thought process:", close: "Here is my response:", dropped: &[] };
    /// Mistral's reasoning models.
    pub const MISTRAL: ReasoningTags = ReasoningTags { open: "[THINK]", close: "[/THINK]", dropped: &[] };
    /// Seed-OSS.
    pub const SEED: ReasoningTags = ReasoningTags { open: "<seed:think>", close: "</seed:think>", dropped: &[] };
    /// Gemma 4, which thinks in a channel.
    pub const GEMMA4: ReasoningTags =
        ReasoningTags { open: "<|channel>thought", close: super::gemma4::CHANNEL_END, dropped: &[] };
}

/// Where an answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    /// The prompt has opened the reasoning; the answer begins inside it.
    Opened,
    /// The prompt has not; the answer opens it itself, or does without.
    NotOpened,
    /// The prompt has opened and closed it: there is none.
    Closed,
}

/// A stretch of text of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Reasoning(String),
    Content(String),
}

/// Splits a text at its tags. The tags vanish, and so does the white space that models put around reasoning: all of it
/// at the reasoning's ends, line breaks at the beginning of the content behind it.
#[derive(Debug)]
pub(super) struct ReasoningSplit {
    tags: ReasoningTags,
    inside: bool,
    /// Nothing of this stretch has been shown yet and its leading white space is to go.
    fresh: bool,
    /// Nothing has been shown at all. White space waits: it is no text before an opening tag.
    start: bool,
    /// May be the beginning of a tag.
    pending: String,
    /// White space that is shown only if more follows.
    spaces: String,
}

impl ReasoningSplit {
    pub(super) fn new(tags: ReasoningTags, thinking: Thinking) -> ReasoningSplit {
        let inside = thinking == Thinking::Opened;
        let (pending, spaces) = (String::new(), String::new());
        ReasoningSplit { tags, inside, fresh: inside, start: true, pending, spaces }
    }

    /// Whether the text so far ends inside reasoning.
    pub(super) fn is_inside(&self) -> bool {
        self.inside
    }

    pub(super) fn push(&mut self, text: &str, count: &mut TokenCount) -> Vec<Part> {
        let mut out = Vec::new();
        self.pending.push_str(text);
        let ReasoningTags { open, close, dropped } = self.tags;
        let tags = || [open, close].into_iter().chain(dropped.iter().copied());
        loop {
            // Inside, an opening tag is one that the prompt has written already; outside, a closing one has lost its
            // opening one. Neither is text.
            let found = tags().filter_map(|tag| Some((self.pending.find(tag)?, tag))).min();
            let Some((at, tag)) = found else {
                let held = tags().map(|tag| overlap(&self.pending, tag)).max().unwrap_or(0);
                let rest = self.pending.split_off(self.pending.len() - held);
                let text = std::mem::replace(&mut self.pending, rest);
                self.show(&text, count, &mut out);
                return out;
            };
            let rest = self.pending.split_off(at);
            let text = std::mem::replace(&mut self.pending, rest[tag.len()..].to_owned());
            self.show(&text, count, &mut out);
            count.span(tag.len(), false);
            let inside = if dropped.contains(&tag) { self.inside } else { tag == open };
            if self.inside != inside {
                self.inside = inside;
                self.spaces.clear();
                self.fresh = true;
                self.start = false;
            }
        }
    }

    pub(super) fn finish(&mut self, count: &mut TokenCount) -> Vec<Part> {
        let mut out = Vec::new();
        let text = std::mem::take(&mut self.pending);
        self.show(&text, count, &mut out);
        if !self.inside && !self.spaces.is_empty() {
            out.push(Part::Content(std::mem::take(&mut self.spaces)));
        }
        out
    }

    fn show(&mut self, text: &str, count: &mut TokenCount, out: &mut Vec<Part>) {
        count.span(text.len(), self.inside);
        let trimmed = match (self.fresh, self.inside) {
            (true, true) => text.trim_start(),
            (true, false) => text.trim_start_matches(['\n', '\r']),
            (false, _) => text,
        };
        if trimmed.is_empty() {
            return;
        }
        self.fresh = false;
        self.spaces.push_str(trimmed);
        // Inside, white space waits at any place; outside, only before the first text.
        let waits = if self.inside || self.start { self.spaces.trim_end().len() } else { self.spaces.len() };
        let rest = match self.start && !self.inside && waits > 0 {
            true => String::new(),
            false => self.spaces.split_off(waits),
        };
        let shown = std::mem::replace(&mut self.spaces, rest);
        if shown.is_empty() {
            return;
        }
        self.start = false;
        out.push(if self.inside { Part::Reasoning(shown) } else { Part::Content(shown) });
    }
}
