//! What an engine is told once, at its start.

use laminar_model::KvType;
use laminar_schedule::Policy;

/// The engine's settings. The number of threads is that of the pool it is given.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// How prompts are cut into tiles.
    pub policy: Policy,
    /// Most sequences that prefill and decode at the same time.
    pub max_sequences: usize,
    /// Most positions of one sequence, prompt and answer together; cut to what the model was made for and to what the
    /// KV memory holds.
    pub context: usize,
    /// Requests that may wait beside the `max_sequences` that run; one more is refused.
    pub max_waiting: usize,
    /// How keys and values are stored.
    pub kv_type: KvType,
    /// Number of KV blocks of [`laminar_model::BLOCK_LEN`] positions. `None`: enough for `max_sequences` full
    /// contexts, but at most half of the memory that is available at start.
    pub kv_blocks: Option<usize>,
}

impl Default for EngineConfig {
    /// Layered prefill with the paper's constants, 16 sequences of 4096 positions, KV in f16, 256 may wait.
    fn default() -> Self {
        Self {
            policy: Policy::LAYERED,
            max_sequences: 16,
            context: 4096,
            max_waiting: 256,
            kv_type: KvType::F16,
            kv_blocks: None,
        }
    }
}
