//! What a sequence begins with, in a form that can be compared: token ids, a salt, what else makes its keys and values, and
//! one key for each full block.

use std::sync::Arc;

/// What a sequence shows of its prompt, so that blocks of it can be found again.
///
/// Token ids are numbers to compare; the scheduler attaches no meaning to them and still sees no text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Token ids of the prompt, from its first. Ids past the prompt's length are ignored; where they are fewer, only the
    /// blocks they fill are looked up and published.
    pub tokens: Arc<[u32]>,
    /// Only sequences of equal salt share blocks: whoever must not learn from the time of an answer that another client
    /// has sent the same prompt gets a salt of its own.
    pub salt: u64,
    /// The adapter that the model runs with, 0 for none: other weights make other keys and values of the same tokens.
    pub adapter: u64,
    /// Positions where something beside the token id makes the keys and values, in ascending order; out of order, the prompt
    /// shares nothing.
    pub extra: Arc<[ExtraKey]>,
}

/// What stands at a position of a prompt beside its token id: the part of an image, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtraKey {
    /// The position.
    pub position: usize,
    /// A number that is equal only for equal things, such as a hash of the image.
    pub id: u64,
}

/// Makes a block's key from its parent's key (the salt, for a first block) and its token ids.
pub(crate) type KeyHash = fn(u64, &[u32]) -> u64;

/// FNV-1a in 64 bits over the parent's key and the token ids, each taken whole where the original takes a byte at a time.
///
/// It has no seed, so a run replays to the same keys everywhere. It need not resist attacks: who finds a block by its key
/// also compares its ids, so two prompts of one key cost a hit and never share a block.
pub(crate) fn fnv1a(parent: u64, tokens: &[u32]) -> u64 {
    let mix = |hash: u64, number: u64| (hash ^ number).wrapping_mul(0x0000_0100_0000_01b3);
    tokens.iter().fold(mix(0xcbf2_9ce4_8422_2325, parent), |hash, token| mix(hash, u64::from(*token)))
}

/// The full blocks of one sequence as the cache knows them.
#[derive(Debug)]
pub(crate) struct Chain {
    root: Root,
    extra: Arc<[ExtraKey]>,
    block_len: usize,
    hash: KeyHash,
    /// One for each full block.
    keys: Vec<u64>,
    /// Token ids of the prompt.
    prompt: Arc<[u32]>,
    /// So many of them count: they fill blocks.
    whole: usize,
    /// What comes behind them: the rest of the prompt and the tokens generated.
    rest: Vec<u32>,
    /// Leading blocks that are in the cache as blocks of this sequence's table.
    pub published: usize,
    /// Another sequence was first with the next block; what lies behind it stays unpublished.
    pub closed: bool,
}

/// What a full block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content<'a> {
    pub tokens: &'a [u32],
    /// What else makes its keys and values, with its place in the sequence.
    pub extra: &'a [ExtraKey],
}

/// What all blocks of a chain have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    salt: u64,
    adapter: u64,
}

impl Chain {
    /// The chain of a prompt.
    pub fn new(prefix: Prefix, prompt_tokens: usize, block_len: usize, hash: KeyHash) -> Self {
        let Prefix { tokens, salt, adapter, extra } = prefix;
        // Each block's extras are looked for by position.
        let sorted = extra.is_sorted_by_key(|extra| extra.position);
        let told = if sorted { tokens.len().min(prompt_tokens) } else { 0 };
        let whole = told - told % block_len;
        let mut chain = Self {
            root: Root { salt, adapter },
            extra,
            block_len,
            hash,
            keys: Vec::with_capacity(whole / block_len),
            rest: tokens.get(whole..told).unwrap_or_default().to_vec(),
            prompt: tokens,
            whole,
            published: 0,
            closed: false,
        };
        (0..whole / block_len).for_each(|_| chain.push_key());
        chain
    }

    /// The sequence goes on with this token at this position. The chain ends at a token that was not told.
    pub fn append(&mut self, position: usize, token: u32) {
        if position == self.whole + self.rest.len() {
            self.rest.push(token);
            if position + 1 == (self.keys.len() + 1) * self.block_len {
                self.push_key();
            }
        }
    }

    /// The next block is full.
    fn push_key(&mut self) {
        let Some(Content { tokens, extra }) = self.content(self.keys.len()) else { return };
        let halves = |number: u64| [number as u32, (number >> 32) as u32];
        let parent = self.keys.last().copied();
        let parent = parent.unwrap_or_else(|| (self.hash)(self.root.salt, &halves(self.root.adapter)));
        let key = extra.iter().fold((self.hash)(parent, tokens), |key, extra| {
            (self.hash)((self.hash)(key, &halves(extra.position as u64)), &halves(extra.id))
        });
        self.keys.push(key);
    }

