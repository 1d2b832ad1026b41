//! Progress bars on stderr: loading, downloading, writing, measuring.
//!
//! `indicatif` draws nothing when stderr is not a terminal, so logs of scripts
//! stay clean without a switch.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that counts bytes.
#[derive(Clone)]
pub struct Bytes(ProgressBar);

impl Bytes {
    /// A bar with a label; the total may come later with the first update.
    pub fn new(label: &str, quiet: bool) -> Self {
        Self(bar(label, 0, "{msg} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}", quiet))
    }

    /// Moves the bar: `done` of `total` bytes.
    pub fn update(&self, done: u64, total: u64) {
        if self.0.length() != Some(total) {
            self.0.set_length(total);
        }
        self.0.set_position(done);
    }

    /// Gives the bar another label.
    pub fn rename(&self, label: &str) {
        if self.0.message() != label {
            self.0.set_message(label.to_owned());
            self.0.reset_eta();
        }
    }

    /// Removes the bar from the screen.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A bar that counts things done.
pub struct Count(ProgressBar);

impl Count {
    /// A bar for `total` things.
    pub fn new(label: &str, total: usize, quiet: bool) -> Self {
        Self(bar(label, total as u64, "{msg} [{bar:32}] {pos}/{len} {eta}", quiet))
    }

    /// So many are done.
    pub fn set(&self, done: usize) {
        self.0.set_position(done as u64);
    }

    /// One more is done.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

fn bar(label: &str, total: u64, template: &str, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bytes {
    /// An error on the way must not leave half a bar before its message.
    fn drop(&mut self) {
        self.finish();
    }
}
