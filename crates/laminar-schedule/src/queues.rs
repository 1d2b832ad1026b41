//! The sequences a scheduler knows, where each stands, and the KV blocks and states they hold.

use crate::blocks::BlockPool;
use crate::number_map::NumberMap;
use crate::sequence::{Phase, Sequence};
use crate::states::{Held, OwnSlots};
use crate::waiting::{Order, Waiting};
use crate::{
    BlockId, DecodeRow, NewSequence, SchedulerConfig, SchedulerStats, SequenceId, Snapshot, StateId, StateSlots, Tile,
    TileRows,
};
use std::time::Duration;

/// Where a sequence is kept; names it inside the scheduler while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub usize);

/// All living sequences. Each waits, prefills or decodes.
#[derive(Debug)]
pub(crate) struct Queues {
    slots: Vec<Option<Sequence>>,
    free: Vec<Slot>,
    by_id: NumberMap<SequenceId, Slot>,
    waiting: Waiting,
    /// In order of admission.
    prefilling: Vec<Slot>,
    /// In order of their first token since admission.
    decoding: Vec<Slot>,
    pool: BlockPool,
    own_slots: OwnSlots,
    max_sequences: usize,
    block_len: usize,
    submitted: u64,
    preemptions: u64,
    prefix_lookup_tokens: u64,
    prefix_hit_tokens: u64,
}

