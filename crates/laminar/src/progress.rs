//! Progress bars on stderr: loading, downloading, writing.
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
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{msg} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Moves the bar: `done` of `total` bytes.
    pub fn update(&self, done: u64, total: u64) {
        if self.0.length() != Some(total) {
            self.0.set_length(total);
        }
        self.0.set_position(done);
    }

    /// Removes the bar from the screen.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bytes {
    /// An error on the way must not leave half a bar before its message.
    fn drop(&mut self) {
        self.finish();
    }
}
