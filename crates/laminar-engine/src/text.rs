//! From tokens to text that is safe to send.

use crate::stop::{Matched, StopMatcher};
use laminar_model::tokenizer::{StreamDecoder, Tokenizer};
use std::sync::Arc;

/// The text of one answer: whole characters only, and nothing of a stop string.
pub(crate) struct AnswerText {
    tokenizer: Arc<Tokenizer>,
    decoder: StreamDecoder,
    /// Control tokens that are shown by their name.
    shown: Vec<u32>,
    stops: StopMatcher,
    /// A stop string has ended the answer.
    stopped: bool,
    /// Bytes that the newest token has added, held back or not.
    newest: usize,
}

impl AnswerText {
    /// An empty answer behind a prompt.
    pub fn new(tokenizer: Arc<Tokenizer>, stops: &[String], shown: Vec<u32>) -> Self {
        let decoder = StreamDecoder::continuation(Arc::clone(&tokenizer));
        Self { tokenizer, decoder, shown, stops: StopMatcher::new(stops), stopped: false, newest: 0 }
    }

    /// Takes a token; [`Matched::Stop`] ends the answer.
    pub fn push(&mut self, id: u32) -> Matched {
        let piece = if self.shown.contains(&id) {
            // A control token ends whatever character was begun before it.
            self.decoder.finish() + &self.tokenizer.token_text(id)
        } else {
            self.decoder.push(id)
        };
        self.newest = piece.len();
        let matched = self.stops.push(&piece);
        self.stopped |= matches!(matched, Matched::Stop(_));
        matched
    }

    /// Bytes of text that the newest token has added, shown or held back.
    pub fn newest_bytes(&self) -> usize {
        self.newest
    }

    /// The stop string that has ended the answer, if one has.
    pub fn stop(&self) -> Option<&str> {
        self.stops.found()
    }

    /// The text held back at the end of the answer; none behind a stop string.
    ///
    /// Bytes of a character that was never completed are dropped rather than shown as U+FFFD.
    pub fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        let rest = self.decoder.finish();
        let rest = rest.trim_end_matches('\u{FFFD}');
        match self.stops.push(rest) {
            Matched::Text(text) => text + &self.stops.finish(),
            Matched::Stop(text) => text,
        }
    }
}
