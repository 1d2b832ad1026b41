//! The prefix cache: which KV blocks hold which prompt blocks, and which of them go first when memory is needed.
//!
//! Entries form trees: a prompt block is found through its parent, the block before it. A sequence that uses an entry uses
//! all its ancestors, so an entry that nobody uses has no descendant in use, and memory can always be taken from the
//! leaves: a chain never dangles. Cached blocks are whole and only read (a sequence's own rows begin behind its hit, at a
//! block's border, and go to its own blocks), hence no block is ever copied on write.

use crate::BlockId;
use crate::prefix::{Chain, KeyHash, Root, fnv1a};
use std::collections::{BTreeMap, BTreeSet};

/// What a block continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    /// Nothing: it begins the sequences of this root.
    Root(Root),
    /// The entry of this block, which outlives it.
    Block(BlockId),
}

/// A block that can be found.
#[derive(Debug)]
struct Entry {
    key: u64,
    parent: Parent,
    content: Box<[u32]>,
    /// Entries that continue this one.
    children: usize,
    /// When its last user left; none while somebody uses it.
    unused_since: Option<u64>,
}

/// All published blocks.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    hash: KeyHash,
    by_key: BTreeMap<u64, BlockId>,
    entries: BTreeMap<BlockId, Entry>,
    /// Unused entries without children, the one that was left first in front.
    leaves: BTreeSet<(u64, BlockId)>,
    unused: usize,
}

impl PrefixCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::with_hash(fnv1a)
    }

    /// An empty cache with another hash; tests use one that collides.
    pub fn with_hash(hash: KeyHash) -> Self {
        let (by_key, entries, leaves) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { hash, by_key, entries, leaves, unused: 0 }
    }

    /// The hash of its keys.
    pub fn hash(&self) -> KeyHash {
        self.hash
    }

    /// Entries that no sequence uses: blocks that [`evict`](Self::evict) can free, all of them.
    pub fn unused(&self) -> usize {
        self.unused
    }

    /// Whether the block is published.
    pub fn contains(&self, block: BlockId) -> bool {
        self.entries.contains_key(&block)
    }

    /// The longest run of cached blocks a sequence of so many tokens may begin with.
    pub fn find(&self, chain: &Chain, tokens: usize) -> Vec<BlockId> {
        let mut parent = Parent::Root(chain.root());
        let mut found = Vec::new();
        while found.len() < chain.usable(tokens) {
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
        if self.by_key.contains_key(&key) || self.contains(block) {
            chain.closed = true;
            return;
        }
        if let Parent::Block(before) = parent
            && let Some(entry) = self.entries.get_mut(&before)
        {
            entry.children += 1;
        }
        self.by_key.insert(key, block);
        self.entries.insert(block, Entry { key, parent, content: content.into(), children: 0, unused_since: None });
        chain.published += 1;
    }

    /// The block has a first user.
    pub fn reuse(&mut self, block: BlockId) {
        if let Some(entry) = self.entries.get_mut(&block)
            && let Some(since) = entry.unused_since.take()
        {
            self.unused -= 1;
            self.leaves.remove(&(since, block));
        }
    }

    /// The block's last user has left, at `now`; returns whether it stays cached.
    pub fn leave(&mut self, block: BlockId, now: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&block) else {
            return false;
        };
        entry.unused_since = Some(now);
        self.unused += 1;
        if entry.children == 0 {
            self.leaves.insert((now, block));
        }
        true
    }

    /// Forgets the block that was left first among those nobody uses and nothing cached continues.
    pub fn evict(&mut self) -> Option<BlockId> {
        let (_, block) = self.leaves.pop_first()?;
        let entry = self.entries.remove(&block)?;
        self.by_key.remove(&entry.key);
        self.unused -= 1;
        if let Parent::Block(before) = entry.parent
            && let Some(parent) = self.entries.get_mut(&before)
        {
            parent.children -= 1;
            if parent.children == 0
                && let Some(since) = parent.unused_since
            {
                self.leaves.insert((since, before));
            }
        }
        Some(block)
    }

    /// The block with this key, if it is what it seems: the key alone is no proof.
    fn child(&self, parent: Parent, key: u64, content: &[u32]) -> Option<BlockId> {
        let block = *self.by_key.get(&key)?;
        let entry = self.entries.get(&block)?;
        (entry.parent == parent && *entry.content == *content).then_some(block)
    }
}
