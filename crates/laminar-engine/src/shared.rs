//! What the handles and the engine thread share.

use crate::EngineStats;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts requests and holds the newest snapshot.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    requests: AtomicUsize,
    stats: Mutex<EngineStats>,
}

impl Shared {
    /// A place for one more request, unless `limit` are taken; then their number.
    pub fn take_slot(self: &Arc<Self>, limit: usize) -> Result<Slot, usize> {
        let more = |requests: usize| (requests < limit).then_some(requests + 1);
        self.requests.fetch_update(Ordering::AcqRel, Ordering::Acquire, more)?;
        Ok(Slot(Arc::clone(self)))
    }

    /// The newest snapshot.
    pub fn stats(&self) -> EngineStats {
        // A snapshot is copied as a whole, so a panic elsewhere cannot have left half of one.
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the snapshot.
    pub fn publish(&self, stats: EngineStats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}

/// A request's place in the engine; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}
