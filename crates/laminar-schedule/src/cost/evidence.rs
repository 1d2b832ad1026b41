//! What the steps of one kind have shown: decaying sums for least squares, and the latest steps themselves.
//!
//! Everything is in units of the prior. A step becomes one equation `sum(z_j * u_j) = y / d` in the coefficients `u`
//! (1 = the prior's), with `z_j = work_j * prior_j / d`. Dividing by `d`, about the predicted seconds, makes errors
//! relative: a millisecond matters in a short step and not in a long one.

use super::work::FEATURES;

/// Seconds that a step may take, and that the prior may give it.
pub(super) const SECONDS: (f64, f64) = (1e-9, 1e9);

/// Weight of the past after one more step of the kind; it remembers about 50 steps.
const MEMORY: f64 = 0.98;

/// The latest steps kept whole.
pub(super) const LATEST: usize = 8;

/// A step whose error is more than this many typical errors counts less (Huber).
const TYPICAL_ERRORS: f64 = 2.5;

/// Bounds of the typical error, a difference of logarithms.
const SPREAD: (f64, f64) = (0.01, 0.5);

/// A machine has changed its speed when all of the latest steps are off by more than this, and more than a typical
/// error, to the same side.
const SHIFT: f64 = 0.15;

/// Steps of a kind after which a lasting error means another speed; before, it means that little is known.
const SHIFT_AFTER: u64 = 16;

/// Square matrix over the features.
pub(super) type Matrix = [[f64; FEATURES]; FEATURES];

/// One step of the kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observation {
    /// Counts the steps of all kinds.
    pub number: u64,
    /// Work in seconds of the prior, by feature.
    pub work: [f64; FEATURES],
    /// Seconds it took.
    pub seconds: f64,
    /// Seconds that were predicted for it.
    pub predicted: f64,
}

impl Observation {
    const NONE: Observation = Observation { number: 0, work: [0.0; FEATURES], seconds: 1.0, predicted: 1.0 };

    /// Seconds of the prior.
    fn prior(&self) -> f64 {
        self.work.iter().sum()
    }

    /// Logarithm of actual to the prior's seconds.
    fn log_scale(&self) -> f64 {
        (self.seconds / self.prior()).ln()
    }

    /// Logarithm of actual to predicted seconds.
    pub fn error(&self) -> f64 {
        (self.seconds / self.predicted).ln()
    }

    /// What to divide by: the predicted seconds, so that chance does not pull the fit down; half of the actual ones where
    /// these are far more, so that a stall does not outshout all others.
    fn divisor(&self) -> f64 {
        self.predicted.max(self.seconds / 2.0)
    }

    /// Seconds by other coefficients, in units of the prior's.
    pub fn predict(work: &[f64; FEATURES], units: &[f64; FEATURES]) -> f64 {
        work.iter().zip(units).map(|(work, units)| work * units).sum::<f64>().max(SECONDS.0)
    }
}

/// The machine has changed its speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    /// How many times slower it has become.
    pub factor: f64,
    /// Number of the first step at the new speed.
    since: u64,
}

/// What the steps of one kind have shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Evidence {
    /// Decaying sum of `z * z'`.
    pub products: Matrix,
    /// Decaying sum of `z * y / d`.
    pub targets: [f64; FEATURES],
    /// Steps of the kind so far.
    pub steps: u64,
    /// Typical size of [`Observation::error`].
    pub spread: f64,
    /// Logarithm of actual to the prior's seconds: the median of the first steps, small bounded moves later.
    pub log_scale: f64,
    /// The latest steps and their weights; a ring.
    latest: [(Observation, f64); LATEST],
}

impl Evidence {
    pub const NONE: Evidence = Evidence {
        products: [[0.0; FEATURES]; FEATURES],
        targets: [0.0; FEATURES],
        steps: 0,
        spread: SPREAD.1,
        log_scale: 0.0,
        latest: [(Observation::NONE, 0.0); LATEST],
    };

