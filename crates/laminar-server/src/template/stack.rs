//! A thread of its own for the template engine: room for deep recursion, and an end to waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The engine walks nested values by recursion. The most that a template can nest within its budget of work needs about
/// 270 bytes of stack for each unit of it (measured), 270 MB in all; address space is free, and an honest template
/// touches a few pages of it.
const STACK: usize = 768 << 20;
/// For systems that count address space as memory. Honest templates need a thousandth of it.
const SMALL_STACK: usize = 32 << 20;

/// The budget ends work within a second. What it does not see is a value that holds the same part many times over: to
/// compare or join such a value can take forever, and a thread cannot be stopped. We stop waiting for it.
const PATIENCE: Duration = Duration::from_secs(8);

/// Why there is no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The work is still going on, perhaps for ever.
    Endless,
    /// It panicked, or no thread could be started.
    Broken(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endless => f.write_str("it does not come to an end"),
            Self::Broken(what) => f.write_str(what),
        }
    }
}

/// Runs `work` on a thread of its own and waits for it. `late` is true from when we stop waiting until the work is done
/// after all.
pub(super) fn with_room<T: Send + 'static>(
    late: &Arc<AtomicBool>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    // A thread that does not start must leave the work to the next one.
    let work = Arc::new(Mutex::new(Some(work)));
    let mut failure = String::new();
    for size in [STACK, SMALL_STACK] {
        let (done, result) = sync_channel(1);
        let (work, finished) = (Arc::clone(&work), Arc::clone(late));
        let run = move || {
            let work = work.lock().ok().and_then(|mut work| work.take());
            if let Some(work) = work {
                // Whoever waited may have given up.
                let _ = done.send(work());
                finished.store(false, Ordering::SeqCst);
            }
        };
        match thread::Builder::new().name("chat template".into()).stack_size(size).spawn(run) {
            Ok(_) => return wait(&result, late),
            Err(error) => failure = format!("no thread for it: {error}"),
        }
    }
    Err(Failure::Broken(failure))
}

fn wait<T>(result: &Receiver<T>, late: &AtomicBool) -> Result<T, Failure> {
    match result.recv_timeout(PATIENCE) {
        Ok(result) => Ok(result),
        Err(RecvTimeoutError::Disconnected) => Err(Failure::Broken("it brought the template engine down".into())),
        Err(RecvTimeoutError::Timeout) => {
            late.store(true, Ordering::SeqCst);
            // It may have ended between the two lines above; then nobody else lowers the flag.
            result.try_recv().map_err(|_| Failure::Endless).inspect(|_| late.store(false, Ordering::SeqCst))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_and_a_panic_is_an_error() {
        let late = Arc::default();
        assert_eq!(with_room(&late, || 3), Ok(3));
        assert!(matches!(with_room(&late, || -> u8 { panic!("on purpose") }), Err(Failure::Broken(_))));
        assert!(!late.load(Ordering::SeqCst));
    }
}
