//! What a step does, in the few numbers that its time depends on.
//!
//! One pass over a weight matrix takes about `c * max(knee, rows)`: reading the weights takes as long as computing `knee`
//! rows, and the slower of the two hides the other. Rows and the *shortfall* `max(0, knee - rows)` add up to that maximum,
//! so with both of them as features the time is linear in its coefficients and still has the bend.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};

/// Number of features.
pub(super) const FEATURES: usize = 9;

/// The work of a step or of a part of it. Works of parts add up; a difference of two works may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work([f64; FEATURES]);

impl Work {
    /// No work.
    pub const NONE: Work = Work([0.0; FEATURES]);

    /// What every step costs whatever it does, once a step.
    pub const STEP: Work = Work([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);

    /// The output matrix for the rows that sample.
    pub fn head(rows: usize, knee: f64) -> Work {
        let (rows, short) = pass(rows, knee);
        Work([0.0, rows, short, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    }

    /// One pass of rows through the attention matrices of one layer.
    pub fn attention(rows: usize, knee: f64) -> Work {
        let (rows, short) = pass(rows, knee);
        Work([0.0, 0.0, 0.0, rows, short, 0.0, 0.0, 0.0, 0.0])
    }

    /// Positions that the rows of a pass attend to, all together. Rows of a prompt share their keys and values, so they
    /// compute; each decode row reads keys and values of its own, so it waits for memory.
    pub fn context(prefill: f64, decode: f64) -> Work {
        Work([0.0, 0.0, 0.0, 0.0, 0.0, prefill, decode, 0.0, 0.0])
    }

    /// One pass of rows through the feed-forward network of one layer of a dense model.
    pub fn dense(rows: usize, knee: f64) -> Work {
        let (rows, short) = pass(rows, knee);
        Work([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, rows, short])
    }

    /// Experts of one layer of a mixture: `pairs` of a row and an expert over `loads` experts.
    pub fn experts(pairs: f64, loads: f64, knee: f64) -> Work {
        Work([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, pairs, (knee * loads - pairs).max(0.0)])
    }

    /// Positions that `rows` consecutive rows attend to, the first of them at position `start`: each sees itself and all
    /// before it.
    pub fn context_of(start: usize, rows: usize) -> f64 {
        let rows = rows as f64;
        rows * start as f64 + rows * (rows + 1.0) / 2.0
    }

    /// 1 for a whole step.
    pub fn steps(&self) -> f64 {
        self.0[0]
    }

    /// Rows that sample.
    pub fn head_rows(&self) -> f64 {
        self.0[1]
    }

    /// Shortfall of the pass over the output matrix.
    pub fn head_short(&self) -> f64 {
        self.0[2]
    }

    /// Row-layers through the attention stage's matrices.
    pub fn rows(&self) -> f64 {
        self.0[3]
    }

    /// Shortfall of the passes over the attention stage's matrices.
    pub fn short(&self) -> f64 {
        self.0[4]
    }

    /// Positions that prefill rows attend to, summed over row-layers.
    pub fn prefill_context(&self) -> f64 {
        self.0[5]
    }

    /// Positions that decode rows attend to, summed over row-layers.
    pub fn decode_context(&self) -> f64 {
        self.0[6]
    }

    /// Pairs of a row and an expert; row-layers through the feed-forward network of a dense model.
    pub fn ff_rows(&self) -> f64 {
        self.0[7]
    }

    /// Shortfall of the passes over the feed-forward matrices.
    pub fn ff_short(&self) -> f64 {
        self.0[8]
    }

    /// The features in the order of the coefficients of [`CostPrior`](super::CostPrior).
    pub fn features(&self) -> &[f64; FEATURES] {
        &self.0
    }

    /// A work of given features.
    pub fn from_features(features: [f64; FEATURES]) -> Work {
        Work(features)
    }

    /// Whether somebody can have done this: every feature finite, none negative.
    pub(super) fn is_real(&self) -> bool {
        self.0.iter().all(|feature| feature.is_finite() && *feature >= 0.0)
    }
}

/// Rows and shortfall of one pass over a matrix. Where no row passes, nothing is read.
fn pass(rows: usize, knee: f64) -> (f64, f64) {
    let count = rows as f64;
    (count, if rows == 0 { 0.0 } else { (knee - count).max(0.0) })
}

impl Add for Work {
    type Output = Work;

    fn add(mut self, other: Work) -> Work {
        self += other;
        self
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.0.iter_mut().zip(other.0).for_each(|(feature, more)| *feature += more);
    }
}

impl Sub for Work {
    type Output = Work;

    fn sub(self, other: Work) -> Work {
        self + other * -1.0
    }
}

impl Mul<f64> for Work {
    type Output = Work;

    fn mul(self, times: f64) -> Work {
        Work(self.0.map(|feature| feature * times))
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Work>>(works: I) -> Work {
        works.fold(Work::NONE, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_shortfall_add_up_to_the_larger_of_knee_and_rows() {
        for rows in 1..20 {
            let work = Work::attention(rows, 6.0);
            assert_eq!(work.rows() + work.short(), 6f64.max(rows as f64));
        }
        let experts = Work::experts(40.0, 16.0, 6.0);
        assert_eq!((experts.ff_rows(), experts.ff_short()), (40.0, 56.0));
        assert_eq!(Work::experts(400.0, 16.0, 6.0).ff_short(), 0.0);
    }

    #[test]
    fn a_pass_without_rows_reads_no_weights() {
        assert_eq!(Work::head(0, 6.0) + Work::attention(0, 6.0) + Work::dense(0, 6.0), Work::NONE);
    }

    #[test]
    fn a_row_attends_to_itself_and_all_before_it() {
        assert_eq!(Work::context_of(0, 1), 1.0);
        assert_eq!(Work::context_of(10, 3), 11.0 + 12.0 + 13.0);
    }

    #[test]
    fn parts_add_up_and_scale() {
        let layer = Work::attention(8, 6.0) + Work::context(100.0, 7.0) + Work::dense(8, 6.0);
        let model: Work = (0..4).map(|_| layer).sum();
        assert_eq!(model, layer * 4.0);
        assert_eq!(model - layer * 3.0, layer);
        assert_eq!((model.rows(), model.prefill_context(), model.ff_rows()), (32.0, 400.0, 32.0));
        assert_eq!(model.decode_context(), 28.0);
    }
}
