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

impl EngineConfig {
    /// The number of KV blocks for a model.
    pub(crate) fn choose_kv_blocks(&self, model: &Model) -> Result<usize, EngineError> {
        let head_dim = model.config().head_dim;
        if !self.kv_type.fits(head_dim) {
            let message = format!("KV type {} cannot hold heads of {head_dim} values; use f16", self.kv_type.name());
            return Err(EngineError::Start { message });
        }
        let block_bytes = KvCache::bytes_per_block(model.config(), BLOCK_LEN, self.kv_type);
        let context = self.context.min(model.context_length());
        let blocks = kv_blocks(self.kv_blocks, self.max_sequences, context, block_bytes, available_memory())?;
        tracing::info!("KV memory: {blocks} blocks of {block_bytes} bytes, {} MiB", (blocks * block_bytes) >> 20);
        Ok(blocks)
    }
}

/// As many blocks as asked for, or enough for all sequences within half of the memory at hand.
fn kv_blocks(
    wanted: Option<usize>,
    sequences: usize,
    context: usize,
    block_bytes: usize,
    available: Option<u64>,
) -> Result<usize, EngineError> {
    let available = available.map_or(usize::MAX >> 1, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX >> 1));
    let block_bytes = block_bytes.max(1);
    if let Some(blocks) = wanted {
        let fits = blocks.checked_mul(block_bytes).is_some_and(|bytes| bytes <= available);
        if !fits {
            let message = format!(
                "{blocks} KV blocks of {block_bytes} bytes are more than the {available} bytes of memory available; ask \
                 for at most {} blocks",
                available / block_bytes
            );
            return Err(EngineError::Start { message });
        }
        return Ok(blocks);
    }
    let all = context.div_ceil(BLOCK_LEN).saturating_mul(sequences);
    let blocks = all.min(available / 2 / block_bytes);
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
        assert_eq!(kv_blocks(None, 4, 100, 1000, Some(1 << 30)), Ok(16));
        assert_eq!(kv_blocks(None, 4, 100, 1000, Some(20_000)), Ok(10));
        assert_eq!(kv_blocks(None, 4, 100, 1000, None), Ok(16));
        assert!(kv_blocks(None, 4, 100, 1000, Some(1999)).is_err());
    }

    #[test]
    fn kv_blocks_asked_for_must_fit_the_memory() {
        assert_eq!(kv_blocks(Some(3), 4, 100, 1000, Some(3000)), Ok(3));
        for blocks in [4, usize::MAX] {
            let error = kv_blocks(Some(blocks), 4, 100, 1000, Some(3000)).unwrap_err().to_string();
            assert!(error.contains("at most 3 blocks"), "{error}");
        }
    }
}
