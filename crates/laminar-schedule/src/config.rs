//! What a scheduler is told once, at its start.

use crate::cost::CostPrior;
use crate::{ConfigError, Policy};

/// The fixed facts of a scheduler's world.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    /// How prompts are cut into tiles.
    pub policy: Policy,
    /// Layers of the model.
    pub layers: usize,
    /// The experts of each layer, if it is a mixture; the feed-forward networks are dense without.
    pub experts: Option<Experts>,
    /// What work costs before any step was timed.
    pub costs: CostPrior,
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
    /// States that may be kept for the prefix cache, if the model has recurrent layers: a sequence can begin with cached
    /// blocks only where one was left. `None`: blocks are all there is. Their slots are numbered from `max_sequences` on.
    pub snapshots: Option<usize>,
}

/// The experts of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Experts there are.
    pub count: usize,
    /// Experts that each row goes through.
    pub top_k: usize,
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
        if let Some(Experts { count, top_k }) = self.experts {
            if top_k == 0 {
                return Err(ConfigError::Zero { field: "top_k" });
            }
            if top_k > count {
                return Err(ConfigError::TooFewExperts { count, top_k });
            }
        }
        // One position for the prompt and one for a generated token.
        if self.context < 2 {
            return Err(ConfigError::ContextTooSmall { context: self.context });
        }
        self.policy.check(self.layers)
    }

    /// Blocks that hold `tokens` positions.
    pub(crate) fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block_len)
    }
}
