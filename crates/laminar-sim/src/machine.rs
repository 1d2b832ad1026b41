//! A machine that executes steps in no time and tells how long they would have taken.
//!
//! It is a roofline: a pass of some rows over some weights takes as long as reading the weights or as multiplying them,
//! whichever is longer. What it shares is what the real engine shares: the decode rows of a step join the whole layers of
//! its first tile, where one pass serves both; everywhere else, each runs alone.

use crate::random::Random;
use crate::{FeedForward, ModelShape};
use laminar_schedule::{Part, Report, Step, Tile};
use std::ops::Range;
use std::time::Duration;

/// How fast a machine is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofs {
    /// Bytes of weights, keys and values read in a second.
    pub bytes: f64,
    /// Integer operations of the matrix products in a second; a multiplication and an addition are two.
    pub ops: f64,
    /// Float operations of attention in a second.
    pub attention: f64,
    /// Seconds of each step that are spent beside the arithmetic.
    pub host: f64,
}

impl Roofs {
    /// Two cores of AMD Zen 3 with AVX2 and weights in Q4_0, as measured with this project's kernels.
    pub const REFERENCE: Roofs = Roofs { bytes: 22e9, ops: 380e9, attention: 100e9, host: 0.2e-3 };
}

/// A model on a machine, neither of them real.
#[derive(Clone, Debug)]
pub struct VirtualMachine {
    shape: ModelShape,
    roofs: Roofs,
    noise: Option<(Random, f64)>,
}

/// Rows that go through a stage together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rows {
    count: usize,
    /// Positions they attend to, all together.
    attended: f64,
    /// Positions whose keys and values must be read for them alone.
    cached: f64,
}

/// What has been done.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    seconds: f64,
    prefill_loads: f64,
    total_loads: f64,
}

impl VirtualMachine {
    /// A machine whose steps always take what they should.
    pub fn new(shape: ModelShape, roofs: Roofs) -> Self {
        Self { shape, roofs, noise: None }
    }

    /// Multiplies the time of each step by a random factor, log-normal around 1: `deviation` is that of its logarithm.
    pub fn with_noise(self, seed: u64, deviation: f64) -> Self {
        Self { noise: Some((Random::new(seed), deviation)), ..self }
    }

    /// The model.
    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// Executes a step: its time and its expert loads. Who finished and which tokens came out, the caller must add.
    pub fn execute(&mut self, step: &Step) -> Report {
        let decode = step.decode.iter().fold(Rows::default(), |rows, row| {
            let attended = (row.position + 1) as f64;
            Rows { count: rows.count + 1, attended: rows.attended + attended, cached: rows.cached + attended }
        });
        let (mut done, mut alone) = (Done { seconds: self.roofs.host, ..Done::default() }, self.shape.layers);
        let mut sampled = decode.count;
        for (number, tile) in step.tiles.iter().enumerate() {
            let all = rows_of(tile, 0..tile.rows());
            for part in tile.parts(self.shape.experts().map(|experts| experts.count)) {
                match part {
                    Part::Layers(layers) if number == 0 => {
                        alone = alone.saturating_sub(layers.len());
                        self.layers(layers.len(), all, decode, &mut done);
                    }
                    Part::Layers(layers) => self.layers(layers.len(), all, Rows::default(), &mut done),
                    Part::Attention { rows, .. } => done.seconds += self.attention(rows_of(tile, rows)),
                    Part::FeedForward { units, .. } => self.some_units(tile, all.count, units, &mut done),
                }
            }
            if tile.to.layer >= self.shape.layers {
                sampled += tile.members.iter().filter(|member| member.ends_prompt && !member.dropped).count();
            }
        }
        self.layers(alone, Rows::default(), decode, &mut done);
        done.seconds += self.pass(self.shape.head_weights(), sampled);
        if let Some((random, deviation)) = &mut self.noise {
            done.seconds *= (random.normal() * *deviation).exp();
        }
        Report {
            step: step.number,
            duration: Duration::from_secs_f64(done.seconds),
            prefill_expert_loads: done.prefill_loads as u64,
            total_expert_loads: done.total_loads as u64,
            ..Report::default()
        }
    }

