//! Tool calls in the text of an answer: where they begin and end, in whatever spelling.

use std::sync::Arc;

use serde_json::Value;

use super::dialect::Dialect;
use super::scanner::{Progress, Scanner, Spelling, tool_named};
use super::{Piece, add, overlap};

#[derive(Debug)]
enum State {
    /// Nothing but white space yet, where a bare call may begin.
    Start,
    /// Outside calls.
    Text,
    /// In calls. `named` once the first of them has its name, and so is a call.
    Calls { scanner: Box<dyn Scanner>, named: bool },
    /// Behind calls.
    After,
}

/// Finds calls in text that arrives in pieces.
#[derive(Debug)]
pub(super) struct CallParser {
    spelling: &'static Spelling,
    tools: Arc<[Value]>,
    state: State,
    /// Text that is not decided yet.
    pending: String,
    /// Calls so far, to be shown as text if they turn out to be none; empty once the first name is out.
    raw: String,
    /// White space that is shown only if text follows, and not a call.
    spaces: String,
    /// There was a call; white space between calls is no text.
    behind_call: bool,
}

impl CallParser {
    pub(super) fn new(dialect: Dialect, tools: Arc<[Value]>) -> CallParser {
        let spelling = dialect.spelling();
        let starts = !(spelling.bare.is_empty() && spelling.first.is_empty());
        CallParser {
            spelling,
            tools,
            state: if starts { State::Start } else { State::Text },
            pending: String::new(),
            raw: String::new(),
            spaces: String::new(),
            behind_call: false,
        }
    }

    pub(super) fn push(&mut self, text: &str, out: &mut Vec<Piece>) {
        self.pending.push_str(text);
        while self.step(out) {}
    }

    /// Shows what was held back. A call that was cut off stays a call if its name is out.
    pub(super) fn finish(&mut self, out: &mut Vec<Piece>) {
        let rest = std::mem::take(&mut self.raw) + &std::mem::take(&mut self.pending);
        if !matches!(self.state, State::Calls { named: true, .. }) {
            self.state = State::Text;
            self.text(&rest, out);
        }
        if !self.behind_call {
            let spaces = std::mem::take(&mut self.spaces);
            add(out, Piece::Content(spaces));
        }
    }

    /// Text outside calls; white space at its end waits, and vanishes beside a call.
    fn text(&mut self, text: &str, out: &mut Vec<Piece>) {
        let text = if self.behind_call { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        self.spaces.push_str(text);
        let spaces = self.spaces.split_off(self.spaces.trim_end().len());
        let shown = std::mem::replace(&mut self.spaces, spaces);
        if !shown.is_empty() {
            self.behind_call = false;
            add(out, Piece::Content(shown));
        }
    }

    /// One step through the pending text; false when it needs more.
    fn step(&mut self, out: &mut Vec<Piece>) -> bool {
        match &self.state {
            State::Start => self.start(out),
            State::Text => self.find_opening(out),
            State::Calls { .. } => self.calls(out),
            State::After => self.after(),
        }
    }

    fn begin(&mut self) {
        self.state = State::Calls { scanner: (self.spelling.scanner)(&self.tools), named: false };
    }

    fn find_opening(&mut self, out: &mut Vec<Piece>) -> bool {
        let openings = self.spelling.openings;
        let found = openings.iter().filter_map(|tag| Some((self.pending.find(tag)?, *tag))).min();
        if let Some((at, tag)) = found {
            let rest = self.pending.split_off(at);
            let text = std::mem::replace(&mut self.pending, rest[tag.len()..].to_owned());
            self.text(&text, out);
            self.raw = tag.to_owned();
            self.begin();
            return true;
        }
        let held = openings.iter().map(|tag| overlap(&self.pending, tag)).max().unwrap_or(0);
        let rest = self.pending.split_off(self.pending.len() - held);
        let text = std::mem::replace(&mut self.pending, rest);
        self.text(&text, out);
        false
    }

    /// Where a bare call may begin.
    fn start(&mut self, out: &mut Vec<Piece>) -> bool {
        let Spelling { openings, first, bare, .. } = self.spelling;
        let trimmed = self.pending.trim_start();
        let partial = |tag: &&&str| tag.len() > trimmed.len() && tag.starts_with(trimmed);
        if openings.iter().chain(first.iter()).find(partial).is_some() {
            return false;
        }
        let tag = first.iter().find(|tag| trimmed.starts_with(**tag)).map_or(0, |tag| tag.len());
        if tag > 0 || trimmed.starts_with(*bare) {
            let begin = self.pending.len() - trimmed.len() + tag;
            let rest = self.pending.split_off(begin);
            self.raw.push_str(&std::mem::replace(&mut self.pending, rest));
            self.begin();
        } else {
            // Text in the first place stays text; an opening may come all the same.
            self.state = State::Text;
            let text = std::mem::take(&mut self.raw);
            self.text(&text, out);
        }
        true
    }

    fn calls(&mut self, out: &mut Vec<Piece>) -> bool {
        let State::Calls { scanner, named } = &mut self.state else {
            return false;
        };
        let before = if *named { None } else { Some(self.pending.clone()) };
        let mut arguments = String::new();
        let progress = scanner.push(&mut self.pending, &mut arguments);
        if let Some(before) = before {
            self.raw.push_str(&before[..before.len() - self.pending.len()]);
        }
        add(out, Piece::Arguments(arguments));
        match progress {
            Progress::More => return false,
            Progress::Named(name) => {
                if !*named && self.spelling.only_tools && tool_named(&self.tools, &name).is_none() {
                    self.give_up(out);
                } else {
                    *named = true;
                    // White space before a call is no text.
                    self.raw.clear();
                    self.spaces.clear();
                    self.behind_call = true;
                    out.push(Piece::Call { name });
                }
            }
            Progress::Complete | Progress::Wrong if *named => self.state = State::After,
            Progress::Complete | Progress::Wrong => self.give_up(out),
        }
        true
    }

    /// It was no call: what was read of it is text, and its opening does not count again.
    fn give_up(&mut self, out: &mut Vec<Piece>) {
        let raw = std::mem::take(&mut self.raw);
        self.state = State::Text;
        self.text(&raw, out);
    }

    /// Behind a call: what closes it, a separator, the next call or text.
    fn after(&mut self) -> bool {
        let Spelling { closings, bare, separators, .. } = self.spelling;
        let trimmed = self.pending.trim_start();
        let Some(first) = trimmed.chars().next() else {
            return false;
        };
        let closing = closings.iter().find(|tag| trimmed.starts_with(**tag));
        if closing.is_none() && closings.iter().any(|tag| tag.starts_with(trimmed)) {
            return false;
        }
        let mut taken = 0;
        self.state = match closing {
            Some(tag) => {
                taken = tag.len();
                if bare.is_empty() { State::Text } else { State::Start }
            }
            // One bracket too many is a common slip.
            None if !closings.is_empty() && matches!(first, '}' | ']') => {
                taken = 1;
                State::After
            }
            None if separators.contains(&first) => {
                taken = 1;
                State::Start
            }
            None if bare.contains(&first) => State::Start,
            None => State::Text,
        };
        let rest = trimmed[taken..].to_owned();
        if taken > 0 {
            self.pending = rest;
        }
        true
    }
}
