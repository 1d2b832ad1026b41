//! KV blocks: who owns which.
//!
//! A block is owned either by the pool's free list or by one [`BlockTable`]. Tables cannot be copied and are consumed by
//! [`BlockPool::release`], so a block can neither be freed twice nor belong to two sequences.

/// Number of a KV block.
pub type BlockId = u32;

/// The blocks of one sequence, in the order of its positions: position `p` is in block `p / block_len` of the table.
#[derive(Debug)]
pub(crate) struct BlockTable(Vec<BlockId>);

impl BlockTable {
    /// The block numbers.
    pub fn ids(&self) -> &[BlockId] {
        &self.0
    }
}

/// The blocks that no sequence owns.
#[derive(Debug)]
pub(crate) struct BlockPool {
    free: Vec<BlockId>,
    total: usize,
}

impl BlockPool {
    /// A pool of `total` free blocks. Numbers past what a [`BlockId`] can hold do not exist.
    pub fn new(total: usize) -> Self {
        let count = BlockId::try_from(total).unwrap_or(BlockId::MAX);
        // Reversed, so that the first table gets blocks 0, 1, 2, ..
        Self { free: (0..count).rev().collect(), total: count as usize }
    }

    /// Takes `count` blocks, or nothing when there are not enough.
    pub fn allocate(&mut self, count: usize) -> Option<BlockTable> {
        let rest = self.free.len().checked_sub(count)?;
        let mut ids = self.free.split_off(rest);
        ids.reverse();
        Some(BlockTable(ids))
    }

    /// Takes a table's blocks back.
    pub fn release(&mut self, table: BlockTable) {
        self.free.extend(table.0.into_iter().rev());
    }

    /// Blocks that no sequence owns.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// All blocks.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Blocks that sequences own.
    pub fn used(&self) -> usize {
        self.total - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_what_it_has_and_takes_it_back() {
        let mut pool = BlockPool::new(4);
        let first = pool.allocate(3).unwrap();
        assert_eq!(first.ids(), [0, 1, 2]);
        assert!(pool.allocate(2).is_none());
        assert_eq!(pool.used(), 3);
        let second = pool.allocate(1).unwrap();
        assert_eq!(second.ids(), [3]);
        pool.release(first);
        pool.release(second);
        assert_eq!((pool.free(), pool.used(), pool.total()), (4, 0, 4));
    }
}
