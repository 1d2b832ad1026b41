//! A model of 151,936 tokens that computes nothing.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use laminar_engine::{Batch, ExecuteError, Executor, Experts, SequenceId};
use laminar_kernels::Pool;
use laminar_model::ExpertLoads;
use laminar_model::checkpoint::{Checkpoint, Metadata};
use laminar_model::tokenizer::Tokenizer;

use crate::Failure;

/// As many as Qwen 2.5 and 3 have.
const TOKENS: usize = 151_936;
/// Longest token, in letters.
const LONGEST: usize = 16;
/// Rows of logits that take turns.
const ROWS: usize = 16;
/// How much likelier tokens of punctuation are, so that strings end and answers have structure.
const PUNCTUATION: f32 = 7.0;

/// The vocabulary of a checkpoint with pairs of its tokens added, up to [`TOKENS`].
pub fn large_vocabulary(checkpoint: &Checkpoint) -> Result<Metadata, Failure> {
    let Checkpoint::Gguf(file) = checkpoint else {
        return Err("a GGUF file is needed".into());
    };
    let mut metadata = file.metadata().clone();
    let mut tokens = metadata.strings("tokenizer.ggml.tokens")?.ok_or("no tokens")?.to_vec();
    let mut types = metadata.i32s("tokenizer.ggml.token_type")?.ok_or("no token types")?;
    let plain: Vec<String> =
        tokens.iter().zip(&types).filter(|(_, kind)| **kind == 1).map(|(token, _)| token.clone()).collect();
    let mut known: HashSet<String> = tokens.iter().cloned().collect();
    let mut dice = Dice(1);
    while tokens.len() < TOKENS {
        let pair = format!("{}{}", plain[dice.below(plain.len())], plain[dice.below(plain.len())]);
        if pair.chars().count() <= LONGEST && known.insert(pair.clone()) {
            tokens.push(pair);
            types.push(1);
        }
    }
    metadata.set("tokenizer.ggml.tokens", tokens);
    metadata.set("tokenizer.ggml.token_type", types);
    Ok(metadata)
}

/// SplitMix64 (Steele et al., *Fast splittable pseudorandom number generators*, OOPSLA 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// From 0 to 1.
    fn share(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// What a task of a step takes. A step is a fixed amount of work, as that of a model is, so whoever takes the processors
/// meanwhile makes it last longer.
const PIECE: Duration = Duration::from_micros(20);

/// Does nothing, so many times.
fn work(turns: u64) {
    (0..turns).for_each(|turn| {
        std::hint::black_box(turn);
    });
}

fn turns_of_a_piece() -> u64 {
    const TURNS: u64 = 1_000_000;
    let tries = (0..9).map(|_| {
        let begun = Instant::now();
        work(TURNS);
        begun.elapsed()
    });
    let fastest = tries.min().unwrap_or_default().max(Duration::from_nanos(1));
    (TURNS as f64 * PIECE.div_duration_f64(fastest)) as u64
}

/// Gives every row of a batch logits that were drawn beforehand.
pub struct Scripted {
    vocab: usize,
    rows: Vec<Vec<f32>>,
    step: Duration,
    /// Turns of [`work`] that take a [`PIECE`].
    turns: u64,
    pool: Pool,
    blocks: usize,
    given: usize,
}

impl Scripted {
    pub const BLOCK_LEN: usize = 32;

    /// A model whose steps keep the threads of `pool` busy for `step`, if nobody else takes them.
    pub fn new(tokenizer: &Tokenizer, step: Duration, pool: Pool, blocks: usize) -> Self {
        let vocab = tokenizer.vocab_size();
        let punctuation: Vec<bool> = (0..vocab as u32)
            .map(|id| {
                let bytes = tokenizer.token_bytes(id);
                !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_punctuation() || *byte == b' ')
            })
            .collect();
        let mut dice = Dice(2);
        let logit = |dice: &mut Dice, likelier: bool| {
            // Four uniform numbers make a bell.
            let bell = (0..4).map(|_| dice.share()).sum::<f32>() - 2.0;
            bell * 4.0 + if likelier { PUNCTUATION } else { 0.0 }
        };
        let row = |dice: &mut Dice| punctuation.iter().map(|likelier| logit(dice, *likelier)).collect();
        let rows = (0..ROWS).map(|_| row(&mut dice)).collect();
        Self { vocab, rows, step, turns: turns_of_a_piece(), pool, blocks, given: 0 }
    }
}

impl Executor for Scripted {
    fn layers(&self) -> usize {
        1
    }

    fn experts(&self) -> Option<Experts> {
        None
    }

    fn vocab_size(&self) -> usize {
        self.vocab
    }

    fn block_len(&self) -> usize {
        Self::BLOCK_LEN
    }

    fn kv_blocks(&self) -> usize {
        self.blocks
    }

    fn execute(&mut self, batch: &mut Batch<'_>, logits: &mut Vec<f32>) -> Result<ExpertLoads, ExecuteError> {
        let tasks = self.step.as_micros() / PIECE.as_micros() * self.pool.threads() as u128;
        self.pool.run(tasks as usize, &|_| work(self.turns));
        logits.clear();
        for _ in batch.sampling(1) {
            logits.extend_from_slice(&self.rows[self.given % ROWS]);
            self.given += 1;
        }
        Ok(ExpertLoads::default())
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn run_tasks(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.pool.run(tasks, task);
    }

    fn forget(&mut self, _: SequenceId) {}
}
