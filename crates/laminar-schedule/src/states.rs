//! States of recurrent layers: which slot belongs to whom.
//!
//! A model with such layers keeps a state of fixed size for each sequence, which says nothing of any position but its newest.
//! So a prompt that begins like an earlier one can go on from that one's blocks only where a copy of the state was left:
//! a *snapshot*, behind a whole block that can be found. Snapshots are few and large. A sequence leaves one behind the last
//! whole block of its prompt, or where its prompt departs from blocks that are cached already, since another one is likely to
//! depart there too; and one behind the newest whole block of its answer. The one that was not used for longest makes room.

use crate::BlockId;

/// Number of a slot for a state.
pub type StateId = u32;

/// A state in a slot, with all rows before a position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The slot.
    pub slot: StateId,
    /// The position.
    pub position: usize,
}

/// The slots of a sequence. Models without recurrent layers have no use for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSlots {
    /// Its own, below [`max_sequences`](crate::SchedulerConfig::max_sequences). What it holds before the sequence's first row
    /// is worth nothing.
    pub own: StateId,
    /// What its first rows go on from; a slot that nobody writes meanwhile.
    pub begin: Option<Snapshot>,
    /// Where its state is to be copied when its rows come to that position; a slot that nobody else reads or writes.
    pub keep: Option<Snapshot>,
}

impl StateSlots {
    /// Of a sequence that begins with its first row and leaves nothing behind.
    pub fn own(own: StateId) -> Self {
        Self { own, begin: None, keep: None }
    }
}

/// What a sequence holds from its admission on.
#[derive(Debug)]
pub(crate) struct Held {
    pub slots: StateSlots,
    /// The snapshot behind the newest whole block of its answer, if it is still there.
    pub newest: Option<(StateId, BlockId)>,
}

/// The slots of sequences that run.
#[derive(Debug, Default)]
pub(crate) struct OwnSlots {
    free: Vec<StateId>,
    next: StateId,
}

impl OwnSlots {
    /// A slot that no other sequence has. There are never more than sequences that run.
    pub fn take(&mut self) -> StateId {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// A sequence runs no longer.
    pub fn give_back(&mut self, slot: StateId) {
        self.free.push(slot);
    }
}

/// What a slot for a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    /// A sequence will write it.
    Promised,
    /// The state behind this block, which can be found.
    Block(BlockId),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    holds: Holds,
    /// Sequences whose first rows go on from it.
    readers: u32,
    /// When it was written or found last.
    used: u64,
}

/// The slots for snapshots, behind those of sequences.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    /// Whether blocks are worth nothing without.
    needed: bool,
    first: StateId,
    entries: Vec<Entry>,
    /// The snapshot behind each block there is.
    behind: Vec<Option<StateId>>,
    uses: u64,
}

impl Snapshots {
    /// So many slots from `first` on, for blocks with numbers below `blocks`.
    pub fn new(first: usize, count: usize, blocks: usize) -> Self {
        let first = StateId::try_from(first).unwrap_or(StateId::MAX);
        let entries =
            vec![Entry { holds: Holds::Nothing, readers: 0, used: 0 }; count.min((StateId::MAX - first) as usize)];
        Self { needed: true, first, entries, behind: vec![None; blocks], uses: 0 }
    }

    /// How many of the cached blocks that a sequence could begin with it can, and the snapshot to go on from.
    pub fn cut(&self, found: &[BlockId]) -> (usize, Option<StateId>) {
        if !self.needed {
            return (found.len(), None);
        }
        let behind = |block: &BlockId| self.behind.get(*block as usize).copied().flatten();
        let deepest = found.iter().enumerate().rev().find_map(|(number, block)| Some((number + 1, behind(block)?)));
        deepest.map_or((0, None), |(blocks, slot)| (blocks, Some(slot)))
    }

    /// Whether there can be any.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A sequence goes on from it.
    pub fn read(&mut self, slot: StateId) {
        self.uses += 1;
        let uses = self.uses;
        if let Some(entry) = self.entry(slot) {
            entry.readers += 1;
            entry.used = uses;
        }
    }

    /// The first rows of a sequence that went on from it have passed all layers, or never will.
    pub fn leave(&mut self, slot: StateId) {
        if let Some(entry) = self.entry(slot) {
            entry.readers = entry.readers.saturating_sub(1);
        }
    }

    /// A slot to write: a free one, or that of the snapshot which was not used for longest; none if all are being read or
    /// written.
    pub fn take(&mut self) -> Option<StateId> {
        let kind = |entry: &Entry| match entry.holds {
            Holds::Nothing => Some((0, 0)),
            Holds::Promised => None,
            Holds::Block(_) => (entry.readers == 0).then_some((1, entry.used)),
        };
        let numbered = self.entries.iter().enumerate();
        let (_, number) = numbered.filter_map(|(number, entry)| Some((kind(entry)?, number))).min()?;
        let slot = self.first + number as StateId;
        self.vacate(slot, Holds::Promised);
        Some(slot)
    }