    /// What a full block holds.
    fn content(&self, number: usize) -> Option<Content<'_>> {
        let (start, end) = (number * self.block_len, (number + 1) * self.block_len);
        let tokens = match start.checked_sub(self.whole) {
            Some(start) => self.rest.get(start..start + self.block_len)?,
            None => self.prompt.get(start..end)?,
        };
        // Nearly no prompt has any.
        let extra = match &*self.extra {
            [] => &[],
            all => {
                let before = |position| all.partition_point(|extra| extra.position < position);
                all.get(before(start)..before(end))?
            }
        };
        Some(Content { tokens, extra })
    }

    /// The sequence is admitted with its first `hit` blocks from the cache.
    pub fn begin(&mut self, hit: usize) {
        self.published = hit;
        self.closed = false;
    }

    /// What all its blocks have in common.
    pub fn root(&self) -> Root {
        self.root
    }

    /// Whether the first `done` rows fill the block that is to be published next, and all its tokens are known.
    pub fn fills_next(&self, done: usize) -> bool {
        self.published < self.keys.len() && (self.published + 1) * self.block_len <= done
    }

    /// Leading blocks that a sequence of so many tokens may take from the cache: at least one row must run, since it yields
    /// the logits.
    pub fn usable(&self, tokens: usize) -> usize {
        self.keys.len().min(tokens.saturating_sub(1) / self.block_len)
    }

    /// Full blocks whose tokens are known.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Key and content of a full block.
    pub fn block(&self, number: usize) -> Option<(u64, Content<'_>)> {
        Some((*self.keys.get(number)?, self.content(number)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(tokens: &[u32], salt: u64) -> Chain {
        Chain::new(Prefix { tokens: tokens.into(), salt, ..Prefix::default() }, tokens.len(), 2, fnv1a)
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // Of numbers that are bytes it is the published value of these bytes.
        let tokens = b"oobar".map(u32::from);
        assert_eq!(fnv1a(u64::from(b'f'), &tokens), 0x85944171f73967e8);
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
    fn adapters_and_images_make_other_keys_from_where_they_count() {
        let tokens: Arc<[u32]> = [1, 2, 3, 4, 5, 6].into();
        let keys = |adapter, extra: &[ExtraKey]| {
            let prefix = Prefix { tokens: Arc::clone(&tokens), salt: 0, adapter, extra: extra.into() };
            Chain::new(prefix, 6, 2, fnv1a).keys
        };
        let plain = keys(0, &[]);
        assert!(keys(1 << 40, &[]).iter().zip(&plain).all(|(one, other)| one != other));
        let image = |id| keys(0, &[ExtraKey { position: 3, id }]);
        assert_eq!(image(7)[0], plain[0]);
        assert!(image(7)[1] != plain[1] && image(7)[2] != plain[2]);
        assert_ne!(image(7)[1], image(8)[1]);
        assert_ne!(image(7)[1], image(7 + (1 << 32))[1]);
        assert_ne!(image(7)[1], keys(0, &[ExtraKey { position: 2, id: 7 }])[1]);
    }

    #[test]
    fn images_out_of_order_make_no_keys() {
        let extra = [ExtraKey { position: 3, id: 7 }, ExtraKey { position: 0, id: 8 }].into();
        let prefix = Prefix { tokens: [1, 2, 3, 4].into(), extra, ..Prefix::default() };
        assert_eq!(Chain::new(prefix, 4, 2, fnv1a).keys, []);
    }

    #[test]
    fn tokens_past_the_prompt_do_not_count_and_missing_ones_end_the_chain() {
        let told = |tokens: &[u32]| {
            let mut chain = Chain::new(Prefix { tokens: tokens.into(), ..Prefix::default() }, 4, 2, fnv1a);
            chain.append(4, 5);
            chain.append(5, 6);
            chain.keys
        };
        let keys = chain(&[1, 2, 3, 4, 5, 6], 0).keys;
        assert_eq!(told(&[1, 2, 3, 4]), keys);
        assert_eq!(told(&[1, 2, 3, 4, 9, 9]), keys);
        assert_eq!(told(&[1, 2, 3]), keys[..1]);
    }

    #[test]
    fn a_chain_goes_on_with_generated_tokens_in_their_order() {
        let mut grown = chain(&[1, 2, 3], 0);
        grown.append(3, 4);
        grown.append(4, 5);
        assert_eq!(grown.keys, chain(&[1, 2, 3, 4, 5], 0).keys);
        assert_eq!(grown.block(1).map(|(_, content)| content), Some(Content { tokens: &[3, 4], extra: &[] }));
        grown.append(6, 7);
        grown.append(7, 8);
        assert_eq!(grown.keys.len(), 2, "a token is missing");
    }

    #[test]
    fn the_block_with_the_last_row_is_not_taken_from_the_cache() {
        let usable = [1, 2, 3, 4, 5].map(|length| chain(&vec![7; length], 0).usable(length));
        assert_eq!(usable, [0, 0, 1, 1, 2]);
    }
}
