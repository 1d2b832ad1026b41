//! KV blocks: who uses which.
//!
//! A block is free, used by one or more sequences, or cached without users. A sequence's own blocks, those it writes, are
//! in its [`BlockTable`] alone; only published blocks, which nobody writes any more, are in several. Tables cannot be copied
//! and are consumed by [`BlockPool::release`], so every reference is dropped once.

use crate::cache::PrefixCache;
use crate::prefix::{Chain, KeyHash, Prefix, fnv1a};
use crate::states::Snapshots;

/// Number of a KV block.
pub type BlockId = u32;

/// Free blocks that longer tables leave to those that grow. An executor has memory ready for the blocks that come next, and what
/// is beyond comes to its layers one after the other as a prompt passes them; but the next row of a stream would need it in all
/// layers at once.
const LEFT_TO_GROW: usize = 64;

/// The blocks of one sequence, in the order of its positions: position `p` is in block `p / block_len` of the table.
#[derive(Debug)]
pub(crate) struct BlockTable(Vec<BlockId>);

impl BlockTable {
    /// The block numbers.
    pub fn ids(&self) -> &[BlockId] {
        &self.0
    }
}

/// All blocks.
#[derive(Debug)]
pub(crate) struct BlockPool {
    /// Blocks that nobody uses and that hold nothing worth finding.
    free: Vec<BlockId>,
    /// Tables that hold each block.
    users: Vec<u32>,
    block_len: usize,
    cache: PrefixCache,
    /// States that were left behind cached blocks.
    pub snapshots: Snapshots,
    hash: KeyHash,
    /// Counts releases: the clock of the cache.
    releases: u64,
}

impl BlockPool {
    /// A pool of `total` free blocks. Numbers past what a [`BlockId`] can hold do not exist.
    pub fn new(total: usize, block_len: usize) -> Self {
        Self::with_hash(total, block_len, fnv1a)
    }

    /// The same with another hash of blocks; tests use one that collides.
    fn with_hash(total: usize, block_len: usize, hash: KeyHash) -> Self {
        let count = BlockId::try_from(total).unwrap_or(BlockId::MAX);
        let (users, cache) = (vec![0; count as usize], PrefixCache::new(count as usize, block_len));
        // Reversed, so that the first table gets blocks 0, 1, 2, ..
        let (free, snapshots) = ((0..count).rev().collect(), Snapshots::default());
        Self { free, users, block_len, cache, snapshots, hash, releases: 0 }
    }

    /// The pool of a model whose cached blocks need states, of which there may be `count` in slots from `first` on.
    pub fn with_snapshots(self, first: usize, count: usize) -> Self {
        let snapshots = Snapshots::new(first, count, self.total());
        Self { snapshots, ..self }
    }

    /// The keys of a prompt.
    pub fn chain(&self, prefix: Prefix, prompt_tokens: usize) -> Chain {
        Chain::new(prefix, prompt_tokens, self.block_len, self.hash)
    }

    /// The cached blocks a sequence of so many tokens may begin with.
    pub fn find(&self, chain: &Chain, tokens: usize) -> Vec<BlockId> {
        self.cache.find(chain, tokens)
    }

    /// Whether a table of `count` blocks, the first of them `hit`, can be had.
    ///
    /// Cached blocks without users count as free, except those of the hit itself.
    pub fn fits(&self, count: usize, hit: &[BlockId]) -> bool {
        let woken = hit.iter().filter(|block| self.users(**block) == 0).count();
        count.saturating_sub(hit.len()) + woken <= self.free.len() + self.cache.unused()
    }

    /// A table of `count` blocks, the first of them `hit`, or nothing when there are not enough. Cached blocks without
    /// users make room once the free ones are gone.
    pub fn allocate(&mut self, count: usize, hit: &[BlockId]) -> Option<BlockTable> {
        if !self.fits(count, hit) {
            return None;
        }
        let mut table = BlockTable(Vec::with_capacity(count));
        // The hit first, so that it is in use before anything is evicted.
        for block in hit {
            self.cache.reuse(*block);
            self.take(*block, &mut table);
        }
        let kept = if count > LEFT_TO_GROW { LEFT_TO_GROW } else { 0 };
        while table.0.len() < count {
            let Some(block) = self.spare(kept) else {
                self.release(table);
                return None;
            };
            self.take(block, &mut table);
        }
        Some(table)
    }

    /// Makes a table one block longer; returns whether there was one to have.
    pub fn extend(&mut self, table: &mut BlockTable) -> bool {
        let Some(block) = self.spare(0) else {
            return false;
        };
        self.take(block, table);
        true
    }

    /// A block that nobody uses, behind the first `kept` of the free ones as long as there are more.
    fn spare(&mut self, kept: usize) -> Option<BlockId> {
        if let Some(last) = self.free.len().checked_sub(1) {
            return Some(self.free.remove(last.saturating_sub(kept)));
        }
        let block = self.cache.evict()?;
        self.snapshots.forget(block);
        Some(block)
    }

    /// The block that can be found as number `count - 1` of a chain, whoever has published it.
    pub fn last_of(&self, chain: &Chain, count: usize) -> Option<BlockId> {
        self.cache.walk(chain, count).get(count.checked_sub(1)?).copied()
    }

    /// Publishes the blocks that the first `done` rows of a table fill; these have passed every layer.
    pub fn publish(&mut self, chain: &mut Chain, table: &BlockTable, done: usize) {
        while !chain.closed && chain.fills_next(done) {
            self.cache.publish(chain, table.ids());
        }
    }

    /// Drops a table's references. Blocks without users stay cached if they are published and are free otherwise.
    pub fn release(&mut self, table: BlockTable) {
        self.releases += 1;
        for block in table.0.into_iter().rev() {
            let Some(users) = self.users.get_mut(block as usize) else { continue };
            *users = users.saturating_sub(1);
            if *users == 0 && !self.cache.leave(block, self.releases) {
                self.free.push(block);
            }
        }
    }

    /// Blocks there are.
    pub fn total(&self) -> usize {
        self.users.len()
    }

    /// Blocks that sequences use.
    pub fn used(&self) -> usize {
        self.total() - self.free.len() - self.cache.unused()
    }

    /// Blocks that no sequence uses but that a prompt may find.
    pub fn cached(&self) -> usize {
        self.cache.unused()
    }

    fn users(&self, block: BlockId) -> u32 {
        self.users.get(block as usize).copied().unwrap_or(0)
    }

    fn take(&mut self, block: BlockId, table: &mut BlockTable) {
        if let Some(users) = self.users.get_mut(block as usize) {
            *users += 1;
        }
        table.0.push(block);
    }
}

#[cfg(test)]
#[path = "blocks/tests.rs"]
mod tests;
