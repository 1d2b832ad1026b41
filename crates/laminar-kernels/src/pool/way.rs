//! When threads that compute let others have their core for a moment.
//!
//! Workers take every core there is, for milliseconds on end. A system gives a core to a thread that wakes up, such as the one
//! that writes tokens to their clients, when it next looks at its clock, which is every few milliseconds: longer than it may
//! take. So around a moment at which others are known to wake up, workers ask the system between two tasks whether there is
//! somebody. That is cheap where there is nobody, but it gives a whole time slice to anything else that computes, so it is not
//! done at other times.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long behind the moment workers ask: a chain of threads may have to wake each other.
const WINDOW: Duration = Duration::from_millis(3);

/// How often a worker asks.
const EVERY: Duration = Duration::from_micros(200);

const NEVER: u64 = u64::MAX;

thread_local! {
    /// When this thread has asked last.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

/// The next moment at which to give way.
pub(super) struct Way {
    epoch: Instant,
    /// Nanoseconds since the epoch.
    from: AtomicU64,
}

impl Way {
    pub fn new() -> Self {
        Self { epoch: Instant::now(), from: AtomicU64::new(NEVER) }
    }

    /// Others wake up at this moment. One that is over counts as long as its window.
    pub fn give_at(&self, moment: Instant) {
        self.from.store(nanos(moment.saturating_duration_since(self.epoch)), Ordering::Relaxed);
    }

    /// A worker is between two tasks. Whether it has asked.
    pub fn give(&self) -> bool {
        let from = self.from.load(Ordering::Relaxed);
        // Most of the time nobody looks at a clock.
        if from == NEVER {
            return false;
        }
        let now = nanos(self.epoch.elapsed());
        if now < from {
            return false;
        }
        if now - from > nanos(WINDOW) {
            // Unless there is a new moment meanwhile.
            let _ = self.from.compare_exchange(from, NEVER, Ordering::Relaxed, Ordering::Relaxed);
            return false;
        }
        ASKED.with(|asked| {
            // A thread may come from another pool with another epoch; it asks then.
            let is_due = now.wrapping_sub(asked.get()) >= nanos(EVERY);
            if is_due {
                asked.set(now);
                std::thread::yield_now();
            }
            is_due
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_ask_behind_the_moment_and_not_all_the_time() {
        let way = Way::new();
        assert!(!way.give(), "there is no moment");
        way.give_at(Instant::now() + Duration::from_secs(3600));
        assert!(!way.give(), "it is not over yet");
        assert_ne!(way.from.load(Ordering::Relaxed), NEVER);
        way.give_at(way.epoch);
        std::thread::sleep(WINDOW + EVERY);
        assert!(!way.give(), "it is over for long");
        assert_eq!(way.from.load(Ordering::Relaxed), NEVER, "nobody looks at a clock for it any more");
    }

    #[test]
    fn a_worker_asks_now_and_then() {
        // A slow machine may lose the whole window between two lines, so try again.
        let asked = (0..100).any(|_| {
            let way = Way::new();
            std::thread::sleep(2 * EVERY);
            way.give_at(Instant::now());
            ASKED.set(0);
            way.give() && !way.give()
        });
        assert!(asked);
    }
}