    /// Adds a step that was predicted with these coefficients, in units of the prior's.
    pub fn learn(&mut self, step: &Observation, units: &[f64; FEATURES]) {
        let error = step.error().abs();
        let weight = self.weight(step);
        self.latest[(self.steps % LATEST as u64) as usize] = (*step, weight);
        self.steps += 1;
        if self.steps <= LATEST as u64 {
            self.log_scale = self.median(self.steps as usize, Observation::log_scale);
            self.begin_anew(units);
        } else {
            self.log_scale += (1.0 - MEMORY) * (step.log_scale() - self.log_scale).clamp(-0.5, 0.5);
            self.fade(MEMORY);
            self.add(step, weight);
        }
        let gain = (1.0 / (self.steps + 1) as f64).max(0.1);
        self.spread += gain * (error.min(3.0 * self.spread) - self.spread);
        self.spread = self.spread.clamp(SPREAD.0, SPREAD.1);
    }

    /// How much a step counts (Huber).
    fn weight(&self, step: &Observation) -> f64 {
        let error = step.error().abs();
        if error > TYPICAL_ERRORS * self.spread { TYPICAL_ERRORS * self.spread / error } else { 1.0 }
    }

    /// Sums up the first steps again, all of which are still here, with what is known now: the first prediction of all is as
    /// wrong as the prior, and a first step that is an outlier would otherwise be the measure of all others.
    fn begin_anew(&mut self, units: &[f64; FEATURES]) {
        self.fade(0.0);
        let scale = self.log_scale.exp();
        for place in 0..self.steps as usize {
            let (step, _) = self.latest[place];
            let predicted = Observation::predict(&step.work, units).max(scale * step.prior());
            let step = Observation { predicted, ..step };
            let weight = self.weight(&step);
            self.fade(MEMORY);
            self.add(&step, weight);
            self.latest[place] = (step, weight);
        }
    }

    /// How many times slower the machine has become, and the number of the first step of which that is true: when the
    /// latest steps agree that it has changed its speed.
    pub fn shift(&self) -> Option<Shift> {
        let least = SHIFT.max(self.spread);
        let same = |side: f64| self.latest.iter().all(|(step, _)| side * step.error() > least);
        let shifted = self.steps >= SHIFT_AFTER && (same(1.0) || same(-1.0));
        shifted.then(|| Shift {
            factor: self.median(LATEST, Observation::error).exp(),
            since: self.latest[(self.steps % LATEST as u64) as usize].0.number,
        })
    }

    /// Of the latest steps, those since a shift that another kind has seen, when they do not contradict it.
    pub fn agreeing(&self, shift: &Shift) -> Option<usize> {
        let (mut agreeing, mut contrary) = (0, 0);
        for (step, _) in self.latest().iter().filter(|(step, _)| step.number >= shift.since) {
            // Nearer to the old speed or to the new one?
            let agrees = step.error() / shift.factor.ln() > 0.5;
            *if agrees { &mut agreeing } else { &mut contrary } += 1;
        }
        (contrary <= agreeing / 2).then_some(agreeing + contrary)
    }

    /// Takes the steps before a shift as if the machine had been at its new speed already.
    pub fn slow_down(&mut self, shift: &Shift) {
        for place in 0..self.latest().len() {
            let (step, weight) = self.latest[place];
            if step.number >= shift.since {
                self.add(&step, -weight * MEMORY.powi(self.age(place)));
            }
        }
        // Times and predictions become longer, so in each equation `z` becomes smaller and `y / d` stays.
        self.fade_products(1.0 / (shift.factor * shift.factor));
        self.targets.iter_mut().for_each(|sum| *sum /= shift.factor);
        self.log_scale += shift.factor.ln();
        for place in 0..self.latest().len() {
            let (step, weight) = &mut self.latest[place];
            step.predicted *= shift.factor;
            if step.number < shift.since {
                step.seconds *= shift.factor;
            } else {
                // No outlier after all: full weight.
                *weight = 1.0;
                let step = *step;
                self.add(&step, MEMORY.powi(self.age(place)));
            }
        }
        if self.latest().len() == LATEST {
            self.log_scale = self.median(LATEST, Observation::log_scale);
        }
    }