impl Queues {
    /// No sequences, all blocks free.
    pub fn new(config: &SchedulerConfig) -> Self {
        let pool = BlockPool::new(config.kv_blocks, config.block_len);
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: NumberMap::default(),
            waiting: Waiting::default(),
            prefilling: Vec::new(),
            decoding: Vec::new(),
            pool: match config.snapshots {
                Some(count) => pool.with_snapshots(config.max_sequences, count),
                None => pool,
            },
            own_slots: OwnSlots::default(),
            max_sequences: config.max_sequences,
            block_len: config.block_len,
            submitted: 0,
            preemptions: 0,
            prefix_lookup_tokens: 0,
            prefix_hit_tokens: 0,
        }
    }

    /// Lets a sequence wait. The caller has checked it.
    pub fn enqueue(&mut self, new: NewSequence, now: Duration) {
        let chain = new.prefix.map(|prefix| self.pool.chain(prefix, new.prompt_tokens));
        let tenant = self.waiting.enter(new.tenant);
        let sequence = Sequence {
            id: new.id,
            prompt_tokens: new.prompt_tokens,
            generated: 0,
            pending: 0,
            max_tokens: new.max_tokens,
            phase: Phase::Waiting,
            chain,
            blocks: None,
            states: None,
            cancelled: false,
            number: self.submitted,
            arrival: now,
            priority: new.priority,
            tenant,
            tbt_target: new.tbt_target,
            ttft_target: new.ttft_target,
            in_cohort: false,
            step: None,
        };
        self.submitted += 1;
        let order = order(&sequence);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot(self.slots.len() - 1)
        });
        self.by_id.insert(new.id, slot);
        self.waiting.insert(tenant, order, slot);
        if let Some(place) = self.slots.get_mut(slot.0) {
            *place = Some(sequence);
        }
    }

    /// Where a sequence is kept.
    pub fn slot(&self, id: SequenceId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// Where a sequence is kept that is likely to be at this place among the decode rows: reports tell tokens in their order.
    pub fn slot_near(&self, row: usize, id: SequenceId) -> Option<Slot> {
        let slot = self.decoding.get(row).copied();
        let slot = slot.filter(|slot| self.get(*slot).is_some_and(|sequence| sequence.id == id));
        slot.or_else(|| self.slot(id))
    }

    /// A sequence.
    pub fn get(&self, slot: Slot) -> Option<&Sequence> {
        self.slots.get(slot.0)?.as_ref()
    }

    /// A sequence.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Sequence> {
        self.slots.get_mut(slot.0)?.as_mut()
    }

    /// Sequences waiting for admission.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no sequence lives.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Admitted sequences with rows left that no cohort has taken, in order of admission.
    pub fn unfinished(&self) -> impl Iterator<Item = Slot> {
        self.prefilling.iter().copied().filter(|slot| self.get(*slot).is_some_and(|sequence| !sequence.in_cohort))
    }

    /// Sequences that decode, in the order of their rows.
    pub fn decoding(&self) -> impl Iterator<Item = &Sequence> {
        self.decoding.iter().filter_map(|slot| self.get(*slot))
    }

    /// Marks those that prefill in a step.
    pub fn mark(&mut self, step: u64, tiles: &[Tile]) {
        for member in tiles.iter().flat_map(|tile| &tile.members).filter(|member| !member.dropped) {
            if let Some(sequence) = self.slot(member.sequence).and_then(|slot| self.get_mut(slot)) {
                sequence.step = Some(step);
            }
        }
    }

    /// The sequence to admit next, if there is one.
    pub fn head(&self) -> Option<Slot> {
        self.waiting.head()
    }

    /// The waiting sequences of the tenant whose turn it is, in their order.
    pub fn in_turn(&self) -> impl Iterator<Item = Slot> {
        self.waiting.in_turn()
    }

    /// Of these, the ones that have waited longest and the shortest ones.
    pub fn contenders(&self) -> impl Iterator<Item = Slot> {
        self.waiting.contenders()
    }

    /// Whether a sequence is admitted and has rows left to prefill.
    pub fn is_started(&self, slot: Slot) -> bool {
        self.get(slot).is_some_and(|sequence| matches!(sequence.phase, Phase::Prefilling { .. }))
    }

    /// Whether one more sequence may hold blocks.
    pub fn has_room(&self) -> bool {
        self.prefilling.len() + self.decoding.len() < self.max_sequences
    }

    /// Rows that a waiting sequence would have to run, if it can be admitted now.
    ///
    /// Beside its own blocks there must be one more for each sequence that runs already, since each of them will need one
    /// before long, and preempting is dearer than waiting.
    pub fn admissible(&self, slot: Slot) -> Option<usize> {
        let (sequence, found) = self.admissible_with(slot)?;
        Some(sequence.tokens() - found.hit().len() * self.block_len)
    }

    /// The same, with what it would begin with.
    fn admissible_with(&self, slot: Slot) -> Option<(&Sequence, Found)> {
        if !self.has_room() {
            return None;
        }
        let sequence = self.get(slot).filter(|sequence| sequence.phase == Phase::Waiting)?;
        let chain = sequence.chain.as_ref();
        let blocks = chain.map(|chain| self.pool.find(chain, sequence.tokens())).unwrap_or_default();
        let (hit, begin) = self.pool.snapshots.cut(&blocks);
        let found = Found { blocks, hit, begin };
        let reserve = self.prefilling.len() + self.decoding.len();
        let needed = sequence.tokens().div_ceil(self.block_len) + reserve;
        self.pool.fits(needed, found.hit()).then_some((sequence, found))
    }

    /// Admits a waiting sequence: it gets blocks for all its tokens. What the prefix cache holds of them is done already.
    pub fn admit(&mut self, slot: Slot) -> Option<()> {
        let (sequence, found) = self.admissible_with(slot)?;
        let table = self.pool.allocate(sequence.tokens().div_ceil(self.block_len), found.hit())?;
        let sequence = self.slots.get_mut(slot.0)?.as_mut()?;
        let done = found.hit * self.block_len;
        if let Some(chain) = &mut sequence.chain {
            chain.begin(found.hit);
            self.prefix_lookup_tokens += sequence.tokens() as u64;
            self.prefix_hit_tokens += done as u64;
        }
        let begin = found.begin.map(|slot| Snapshot { slot, position: done });
        if let Some(begin) = begin {
            self.pool.snapshots.read(begin.slot);
        }
        // Where another prompt will look for it, if one begins like this one.
        let border = match found.blocks.len() {
            cached if cached > found.hit => cached,
            _ => sequence.chain.as_ref().map_or(0, |chain| chain.usable(sequence.tokens())),
        };
        let keep = (border > found.hit).then(|| self.pool.snapshots.take()).flatten();
        let keep = keep.map(|slot| Snapshot { slot, position: border * self.block_len });
        let slots = StateSlots { own: self.own_slots.take(), begin, keep };
        sequence.states = Some(Held { slots, newest: None });
        sequence.blocks = Some(table);
        sequence.phase = Phase::Prefilling { done };
        self.waiting.remove(sequence.tenant, order(sequence), slot);
        self.waiting.charge_rows(sequence.tenant, sequence.tokens() - done);
        self.prefilling.push(slot);
        Some(())
    }

    /// The next `rows` rows of an admitted sequence (fewer at its end).
    pub fn next_rows(&self, slot: Slot, rows: usize) -> Option<TileRows> {
        let sequence = self.get(slot)?;
        let rows = rows.min(sequence.remaining());
        let (start, ends_prompt) = (sequence.done(), rows == sequence.remaining());
        (rows > 0).then_some(TileRows { sequence: sequence.id, start, rows, ends_prompt, dropped: false })
    }

    /// The rows of every decoding sequence, each marked as one of this step's.
    pub fn decode_rows(&mut self, step: u64) -> Vec<DecodeRow> {
        let mut rows = Vec::with_capacity(self.decoding.len());
        for slot in &self.decoding {
            if let Some(Some(sequence)) = self.slots.get_mut(slot.0) {
                sequence.step = Some(step);
                keep_newest(&mut self.pool, sequence, self.block_len);
                rows.extend(sequence.decode_rows());
            }
        }
        rows
    }

    /// Gives every decoding sequence the blocks that its next rows need. Where there is none, the most junior sequences
    /// that run lose theirs and wait again; their names are returned.
    pub fn grow(&mut self) -> Vec<SequenceId> {
        let block_len = self.block_len;
        let needs = |sequence: &Sequence| {
            let held = sequence.blocks.as_ref().map_or(0, |table| table.ids().len());
            held * block_len < sequence.tokens()
        };
        let mut needy: Vec<Slot> =
            self.decoding.iter().copied().filter(|slot| self.get(*slot).is_some_and(needs)).collect();
        needy.sort_by_key(|slot| std::cmp::Reverse(self.get(*slot).map(Sequence::seniority)));
        let mut preempted = Vec::new();
        for slot in needy {
            while let Some(Some(sequence)) = self.slots.get_mut(slot.0)
                && needs(sequence)
                && let Some(table) = &mut sequence.blocks
            {
                if self.pool.extend(table) {
                    continue;
                }
                let running = self.prefilling.iter().chain(&self.decoding).copied();
                // There is one at least: the sequence itself.
                let Some(junior) = running.min_by_key(|slot| self.get(*slot).map(Sequence::seniority)) else { break };
                preempted.extend(self.preempt(junior));
            }
        }
        preempted
    }

    /// A running sequence loses its blocks and waits again, at its old place. Its tokens stay.
    fn preempt(&mut self, slot: Slot) -> Option<SequenceId> {
        let sequence = self.slots.get_mut(slot.0)?.as_mut()?;
        sequence.phase = Phase::Waiting;
        sequence.in_cohort = false;
        let (id, tenant, order) = (sequence.id, sequence.tenant, order(sequence));
        if let Some(table) = sequence.blocks.take() {
            self.pool.release(table);
        }
        release_states(&mut self.pool, &mut self.own_slots, sequence);
        self.prefilling.retain(|other| *other != slot);
        self.decoding.retain(|other| *other != slot);
        self.waiting.insert(tenant, order, slot);
        self.preemptions += 1;
        Some(id)
    }

    /// The rows of every decoding sequence have passed all layers and yielded a token. Returns those for which that was the
    /// last one allowed.
    pub fn count_tokens(&mut self, failed: &[SequenceId]) -> Vec<Slot> {
        let Self { slots, decoding, waiting, pool, block_len, .. } = self;
        let mut ended = Vec::new();
        for slot in decoding {
            let Some(Some(sequence)) = slots.get_mut(slot.0) else { continue };
            if !failed.contains(&sequence.id) {
                publish(pool, sequence, sequence.tokens(), *block_len);
            }
            waiting.charge_token(sequence.tenant);
            if sequence.count_token() {
                ended.push(*slot);
            }
        }
        ended
    }

    /// Prefill rows have passed all layers; a sequence whose rows are all done decodes from now on, with one more token.
    /// Returns whether that token was the last one allowed.
    pub fn complete_rows(&mut self, slot: Slot, rows: &TileRows, failed: &[SequenceId]) -> bool {
        let Some(Some(sequence)) = self.slots.get_mut(slot.0) else {
            return false;
        };
        if !failed.contains(&rows.sequence) {
            publish(&mut self.pool, sequence, rows.start + rows.rows, self.block_len);
        }
        sequence.in_cohort = false;
        if !rows.ends_prompt {
            sequence.phase = Phase::Prefilling { done: rows.start + rows.rows };
            return false;
        }
        self.prefilling.retain(|other| *other != slot);
        self.decoding.push(slot);
        self.waiting.charge_token(sequence.tenant);
        sequence.count_token()
    }

    /// A sequence has one more token, which needed no row to be known. Returns whether it was the last one allowed.
    pub fn count_further_token(&mut self, slot: Slot) -> bool {
        let Self { slots, waiting, .. } = self;
        let Some(Some(sequence)) = slots.get_mut(slot.0) else {
            return false;
        };
        waiting.charge_token(sequence.tenant);
        sequence.count_further_token()
    }

    /// This is the newest token of a sequence. One that is never told ends the chain of its blocks.
    pub fn append(&mut self, slot: Slot, token: u32) {
        if let Some(sequence) = self.get_mut(slot) {
            let position = sequence.tokens() - 1;
            if let Some(chain) = &mut sequence.chain {
                chain.append(position, token);
            }
        }
    }

    /// A sequence is gone: its blocks are free, or cached without it, at once.
    pub fn remove(&mut self, slot: Slot) {
        let Some(mut sequence) = self.slots.get_mut(slot.0).and_then(Option::take) else {
            return;
        };
        self.by_id.remove(&sequence.id);
        self.free.push(slot);
        self.waiting.leave(sequence.tenant);
        match sequence.phase {
            Phase::Waiting => self.waiting.remove(sequence.tenant, order(&sequence), slot),
            Phase::Prefilling { .. } => self.prefilling.retain(|other| *other != slot),
            Phase::Decoding => self.decoding.retain(|other| *other != slot),
        }
        release_states(&mut self.pool, &mut self.own_slots, &mut sequence);
        if let Some(table) = sequence.blocks {
            self.pool.release(table);
        }
    }

    /// The gauges.
    pub fn stats(&self) -> SchedulerStats {
        SchedulerStats {
            running: self.decoding.len(),
            prefilling: self.prefilling.len(),
            waiting: self.waiting.len(),
            used_blocks: self.pool.used(),
            cached_blocks: self.pool.cached(),
            total_blocks: self.pool.total(),
            preemptions: self.preemptions,
            prefix_lookup_tokens: self.prefix_lookup_tokens,
            prefix_hit_tokens: self.prefix_hit_tokens,
        }
    }
}

