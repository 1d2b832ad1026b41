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
    /// KV blocks that sequences hold.
    pub used_blocks: usize,
    /// KV blocks there are.
    pub total_blocks: usize,
}