    /// Steps of the kind since the one at a place in the ring.
    fn age(&self, place: usize) -> i32 {
        (self.steps.wrapping_sub(1 + place as u64) % LATEST as u64) as i32
    }

    /// The latest steps and their weights, in no particular order.
    fn latest(&self) -> &[(Observation, f64)] {
        &self.latest[..(self.steps as usize).min(LATEST)]
    }

    fn add(&mut self, step: &Observation, weight: f64) {
        let divisor = step.divisor();
        let z = step.work.map(|seconds| seconds / divisor);
        let target = weight * step.seconds / divisor;
        for ((row, sum), value) in self.products.iter_mut().zip(&mut self.targets).zip(z) {
            *sum += value * target;
            let value = value * weight;
            row.iter_mut().zip(z).for_each(|(product, other)| *product += value * other);
        }
    }

    fn fade(&mut self, factor: f64) {
        self.fade_products(factor);
        self.targets.iter_mut().for_each(|sum| *sum *= factor);
    }

    fn fade_products(&mut self, factor: f64) {
        self.products.iter_mut().flatten().for_each(|product| *product *= factor);
    }

    /// Median of a value over the first places of the ring.
    fn median(&self, places: usize, value: impl Fn(&Observation) -> f64) -> f64 {
        let mut values = [f64::INFINITY; LATEST];
        values.iter_mut().zip(&self.latest[..places]).for_each(|(slot, (step, _))| *slot = value(step));
        values.sort_unstable_by(f64::total_cmp);
        (values[(places - 1) / 2] + values[places / 2]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evidence of steps that take so many times what the prior says, and were predicted so.
    fn taught(steps: impl IntoIterator<Item = (f64, f64)>) -> Evidence {
        let mut evidence = Evidence::NONE;
        for (number, (speed, believed)) in steps.into_iter().enumerate() {
            let mut work = [0.0; FEATURES];
            work[0] = 1e-3;
            work[1 + number % 7] = 1e-3 * (1 + number % 5) as f64;
            let prior: f64 = work.iter().sum();
            let step = Observation { number: number as u64, work, seconds: speed * prior, predicted: believed * prior };
            evidence.learn(&step, &[believed; FEATURES]);
        }
        evidence
    }

    #[test]
    fn behind_a_shift_everything_looks_as_if_the_machine_had_never_been_faster() {
        let steps = |count| std::iter::repeat_n((1.0, 1.0), count).chain(std::iter::repeat_n((2.0, 1.0), LATEST));
        assert_eq!(taught(steps(40).take(47)).shift(), None, "seven steps are not enough");
        let mut shifted = taught(steps(40));
        let shift = shifted.shift().unwrap();
        assert!((shift.factor - 2.0).abs() < 1e-12);
        assert_eq!(shift.since, 40);
        shifted.slow_down(&shift);
        let always = taught(std::iter::repeat_n((2.0, 2.0), 48));
        let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(shifted.products.iter().flatten().zip(always.products.iter().flatten()).all(|(a, b)| near(*a, *b)));
        assert!(shifted.targets.iter().zip(&always.targets).all(|(a, b)| near(*a, *b)));
        assert!(near(shifted.log_scale, always.log_scale));
        assert_eq!(shifted.shift(), None);
    }

    #[test]
    fn steps_that_are_off_to_both_sides_are_no_shift() {
        let steps = (0..60).map(|step| (if step % 8 == 0 { 0.5 } else { 2.0 }, 1.0));
        assert_eq!(taught(steps).shift(), None);
    }

    #[test]
    fn a_kind_agrees_with_a_shift_unless_its_own_steps_deny_it() {
        let shift = Shift { factor: 2.0, since: 10 };
        let agreeing = |later: &[f64]| {
            taught(std::iter::repeat_n((1.0, 1.0), 10).chain(later.iter().map(|speed| (*speed, 1.0)))).agreeing(&shift)
        };
        assert_eq!(agreeing(&[]), Some(0));
        assert_eq!(agreeing(&[2.0, 2.1, 1.0]), Some(3));
        assert_eq!(agreeing(&[1.0]), None);
        assert_eq!(agreeing(&[2.0, 1.0]), None);
    }
}
