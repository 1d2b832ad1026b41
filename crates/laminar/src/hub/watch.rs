//! The hub client's events as one progress bar over all files.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hf_hub::progress::{DownloadEvent, FileProgress, ProgressEvent, ProgressHandler};

use crate::progress;

/// Turns the client's events into one bar over all files.
pub struct Watcher {
    bar: progress::Bytes,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    total: u64,
    files: BTreeMap<String, u64>,
    /// Files that travel in one batch are counted together.
    batch: u64,
}

impl Watcher {
    /// Moves this bar.
    pub fn new(bar: progress::Bytes) -> Self {
        Self { bar, seen: Mutex::new(Seen::default()) }
    }
}

impl ProgressHandler for Watcher {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else {
            return;
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            // The first one speaks for all files, later ones for one each.
            DownloadEvent::Start { total_bytes, .. } => seen.total = seen.total.max(*total_bytes),
            DownloadEvent::Progress { files } => {
                for FileProgress { filename, bytes_completed, .. } in files {
                    let known = seen.files.entry(filename.clone()).or_default();
                    *known = (*known).max(*bytes_completed);
                }
            }
            DownloadEvent::AggregateProgress { bytes_completed, .. } => seen.batch = *bytes_completed,
            DownloadEvent::Complete => {}
        }
        let done = seen.batch + seen.files.values().sum::<u64>();
        self.bar.update(done.min(seen.total), seen.total);
    }
}