    /// The same, if it can be the one behind this block.
    pub fn take_again(&mut self, slot: StateId, block: BlockId) -> bool {
        let can = self.entry(slot).is_some_and(|entry| entry.holds == Holds::Block(block) && entry.readers == 0);
        if can {
            self.vacate(slot, Holds::Promised);
        }
        can
    }

    /// A slot that was taken will not be written.
    pub fn give_back(&mut self, slot: StateId) {
        self.vacate(slot, Holds::Nothing);
    }

    /// A slot that was taken holds the state behind a block. If another one does already, the slot is free.
    pub fn put(&mut self, slot: StateId, block: BlockId) {
        self.uses += 1;
        let uses = self.uses;
        let Some(behind @ None) = self.behind.get_mut(block as usize) else {
            return self.give_back(slot);
        };
        *behind = Some(slot);
        if let Some(entry) = self.entry(slot) {
            *entry = Entry { holds: Holds::Block(block), readers: 0, used: uses };
        }
    }

    /// A block can be found no longer.
    pub fn forget(&mut self, block: BlockId) {
        if let Some(slot) = self.behind.get(block as usize).copied().flatten() {
            self.vacate(slot, Holds::Nothing);
        }
    }

    fn vacate(&mut self, slot: StateId, holds: Holds) {
        let Some(entry) = self.entry(slot) else { return };
        let before = std::mem::replace(&mut entry.holds, holds);
        if let Holds::Block(block) = before
            && let Some(behind) = self.behind.get_mut(block as usize)
        {
            *behind = None;
        }
    }

    fn entry(&mut self, slot: StateId) -> Option<&mut Entry> {
        let number = slot.checked_sub(self.first)?;
        self.entries.get_mut(number as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_slots_are_as_few_as_sequences_that_run() {
        let mut slots = OwnSlots::default();
        assert_eq!([slots.take(), slots.take(), slots.take()], [0, 1, 2]);
        slots.give_back(1);
        assert_eq!([slots.take(), slots.take()], [1, 3]);
    }

    #[test]
    fn a_hit_ends_behind_the_last_block_with_a_snapshot() {
        let mut snapshots = Snapshots::new(4, 2, 10);
        assert_eq!(snapshots.cut(&[1, 2, 3]), (0, None));
        let slot = snapshots.take().unwrap();
        assert_eq!((slot, snapshots.cut(&[1, 2, 3])), (4, (0, None)), "it was not written yet");
        snapshots.put(slot, 2);
        assert_eq!(snapshots.cut(&[1, 2, 3]), (2, Some(4)));
        assert_eq!(snapshots.cut(&[1]), (0, None));
        snapshots.forget(2);
        assert_eq!(snapshots.cut(&[1, 2, 3]), (0, None));
        assert_eq!(Snapshots::default().cut(&[1, 2, 3]), (3, None), "a model that needs none");
    }

    #[test]
    fn the_one_that_was_not_used_for_longest_makes_room_and_one_that_is_read_stays() {
        let mut snapshots = Snapshots::new(0, 3, 10);
        for block in [1, 2, 3] {
            let slot = snapshots.take().unwrap();
            snapshots.put(slot, block);
        }
        snapshots.read(0);
        snapshots.leave(0);
        snapshots.read(1);
        // The second is being read, the first was used after the third.
        assert_eq!([snapshots.take(), snapshots.take(), snapshots.take()], [Some(2), Some(0), None]);
        assert_eq!(snapshots.cut(&[1, 2, 3]), (2, Some(1)));
        snapshots.leave(1);
        assert_eq!((snapshots.take(), snapshots.cut(&[1, 2, 3])), (Some(1), (0, None)));
    }

    #[test]
    fn of_two_behind_one_block_the_first_stays() {
        let mut snapshots = Snapshots::new(0, 2, 10);
        let slots = [snapshots.take().unwrap(), snapshots.take().unwrap()];
        slots.into_iter().for_each(|slot| snapshots.put(slot, 5));
        assert_eq!((snapshots.cut(&[5]), snapshots.take()), ((1, Some(0)), Some(1)));
    }

    #[test]
    fn the_newest_moves_on_unless_it_is_read_or_another_ones() {
        let mut snapshots = Snapshots::new(0, 2, 10);
        let slot = snapshots.take().unwrap();
        snapshots.put(slot, 5);
        snapshots.read(slot);
        assert!(!snapshots.take_again(slot, 5));
        snapshots.leave(slot);
        assert!(!snapshots.take_again(slot, 6) && snapshots.take_again(slot, 5));
        assert_eq!(snapshots.cut(&[5]), (0, None));
        snapshots.give_back(slot);
        assert_eq!([snapshots.take(), snapshots.take(), snapshots.take()], [Some(0), Some(1), None]);
    }
}
