//! Tells reasoning between `<think>` and `</think>` apart from the answer proper.

use super::overlap;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

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
    inside: bool,
    /// Nothing of this stretch has been shown yet and its leading white space is to go.
    fresh: bool,
    /// May be the beginning of a tag.
    pending: String,
    /// White space of the reasoning that is shown only if more follows.
    spaces: String,
}

impl ReasoningSplit {
    pub(super) fn new(thinking: Thinking) -> ReasoningSplit {
        let inside = thinking == Thinking::Opened;
        ReasoningSplit { inside, fresh: inside, pending: String::new(), spaces: String::new() }
    }

    pub(super) fn push(&mut self, text: &str) -> Vec<Part> {
        let mut out = Vec::new();
        self.pending.push_str(text);
        loop {
            // Inside, an opening tag is one that the prompt has written already; outside, a closing one has lost its
            // opening one. Neither is text.
            let found = [OPEN, CLOSE].iter().filter_map(|tag| Some((self.pending.find(tag)?, *tag))).min();
            match found {
                Some((at, tag)) => {
                    let rest = self.pending.split_off(at);
                    let text = std::mem::replace(&mut self.pending, rest[tag.len()..].to_owned());
                    self.show(&text, &mut out);
                    if self.inside != (tag == OPEN) {
                        self.inside = tag == OPEN;
                        self.spaces.clear();
                        self.fresh = true;
                    }
                }
                None => {
                    let held = overlap(&self.pending, OPEN).max(overlap(&self.pending, CLOSE));
                    let rest = self.pending.split_off(self.pending.len() - held);
                    let text = std::mem::replace(&mut self.pending, rest);
                    self.show(&text, &mut out);
                    return out;
                }
            }
        }
    }

    pub(super) fn finish(&mut self) -> Vec<Part> {
        let mut out = Vec::new();
        let text = std::mem::take(&mut self.pending);
        self.show(&text, &mut out);
        out
    }

    fn show(&mut self, text: &str, out: &mut Vec<Part>) {
        let trimmed = match (self.fresh, self.inside) {
            (true, true) => text.trim_start(),
            (true, false) => text.trim_start_matches(['\n', '\r']),
            (false, _) => text,
        };
        if trimmed.is_empty() {
            return;
        }
        self.fresh = false;
        if !self.inside {
            return out.push(Part::Content(trimmed.to_owned()));
        }
        let mut shown = std::mem::take(&mut self.spaces);
        shown.push_str(trimmed);
        self.spaces = shown.split_off(shown.trim_end().len());
        if !shown.is_empty() {
            out.push(Part::Reasoning(shown));
        }
    }
}
