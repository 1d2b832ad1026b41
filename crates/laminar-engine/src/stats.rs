//! The engine's gauges and counters.

/// A snapshot, taken after the newest step.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct EngineStats {
    /// Sequences that decode.
    pub running: usize,
    /// Sequences whose prompt has started but is not done.
    pub prefilling: usize,
    /// Requests that wait for admission.
    pub waiting: usize,
    /// KV blocks that living sequences use; one that several share counts once.
    pub used_blocks: usize,
    /// KV blocks that no sequence uses but that a prompt may find.
    pub cached_blocks: usize,
    /// KV blocks there are.
    pub total_blocks: usize,
    /// Steps executed.
    pub steps: u64,
    /// Time spent in steps, in seconds.
    pub step_seconds: f64,
    /// Part of it that went into planning and committing.
    pub schedule_seconds: f64,
    /// Tokens generated.
    pub tokens_generated: u64,
    /// Prompt tokens that have passed all layers.
    pub prompt_tokens: u64,
    /// Times that a request lost its KV memory to others and had to start anew.
    pub preemptions: u64,
    /// Prompt tokens that were looked up in the prefix cache.
    pub prefix_lookup_tokens: u64,
    /// Prompt tokens that were found there and did not run.
    pub prefix_hit_tokens: u64,
    /// Requests that finished.
    pub requests_finished: u64,
    /// Requests whose client left or that a shutdown ended.
    pub requests_cancelled: u64,
    /// Requests that ended with an error.
    pub requests_failed: u64,
    /// Distinct experts touched by prefill rows, summed over layers and steps.
    pub prefill_expert_loads: u64,
    /// Distinct experts touched by all rows, summed over layers and steps.
    pub total_expert_loads: u64,
    /// Weight bytes of the experts in `prefill_expert_loads`, in the file's format.
    pub prefill_expert_bytes: u64,
    /// Weight bytes of the experts in `total_expert_loads`, in the file's format.
    pub total_expert_bytes: u64,
}
