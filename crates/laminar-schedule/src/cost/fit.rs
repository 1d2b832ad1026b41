//! Coefficients from what the steps have shown.
//!
//! Least squares over the evidence of all kinds, pulled gently towards the prior times the measured scale: directions in
//! which no step has shown anything stay there. No coefficient is negative.

use super::StepKind;
use super::evidence::{Evidence, LATEST, Matrix, Observation, SECONDS};
use super::work::FEATURES;

/// Exact solutions that are tried, each without the coefficients that the one before made negative.
const ROUNDS: usize = 3;

/// Rounds over all coefficients behind that. Only a coefficient that was left out too early needs them.
const SWEEPS: usize = 4;

/// Steps before the sums are trusted; until then every coefficient is the prior's times the scale.
const TRUSTED: u64 = 3;

/// Bounds of the error that the pull towards the prior is balanced against: a coefficient is believed to be within a factor
/// of about three of the prior, and a step to be off by a typical error, so the pull is worth the error's square in steps.
const PULL: (f64, f64) = (0.02, 0.3);

/// What came of learning from a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Learned {
    /// The step cannot have happened.
    Nothing,
    /// Actual to predicted seconds.
    Ratio(f64),
    /// The machine has changed its speed: so many of the latest steps, by kind, were predicted at the old one.
    Shift([usize; StepKind::COUNT]),
}

/// The fit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fit {
    /// The prior's coefficients, seconds per unit.
    prior: [f64; FEATURES],
    /// Coefficients in units of the prior's.
    units: [f64; FEATURES],
    evidence: [Evidence; StepKind::COUNT],
}

impl Fit {
    pub fn new(prior: [f64; FEATURES]) -> Self {
        Self { prior, units: [1.0; FEATURES], evidence: [Evidence::NONE; StepKind::COUNT] }
    }

    /// Coefficients, seconds per unit.
    pub fn coefficients(&self) -> [f64; FEATURES] {
        let mut coefficients = self.prior;
        coefficients.iter_mut().zip(self.units).for_each(|(seconds, units)| *seconds *= units);
        coefficients
    }

    /// Steps of a kind learned from.
    pub fn steps(&self, kind: StepKind) -> u64 {
        self.evidence[kind.index()].steps
    }

    /// Actual to the prior's seconds: each kind that was seen has one voice, however many steps it has.
    pub fn scale(&self) -> f64 {
        let seen = self.evidence.iter().filter(|evidence| evidence.steps > 0);
        let (sum, count) = seen.fold((0.0, 0.0), |(sum, count), evidence| (sum + evidence.log_scale, count + 1.0));
        if count == 0.0 { 1.0 } else { f64::exp(sum / count) }
    }

    pub fn learn(&mut self, features: &[f64; FEATURES], kind: StepKind, seconds: f64) -> Learned {
        let mut work = self.prior;
        work.iter_mut().zip(features).for_each(|(seconds, feature)| *seconds *= feature);
        let sane = |seconds: f64| (SECONDS.0..=SECONDS.1).contains(&seconds);
        if !sane(seconds) || !sane(work.iter().sum()) {
            return Learned::Nothing;
        }
        let number = self.evidence.iter().map(|evidence| evidence.steps).sum();
        let own = &mut self.evidence[kind.index()];
        let predicted = Observation::predict(&work, &self.units);
        let mut step = Observation { number, work, seconds, predicted };
        own.follow_scale(&step);
        if number < TRUSTED {
            self.units = [self.scale_with(kind); FEATURES];
            step.predicted = Observation::predict(&work, &self.units);
        }
        self.evidence[kind.index()].learn(&step, &self.units);
        let shifted = self.follow_shift(kind);
        self.solve();
        shifted.map_or(Learned::Ratio(step.seconds / step.predicted), Learned::Shift)
    }

    /// The scale, the kind's first step included.
    fn scale_with(&self, kind: StepKind) -> f64 {
        if self.steps(kind) > 0 {
            return self.scale();
        }
        let others = self.evidence.iter().filter(|evidence| evidence.steps > 0);
        let own = self.evidence[kind.index()].log_scale;
        let (sum, count) = others.fold((own, 1.0), |(sum, count), evidence| (sum + evidence.log_scale, count + 1.0));
        f64::exp(sum / count)
    }

