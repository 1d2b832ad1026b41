//! What a step does, in the few numbers that its time depends on.
//!
//! One pass over a weight matrix takes about `c * max(knee, rows)`: reading the weights takes as long as computing `knee`
//! rows, and the slower of the two hides the other. Rows and the *shortfall* `max(0, knee - rows)` add up to that maximum,
//! so with both of them as features the time is linear in its coefficients and still has the bend. Where the bend is on a
//! machine is not known from the start, so shortfalls are counted for several knees side by side.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub};

/// Number of features, for one knee.
pub(super) const FEATURES: usize = 9;

/// Number of knees that are tried side by side.
pub const KNEES: usize = 7;

/// Features that no knee changes.
const PLAIN: usize = 6;

/// Features that are shortfalls, one for each kind of weights: head, attention, feed-forward.
const SHORT: usize = 3;

/// The work of a step or of a part of it. Works of parts add up; a difference of two works may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Steps, head rows, attention rows, positions in prefill, positions in decode, feed-forward rows.
    plain: [f64; PLAIN],
    /// Shortfalls by knee.
    short: [[f64; SHORT]; KNEES],
}

/// Knees, ascending; every work of a model is counted with the same ones.
pub type Knees = [f64; KNEES];

impl Work {
    /// No work.
    pub const NONE: Work = Work { plain: [0.0; PLAIN], short: [[0.0; SHORT]; KNEES] };

    /// What every step costs whatever it does, once a step.
    pub const STEP: Work = Work { plain: [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], ..Work::NONE };

    /// The output matrix for the rows that sample.
    pub fn head(rows: usize, knees: &Knees) -> Work {
        Work { plain: [0.0, rows as f64, 0.0, 0.0, 0.0, 0.0], short: pass(0, rows, knees) }
    }

    /// One pass of rows through the attention matrices of one layer.
    pub fn attention(rows: usize, knees: &Knees) -> Work {
        Work { plain: [0.0, 0.0, rows as f64, 0.0, 0.0, 0.0], short: pass(1, rows, knees) }
    }

    /// Positions that the rows of a pass attend to, all together. Rows of a prompt share their keys and values, so they
    /// compute; each decode row reads keys and values of its own, so it waits for memory.
    pub fn context(prefill: f64, decode: f64) -> Work {
        Work { plain: [0.0, 0.0, 0.0, prefill, decode, 0.0], ..Work::NONE }
    }

    /// One pass of rows through the feed-forward network of one layer of a dense model.
    pub fn dense(rows: usize, knees: &Knees) -> Work {
        Work { plain: [0.0, 0.0, 0.0, 0.0, 0.0, rows as f64], short: pass(2, rows, knees) }
    }

    /// Experts of one layer of a mixture: `pairs` of a row and an expert over `loads` experts.
    pub fn experts(pairs: f64, loads: f64, knees: &Knees) -> Work {
        let short = knees.map(|knee| [0.0, 0.0, (knee * loads - pairs).max(0.0)]);
        Work { plain: [0.0, 0.0, 0.0, 0.0, 0.0, pairs], short }
    }

    /// The same with so many more experts read. Where experts have rows enough to hide their reads nothing changes.
    pub fn with_loads(mut self, more: f64, knees: &Knees) -> Work {
        for ([.., short], knee) in self.short.iter_mut().zip(knees) {
            if *short > 0.0 {
                *short = (*short + knee * more).max(0.0);
            }
        }
        self
    }

    /// Positions that `rows` consecutive rows attend to, the first of them at position `start`: each sees itself and all
    /// before it.
    pub fn context_of(start: usize, rows: usize) -> f64 {
        let rows = rows as f64;
        rows * start as f64 + rows * (rows + 1.0) / 2.0
    }