/// What a sequence can begin with.
#[derive(Default)]
struct Found {
    /// Cached blocks that are equal to its first ones.
    blocks: Vec<BlockId>,
    /// So many of them it can begin with.
    hit: usize,
    /// The state it goes on from.
    begin: Option<StateId>,
}

impl Found {
    fn hit(&self) -> &[BlockId] {
        self.blocks.get(..self.hit).unwrap_or_default()
    }
}

/// Invariant 4: the first `done` rows have passed all layers, so the blocks that they fill can be found from now on, and the
/// state behind one of them if it was kept.
fn publish(pool: &mut BlockPool, sequence: &mut Sequence, done: usize, block_len: usize) {
    let Sequence { chain, blocks, states, cancelled, phase, .. } = sequence;
    if let (Some(chain), Some(table), false) = (&mut *chain, blocks, *cancelled) {
        pool.publish(chain, table, done);
    }
    let Some(held) = states else { return };
    if let Some(begin) = held.slots.begin.take() {
        pool.snapshots.leave(begin.slot);
    }
    if let Some(keep) = held.slots.keep.take_if(|keep| keep.position <= done) {
        let chain = chain.as_ref().filter(|_| !*cancelled);
        match chain.and_then(|chain| pool.last_of(chain, keep.position / block_len)) {
            Some(block) => {
                pool.snapshots.put(keep.slot, block);
                held.newest = (*phase == Phase::Decoding).then_some((keep.slot, block));
            }
            None => pool.snapshots.give_back(keep.slot),
        }
    }
}

