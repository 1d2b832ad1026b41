//! What a run is doing, on stderr while it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

/// How often the line is drawn.
const REDRAW: Duration = Duration::from_millis(250);

/// Counters of a run.
#[derive(Debug, Default)]
pub struct Counters {
    sent: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    tokens: AtomicU64,
}

impl Counters {
    /// A request is on its way.
    pub fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// A token has arrived.
    pub fn token(&self) {
        self.tokens.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has ended.
    pub fn ended(&self, failed: bool) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    fn line(&self, elapsed: Duration) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (ended, tokens) = (get(&self.ended), get(&self.tokens));
        let running = get(&self.sent).saturating_sub(ended);
        format!(
            "{running} running, {ended} ended, {} failed, {tokens} tokens, {:.0} s",
            get(&self.failed),
            elapsed.as_secs_f64()
        )
    }
}

/// A line that is drawn anew several times a second; nothing where stderr is no terminal.
#[derive(Debug)]
pub struct Live {
    bar: ProgressBar,
    redraw: JoinHandle<()>,
}

impl Live {
    /// Starts to draw. Must be called inside the runtime.
    pub fn start(counters: &Arc<Counters>, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix("warming up");
        let (counters, shown) = (counters.clone(), bar.clone());
        let redraw = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(REDRAW);
            loop {
                ticks.tick().await;
                shown.set_message(counters.line(shown.elapsed()));
                shown.tick();
            }
        });
        Self { bar, redraw }
    }

    /// Says what the run is at.
    pub fn phase(&self, text: &str) {
        self.bar.set_prefix(text.to_owned());
    }
}

impl Drop for Live {
    /// Also an error must not leave a line before its message.
    fn drop(&mut self) {
        self.redraw.abort();
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_counts_what_runs() {
        let counters = Counters::default();
        (0..3).for_each(|_| counters.sent());
        counters.token();
        counters.ended(true);
        let line = counters.line(Duration::from_secs(7));
        assert_eq!(line, "2 running, 1 ended, 1 failed, 1 tokens, 7 s");
    }
}
