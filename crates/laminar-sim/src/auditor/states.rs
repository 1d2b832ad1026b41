//! States of recurrent layers: each row runs on the state behind the row before it, and nobody else's.

use crate::violation::{Broken, ensure};
use laminar_schedule::{SchedulerConfig, StateId, StateSlots};
use std::collections::BTreeSet;
use std::ops::Range;

/// All states. A cell is the state of one slot in one layer, named by the newest row in it; rows depend on all before them.
#[derive(Debug)]
pub(super) struct States {
    cells: Vec<u64>,
    /// Slots of sequences, and with those for snapshots behind them.
    own: usize,
    all: usize,
    /// Whether the model has recurrent layers; without, sequences begin with blocks alone.
    needed: bool,
}

const EMPTY: u64 = 0;

impl States {
    pub fn new(config: &SchedulerConfig) -> Self {
        let all = config.max_sequences + config.snapshots.unwrap_or(0);
        let needed = config.snapshots.is_some();
        Self { cells: vec![EMPTY; config.layers * all], own: config.max_sequences, all, needed }
    }

    /// What is written belongs to one sequence, and nobody reads it.
    pub fn check(&self, running: &[StateSlots]) -> Result<(), Broken> {
        let read: BTreeSet<StateId> = running.iter().filter_map(|slots| Some(slots.begin?.slot)).collect();
        let mut written = BTreeSet::new();
        for StateSlots { own, begin, keep } in running {
            ensure!((*own as usize) < self.own, State, "a sequence has slot {own} of {}", self.own);
            for snapshot in begin.iter().chain(keep) {
                let is_one = (self.own..self.all).contains(&(snapshot.slot as usize));
                ensure!(is_one, State, "slot {} is none for a snapshot", snapshot.slot);
            }
            for slot in std::iter::once(*own).chain(keep.map(|keep| keep.slot)) {
                ensure!(written.insert(slot), State, "slot {slot} is written by two");
                ensure!(!read.contains(&slot), State, "slot {slot} is written while somebody goes on from it");
            }
        }
        Ok(())
    }

    /// Rows of a sequence pass a layer.
    pub fn pass(&mut self, slots: &StateSlots, layer: usize, places: Range<usize>, rows: &[u64]) -> Result<(), Broken> {
        let (start, end) = (places.start, places.end);
        let begin = slots.begin.filter(|begin| begin.position == start);
        let from = begin.map_or(slots.own, |begin| begin.slot);
        if self.needed && start > 0 && start < end {
            let found = *self.cell(layer, from);
            ensure!(
                found == rows[start - 1],
                State,
                "row {start} of layer {layer} runs on another state, in slot {from}"
            );
        }
        if start < end {
            *self.cell(layer, slots.own) = rows[end - 1];
        }
        if let Some(keep) = slots.keep.filter(|keep| start < keep.position && keep.position <= end) {
            *self.cell(layer, keep.slot) = rows[keep.position - 1];
        }
        Ok(())
    }

    /// Rows that were to pass a layer and did not.
    pub fn step_back(&mut self, slots: &StateSlots, layer: usize, start: usize, rows: &[u64]) {
        *self.cell(layer, slots.own) = start.checked_sub(1).map_or(EMPTY, |before| rows[before]);
        if let Some(keep) = slots.keep.filter(|keep| start < keep.position) {
            *self.cell(layer, keep.slot) = EMPTY;
        }
    }

    fn cell(&mut self, layer: usize, slot: StateId) -> &mut u64 {
        &mut self.cells[layer * self.all + slot as usize]
    }
}
