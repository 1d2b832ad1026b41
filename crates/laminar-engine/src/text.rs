//! From tokens to text that is safe to send.

use crate::stop::{Matched, StopMatcher};
use laminar_model::tokenizer::{StreamDecoder, Tokenizer};
use std::sync::Arc;

/// The text of one answer: whole characters only, and nothing of a stop string.
pub(crate) struct AnswerText {
    decoder: StreamDecoder,
    stops: StopMatcher,
    /// A stop string has ended the answer.
    stopped: bool,
}

impl AnswerText {
    /// An empty answer behind a prompt.
    pub fn new(tokenizer: Arc<Tokenizer>, stops: &[String]) -> Self {
        let decoder = StreamDecoder::continuation(tokenizer);
        Self { decoder, stops: StopMatcher::new(stops), stopped: false }
    }

    /// Takes a token; [`Matched::Stop`] ends the answer.
    pub fn push(&mut self, id: u32) -> Matched {
        let piece = self.decoder.push(id);
        let matched = self.stops.push(&piece);
        self.stopped |= matches!(matched, Matched::Stop(_));
        matched
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
