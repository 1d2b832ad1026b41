//! What an engine is told once, at its start, and how it chooses its KV memory.

use crate::EngineError;
use laminar_model::{BLOCK_LEN, KvCache, KvType, Model};
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
    /// Whether prompts share the KV blocks of equal beginnings. It changes no answer, only the work before it.
    pub prefix_cache: bool,
}

impl Default for EngineConfig {
    /// Adaptive prefill without targets, 16 sequences of 4096 positions, KV in f16, 256 may wait, with
    /// the prefix cache.
    fn default() -> Self {
        Self {
            policy: Policy::ADAPTIVE,
            max_sequences: 16,
            context: 4096,
            max_waiting: 256,
            kv_type: KvType::F16,
            kv_blocks: None,
            prefix_cache: true,
        }
    }
}

/// Memory for what sequences keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// KV blocks.
    pub kv_blocks: usize,
    /// States beside those of the sequences that run, for the prefix cache.
    pub snapshots: usize,
}

impl EngineConfig {
    /// The memory for a model's sequences.
    pub(crate) fn choose_room(&self, model: &Model) -> Result<Room, EngineError> {
        let head_dim = model.config().head_dim;
        if !self.kv_type.fits(head_dim) {
            let message = format!("KV type {} cannot hold heads of {head_dim} values; use f16", self.kv_type.name());
            return Err(EngineError::Start { message });
        }
        let available = available_memory().map_or(usize::MAX >> 1, |bytes| bytes.try_into().unwrap_or(usize::MAX >> 1));
        let state_bytes = KvCache::bytes_per_state(model.config());
        let snapshots = if self.prefix_cache { snapshots(self.max_sequences, state_bytes, available) } else { 0 };
        let states = state_bytes.saturating_mul(self.max_sequences.saturating_add(snapshots));
        if states > available / 2 {
            let message = format!(
                "states of {state_bytes} bytes for {} sequences are more than half of the {available} bytes of memory \
                 available; ask for at most {} sequences",
                self.max_sequences,
                available / 2 / state_bytes.max(1)
            );
            return Err(EngineError::Start { message });
        }
        let block_bytes = KvCache::bytes_per_block(model.config(), BLOCK_LEN, self.kv_type);
        let context = self.context.min(model.context_length());
        let blocks = kv_blocks(self.kv_blocks, self.max_sequences, context, block_bytes, available, states)?;
        tracing::info!("KV memory: {blocks} blocks of {block_bytes} bytes, {} MiB", (blocks * block_bytes) >> 20);
        if states > 0 {
            let kept = snapshots;
            tracing::info!("states: {} and {kept} kept, {} MiB", self.max_sequences, states >> 20);
        }
        Ok(Room { kv_blocks: blocks, snapshots })
    }
}

/// Two states for each sequence that runs, one behind its prompt and one behind its answer, within a sixteenth of the memory.
fn snapshots(sequences: usize, state_bytes: usize, available: usize) -> usize {
    let most = available / 16 / state_bytes.max(1);
    if state_bytes == 0 { 0 } else { sequences.saturating_mul(2).min(most) }
}

/// As many blocks as asked for, or enough for all sequences within half of the memory at hand, beside `states` bytes.
fn kv_blocks(
    wanted: Option<usize>,
    sequences: usize,
    context: usize,
    block_bytes: usize,
    available: usize,
    states: usize,
) -> Result<usize, EngineError> {
    let block_bytes = block_bytes.max(1);
    if let Some(blocks) = wanted {
        let fits = blocks.checked_mul(block_bytes).is_some_and(|bytes| bytes <= available.saturating_sub(states));
        if !fits {
            let message = format!(
                "{blocks} KV blocks of {block_bytes} bytes are more than the {available} bytes of memory available; ask \
                 for at most {} blocks",
                available.saturating_sub(states) / block_bytes
            );
            return Err(EngineError::Start { message });
        }
        return Ok(blocks);
    }
    let all = context.div_ceil(BLOCK_LEN).saturating_mul(sequences);
    let blocks = all.min((available / 2).saturating_sub(states) / block_bytes);
    if blocks == 0 {
        let message = format!(
            "half of the {available} bytes of memory available hold no KV block of {block_bytes} bytes; free some memory"
        );
        return Err(EngineError::Start { message });
    }
    Ok(blocks)
}

/// Bytes of memory that can be used without swapping, where the system tells.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kv_memory_is_enough_for_all_or_half_of_what_is_there() {
        assert_eq!(kv_blocks(None, 4, 100, 1000, 1 << 30, 0), Ok(16));
        assert_eq!(kv_blocks(None, 4, 100, 1000, 20_000, 0), Ok(10));
        assert_eq!(kv_blocks(None, 4, 100, 1000, 20_000, 7000), Ok(3));
        assert!(kv_blocks(None, 4, 100, 1000, 1999, 0).is_err());
    }

    #[test]
    fn kv_blocks_asked_for_must_fit_the_memory() {
        assert_eq!(kv_blocks(Some(3), 4, 100, 1000, 3000, 0), Ok(3));
        for (blocks, states) in [(4, 0), (usize::MAX, 0), (4, 500)] {
            let error = kv_blocks(Some(blocks), 4, 100, 1000, 3000 + states, states).unwrap_err().to_string();
            assert!(error.contains("at most 3 blocks"), "{error}");
        }
    }

    #[test]
    fn states_are_kept_for_all_sequences_or_in_a_part_of_the_memory() {
        assert_eq!([snapshots(4, 100, 1 << 20), snapshots(4, 100, 8000), snapshots(4, 0, 8000)], [8, 5, 0]);
    }
}
