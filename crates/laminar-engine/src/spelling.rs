//! The vocabulary as the parser of grammars sees it: its tokens as a tree, and the tokenizer that spells what is forced.

use crate::GrammarError;
use laminar_model::tokenizer::{EncodeOptions, Tokenizer};
use llguidance::toktrie::{TokRxInfo, TokTrie, TokenizerEnv};
use std::sync::Arc;

/// Texts that a tokenizer must give back as they are, if it is to spell what a grammar forces.
const PROBES: [&str; 4] = ["a", " b", "{\"key\": [1, true]}", "\n\n  x\t"];

/// A vocabulary and how texts are spelled with it.
pub(crate) struct Spelling {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
    exact: bool,
}

impl Spelling {
    /// Sorts the vocabulary into a tree.
    ///
    /// # Errors
    /// A vocabulary without a token that ends a text.
    pub fn new(tokenizer: &Arc<Tokenizer>) -> Result<Self, GrammarError> {
        let ends = tokenizer.stop_ids();
        let Some(first) = ends.first() else {
            return Err(GrammarError::new("this vocabulary has no token that ends a text"));
        };
        let size = u32::try_from(tokenizer.vocab_size()).map_err(|error| GrammarError::new(error.to_string()))?;
        let words: Vec<Vec<u8>> = (0..size).map(|id| word(tokenizer, id)).collect();
        let trie = TokTrie::from(&TokRxInfo::new(size, *first), &words).with_eos_tokens(ends);
        let mut spelling = Self { trie, tokenizer: Arc::clone(tokenizer), exact: false };
        spelling.exact = PROBES.iter().all(|text| spelling.spell(text).is_some());
        Ok(spelling)
    }

    /// The tokens of a text as the model knows it from its training; none where the tokenizer changes the text, as one
    /// does that puts a space in front of it.
    fn spell(&self, text: &str) -> Option<Vec<u32>> {
        let ids = self.tokenizer.encode(text, EncodeOptions::default()).ok()?;
        (self.trie.decode_raw(&ids) == text.as_bytes()).then_some(ids)
    }
}

/// What stands for a token in the tree: its bytes, or for a control token a mark and its name.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    if !tokenizer.is_control(id) {
        return tokenizer.token_bytes(id);
    }
    let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
    word.extend_from_slice(tokenizer.token_text(id).as_bytes());
    word
}

impl TokenizerEnv for Spelling {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let spell = |text: &str| self.spell(text).unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()));
        self.trie.tokenize_with_greedy_fallback(bytes, spell)
    }

    /// Whether tokens are forced at all: only those that the model would expect may be.
    fn tokenize_is_canonical(&self) -> bool {
        self.exact
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laminar_model::synth::byte_tokenizer;

    #[test]
    fn texts_are_spelled_by_the_tokenizer_and_bytes_that_are_no_text_one_by_one() {
        let tokenizer = Arc::new(Tokenizer::from_gguf(&byte_tokenizer()).unwrap());
        let spelling = Spelling::new(&tokenizer).unwrap();
        assert!(spelling.tokenize_is_canonical());
        assert_eq!(spelling.tokenize_bytes(b"a \xff\xfeb"), [97, 32, 255, 254, 98]);
    }
}