    /// Prefill and decode rows together through so many layers.
    fn layers(&self, count: usize, prefill: Rows, decode: Rows, done: &mut Done) {
        let both = Rows {
            count: prefill.count + decode.count,
            attended: prefill.attended + decode.attended,
            cached: prefill.cached + decode.cached,
        };
        let times = count as f64;
        done.seconds += times * (self.attention(both) + self.feed_forward(both.count));
        done.prefill_loads += times * self.touched(prefill.count).round();
        done.total_loads += times * self.touched(both.count).round();
    }

    /// A part of one layer's feed-forward stage. Experts have their even share of the work.
    fn some_units(&self, tile: &Tile, rows: usize, units: Range<usize>, done: &mut Done) {
        match self.shape.feed_forward {
            FeedForward::Dense { .. } => done.seconds += self.feed_forward(rows_of(tile, units).count),
            FeedForward::Experts { count, .. } => {
                let share = units.len() as f64 / count as f64;
                done.seconds += share * self.feed_forward(rows);
                // Rounded so that the parts of a layer add up to the whole.
                let until = |unit: usize| (self.touched(rows).round() * unit as f64 / count as f64).round();
                let loads = until(units.end) - until(units.start);
                done.prefill_loads += loads;
                done.total_loads += loads;
            }
        }
    }

    /// One layer's attention stage.
    fn attention(&self, rows: Rows) -> f64 {
        let flops = 4.0 * (self.shape.head_dim * self.shape.q_heads) as f64 * rows.attended;
        let bytes = self.shape.kv_bytes() * rows.cached;
        self.pass(self.shape.attention_weights(), rows.count) + flops / self.roofs.attention + bytes / self.roofs.bytes
    }

    /// One layer's feed-forward stage.
    fn feed_forward(&self, rows: usize) -> f64 {
        let weights = self.shape.network_weights();
        match self.shape.feed_forward {
            FeedForward::Dense { .. } => self.pass(weights, rows),
            FeedForward::Experts { top_k, .. } => {
                let touched = self.touched(rows);
                self.time(touched * weights, 2.0 * weights * (rows * top_k) as f64)
            }
        }
    }

    /// Experts that so many rows are expected to touch in a layer, each choosing among all alike.
    fn touched(&self, rows: usize) -> f64 {
        match self.shape.feed_forward {
            FeedForward::Dense { .. } => 0.0,
            FeedForward::Experts { count, top_k, .. } => {
                let missed = 1.0 - top_k as f64 / count as f64;
                count as f64 * (1.0 - missed.powi(i32::try_from(rows).unwrap_or(i32::MAX)))
            }
        }
    }

    /// So many rows over one matrix.
    fn pass(&self, weights: f64, rows: usize) -> f64 {
        if rows == 0 { 0.0 } else { self.time(weights, 2.0 * weights * rows as f64) }
    }

    fn time(&self, weights: f64, ops: f64) -> f64 {
        (weights * self.shape.bytes_per_weight / self.roofs.bytes).max(ops / self.roofs.ops)
    }
}

/// The rows of a tile within a range, those of dropped members left out.
fn rows_of(tile: &Tile, range: Range<usize>) -> Rows {
    let (mut found, mut first) = (Rows::default(), 0);
    for member in &tile.members {
        let start = range.start.clamp(first, first + member.rows);
        let count = range.end.clamp(start, first + member.rows) - start;
        if !member.dropped {
            // Row `p` attends to `p + 1` positions.
            let position = (member.start + start - first) as f64;
            let rows = count as f64;
            found.count += count;
            found.attended += rows * position + rows * (rows + 1.0) / 2.0;
        }
        first += member.rows;
    }
    found
}

#[cfg(test)]
#[path = "machine/tests.rs"]
mod tests;
