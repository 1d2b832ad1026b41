//! What executes a step: the waist between the engine thread and the arithmetic.

use laminar_model::ExpertLoads;
use laminar_schedule::SequenceId;
use std::ops::Range;

/// Executes batches of rows. [`ModelExecutor`](crate::ModelExecutor) does it with a model; tests use others.
pub trait Executor: Send {
    /// Layers of the model.
    fn layers(&self) -> usize;

    /// Logits of a row.
    fn vocab_size(&self) -> usize;

    /// Positions in a KV block.
    fn block_len(&self) -> usize;

    /// KV blocks there are.
    fn kv_blocks(&self) -> usize;

    /// Executes one step and replaces `logits` with one row of [`vocab_size`](Self::vocab_size) logits for each row of
    /// [`Batch::sampling`], in that order.
    ///
    /// # Errors
    ///
    /// An error (or a panic) fails every sequence of the batch, and no other.
    fn execute(&mut self, batch: &Batch<'_>, logits: &mut Vec<f32>) -> Result<ExpertLoads, ExecuteError>;

    /// Drops whatever is kept for a sequence that has ended.
    fn forget(&mut self, sequence: SequenceId);
}

/// Why a step failed, in words.
pub type ExecuteError = Box<dyn std::error::Error + Send + Sync>;

/// A step with everything needed to execute it.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    /// One row each, through all layers.
    pub decode: Vec<DecodeInput<'a>>,
    /// Prompt rows, each tile through its own layers.
    pub tiles: Vec<TileInput<'a>>,
}

/// A decode row.
#[derive(Clone, Copy, Debug)]
pub struct DecodeInput<'a> {
    /// The sequence.
    pub sequence: SequenceId,
    /// The token to feed: the sequence's newest.
    pub token: u32,
    /// Its position.
    pub position: usize,
    /// The sequence's block table.
    pub blocks: &'a [u32],
}

/// The prompt rows of one cohort.
#[derive(Clone, Debug)]
pub struct TileInput<'a> {
    /// Consecutive rows, one entry a sequence.
    pub members: Vec<MemberInput<'a>>,
    /// The layers they pass in this step. Rows that start behind layer 0 have been parked by the step before.
    pub layers: Range<usize>,
}

/// Prompt rows of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct MemberInput<'a> {
    /// The sequence.
    pub sequence: SequenceId,
    /// The tokens of the rows.
    pub tokens: &'a [u32],
    /// Position of the first one.
    pub start: usize,
    /// The sequence's block table.
    pub blocks: &'a [u32],
    /// Whether the last row is the prompt's last one.
    pub ends_prompt: bool,
}

impl Batch<'_> {
    /// The sequences that get a token in this step, with the position of the row it is chosen from: the decode rows,
    /// then every prompt whose last row passes the last of `layers` layers.
    pub fn sampling(&self, layers: usize) -> Vec<(SequenceId, usize)> {
        let decode = self.decode.iter().map(|row| (row.sequence, row.position));
        let ending = self.tiles.iter().filter(|tile| tile.layers.end == layers);
        let members = ending.flat_map(|tile| tile.members.iter().filter(|member| member.ends_prompt));
        decode.chain(members.map(|member| (member.sequence, member.start + member.tokens.len() - 1))).collect()
    }
}
