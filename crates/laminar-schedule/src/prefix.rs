//! What a prompt begins with, in a form that can be compared: token ids, a salt, and one key for each full block.

use std::sync::Arc;

/// What a sequence shows of its prompt, so that blocks of it can be found again.
///
/// Token ids are numbers to compare; the scheduler attaches no meaning to them and still sees no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Token ids of the prompt, from its first. Ids past the prompt's length are ignored; where they are fewer, only the
    /// blocks they fill are looked up and published.
    pub tokens: Arc<[u32]>,
    /// Only sequences of equal salt share blocks: whoever must not learn from the time of an answer that another client
    /// has sent the same prompt gets a salt of its own.
    pub salt: u64,
}

/// Makes a block's key from its parent's key (the salt, for a first block) and its token ids.
pub(crate) type KeyHash = fn(u64, &[u32]) -> u64;

/// FNV-1a in 64 bits over the little-endian bytes of the parent's key and the token ids.
///
/// It has no seed, so a run replays to the same keys everywhere. It need not resist attacks: who finds a block by its key
/// also compares its ids, so two prompts of one key cost a hit and never share a block.
pub(crate) fn fnv1a(parent: u64, tokens: &[u32]) -> u64 {
    let bytes = parent.to_le_bytes().into_iter().chain(tokens.iter().flat_map(|token| token.to_le_bytes()));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The full prompt blocks of one sequence as the cache knows them.
#[derive(Debug)]
pub(crate) struct Chain {
    prefix: Prefix,
    block_len: usize,
    keys: Vec<u64>,
    /// Leading blocks that may be taken from the cache: at least one prompt row must run, since it yields the logits.
    pub usable: usize,
    /// Leading blocks that are in the cache as blocks of this sequence's table.
    pub published: usize,
    /// Another sequence was first with the next block; what lies behind it stays unpublished.
    pub closed: bool,
}

impl Chain {
    /// The keys of a prompt's full blocks.
    pub fn new(prefix: Prefix, prompt_tokens: usize, block_len: usize, hash: KeyHash) -> Self {
        let mut key = prefix.salt;
        let tokens = &prefix.tokens[..prompt_tokens.min(prefix.tokens.len())];
        let keys: Vec<u64> = tokens
            .chunks_exact(block_len)
            .map(|block| {
                key = hash(key, block);
                key
            })
            .collect();
        let usable = keys.len().min(prompt_tokens.saturating_sub(1) / block_len);
        Self { prefix, block_len, keys, usable, published: 0, closed: false }
    }

    /// The salt.
    pub fn salt(&self) -> u64 {
        self.prefix.salt
    }

    /// Full blocks of the prompt.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Key and token ids of a block.
    pub fn block(&self, number: usize) -> Option<(u64, &[u32])> {
        let start = number * self.block_len;
        Some((*self.keys.get(number)?, self.prefix.tokens.get(start..start + self.block_len)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(tokens: &[u32], salt: u64) -> Chain {
        Chain::new(Prefix { tokens: tokens.into(), salt }, tokens.len(), 2, fnv1a)
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // Of the bytes "12345678abcd", by an implementation that gives the published value of "foobar".
        let (parent, token) = (u64::from_le_bytes(*b"12345678"), u32::from_le_bytes(*b"abcd"));
        assert_eq!(fnv1a(parent, &[token]), 0x5a8c6219760802e5);
    }

    #[test]
    fn a_key_depends_on_everything_before_it() {
        let keys = |tokens: &[u32], salt| chain(tokens, salt).keys;
        let base = keys(&[1, 2, 3, 4], 0);
        assert_eq!(keys(&[1, 2, 3, 4, 5], 0), base, "a block that is not full has no key");
        assert_eq!(keys(&[1, 2, 9, 9], 0)[0], base[0]);
        assert_ne!(keys(&[9, 9, 3, 4], 0)[1], base[1]);
        assert_ne!(keys(&[1, 2, 3, 4], 1)[0], base[0]);
    }

    #[test]
    fn the_block_with_a_prompts_last_row_is_not_taken_from_the_cache() {
        let usable = [1, 2, 3, 4, 5].map(|length| chain(&vec![7; length], 0).usable);
        assert_eq!(usable, [0, 0, 1, 1, 2]);
    }
}
