//! After every call: tables and gauges against the auditor's own.

use super::Auditor;
use super::sequence::{Name, Place};
use crate::violation::{Broken, ensure};
use laminar_schedule::{Scheduler, SchedulerStats};

impl Auditor {
    /// Everything that a scheduler shows of itself.
    pub(super) fn check_books(&self, scheduler: &Scheduler) -> Result<(), Broken> {
        let mut counts = [0; 3];
        for (id, sequence) in &self.living {
            counts[sequence.place as usize] += 1;
            let shown = scheduler.blocks(*id);
            let expected = sequence.is_running().then_some(&sequence.table[..]);
            ensure!(shown == expected, Table, "{} has the blocks {shown:?}, not {expected:?}", Name(*id));
        }
        let stats = scheduler.stats();
        let expected = SchedulerStats {
            running: counts[Place::Decoding as usize],
            prefilling: counts[Place::Prefilling as usize],
            waiting: counts[Place::Waiting as usize],
            used_blocks: self.kv.used,
            cached_blocks: stats.cached_blocks,
            total_blocks: self.config.kv_blocks,
            preemptions: self.preemptions,
            prefix_lookup_tokens: self.lookup_tokens,
            prefix_hit_tokens: stats.prefix_hit_tokens,
        };
        ensure!(stats == expected, Books, "the gauges are {stats:?}, not {expected:?}");
        // Of those who have left before their first tile nobody knows what they had found.
        let (hit, known) = (stats.prefix_hit_tokens, self.hit_tokens);
        let exact = self.follows_strictly();
        ensure!(
            if exact { hit == known } else { hit >= known },
            Books,
            "{hit} tokens were found, but {known} are known"
        );
        let kept = stats.used_blocks + stats.cached_blocks;
        ensure!(kept <= stats.total_blocks, Books, "{kept} of {} blocks are kept", stats.total_blocks);
        ensure!(
            scheduler.is_idle() == self.living.is_empty(),
            Books,
            "idle is {} with {} sequences",
            scheduler.is_idle(),
            self.living.len()
        );
        Ok(())
    }
}
