//! The scheduler's gauges.

/// How many sequences stand where, and how much KV memory they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Sequences that decode.
    pub running: usize,
    /// Sequences whose prompt has started but is not done.
    pub prefilling: usize,
    /// Sequences in the waiting queue.
    pub waiting: usize,
    /// KV blocks that living sequences use; one that several share counts once.
    pub used_blocks: usize,
    /// KV blocks that no sequence uses but that a prompt may find; they are given away when memory is needed.
    pub cached_blocks: usize,
    /// KV blocks there are.
    pub total_blocks: usize,
    /// Times that a sequence lost its blocks to make room and had to start anew.
    pub preemptions: u64,
    /// Tokens of all sequences admitted with a prefix, those generated before a preemption included.
    pub prefix_lookup_tokens: u64,
    /// Those of them whose KV was found in the prefix cache.
    pub prefix_hit_tokens: u64,
}
