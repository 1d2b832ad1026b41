//! The live cost model: how long a step will take.
//!
//! [`Work`] says what a step does in nine numbers, [`CostPrior`] what each of them should cost on a machine that nobody
//! has timed, and [`CostModel`] learns from every step what they cost on this one. [`Coverage`] says how many experts some
//! rows will touch, which is part of the work of a mixture.
//!
//! Pure arithmetic in a fixed order: no clock, no chance and, after construction, no allocation, so a replayed run learns
//! the same numbers. [`CostModel::learn`] takes some microseconds, [`CostModel::predict`] some nanoseconds.
//!
//! How it learns:
//!
//! - Least squares over relative errors, with the past fading step by step. Kinds of steps fade apart: a thousand decode
//!   steps make nobody forget what a prompt costs, nor do a hundred in one long attention stage what experts cost.
//! - Several knees are fitted side by side, and the one with the smallest errors is believed.
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
pub use work::{KNEES, Knees, Work};

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
///
/// Where reading weights and computing rows take equally long (the *knee*) differs between machines, so several knees are
/// fitted side by side, and the one whose predictions have been best is believed.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    knees: Knees,
    candidates: [Candidate; KNEES],
    /// The candidate that is believed.
    best: usize,
    /// Of decode and of prefill: how regular a machine is hardly depends on the part of a layer.
    tails: [Tail; 2],
}

/// The fit for one of the knees.
#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    /// Seconds per unit of work.
    coefficients: [f64; FEATURES],
    fit: Fit,
    /// Typical size of its errors, a difference of logarithms.
    error: f64,
}

/// Knees that are tried, in units of the prior's: steps of a quarter, down to half and up to twice of it.
const KNEES_TRIED: Knees = [0.512, 0.64, 0.8, 1.0, 1.25, 1.5625, 1.953_125];

/// The prior's place among them.
const PRIOR_KNEE: usize = 3;

/// A knee is believed when its errors are smaller by this, a difference of logarithms, and by this share: where steps are
/// irregular all knees seem about equally wrong.
const BETTER: (f64, f64) = (0.003, 0.1);

/// Largest error that counts: a stall says nothing about the knee.
const LARGEST_ERROR: f64 = 0.5;

/// Weight of the newest error.
const ERROR_GAIN: f64 = 0.03;

impl CostModel {
    /// A model that knows the prior only. A knee below 1 counts as 1.
    pub fn new(prior: CostPrior) -> Self {
        let coefficients = prior.coefficients();
        let knee = if prior.knee.is_nan() { 1.0 } else { prior.knee.clamp(1.0, 1e9) };
        let candidate = Candidate { coefficients, fit: Fit::new(coefficients), error: 0.0 };
        Self {
            knees: KNEES_TRIED.map(|factor| factor * knee),
            candidates: std::array::from_fn(|_| candidate.clone()),
            best: PRIOR_KNEE,
            tails: std::array::from_fn(|_| Tail::new()),
        }
    }

    /// The knees that works must be counted with.
    pub fn knees(&self) -> &Knees {
        &self.knees
    }

    /// The knee that is believed: rows per read of a weight at which computing takes as long as reading.
    pub fn knee(&self) -> f64 {
        self.knees[self.best]
    }

    /// Seconds that half of the steps with this work take at most. Linear: the prediction for a sum is the sum of the
    /// predictions, also for parts of a step. Work that is no number takes for ever.
    #[inline]
    pub fn predict(&self, work: &Work) -> f64 {
        self.candidates[self.best].predict(&work.features(self.best))
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
        for (index, candidate) in self.candidates.iter_mut().enumerate() {
            let learned = candidate.learn(&work.features(index), kind, seconds);
            if index != self.best {
                continue;
            }
            match learned {
                Learned::Nothing => return,
                Learned::Ratio(ratio) if candidate.fit.steps(kind) > TAIL_AFTER => self.tails[kind.tail()].push(ratio),
                Learned::Ratio(_) => {}
                Learned::Shift(mut outdated) => {
                    // The step itself has not come here.
                    outdated[kind.index()] -= 1;
                    let [decode, prefill @ ..] = outdated;
                    let outdated = [decode, prefill.into_iter().sum()];
                    self.tails.iter_mut().zip(outdated).for_each(|(tail, steps)| tail.forget(steps));
                }
            }
        }
        let error = |index: usize| self.candidates[index].error;
        let least = (0..KNEES).fold(self.best, |least, index| if error(index) < error(least) { index } else { least });
        if error(least) + BETTER.0.max(BETTER.1 * error(self.best)) < error(self.best) {
            self.best = least;
        }
    }

    /// Steps of a kind learned from.
    pub fn steps(&self, kind: StepKind) -> u64 {
        self.candidates[self.best].fit.steps(kind)
    }

    /// Time measured so far against the prior's: above 1, the machine is slower than the prior.
    pub fn scale(&self) -> f64 {
        self.candidates[self.best].fit.scale()
    }

    /// Seconds per unit of each feature, in the order of [`Work::features`]. None is negative.
    pub fn coefficients(&self) -> &[f64; FEATURES] {
        &self.candidates[self.best].coefficients
    }
}

impl Candidate {
    fn predict(&self, features: &[f64; FEATURES]) -> f64 {
        let seconds: f64 = self.coefficients.iter().zip(features).map(|(cost, feature)| cost * feature).sum();
        if seconds.is_nan() { f64::INFINITY } else { seconds }
    }

    fn learn(&mut self, features: &[f64; FEATURES], kind: StepKind, seconds: f64) -> Learned {
        let learned = self.fit.learn(features, kind, seconds);
        if let Learned::Ratio(ratio) = learned
            && self.fit.steps(kind) > TAIL_AFTER
        {
            self.error += ERROR_GAIN * (ratio.ln().abs().min(LARGEST_ERROR) - self.error);
        }
        self.coefficients = self.fit.coefficients();
        learned
    }
}

/// One line for logs. A time of a weight pass is that of a single row, which is the time to read the weights.
impl fmt::Display for CostModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [steps, head, head_short, rows, short, prefill_context, decode_context, ff_rows, ff_short] =
            *self.coefficients();
        let (decode, prefill) = (StepKind::Decode, StepKind::Prefill);
        let read = |row: f64, short: f64| Seconds(row + short * (self.knee() - 1.0));
        write!(
            f,
            "{:.3} x the prior, knee at {:.1} rows, after {} decode and {} prefill steps; step {}, head {} + {} a row, \
             attention weights {} + {} a row, attended position {} in prefill and {} in decode, feed-forward weights {} + {} a row, \
             tail x{:.2} decode, x{:.2} prefill",
            self.scale(),
            self.knee(),
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
