//! Counts the tokens of an answer that are reasoning.

use std::collections::VecDeque;

/// Tokens whose text is not yet told apart.
#[derive(Debug)]
struct Waiting {
    tokens: usize,
    /// Bytes of their text that are still to come.
    bytes: usize,
    /// Some of the text before was reasoning.
    inside: bool,
}

/// Brings two things together: how long the text of each token is, and which stretches of the text are reasoning. A token is
/// reasoning if some of its text is; one without text of its own, such as the first half of a character, goes with the
/// next. Tags are no reasoning.
#[derive(Debug, Default)]
pub(super) struct TokenCount {
    waiting: VecDeque<Waiting>,
    /// Tokens without text behind the last one of those.
    silent: usize,
    inside: usize,
}

impl TokenCount {
    /// One more token, with so many bytes of text.
    pub(super) fn token(&mut self, bytes: usize) {
        self.silent += 1;
        if bytes > 0 {
            self.waiting.push_back(Waiting { tokens: std::mem::take(&mut self.silent), bytes, inside: false });
        }
    }

    /// The next bytes of the text are reasoning, or not.
    pub(super) fn span(&mut self, mut bytes: usize, inside: bool) {
        while let Some(first) = self.waiting.front_mut().filter(|_| bytes > 0) {
            let taken = bytes.min(first.bytes);
            bytes -= taken;
            first.bytes -= taken;
            first.inside |= inside;
            if first.bytes == 0 {
                self.inside += if first.inside { first.tokens } else { 0 };
                self.waiting.pop_front();
            }
        }
    }

    /// The text has ended, inside reasoning or not. Tokens whose text never came belonged to a stop string.
    pub(super) fn finish(&mut self, inside: bool) {
        for waiting in self.waiting.drain(..) {
            self.inside += if waiting.inside || inside { waiting.tokens } else { 0 };
        }
        self.inside += if inside { std::mem::take(&mut self.silent) } else { 0 };
    }

    /// Tokens known to be reasoning.
    pub(super) fn inside(&self) -> usize {
        self.inside
    }
}