    /// The features for one of the knees, in the order of the coefficients of [`CostPrior`](super::CostPrior).
    pub fn features(&self, knee: usize) -> [f64; FEATURES] {
        let [steps, head_rows, rows, prefill_context, decode_context, ff_rows] = self.plain;
        let [head_short, short, ff_short] = self.short[knee.min(KNEES - 1)];
        [steps, head_rows, head_short, rows, short, prefill_context, decode_context, ff_rows, ff_short]
    }

    /// A work of given features, whatever the knee.
    pub fn from_features(features: [f64; FEATURES]) -> Work {
        let [steps, head_rows, head_short, rows, short, prefill_context, decode_context, ff_rows, ff_short] = features;
        Work {
            plain: [steps, head_rows, rows, prefill_context, decode_context, ff_rows],
            short: [[head_short, short, ff_short]; KNEES],
        }
    }

    /// Whether somebody can have done this: every feature finite, none negative.
    pub(super) fn is_real(&self) -> bool {
        self.plain.iter().chain(self.short.iter().flatten()).all(|feature| feature.is_finite() && *feature >= 0.0)
    }
}

/// Shortfalls of one pass over a matrix of a kind. Where no row passes, nothing is read.
fn pass(kind: usize, rows: usize, knees: &Knees) -> [[f64; SHORT]; KNEES] {
    let count = rows as f64;
    let mut short = [[0.0; SHORT]; KNEES];
    if rows > 0 {
        short.iter_mut().zip(knees).for_each(|(short, knee)| short[kind] = (knee - count).max(0.0));
    }
    short
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
        self.plain.iter_mut().zip(other.plain).for_each(|(feature, more)| *feature += more);
        let short = self.short.iter_mut().flatten().zip(other.short.iter().flatten());
        short.for_each(|(feature, more)| *feature += more);
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
        Work {
            plain: self.plain.map(|feature| feature * times),
            short: self.short.map(|short| short.map(|feature| feature * times)),
        }
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

    const KNEE: Knees = [2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0];

    #[test]
    fn rows_and_shortfall_add_up_to_the_larger_of_knee_and_rows() {
        for (index, knee) in KNEE.into_iter().enumerate() {
            for rows in 1..20 {
                let [.., attention, short, _, _, _, _] = Work::attention(rows, &KNEE).features(index);
                assert_eq!(attention + short, knee.max(rows as f64));
            }
            let [.., pairs, short] = Work::experts(40.0, 16.0, &KNEE).features(index);
            assert_eq!((pairs, short), (40.0, (16.0 * knee - 40.0).max(0.0)));
        }
    }

    #[test]
    fn more_experts_count_where_their_reads_are_not_hidden() {
        let more = Work::experts(40.0, 8.0, &KNEE).with_loads(2.0, &KNEE);
        let expected = KNEE.map(|knee| if knee > 5.0 { 10.0 * knee - 40.0 } else { 0.0 });
        assert_eq!(std::array::from_fn(|index| more.features(index)[8]), expected);
    }

    #[test]
    fn a_pass_without_rows_reads_no_weights() {
        assert_eq!(Work::head(0, &KNEE) + Work::attention(0, &KNEE) + Work::dense(0, &KNEE), Work::NONE);
    }

    #[test]
    fn a_row_attends_to_itself_and_all_before_it() {
        assert_eq!(Work::context_of(0, 1), 1.0);
        assert_eq!(Work::context_of(10, 3), 11.0 + 12.0 + 13.0);
    }

    #[test]
    fn parts_add_up_and_scale() {
        let layer = Work::attention(8, &KNEE) + Work::context(100.0, 7.0) + Work::dense(8, &KNEE);
        let model: Work = (0..4).map(|_| layer).sum();
        assert_eq!(model, layer * 4.0);
        assert_eq!(model - layer * 3.0, layer);
        assert_eq!(model.features(0), [0.0, 0.0, 0.0, 32.0, 0.0, 400.0, 28.0, 32.0, 0.0]);
        assert_eq!(Work::from_features(model.features(0)).features(3), model.features(0));
    }
}
