//! The text of a growing list of tokens.

use std::sync::Arc;

use super::Tokenizer;

/// Turns tokens into text one by one; only whole UTF-8 characters leave.
///
/// A token may end in the middle of a character. Its bytes wait until the character is whole; U+FFFD appears only where
/// it is certain that none can come of them.
#[derive(Debug)]
pub struct StreamDecoder {
    tokenizer: Arc<Tokenizer>,
    at_start: bool,
    /// The beginning of a character, at most 3 bytes between calls.
    waiting: Vec<u8>,
}

impl StreamDecoder {
    /// A decoder for a text that starts here: all pieces together are [`Tokenizer::decode`] of all ids with control
    /// tokens left out.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, at_start: true, waiting: Vec::new() }
    }

    /// A decoder for what a model writes after a prompt: as [`StreamDecoder::new`], but the space before the first word
    /// is kept, since it belongs between the prompt and the word. (llama.cpp's server does the same.)
    pub fn continuation(tokenizer: Arc<Tokenizer>) -> Self {
        Self { at_start: false, ..Self::new(tokenizer) }
    }

    /// Takes one more token and returns the text that is now certain, often empty.
    pub fn push(&mut self, id: u32) -> String {
        self.tokenizer.append(id, true, &mut self.at_start, &mut self.waiting);
        let mut text = String::new();
        let mut rest = self.waiting.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(whole) => {
                    text.push_str(whole);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (whole, tail) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(whole));
                    rest = tail;
                    let Some(invalid) = error.error_len() else {
                        break;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = rest.get(invalid..).unwrap_or_default();
                }
            }
        }
        self.waiting = rest.to_vec();
        text
    }

    /// Ends the text: the beginning of a character that never came leaves as U+FFFD.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.waiting).into_owned();
        self.waiting.clear();
        text
    }
}
