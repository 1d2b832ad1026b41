//! What crosses the waist: a step to execute, and the report of it.

use crate::SequenceId;
use std::ops::Range;
use std::time::Duration;

/// A cohort: the sequences that prefill together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CohortId(pub u64);

/// One iteration: what the executor has to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Counts steps that have work, from 0.
    pub number: u64,
    /// Every decoding sequence, one row each, through all layers; each yields one token.
    pub decode: Vec<DecodeRow>,
    /// Prefill beside them. The present policies give at most one tile.
    pub tiles: Vec<Tile>,
}

impl Step {
    /// Whether there is nothing to execute. An empty step has no report.
    pub fn is_empty(&self) -> bool {
        self.decode.is_empty() && self.tiles.is_empty()
    }

    /// The sequences the step works on, each once: those that decode, then those that prefill.
    pub fn sequences(&self) -> impl Iterator<Item = SequenceId> {
        let members = self.tiles.iter().flat_map(|tile| &tile.members);
        self.decode.iter().map(|row| row.sequence).chain(members.map(|member| member.sequence))
    }
}

/// One decode row: the sequence's newest token, fed at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeRow {
    /// The sequence.
    pub sequence: SequenceId,
    /// Where the newest token goes; the prompt's first token is at 0, the first generated one at the prompt's length.
    pub position: usize,
}

/// Rows x layers of one cohort, done in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The cohort the tile belongs to. Tiles of one cohort come in successive steps with the same members (less
    /// those that were cancelled) and successive layer ranges from 0 to the model's last layer.
    pub cohort: CohortId,
    /// The rows.
    pub members: Vec<TileRows>,
    /// The layers these rows pass in this step.
    pub layers: Range<usize>,
}

impl Tile {
    /// Rows of all members.
    pub fn rows(&self) -> usize {
        self.members.iter().map(|member| member.rows).sum()
    }
}

/// Consecutive prompt rows of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileRows {
    /// The sequence.
    pub sequence: SequenceId,
    /// Position of the first row.
    pub start: usize,
    /// Number of rows.
    pub rows: usize,
    /// Whether the last row is the prompt's last: once it has passed the last layer, the sequence samples its first
    /// token.
    pub ends_prompt: bool,
}

/// What came of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// [`Step::number`] of the step executed.
    pub step: u64,
    /// Sequences that this step ended: end of text, stop string, length. Unknown ids are ignored.
    pub finished: Vec<SequenceId>,
    /// Sequences that ended because the step went wrong for them: nothing it did for them is trusted, so no block that it
    /// filled is published.
    pub failed: Vec<SequenceId>,
    /// How long the step took.
    pub duration: Duration,
    /// Distinct experts touched by prefill rows, summed over layers.
    pub prefill_expert_loads: u64,
    /// Distinct experts touched by all rows, summed over layers.
    pub total_expert_loads: u64,
}
