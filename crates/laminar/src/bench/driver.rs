//! Drives an executor through prompts and decode steps of random tokens, without scheduler, sampler and server.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use laminar_engine::{
    Batch, CohortId, Cursor, DecodeInput, Executor, MemberInput, SequenceId, Snapshot, StateSlots, TileInput,
};
use laminar_model::ExpertLoads;
use laminar_schedule::Extent;

use crate::exit::Internal;

/// Rows that set out together when the contexts of decoding sequences are filled.
const FILL_ROWS: usize = 2048;

/// An executor and the sequences that it works on: one for prompts, and some that decode.
pub struct Driver<E> {
    executor: E,
    /// Tokens of the longest prompt or context.
    prompt: Vec<u32>,
    prompt_blocks: Vec<u32>,
    decoding: Vec<Decoding>,
    logits: Vec<f32>,
    cohorts: u64,
}

/// A sequence that decodes.
struct Decoding {
    blocks: Vec<u32>,
    tokens: Vec<u32>,
}

/// How much room the sequences need.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Tokens of the longest prompt.
    pub prompt: usize,
    /// Sequences that decode at once.
    pub batch: usize,
    /// Their tokens before they decode.
    pub context: usize,
    /// Their decode steps.
    pub decode: usize,
}

impl Room {
    /// KV blocks, if the number can be written.
    pub fn blocks(&self, block_len: usize) -> Option<usize> {
        let sequence = self.context.checked_add(self.decode)?.div_ceil(block_len);
        sequence.checked_mul(self.batch)?.checked_add(self.prompt.div_ceil(block_len))
    }
}

/// A step that was run.
pub struct Ran {
    /// How long it took.
    pub time: Duration,
    /// The experts it read.
    pub loads: ExpertLoads,
}

impl<E: Executor> Driver<E> {
    /// Sequences of random tokens for an executor with `room.blocks` KV blocks.
    pub fn new(executor: E, room: Room, seed: u64) -> Self {
        let vocab = executor.vocab_size() as u64;
        let block_len = executor.block_len();
        let mut seeds = SplitMix(seed);
        // A stream of its own for each sequence, so that its tokens do not depend on the lengths of others.
        let mut tokens = |count: usize| -> Vec<u32> {
            let mut random = SplitMix(seeds.next());
            (0..count).map(|_| (random.next() % vocab) as u32).collect()
        };
        let mut next = 0;
        let mut blocks = |positions: usize| -> Vec<u32> {
            let first = next;
            next += positions.div_ceil(block_len) as u32;
            (first..next).collect()
        };
        let prompt = tokens(room.prompt.max(room.context));
        let prompt_blocks = blocks(room.prompt);
        let decoding = (0..room.batch)
            .map(|_| Decoding { blocks: blocks(room.context + room.decode), tokens: tokens(room.decode) })
            .collect();
        Self { executor, prompt, prompt_blocks, decoding, logits: Vec::new(), cohorts: 0 }
    }

    /// Runs a prompt of so many tokens, up to the logits of its last one.
    pub fn prefill(&mut self, rows: usize) -> anyhow::Result<Ran> {
        let tile = tile(&self.executor, &mut self.cohorts, vec![member(0, &self.prompt[..rows], &self.prompt_blocks)]);
        execute(&mut self.executor, Batch { tiles: vec![tile], ..Batch::default() }, &mut self.logits)
    }

    /// Runs the tokens that stand before those to decode, in every sequence that decodes.
    pub fn fill(&mut self, context: usize) -> anyhow::Result<()> {
        let together = (FILL_ROWS / context).max(1);
        for (group, sequences) in self.decoding.chunks(together).enumerate() {
            let members = sequences.iter().enumerate().map(|(i, sequence)| {
                let number = group * together + i;
                let mut member = member(1 + number as u64, &self.prompt[..context], &sequence.blocks);
                member.state.keep = Some(left(number, context));
                member
            });
            let tile = tile(&self.executor, &mut self.cohorts, members.collect());
            execute(&mut self.executor, Batch { tiles: vec![tile], ..Batch::default() }, &mut self.logits)?;
        }
        Ok(())
    }

    /// Runs decode step `step` of `batch` sequences, behind `context` tokens.
    pub fn decode(&mut self, batch: usize, context: usize, step: usize) -> anyhow::Result<Ran> {
        let rows = self.decoding[..batch].iter().enumerate().map(|(number, sequence)| DecodeInput {
            sequence: SequenceId(1 + number as u64),
            token: sequence.tokens[step],
            position: context + step,
            blocks: &sequence.blocks,
            // The state behind the context, wherever steps before have led.
            state: StateSlots { begin: Some(left(number, context)), ..StateSlots::own(2 * number as u32 + 1) },
        });
        execute(&mut self.executor, Batch { decode: rows.collect(), ..Batch::default() }, &mut self.logits)
    }
}

/// The state of a sequence that decodes, behind its context: every other slot behind that of the prompt.
fn left(number: usize, context: usize) -> Snapshot {
    Snapshot { slot: 2 * number as u32 + 2, position: context }
}

fn member<'a>(sequence: u64, tokens: &'a [u32], blocks: &'a [u32]) -> MemberInput<'a> {
    MemberInput {
        sequence: SequenceId(sequence),
        rows: tokens.len(),
        tokens,
        start: 0,
        blocks,
        state: StateSlots::own((2 * sequence).saturating_sub(1) as u32),
        ends_prompt: true,
        dropped: false,
    }
}

/// A tile of these members through all layers.
fn tile<'a>(executor: &impl Executor, cohorts: &mut u64, members: Vec<MemberInput<'a>>) -> TileInput<'a> {
    *cohorts += 1;
    let (from, to) = (Cursor::at_layer(0), Cursor::at_layer(executor.layers()));
    let rows = members.iter().map(|member| member.rows).sum();
    let units = executor.experts().map_or(rows, |experts| experts.count);
    TileInput { cohort: CohortId(*cohorts), members, from, to, parts: from.parts(to, Extent { rows, units }) }
}

fn execute(executor: &mut impl Executor, mut batch: Batch<'_>, logits: &mut Vec<f32>) -> anyhow::Result<Ran> {
    let begin = Instant::now();
    let loads = executor
        .execute(&mut batch, logits)
        .map_err(|error| anyhow!(error))
        .context(Internal("the engine could not run a step"))?;
    Ok(Ran { time: begin.elapsed(), loads })
}

/// SplitMix64 (Steele et al., *Fast splittable pseudorandom number generators*, OOPSLA 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
