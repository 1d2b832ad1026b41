//! What a scheduler is told once, at its start.

use crate::{ConfigError, Policy};

/// The fixed facts of a scheduler's world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// How prompts are cut into tiles.
    pub policy: Policy,
    /// Layers of the model.
    pub layers: usize,
    /// Most sequences that hold KV blocks at the same time, prefilling and decoding together.
    pub max_sequences: usize,
    /// KV blocks there are; block ids run from 0 to `kv_blocks - 1`.
    pub kv_blocks: usize,
    /// Positions a KV block holds.
    pub block_len: usize,
    /// Most sequences that may wait for admission; one more is refused.
    pub max_waiting: usize,
    /// Most positions of one sequence, prompt and generated tokens together.
    pub context: usize,
}

impl SchedulerConfig {
    /// Checks that every count is at least one.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("layers", self.layers),
            ("max_sequences", self.max_sequences),
            ("kv_blocks", self.kv_blocks),
            ("block_len", self.block_len),
            ("max_waiting", self.max_waiting),
        ];
        for (field, value) in counts {
            if value == 0 {
                return Err(ConfigError::Zero { field });
            }
        }
        // One position for the prompt and one for a generated token.
        if self.context < 2 {
            return Err(ConfigError::ContextTooSmall { context: self.context });
        }
        self.policy.check()
    }

    /// Blocks that hold `tokens` positions.
    pub(crate) fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block_len)
    }
}