/// A decoding sequence leaves its state behind a block that its next rows fill, in place of the one behind the block before.
fn keep_newest(pool: &mut BlockPool, sequence: &mut Sequence, block_len: usize) {
    if pool.snapshots.is_empty() {
        return;
    }
    let tokens = sequence.tokens();
    let filled = tokens / block_len;
    let (Some(chain), Some(held)) = (&sequence.chain, &mut sequence.states) else { return };
    let can_be_found = !chain.closed && filled <= chain.len();
    if filled * block_len > tokens - sequence.pending && can_be_found && held.slots.keep.is_none() {
        let again = held.newest.take().filter(|(slot, block)| pool.snapshots.take_again(*slot, *block));
        let slot = again.map(|(slot, _)| slot).or_else(|| pool.snapshots.take());
        held.slots.keep = slot.map(|slot| Snapshot { slot, position: filled * block_len });
    }
}

/// A sequence runs no longer: its state, and what it would have left, is worth nothing.
fn release_states(pool: &mut BlockPool, own_slots: &mut OwnSlots, sequence: &mut Sequence) {
    let Some(Held { slots: StateSlots { own, begin, keep }, .. }) = sequence.states.take() else { return };
    own_slots.give_back(own);
    if let Some(begin) = begin {
        pool.snapshots.leave(begin.slot);
    }
    if let Some(keep) = keep {
        pool.snapshots.give_back(keep.slot);
    }
}

/// What a waiting sequence is sorted by, within its tenant.
fn order(sequence: &Sequence) -> Order {
    Order { virtual_arrival: sequence.virtual_arrival(), number: sequence.number, tokens: sequence.tokens() }
}
