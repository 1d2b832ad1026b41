//! Byte-level BPE, the `gpt2` model of GGUF files.
//!
//! Every byte is shown as one visible char (GPT-2's alphabet), words are cut by a [`Rule`], and inside a word the
//! pair of lowest rank merges first. Merging itself is done by the `tokenizers` crate.

use std::collections::{HashMap, HashSet};

use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Vocab as BpeVocab};

use super::TokenizerError;
use super::pre::{PreTokenizer, Rule};

/// The byte that a char of GPT-2's alphabet stands for.
fn byte_of(char: char) -> Option<u8> {
    let code = u32::from(char);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        // The other bytes follow in order from U+0100: 00..=20, 7f..=a0, ad.
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The char that shows a byte in GPT-2's alphabet.
pub(super) fn char_of(byte: u8) -> char {
    let code = u32::from(byte);
    let shown = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x00..=0x20 => code + 0x100,
        0x7f..=0xa0 => code - 0x7f + 0x121,
        0xad => 0x143,
    };
    // Every value above is a valid scalar, so the default is never taken.
    char::from_u32(shown).unwrap_or_default()
}

/// Appends the bytes that a token's spelling stands for. A spelling with a char outside the alphabet is plain text.
pub(super) fn append_decoded(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    for char in text.chars() {
        match byte_of(char) {
            Some(byte) => out.push(byte),
            None => {
                out.truncate(start);
                out.extend_from_slice(text.as_bytes());
                return;
            }
        }
    }
}

/// A byte-level BPE ready to encode.
#[derive(Debug)]
pub(super) struct ByteLevelBpe {
    model: BPE,
    words: PreTokenizer,
    /// Which bytes the vocabulary can spell; without one, text would vanish silently.
    spelled: [bool; 256],
}

impl ByteLevelBpe {
    /// Builds the model from the tokens that text may become, the merges in order of rank ("left right", as GGUF
    /// files spell them) and the rule that cuts words.
    ///
    /// # Errors
    /// A merge that is not two tokens whose concatenation is a token.
    pub(super) fn new(
        tokens: HashMap<String, u32>,
        control: &HashSet<&str>,
        merges: &[String],
        rule: &Rule,
    ) -> Result<Self, TokenizerError> {
        let mut pairs = Vec::with_capacity(merges.len());
        let mut whole = String::new();
        for (rank, merge) in merges.iter().enumerate() {
            // The left part is never empty, so a space in front belongs to it.
            let (left, right) = merge
                .char_indices()
                .skip(1)
                .find(|&(_, char)| char == ' ')
                .and_then(|(at, _)| Some((merge.get(..at)?, merge.get(at + 1..)?)))
                .ok_or_else(|| TokenizerError::Vocabulary(format!("merge {rank} ({merge:?}) is not \"left right\"")))?;
            whole.clear();
            whole.push_str(left);
            whole.push_str(right);
            // Plain text must never turn into a control token.
            if [left, right, &whole].iter().any(|part| control.contains(part)) {
                continue;
            }
            if let Some(part) = [left, right, &whole].iter().find(|part| !tokens.contains_key(**part)) {
                return Err(TokenizerError::Vocabulary(format!(
                    "merge {rank} ({merge:?}) needs {part:?}, which is no token"
                )));
            }
            pairs.push((left.to_owned(), right.to_owned()));
        }
        let mut spelled = [false; 256];
        let mut buffer = [0; 4];
        for (byte, slot) in (0..=u8::MAX).zip(&mut spelled) {
            *slot = tokens.contains_key(&*char_of(byte).encode_utf8(&mut buffer));
        }
        let model = BPE::builder()
            .vocab_and_merges(tokens.into_iter().collect::<BpeVocab>(), pairs)
            .ignore_merges(rule.ignore_merges)
            .build()
            .map_err(|error| TokenizerError::Vocabulary(error.to_string()))?;
        Ok(Self { model, words: PreTokenizer::new(rule)?, spelled })
    }

    /// Appends the ids of a text without markers.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut shown = String::new();
        for word in self.words.split(text) {
            shown.clear();
            for byte in word.bytes() {
                if !self.spelled[usize::from(byte)] {
                    return Err(TokenizerError::Encode(format!("the vocabulary has no token for byte 0x{byte:02x}")));
                }
                shown.push(char_of(byte));
            }
            let tokens = self.model.tokenize(&shown).map_err(|error| TokenizerError::Encode(error.to_string()))?;
            out.extend(tokens.iter().map(|token| token.id));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_shows_every_byte_once() {
        let mut seen = HashSet::new();
        for byte in 0..=u8::MAX {
            let char = char_of(byte);
            assert!(!char.is_whitespace() && !char.is_control());
            assert_eq!(byte_of(char), Some(byte));
            assert!(seen.insert(char));
        }
        assert_eq!(char_of(b' '), 'Ġ');
        assert_eq!(char_of(b'\n'), 'Ċ');
    }

    #[test]
    fn a_spelling_outside_the_alphabet_is_plain_text() {
        let mut out = b"x".to_vec();
        append_decoded("Ġ漢", &mut out);
        assert_eq!(out, "xĠ漢".as_bytes());
    }
}
