//! What crosses the waist: a step to execute, and the report of it.

use crate::{Cursor, Extent, Part, SequenceId};
use std::time::Duration;

/// A cohort: the sequences that prefill together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CohortId(pub u64);

/// One iteration: what the executor has to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Counts steps that have work, from 0.
    pub number: u64,
    /// Sequences that have lost their KV blocks since the step before, to make room. Whatever else is kept for them goes too:
    /// they wait again, and start anew with their prompt and the tokens they have generated.
    pub preempted: Vec<SequenceId>,
    /// Every decoding sequence, through all layers: the row of its newest token, which yields the next one, and before it
    /// those of the tokens in front, if it has got several since the step before ([`Report::sampled`]).
    pub decode: Vec<DecodeRow>,
    /// Prefill beside them, in the order to execute it.
    pub tiles: Vec<Tile>,
    /// Until when the step should be over, where a policy minds and streams wait. Its tiles are as long as predictions say
    /// that there is time; an executor that sees that they take longer may end them early ([`Report::reached`]).
    pub deadline: Option<Deadline>,
}

/// Until when a step should be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Time for the whole step, from the tokens before it to its own.
    pub until: Duration,
    /// What the step's decode rows take alone when they are slow: time to keep free as long as they have not run.
    pub decode: Duration,
}

impl Step {
    /// Whether there is nothing to execute. An empty step has no report.
    pub fn is_empty(&self) -> bool {
        self.decode.is_empty() && self.tiles.is_empty()
    }

    /// The sequences the step works on, each once: those that decode, then those that prefill.
    pub fn sequences(&self) -> impl Iterator<Item = SequenceId> {
        let members = self.tiles.iter().flat_map(|tile| &tile.members).filter(|member| !member.dropped);
        let decoding = self.decode.chunk_by(|a, b| a.sequence == b.sequence).filter_map(<[DecodeRow]>::first);
        decoding.map(|row| row.sequence).chain(members.map(|member| member.sequence))
    }
}

/// One decode row: a token of the sequence, fed at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeRow {
    /// The sequence.
    pub sequence: SequenceId,
    /// Where the token goes; the prompt's first token is at 0, the first generated one at the prompt's length.
    pub position: usize,
}

/// A stretch of one cohort's walk, done in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// The cohort. Its tiles come in their order, each beginning where the one before ended, from layer 0 to the model's
    /// last, with the same members, less those that left.
    pub cohort: CohortId,
    /// The rows.
    pub members: Vec<TileRows>,
    /// Where these rows stand.
    pub from: Cursor,
    /// Where they stand after the step.
    pub to: Cursor,
}

impl Tile {
    /// Rows of all members, those of dropped ones included.
    pub fn rows(&self) -> usize {
        self.members.iter().map(|member| member.rows).sum()
    }

    /// What there is to do, in order. `experts` is the number of experts of a layer, if it is a mixture.
    pub fn parts(&self, experts: Option<usize>) -> Vec<Part> {
        let rows = self.rows();
        self.from.parts(self.to, Extent { rows, units: experts.unwrap_or(rows) })
    }
}

/// Consecutive rows of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileRows {
    /// The sequence.
    pub sequence: SequenceId,
    /// Position of the first row.
    pub start: usize,
    /// Number of rows.
    pub rows: usize,
    /// Whether the last row is the newest token there is: once it has passed the last layer, the sequence samples its next
    /// token, which is its first one unless it was preempted before.
    pub ends_prompt: bool,
    /// The sequence has left since its cohort began the layer it is in. Its rows keep their places until a tile ends between
    /// two layers, and then vanish; nothing is run for them, and their KV blocks are somebody else's.
    pub dropped: bool,
}

/// What came of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// [`Step::number`] of the step executed.
    pub step: u64,
    /// Sequences that this step ended: end of text, stop string, length.
    pub finished: Vec<SequenceId>,
    /// Sequences that ended because the step went wrong for them: nothing it did for them is trusted, so no block that it
    /// filled is published.
    pub failed: Vec<SequenceId>,
    /// The tokens that the step yielded, for the prefix cache: a sequence whose tokens are not told publishes blocks of its
    /// prompt alone. Tokens that follow a sequence's first one here are known without a row of their own; the next step runs
    /// the rows of all of them.
    pub sampled: Vec<(SequenceId, u32)>,
    /// Cohorts whose tiles ended early, and the places that they reached, somewhere from where the tile began (then it did
    /// not run, or no unit of it is done yet) to where it was to end. Rows inside a layer are cut at multiples of
    /// [`ROW_STEP`](crate::ROW_STEP).
    ///
    /// `None` where the executor never ends tiles early. Of one that does so when [`Step::deadline`] comes, steps need not be
    /// planned for the worst.
    pub reached: Option<Vec<(CohortId, Cursor)>>,
    /// How long the step took.
    pub duration: Duration,
    /// Part of it that the decode rows took, where they ran apart from all tiles and were timed.
    pub decode: Option<Duration>,
    /// Distinct experts touched by prefill rows, summed over layers.
    pub prefill_expert_loads: u64,
    /// Distinct experts touched by all rows, summed over layers.
    pub total_expert_loads: u64,
}
