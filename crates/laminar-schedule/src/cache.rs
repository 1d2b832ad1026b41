//! The prefix cache: which KV blocks hold which prompt blocks, and which of them go first when memory is needed.
//!
//! Entries form trees: a prompt block is found through its parent, the block before it. A sequence that uses an entry uses
//! all its ancestors, so an entry that nobody uses has no descendant in use, and memory can always be taken from the
//! leaves: a chain never dangles. Cached blocks are whole and only read (a sequence's own rows begin behind its hit, at a
//! block's border, and go to its own blocks), hence no block is ever copied on write.

use crate::index::KeyIndex;
use crate::prefix::{Chain, Content, Root};
use crate::{BlockId, ExtraKey};
use std::collections::{BTreeMap, BTreeSet};

/// What a block continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    /// Nothing: it begins the sequences of this root.
    Root(Root),
    /// The entry of this block, which outlives it.
    Block(BlockId),
}

/// Whether a block can be found, and whether somebody uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Nothing is known of it.
    Unpublished,
    /// It can be found, and sequences use it.
    Used,
    /// It can be found, and its last user left at this time.
    Unused { since: u64 },
}

/// What is known of a block.
#[derive(Clone, Copy, Debug)]
struct Entry {
    status: Status,
    parent: Parent,
    /// Entries that continue this one.
    children: u32,
}

/// What the published blocks hold.
#[derive(Debug)]
struct Contents {
    block_len: usize,
    /// The tokens of all blocks there are, one after the other: publishing allocates nothing.
    tokens: Vec<u32>,
    /// What else some of them hold.
    extra: BTreeMap<BlockId, Box<[ExtraKey]>>,
}

impl Contents {
    fn new(blocks: usize, block_len: usize) -> Self {
        Self { block_len, tokens: vec![0; blocks * block_len], extra: BTreeMap::new() }
    }

    fn get(&self, block: BlockId) -> Option<Content<'_>> {
        let start = block as usize * self.block_len;
        let tokens = self.tokens.get(start..start + self.block_len)?;
        Some(Content { tokens, extra: self.extra.get(&block).map_or(&[], |extra| extra) })
    }

    fn put(&mut self, block: BlockId, content: Content) {
        let start = block as usize * self.block_len;
        if let Some(place) = self.tokens.get_mut(start..start + content.tokens.len()) {
            place.copy_from_slice(content.tokens);
        }
        if !content.extra.is_empty() {
            self.extra.insert(block, content.extra.into());
        }
    }

    fn forget(&mut self, block: BlockId) {
        self.extra.remove(&block);
    }
}

/// All published blocks.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    by_key: KeyIndex,
    /// One for each block there is.
    entries: Vec<Entry>,
    contents: Contents,
    /// Unused entries without children, the one that was left first in front.
    leaves: BTreeSet<(u64, BlockId)>,
    /// One more such entry, left before all of those: the parent of one that was evicted. So it costs no search to evict a
    /// chain block by block.
    next_leaf: Option<(u64, BlockId)>,
    unused: usize,
}

impl PrefixCache {
    /// An empty cache over so many blocks of so many positions.
    pub fn new(blocks: usize, block_len: usize) -> Self {
        let unpublished = Entry { status: Status::Unpublished, parent: Parent::Block(0), children: 0 };
        Self {
            by_key: KeyIndex::new(blocks),
            entries: vec![unpublished; blocks],
            contents: Contents::new(blocks, block_len),
            leaves: BTreeSet::new(),
            next_leaf: None,
            unused: 0,
        }
    }

    /// Entries that no sequence uses: blocks that [`evict`](Self::evict) can free, all of them.
    pub fn unused(&self) -> usize {
        self.unused
    }

    /// The longest run of cached blocks a sequence of so many tokens may begin with.
    pub fn find(&self, chain: &Chain, tokens: usize) -> Vec<BlockId> {
        self.walk(chain, chain.usable(tokens))
    }

