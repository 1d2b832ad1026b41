//! The live cost model: how long a step will take.
//!
//! [`Work`] says what a step does in nine numbers, [`CostPrior`] what each of them should cost on a machine that nobody
//! has timed, and [`CostModel`] learns from every step what they cost on this one. [`Coverage`] says how many experts some
//! rows will touch, which is part of the work of a mixture.
//!
//! Pure arithmetic in a fixed order: no clock, no chance and, after construction, no allocation, so a replayed run learns
//! the same numbers. [`CostModel::learn`] takes about half a microsecond, [`CostModel::predict`] some nanoseconds.
//!
//! How it learns:
//!
//! - Least squares over relative errors, with the past fading step by step. Kinds of steps fade apart: a thousand decode
//!   steps make nobody forget what a prompt costs, nor do a hundred in one long attention stage what experts cost.
//! - What no step has shown yet stays at the prior times one measured scale, so a prior that is wrong by a factor of a
//!   hundred is right after a few steps.
//! - Outliers count little. When all of the latest steps are off to the same side, they are no outliers: the machine has
//!   changed its speed, and all that was known is rescaled.
//! - How much longer the slow ones among the steps take ([`CostModel::tail_factor`]) is learned apart, by kind of step.

mod coverage;
mod evidence;
mod fit;
mod prior;
mod tail;
mod work;

pub use coverage::Coverage;
pub use prior::{CostPrior, MachineGuess, ModelDimensions};
pub use work::Work;

use fit::{Fit, Learned};
use std::fmt;
use tail::Tail;
use work::FEATURES;

/// Kinds of steps (and of rows) that are learned apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// Decode rows only.
    Decode,
    /// With prefill rows through whole layers.
    Prefill,
    /// With prefill rows, mostly through a part of an attention stage.
    Attention,
    /// With prefill rows, mostly through a part of a feed-forward stage.
    FeedForward,
}

impl StepKind {
    /// Number of kinds.
    pub(crate) const COUNT: usize = 4;

    /// Place in an array over all kinds.
    pub(crate) fn index(self) -> usize {
        match self {
            StepKind::Decode => 0,
            StepKind::Prefill => 1,
            StepKind::Attention => 2,
            StepKind::FeedForward => 3,
        }
    }

    /// Place in an array over decode and prefill.
    fn tail(self) -> usize {
        usize::from(self != StepKind::Decode)
    }
}

/// Steps of a kind before its tail is measured: earlier ones are off because little is known, not because steps vary.
const TAIL_AFTER: u64 = 8;

/// Predicts the time of steps and learns from their times.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    knee: f64,
    /// Seconds per unit of work.
    coefficients: [f64; FEATURES],
    fit: Fit,
    /// Of decode and of prefill: how regular a machine is hardly depends on the part of a layer.
    tails: [Tail; 2],
}

impl CostModel {
    /// A model that knows the prior only. A knee below 1 counts as 1.
    pub fn new(prior: CostPrior) -> Self {
        let coefficients = prior.coefficients();
        let tails = [Tail::new(), Tail::new()];
        // `max` also turns a knee that is no number into 1.
        Self { knee: prior.knee.max(1.0).min(1e9), coefficients, fit: Fit::new(coefficients), tails }
    }

    /// The knee that works must be counted with, see [`CostPrior::knee`].
    pub fn knee(&self) -> f64 {
        self.knee
    }

    /// Seconds that half of the steps with this work take at most. Linear: the prediction for a sum is the sum of the
    /// predictions, also for parts of a step. Work that is no number takes for ever.
    #[inline]
    pub fn predict(&self, work: &Work) -> f64 {
        let seconds: f64 = self.coefficients.iter().zip(work.features()).map(|(cost, feature)| cost * feature).sum();
        if seconds.is_nan() { f64::INFINITY } else { seconds }
    }

    /// Seconds that about 95 of 100 steps with this work take at most.
    #[inline]
    pub fn predict_tail(&self, work: &Work, kind: StepKind) -> f64 {
        self.predict(work) * self.tail_factor(kind)
    }

    /// The 95th percentile of actual to predicted time over the latest 128 steps of a kind, at least 1; 1.25 until enough
    /// of them were seen.
    #[inline]
    pub fn tail_factor(&self, kind: StepKind) -> f64 {
        self.tails[kind.tail()].factor()
    }

    /// Learns from a step: its work, its kind and the seconds it took.
    ///
    /// Times and works that cannot be (not finite, negative, zero, decades) are ignored. A time far from the prediction (a
    /// clock jumped, a machine slept) has hardly any weight.
    pub fn learn(&mut self, work: &Work, kind: StepKind, seconds: f64) {
        if !work.is_real() {
            return;
        }
        match self.fit.learn(work.features(), kind, seconds) {
            Learned::Nothing => return,
            Learned::Ratio(ratio) if self.fit.steps(kind) > TAIL_AFTER => self.tails[kind.tail()].push(ratio),
            Learned::Ratio(_) => {}
            Learned::Shift(mut outdated) => {
                // The step itself has not come here.
                outdated[kind.index()] -= 1;
                let [decode, prefill @ ..] = outdated;
                let outdated = [decode, prefill.into_iter().sum()];
                self.tails.iter_mut().zip(outdated).for_each(|(tail, steps)| tail.forget(steps));
            }
        }
        self.coefficients = self.fit.coefficients();
    }

    /// Steps of a kind learned from.
    pub fn steps(&self, kind: StepKind) -> u64 {
        self.fit.steps(kind)
    }

    /// Time measured so far against the prior's: above 1, the machine is slower than the prior.
    pub fn scale(&self) -> f64 {
        self.fit.scale()
    }

    /// Seconds per unit of each feature, in the order of [`Work::features`]. None is negative.
    pub fn coefficients(&self) -> &[f64; FEATURES] {
        &self.coefficients
    }
}

/// One line for logs. A time of a weight pass is that of a single row, which is the time to read the weights.
impl fmt::Display for CostModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [steps, head, head_short, rows, short, prefill_context, decode_context, ff_rows, ff_short] =
            self.coefficients;
        let (decode, prefill) = (StepKind::Decode, StepKind::Prefill);
        let read = |row: f64, short: f64| Seconds(row + short * (self.knee - 1.0));
        write!(
            f,
            "{:.3} x the prior after {} decode and {} prefill steps; step {}, head {} + {} a row, \
             attention weights {} + {} a row, attended position {} in prefill and {} in decode, feed-forward weights {} + {} a row, \
             tail x{:.2} decode, x{:.2} prefill",
            self.scale(),
            self.steps(decode),
            [prefill, StepKind::Attention, StepKind::FeedForward].map(|kind| self.steps(kind)).iter().sum::<u64>(),
            Seconds(steps),
            read(head, head_short),
            Seconds(head),
            read(rows, short),
            Seconds(rows),
            Seconds(prefill_context),
            Seconds(decode_context),
            read(ff_rows, ff_short),
            Seconds(ff_rows),
            self.tail_factor(decode),
            self.tail_factor(prefill),
        )
    }
}

/// Seconds in a unit that leaves three digits.
struct Seconds(f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1.0, "s"), (1e-3, "ms"), (1e-6, "us")];
        let (unit, name) = units.into_iter().find(|(unit, _)| self.0 >= *unit).unwrap_or((1e-9, "ns"));
        let value = self.0 / unit;
        let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
        write!(f, "{value:.digits$} {name}")
    }
}

#[cfg(test)]
mod tests;
