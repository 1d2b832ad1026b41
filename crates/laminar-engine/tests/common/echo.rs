//! An executor without a model: a sequence answers with its own prompt, then ends its turn.

use super::end_token;
use laminar_engine::{Batch, Cursor, EngineConfig, ExecuteError, Executor, Experts, Policy, SequenceId};
use laminar_model::ExpertLoads;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// Tokens of a prompt that make something go wrong when they would be answered.
pub const NAN: u32 = 250;
pub const PANIC: u32 = 251;
pub const ERROR: u32 = 252;

/// What a step was.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub decode: Vec<SequenceId>,
    pub prefill: Vec<(SequenceId, Range<usize>)>,
}

#[derive(Default)]
pub struct Echo {
    pub prompts: BTreeMap<SequenceId, Vec<u32>>,
    /// The tokens of prompt rows that have passed all layers, by block: what stands for KV here. A prompt that the prefix
    /// cache spares its beginning is read from it.
    pub kv: BTreeMap<u32, [u32; BLOCK_LEN]>,
    /// Every step so far.
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// One permit a step, if steps are to wait for the test.
    pub gate: Option<Receiver<()>>,
    /// After its prompt a sequence answers with it again instead of ending.
    pub never_ends: bool,
}

pub const LAYERS: usize = 4;
pub const BLOCK_LEN: usize = 4;
pub const BLOCKS: usize = 64;

impl Echo {
    /// An executor each of whose steps waits for a message; when the sender is gone they run freely.
    pub fn gated() -> (Self, Sender<()>) {
        let (sender, gate) = channel();
        (Self { gate: Some(gate), ..Self::default() }, sender)
    }

    fn logits(&self, sequence: SequenceId, place: usize, vocab: usize) -> Vec<f32> {
        let prompt = &self.prompts[&sequence];
        let wanted = match prompt.get(place) {
            Some(&token) => token,
            None if self.never_ends => prompt[place % prompt.len()],
            None => end_token(),
        };
        assert_ne!(wanted, PANIC, "the prompt asked for it");
        let mut logits = vec![0.0; vocab];
        logits[wanted as usize] = if wanted == NAN { f32::NAN } else { 10.0 };
        logits
    }
}

/// A configuration for it.
pub fn config(policy: Policy) -> EngineConfig {
    EngineConfig { policy, max_sequences: 4, context: 128, max_waiting: 4, ..EngineConfig::default() }
}

/// Two layers a step.
pub const LAYERED: Policy = Policy::Layered { group_tokens: 512, cohort_tokens: 8192, groups: Some(2) };

impl Executor for Echo {
    fn layers(&self) -> usize {
        LAYERS
    }

    fn experts(&self) -> Option<Experts> {
        None
    }

    fn vocab_size(&self) -> usize {
        end_token() as usize + 1
    }

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn kv_blocks(&self) -> usize {
        BLOCKS
    }

    fn execute(&mut self, batch: &mut Batch<'_>, logits: &mut Vec<f32>) -> Result<ExpertLoads, ExecuteError> {
        if let Some(gate) = &self.gate {
            let _ = gate.recv();
        }
        let mut seen = Seen { decode: batch.decode.iter().map(|row| row.sequence).collect(), ..Seen::default() };
        for tile in &batch.tiles {
            let begins = tile.from == Cursor::at_layer(0);
            for member in tile.members.iter().filter(|member| !member.dropped) {
                seen.prefill.push((member.sequence, tile.from.layer..tile.to.layer));
                if begins {
                    let kv = &self.kv;
                    let cached = |place: usize| kv[&member.blocks[place / BLOCK_LEN]][place % BLOCK_LEN];
                    let prompt = self.prompts.entry(member.sequence);
                    let prompt = prompt.or_insert_with(|| (0..member.start).map(cached).collect());
                    prompt.extend_from_slice(member.tokens);
                }
                if tile.to.layer == LAYERS {
                    for (token, place) in member.tokens.iter().zip(member.start..) {
                        let block = self.kv.entry(member.blocks[place / BLOCK_LEN]).or_default();
                        block[place % BLOCK_LEN] = *token;
                    }
                }
                if !begins && member.tokens.contains(&ERROR) {
                    return Err("an error in the middle of a prefill".into());
                }
            }
        }
        self.seen.lock().unwrap().push(seen);
        logits.clear();
        for (sequence, position) in batch.sampling(LAYERS) {
            let place = position + 1 - self.prompts[&sequence].len();
            logits.extend(self.logits(sequence, place, self.vocab_size()));
        }
        Ok(ExpertLoads::default())
    }

    fn forget(&mut self, sequence: SequenceId) {
        self.prompts.remove(&sequence);
    }
}
