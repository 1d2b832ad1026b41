//! What the policies work on: the sequences, and the cohorts under way.

use crate::cohort::{Cohort, Member};
use crate::costs::{Batch, Costs, Estimate};
use crate::queues::{Queues, Slot};
use crate::{CohortId, Cursor, DecodeRow, Report, SchedulerConfig, SequenceId, Step, Tile};

/// The scheduler's state, less the step in flight.
#[derive(Debug)]
pub(crate) struct State {
    pub queues: Queues,
    /// In the order in which they were formed.
    pub cohorts: Vec<Cohort>,
    pub costs: Costs,
    /// Whether the executor ends tiles early when a step's deadline comes, as its reports say.
    pub is_watched: bool,
    batch: Batch,
    next_cohort: u64,
}

impl State {
    /// No sequences.
    pub fn new(config: &SchedulerConfig) -> Self {
        Self {
            queues: Queues::new(config),
            cohorts: Vec::new(),
            costs: Costs::new(config.costs.clone(), config.experts, config.layers),
            is_watched: false,
            batch: Batch::default(),
            next_cohort: 0,
        }
    }

    /// The decode rows of the step to be planned. Those who plan its prefill see them as [`batch`](Self::batch).
    pub fn decode_rows(&mut self, step: u64) -> Vec<DecodeRow> {
        let rows = self.queues.decode_rows(step);
        let context: usize = rows.iter().map(|row| row.position + 1).sum();
        self.batch = Batch { rows: rows.len(), context: context as f64 };
        rows
    }

    /// The decode rows of the step that is being planned.
    pub fn batch(&self) -> Batch {
        self.batch
    }

    /// What tiles add to the decode rows of the step that is being planned; they begin where their cohorts stand.
    pub fn estimate(&self, tiles: &[Tile]) -> Estimate {
        let mut sum = Estimate::default();
        for (index, tile) in tiles.iter().enumerate() {
            if let Some(cohort) = self.cohorts.iter().find(|cohort| cohort.id() == tile.cohort) {
                sum += self.costs.tile(cohort, tile.to, self.batch, index == 0);
            }
        }
        sum
    }

    /// Lets rows set out together, with steps that end at these layers if there are any; without rows, nothing happens.
    pub fn form_cohort(&mut self, members: Vec<Member>, borders: Vec<usize>) -> Option<&Cohort> {
        if members.is_empty() {
            return None;
        }
        for member in &members {
            if let Some(sequence) = self.queues.get_mut(member.slot) {
                sequence.in_cohort = true;
            }
        }
        let id = CohortId(self.next_cohort);
        self.next_cohort += 1;
        self.cohorts.push(Cohort::new(id, members, borders));
        self.cohorts.last()
    }

    /// Makes room for the next rows of the decoding sequences; returns who lost its blocks for that.
    pub fn grow(&mut self) -> Vec<SequenceId> {
        let preempted = self.queues.grow();
        for id in &preempted {
            if let Some(slot) = self.queues.slot(*id) {
                self.leave_cohort(slot);
            }
        }
        preempted
    }

    /// A tile is done: its cohort stands at its end, and behind the last layer its rows are complete. Returns the sequences
    /// that have reached their last token.
    pub fn advance(&mut self, tile: &Tile, report: &Report) -> Vec<Slot> {
        let Some(index) = self.cohorts.iter().position(|cohort| cohort.id() == tile.cohort) else {
            return Vec::new();
        };
        let mut ended = Vec::new();
        if let Some(cohort) = self.cohorts.get_mut(index) {
            cohort.advance(tile.to);
        }
        if tile.to.layer < self.costs.layers() {
            return ended;
        }
        for Member { slot, rows } in self.cohorts.remove(index).members() {
            if self.queues.complete_rows(*slot, rows, &report.failed) {
                ended.push(*slot);
            }
        }
        ended
    }

    /// Whether a tile of the step takes this cohort past this place, or to it or from it.
    pub fn passes(&self, step: &Step, cohort: CohortId, at: Cursor) -> bool {
        let on_its_way = |tile: &Tile| {
            let extent = self.costs.extent(tile.rows());
            tile.from <= at && at <= tile.to && at.is_stop(extent, self.costs.is_mixture())
        };
        step.tiles.iter().find(|tile| tile.cohort == cohort).is_some_and(on_its_way)
    }

    /// Admits a waiting sequence.
    pub fn admit(&mut self, slot: Slot) -> Option<()> {
        self.queues.admit(slot)
    }

    /// Takes a sequence out of its cohort and of the queues.
    pub fn remove(&mut self, slot: Slot) {
        self.leave_cohort(slot);
        self.queues.remove(slot);
    }

    fn leave_cohort(&mut self, slot: Slot) {
        self.cohorts.iter_mut().for_each(|cohort| cohort.drop_member(slot));
        self.cohorts.retain(|cohort| !cohort.is_over());
    }
}
