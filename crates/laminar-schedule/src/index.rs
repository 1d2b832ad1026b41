//! Which published block has which key.

use crate::BlockId;

/// The end of a list. No block has this number, since there are fewer of them.
const END: BlockId = BlockId::MAX;

/// A hash table over all blocks there are, with a list for each place.
///
/// Every block has its part of it from the start, so a step that publishes and forgets hundreds of blocks allocates nothing
/// and never waits for a table that grows.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    /// The first block of each place's list; a power of two, and more of them than blocks.
    heads: Vec<BlockId>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    key: u64,
    next: BlockId,
}

impl KeyIndex {
    /// No block of so many has a key.
    pub fn new(blocks: usize) -> Self {
        let places = (blocks + blocks / 2).next_power_of_two();
        Self { heads: vec![END; places], nodes: vec![Node { key: 0, next: END }; blocks] }
    }

    /// The block with this key.
    pub fn find(&self, key: u64) -> Option<BlockId> {
        let mut block = *self.heads.get(self.place(key))?;
        while let Some(node) = self.nodes.get(block as usize) {
            if node.key == key {
                return Some(block);
            }
            block = node.next;
        }
        None
    }

    /// Gives a block without a key this one, unless another block has it; returns whether it did.
    pub fn insert(&mut self, key: u64, block: BlockId) -> bool {
        let place = self.place(key);
        if self.find(key).is_some() {
            return false;
        }
        let (Some(head), Some(node)) = (self.heads.get_mut(place), self.nodes.get_mut(block as usize)) else {
            return false;
        };
        *node = Node { key, next: std::mem::replace(head, block) };
        true
    }

    /// Takes the key of a block that has one.
    pub fn remove(&mut self, block: BlockId) {
        let Some(Node { key, next }) = self.nodes.get(block as usize).copied() else { return };
        let place = self.place(key);
        let Some(head) = self.heads.get_mut(place) else { return };
        if *head == block {
            *head = next;
            return;
        }
        let mut before = *head;
        while let Some(node) = self.nodes.get_mut(before as usize) {
            if node.next == block {
                node.next = next;
                return;
            }
            before = node.next;
        }
    }

    /// A key's high bits depend on everything that was hashed, its low bits on the low bits alone; so both choose the place.
    fn place(&self, key: u64) -> usize {
        (key ^ (key >> 32)) as usize & (self.heads.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_a_map_however_the_keys_collide() {
        const BLOCKS: u64 = 50;
        let mut index = KeyIndex::new(BLOCKS as usize);
        let mut map = BTreeMap::new();
        for step in 0..10_000_u64 {
            // Four lists hold all keys.
            let random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let (block, key) = ((random % BLOCKS) as BlockId, (random / BLOCKS % 100) << 30);
            if map.values().any(|of| *of == block) {
                index.remove(block);
                map.retain(|_, of| *of != block);
            } else {
                assert_eq!(index.insert(key, block), !map.contains_key(&key));
                map.entry(key).or_insert(block);
            }
            assert!((0..100).all(|key| index.find(key << 30) == map.get(&(key << 30)).copied()));
        }
        assert!(map.len() > 10);
    }
}
