//! A run as a trace for Perfetto or Chrome: steps, the layers that prompts walk, and what waits.
//!
//! The stack is shown as bands of layers, one below the other; a tile fills the bands that it passes in its step, so a cohort
//! that walks the layers is a staircase.

use crate::Moment;
use std::fmt::Write;

/// Bands that the layers are shown in.
const BANDS: usize = 16;

/// Collects a trace.
#[derive(Clone, Debug)]
pub struct Perfetto {
    layers: usize,
    events: String,
    /// Seconds after which nothing is recorded.
    until_s: f64,
}

impl Perfetto {
    /// A trace of the first seconds of a run of a model with so many layers.
    pub fn new(layers: usize, until_s: f64) -> Self {
        let mut trace = Self { layers: layers.max(1), events: String::new(), until_s };
        trace.name(0, "steps");
        for band in 0..BANDS.min(trace.layers) {
            let layers = trace.band(band);
            trace.name(band + 1, &format!("layers {:02} to {:02}", layers.0, layers.1 - 1));
        }
        trace
    }

    /// First layer of a band, and the one behind it.
    fn band(&self, band: usize) -> (usize, usize) {
        let bands = BANDS.min(self.layers);
        (band * self.layers / bands, (band + 1) * self.layers / bands)
    }

    fn name(&mut self, track: usize, name: &str) {
        // Writing to a string can not fail.
        let _ = write!(
            self.events,
            ",\n{{\"ph\":\"M\",\"pid\":1,\"tid\":{track},\"name\":\"thread_name\",\"args\":{{\"name\":\"{name}\"}}}},\n\
             {{\"ph\":\"M\",\"pid\":1,\"tid\":{track},\"name\":\"thread_sort_index\",\"args\":{{\"sort_index\":{track}}}}}"
        );
    }

    /// Adds a step.
    pub fn step(&mut self, moment: &Moment<'_>) {
        let Moment { start_s, step, cost, waiting } = moment;
        if *start_s >= self.until_s {
            return;
        }
        let (at, length) = (start_s * 1e6, cost.seconds() * 1e6);
        let rows: usize = step.tiles.iter().map(|tile| tile.rows()).sum();
        let kind = if step.tiles.is_empty() { "decode" } else { "decode and prefill" };
        let _ = write!(
            self.events,
            ",\n{{\"ph\":\"X\",\"pid\":1,\"tid\":0,\"name\":\"{kind}\",\"ts\":{at:.3},\"dur\":{length:.3},\"args\":{{\
             \"step\":{},\"decode rows\":{},\"prompt rows\":{rows},\"experts ms\":{:.3},\"attention ms\":{:.3},\
             \"other ms\":{:.3},\"host ms\":{:.3},\"expert GB\":{:.3}}}}}",
            step.number,
            step.decode.len(),
            cost.experts_s * 1e3,
            cost.attention_s * 1e3,
            cost.other_s * 1e3,
            cost.host_s * 1e3,
            cost.expert_bytes / 1e9
        );
        for tile in &step.tiles {
            let end = if tile.to.is_between_layers() { tile.to.layer } else { tile.to.layer + 1 };
            for band in 0..BANDS.min(self.layers) {
                let (first, behind) = self.band(band);
                if first < end && tile.from.layer < behind {
                    let _ = write!(
                        self.events,
                        ",\n{{\"ph\":\"X\",\"pid\":1,\"tid\":{},\"name\":\"cohort {}\",\"ts\":{at:.3},\"dur\":{length:.3},\
                         \"args\":{{\"rows\":{},\"prompts\":{},\"from layer\":{},\"to layer\":{}}}}}",
                        band + 1,
                        tile.cohort.0,
                        tile.rows(),
                        tile.members.len(),
                        tile.from.layer,
                        tile.to.layer
                    );
                }
            }
        }
        let _ = write!(
            self.events,
            ",\n{{\"ph\":\"C\",\"pid\":1,\"name\":\"sequences\",\"ts\":{at:.3},\"args\":{{\"decoding\":{},\"waiting\":{waiting}}}}}",
            step.decode.len()
        );
    }

    /// The trace as JSON.
    pub fn finish(self) -> String {
        let head = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n\
             {\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{\"name\":\"laminar simulate\"}}";
        format!("{head}{}\n]}}\n", self.events)
    }
}