    /// Rescales what was known when the latest steps of the kind agree that the machine has changed its speed, and what is
    /// known of other kinds too unless their steps since then say otherwise. Returns how many steps of each kind were
    /// predicted at the old speed.
    fn follow_shift(&mut self, kind: StepKind) -> Option<[usize; StepKind::COUNT]> {
        let shift = self.evidence[kind.index()].shift()?;
        let mut outdated = [0; StepKind::COUNT];
        for (index, evidence) in self.evidence.iter_mut().enumerate() {
            if index == kind.index() {
                outdated[index] = LATEST;
            } else if evidence.steps > 0
                && !shift.is_nonsense()
                && let Some(steps) = evidence.agreeing(&shift)
            {
                outdated[index] = steps;
            } else {
                continue;
            }
            evidence.slow_down(&shift);
        }
        Some(outdated)
    }

    /// Solves the normal equations with no coefficient below zero.
    fn solve(&mut self) {
        let scale = self.scale();
        let seen = self.evidence.iter().filter(|evidence| evidence.steps > 0);
        let spread = seen.fold(PULL.0, |spread, evidence| evidence.spread.max(spread)).min(PULL.1);
        let pull = spread * spread / (scale * scale);
        let mut matrix: Matrix = [[0.0; FEATURES]; FEATURES];
        let mut targets = [pull * scale; FEATURES];
        for evidence in &self.evidence {
            for (row, products) in matrix.iter_mut().zip(&evidence.products) {
                row.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
            }
            targets.iter_mut().zip(&evidence.targets).for_each(|(sum, target)| *sum += target);
        }
        for (index, row) in matrix.iter_mut().enumerate() {
            row[index] = row[index].max(0.0) + pull;
        }
        self.units = least_squares(&matrix, &targets);
        if !self.units.iter().all(|units| units.is_finite()) {
            // Numbers beyond all measure. Nothing of them is worth keeping.
            *self = Fit::new(self.prior);
        }
    }
}

/// Coefficients that solve `matrix * units = targets` as well as numbers can that are not negative.
///
/// Descent alone would do, were works not nearly proportional to each other (each row of a mixture has its eight experts in
/// nearly every step), which makes it creep. So it begins at exact solutions.
fn least_squares(matrix: &Matrix, targets: &[f64; FEATURES]) -> [f64; FEATURES] {
    let mut used = [true; FEATURES];
    let mut units = [0.0; FEATURES];
    for _ in 0..ROUNDS {
        units = cholesky(matrix, targets, &used);
        let negative = units.map(|units| units < 0.0);
        if !negative.contains(&true) {
            break;
        }
        used.iter_mut().zip(negative).for_each(|(used, negative)| *used &= !negative);
    }
    if !used.contains(&false) {
        return units;
    }
    units = units.map(|units| units.max(0.0));
    for _ in 0..SWEEPS {
        for (index, row) in matrix.iter().enumerate() {
            let reached: f64 = row.iter().zip(&units).map(|(value, units)| value * units).sum();
            units[index] = (units[index] + (targets[index] - reached) / row[index]).max(0.0);
        }
    }
    units
}

/// Solves `matrix * units = targets` over the coefficients in use; the others are zero.
fn cholesky(matrix: &Matrix, targets: &[f64; FEATURES], used: &[bool; FEATURES]) -> [f64; FEATURES] {
    // Lower triangle, its diagonal inverted.
    let mut lower: Matrix = [[0.0; FEATURES]; FEATURES];
    let mut units = [0.0; FEATURES];
    for index in (0..FEATURES).filter(|index| used[*index]) {
        let dot = |one: &[f64; FEATURES], other: &[f64; FEATURES]| -> f64 {
            one[..index].iter().zip(&other[..index]).map(|(one, other)| one * other).sum()
        };
        for column in (0..index).filter(|column| used[*column]) {
            let sum: f64 = (0..column).map(|inner| lower[index][inner] * lower[column][inner]).sum();
            lower[index][column] = (matrix[index][column] - sum) * lower[column][column];
        }
        let diagonal = matrix[index][index];
        // Never zero, however rounding falls.
        let rest = (diagonal - dot(&lower[index], &lower[index])).max(diagonal * 1e-14);
        lower[index][index] = 1.0 / rest.sqrt();
        units[index] = (targets[index] - dot(&lower[index], &units)) * lower[index][index];
    }
    for index in (0..FEATURES).rev() {
        let sum: f64 = (index + 1..FEATURES).map(|inner| lower[inner][index] * units[inner]).sum();
        units[index] = (units[index] - sum) * lower[index][index];
    }
    units
}
