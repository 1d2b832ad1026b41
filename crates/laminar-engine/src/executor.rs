//! What executes a step: the waist between the engine thread and the arithmetic.

use crate::{Pooling, TokenLogprobs};
use laminar_model::ExpertLoads;
use laminar_schedule::{CohortId, CostPrior, Cursor, Experts, Part, SequenceId, StateSlots};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Executes batches of rows. [`ModelExecutor`](crate::ModelExecutor) does it with a model; tests use others.
pub trait Executor: Send {
    /// Layers of the model.
    fn layers(&self) -> usize;

    /// The experts of each layer, if it is a mixture.
    fn experts(&self) -> Option<Experts>;

    /// Logits of a row.
    fn vocab_size(&self) -> usize;

    /// Positions in a KV block.
    fn block_len(&self) -> usize;

    /// KV blocks there are.
    fn kv_blocks(&self) -> usize;

    /// States of recurrent layers that it can keep for the prefix cache, in slots behind those of the sequences that run;
    /// `None` where KV blocks are all that sequences need.
    fn snapshots(&self) -> Option<usize> {
        None
    }

    /// What its work costs before any step was timed; the scheduler learns the rest from the reports.
    fn costs(&self) -> CostPrior {
        CostPrior::default()
    }

    /// Whether [`execute`](Self::execute) ends tiles early when a batch's [`end`](Batch::end) comes.
    fn ends_early(&self) -> bool {
        false
    }

    /// What the decode rows of the newest batch took, logits included, where they ran apart from all tiles.
    fn decode_time(&self) -> Option<Duration> {
        None
    }

    /// Executes one step and replaces `logits` with one row of [`vocab_size`](Self::vocab_size) logits for each row of
    /// [`Batch::sampling`], in that order.
    ///
    /// A batch with an [`end`](Batch::end) that comes too soon for all of its tiles may be shortened: `to` of a tile becomes
    /// the place that it has reached, and that of a tile that has not run is where it begins. The decode rows run in any
    /// case, and prompts move at least once in a few steps.
    ///
    /// # Errors
    ///
    /// An error (or a panic) fails every sequence of the batch, and no other.
    fn execute(&mut self, batch: &mut Batch<'_>, logits: &mut Vec<f32>) -> Result<ExpertLoads, ExecuteError>;

    /// Threads that execute steps.
    fn threads(&self) -> usize {
        1
    }

    /// Calls `task(0)`, `task(1)`, ... `task(tasks - 1)`, each exactly once and in any order, on the threads that execute steps.
    fn run_tasks(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }

    /// Does a little of what steps to come would have to do otherwise, in some milliseconds at most, between two steps or when
    /// there is nothing to run. False if there is nothing left to do.
    fn prepare(&mut self) -> bool {
        false
    }

    /// Asks for the rows of a sequence's prompt to be pooled, from its first row on.
    fn pool(&mut self, _sequence: SequenceId, _pooling: Pooling) {}

    /// The pooled rows of a sequence whose prompt has passed all layers; none from an executor that has no hidden states.
    fn take_pooled(&mut self, _sequence: SequenceId) -> Option<Vec<f32>> {
        None
    }

    /// Asks for the log-probabilities of a prompt's tokens, with `top` alternatives each, from its first row on.
    fn score(&mut self, _sequence: SequenceId, _prompt: Arc<[u32]>, _top: usize) {}

    /// The log-probabilities of the tokens, from the second on, of a prompt that has passed all layers; none from an executor
    /// that computes no logits but the last.
    fn take_scores(&mut self, _sequence: SequenceId) -> Option<Vec<TokenLogprobs>> {
        None
    }

    /// Drops whatever is kept for a sequence that has ended, or lost its KV blocks and will start anew.
    fn forget(&mut self, sequence: SequenceId);
}

/// Why a step failed, in words.
pub type ExecuteError = Box<dyn std::error::Error + Send + Sync>;

/// A step with everything needed to execute it.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    /// Rows of sequences that decode, through all layers; those of a sequence follow each other.
    pub decode: Vec<DecodeInput<'a>>,
    /// Prompt rows, in the order to run them.
    pub tiles: Vec<TileInput<'a>>,
    /// When the step should be over, if streams wait for it.
    pub end: Option<StepEnd>,
    /// When the tokens of the step before are handed out, which may be to come: whoever computes should let those who bring
    /// them to their clients have a core then.
    pub handed_out: Option<Instant>,
}

/// When a step should be over.
#[derive(Clone, Copy, Debug)]
pub struct StepEnd {
    /// The moment.
    pub at: Instant,
    /// What the decode rows take alone when they are slow.
    pub decode: Duration,
}

/// A decode row.
#[derive(Clone, Copy, Debug)]
pub struct DecodeInput<'a> {
    /// The sequence.
    pub sequence: SequenceId,
    /// The token to feed: the sequence's newest, or one of several that are new.
    pub token: u32,
    /// Its position.
    pub position: usize,
    /// The sequence's block table.
    pub blocks: &'a [u32],
    /// Its slots in recurrent layers.
    pub state: StateSlots,
}

/// A stretch of one cohort's walk; see [`laminar_schedule::Tile`].
#[derive(Clone, Debug)]
pub struct TileInput<'a> {
    /// The cohort.
    pub cohort: CohortId,
    /// Consecutive rows, one entry a sequence.
    pub members: Vec<MemberInput<'a>>,
    /// Where the rows stand. Beyond the begin of layer 0 they have been parked by the cohort's tile before.
    pub from: Cursor,
    /// Where they stand after the step.
    pub to: Cursor,
    /// What there is to do, in order.
    pub parts: Vec<Part>,
}

/// Rows of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct MemberInput<'a> {
    /// The sequence.
    pub sequence: SequenceId,
    /// Number of rows.
    pub rows: usize,
    /// The tokens of the rows; none when the member is dropped.
    pub tokens: &'a [u32],
    /// Position of the first one.
    pub start: usize,
    /// The sequence's block table; empty when the member is dropped.
    pub blocks: &'a [u32],
    /// Its slots in recurrent layers.
    pub state: StateSlots,
    /// Whether the last row is that of the sequence's newest token.
    pub ends_prompt: bool,
    /// The sequence has left in the middle of a layer. Its rows keep their places until a tile of the cohort ends between
    /// layers, and nothing is run for them.
    pub dropped: bool,
}

impl Batch<'_> {
    /// The sequences that get a token in this step, with the position of the row it is chosen from: those that decode, with
    /// the last of their rows, then every sequence whose newest row passes the last of `layers` layers in a tile.
    pub fn sampling(&self, layers: usize) -> Vec<(SequenceId, usize)> {
        let decode = last_rows(&self.decode).map(|(_, row)| (row.sequence, row.position));
        let ending = self.tiles.iter().filter(|tile| tile.to.layer >= layers);
        let members = ending.flat_map(|tile| &tile.members).filter(|member| member.ends_prompt && !member.dropped);
        decode.chain(members.map(|member| (member.sequence, member.start + member.rows - 1))).collect()
    }
}

/// The last row of each sequence, with its place.
pub(crate) fn last_rows<'a, 'b>(decode: &'a [DecodeInput<'b>]) -> impl Iterator<Item = (usize, &'a DecodeInput<'b>)> {
    let is_last = |(place, row): &(usize, &DecodeInput<'_>)| {
        decode.get(place + 1).is_none_or(|next| next.sequence != row.sequence)
    };
    decode.iter().enumerate().filter(is_last)
}