    /// Cached blocks of a chain from its first on, `most` of them at most.
    pub fn walk(&self, chain: &Chain, most: usize) -> Vec<BlockId> {
        let mut parent = Parent::Root(chain.root());
        let mut found = Vec::new();
        while found.len() < most {
            let Some(block) = chain.block(found.len()).and_then(|(key, content)| self.child(parent, key, content))
            else {
                break;
            };
            found.push(block);
            parent = Parent::Block(block);
        }
        found
    }

    /// Publishes the next block of a chain, which `blocks` holds: its rows have passed every layer. It is in use.
    ///
    /// When the key is taken (another sequence was first with the same block, or two blocks collide) the first one stays
    /// and the chain is closed: a later block would hang under a parent that this sequence does not use.
    pub fn publish(&mut self, chain: &mut Chain, blocks: &[BlockId]) {
        let number = chain.published;
        let parent = match number.checked_sub(1) {
            None => Some(Parent::Root(chain.root())),
            Some(before) => blocks.get(before).map(|block| Parent::Block(*block)),
        };
        let (Some(parent), Some(&block), Some((key, content))) = (parent, blocks.get(number), chain.block(number))
        else {
            chain.closed = true;
            return;
        };
        let Some(entry @ Entry { status: Status::Unpublished, .. }) = self.entries.get_mut(block as usize) else {
            chain.closed = true;
            return;
        };
        if !self.by_key.insert(key, block) {
            chain.closed = true;
            return;
        }
        *entry = Entry { status: Status::Used, parent, children: 0 };
        self.contents.put(block, content);
        if let Parent::Block(before) = parent
            && let Some(entry) = self.entries.get_mut(before as usize)
        {
            entry.children += 1;
        }
        chain.published += 1;
    }

    /// The block has a first user.
    pub fn reuse(&mut self, block: BlockId) {
        if let Some(entry) = self.entries.get_mut(block as usize)
            && let Status::Unused { since } = entry.status
        {
            entry.status = Status::Used;
            self.unused -= 1;
            if self.next_leaf == Some((since, block)) {
                self.next_leaf = None;
            } else if entry.children == 0 {
                self.leaves.remove(&(since, block));
            }
        }
    }

    /// The block's last user has left, at `now`; returns whether it stays cached.
    pub fn leave(&mut self, block: BlockId, now: u64) -> bool {
        let Some(entry) = self.entries.get_mut(block as usize).filter(|entry| entry.status != Status::Unpublished)
        else {
            return false;
        };
        entry.status = Status::Unused { since: now };
        self.unused += 1;
        if entry.children == 0 {
            self.leaves.insert((now, block));
        }
        true
    }

    /// Forgets the block that was left first among those nobody uses and nothing cached continues.
    pub fn evict(&mut self) -> Option<BlockId> {
        let (left, block) = self.next_leaf.take().or_else(|| self.leaves.pop_first())?;
        let entry = self.entries.get_mut(block as usize)?;
        entry.status = Status::Unpublished;
        self.by_key.remove(block);
        self.contents.forget(block);
        self.unused -= 1;
        if let Parent::Block(before) = entry.parent
            && let Some(parent) = self.entries.get_mut(before as usize)
        {
            parent.children -= 1;
            if let Status::Unused { since } = parent.status
                && parent.children == 0
            {
                // What was left at one time is one chain, so no other leaf was left as early as its end.
                if since == left {
                    self.next_leaf = Some((since, before));
                } else {
                    self.leaves.insert((since, before));
                }
            }
        }
        Some(block)
    }

    /// The block with this key, if it is what it seems: the key alone is no proof.
    fn child(&self, parent: Parent, key: u64, content: Content) -> Option<BlockId> {
        let block = self.by_key.find(key)?;
        let same = self.entries.get(block as usize)?.parent == parent && self.contents.get(block)? == content;
        same.then_some(block)
    }
}
