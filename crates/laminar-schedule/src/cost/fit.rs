//! Coefficients from what the steps have shown.
//!
//! Least squares over the evidence of all kinds, pulled gently towards the prior times the measured scale: directions in
//! which no step has shown anything stay there. No coefficient is negative.

use super::StepKind;
use super::evidence::{Evidence, LATEST, Matrix, Observation, SECONDS};
use super::work::FEATURES;

/// Choices of the coefficients above zero that are tried. One is enough nearly always.
const ROUNDS: usize = 6;

/// Rounds of descent where none of them was right.
const SWEEPS: usize = 6;

/// Bounds of the typical error that the steps of a kind are weighed by. Narrower than what is measured: a kind that fits
/// badly must not be given up for one that fits well.
const ERROR: (f64, f64) = (0.02, 0.1);

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
        let predicted = Observation::predict(&work, &self.units);
        let step = Observation { number, work, seconds, predicted };
        self.evidence[kind.index()].learn(&step, &self.units);
        let shifted = self.follow_shift(kind);
        self.solve();
        shifted.map_or(Learned::Ratio(seconds / predicted), Learned::Shift)
    }

    /// Rescales what was known when the latest steps of the kind agree that the machine has changed its speed, and what is
    /// known of other kinds too unless their steps since then say otherwise. Returns how many steps of each kind were
    /// predicted at the old speed.
    fn follow_shift(&mut self, kind: StepKind) -> Option<[usize; StepKind::COUNT]> {
        let shift = self.evidence[kind.index()].shift()?;
        let mut outdated = [0; StepKind::COUNT];
        for (index, evidence) in self.evidence.iter_mut().enumerate() {
            let steps = if index == kind.index() { Some(LATEST) } else { evidence.agreeing(&shift) };
            if let Some(steps) = steps {
                outdated[index] = steps;
                evidence.slow_down(&shift);
            }
        }
        Some(outdated)
    }

    /// Solves the normal equations with no coefficient below zero.
    fn solve(&mut self) {
        let scale = self.scale();
        // As if each coefficient were known to be within a factor of about two of the prior's, and each step to be off by
        // the typical error of its kind.
        let pull = 1.0 / (scale * scale);
        let mut matrix: Matrix = [[0.0; FEATURES]; FEATURES];
        let mut targets = [pull * scale; FEATURES];
        for evidence in &self.evidence {
            let weight = evidence.spread.clamp(ERROR.0, ERROR.1).powi(-2);
            for (row, products) in matrix.iter_mut().zip(&evidence.products) {
                row.iter_mut().zip(products).for_each(|(sum, product)| *sum += weight * product);
            }
            targets.iter_mut().zip(&evidence.targets).for_each(|(sum, target)| *sum += weight * target);
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
/// Descent alone would creep, since works are nearly proportional to each other (each row of a mixture has its eight
/// experts in nearly every step). So exact solutions come first: a coefficient that comes out negative is held at zero, one
/// that is held there and ought to rise is let go, until neither happens.
fn least_squares(matrix: &Matrix, targets: &[f64; FEATURES]) -> [f64; FEATURES] {
    let mut used = [true; FEATURES];
    let mut units = [0.0; FEATURES];
    let missing = |index: usize, units: &[f64; FEATURES]| -> f64 {
        targets[index] - matrix[index].iter().zip(units).map(|(value, units)| value * units).sum::<f64>()
    };
    for _ in 0..ROUNDS {
        units = cholesky(matrix, targets, &used);
        let mut right = true;
        for index in 0..FEATURES {
            if if used[index] { units[index] < 0.0 } else { missing(index, &units) > 0.0 } {
                used[index] = !used[index];
                right = false;
            }
        }
        if right {
            return units;
        }
    }
    units = units.map(|units| units.max(0.0));
    for _ in 0..SWEEPS {
        for index in 0..FEATURES {
            units[index] = (units[index] + missing(index, &units) / matrix[index][index]).max(0.0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is minimised, up to a constant.
    fn loss(matrix: &Matrix, targets: &[f64; FEATURES], units: &[f64; FEATURES]) -> f64 {
        let product = |row: &[f64; FEATURES]| row.iter().zip(units).map(|(value, units)| value * units).sum::<f64>();
        let terms = matrix.iter().zip(targets).zip(units);
        terms.map(|((row, target), units)| units * (product(row) / 2.0 - target)).sum()
    }

    /// The least loss over coefficients that are not negative: some of them are zero, and the others solve the equations.
    fn least(matrix: &Matrix, targets: &[f64; FEATURES]) -> f64 {
        let subsets = (0..1u32 << FEATURES).map(|bits| {
            let units = cholesky(matrix, targets, &std::array::from_fn(|index| bits >> index & 1 == 1));
            if units.iter().all(|units| *units >= 0.0) { loss(matrix, targets, &units) } else { 0.0 }
        });
        subsets.fold(0.0, f64::min)
    }

    proptest! {
        #[test]
        fn no_other_coefficients_fit_better(
            equations in prop::collection::vec((prop::array::uniform9(0.0f64..1.0), 0.0f64..2.0), 1..30),
        ) {
            let mut matrix = [[0.0; FEATURES]; FEATURES];
            let mut targets = [0.01; FEATURES];
            for (z, target) in equations {
                for row in 0..FEATURES {
                    (0..FEATURES).for_each(|column| matrix[row][column] += z[row] * z[column]);
                    targets[row] += z[row] * target;
                }
            }
            (0..FEATURES).for_each(|index| matrix[index][index] += 0.01);
            let units = least_squares(&matrix, &targets);
            prop_assert!(units.iter().all(|units| *units >= 0.0));
            let (found, best) = (loss(&matrix, &targets, &units), least(&matrix, &targets));
            prop_assert!(found - best < 0.01 * best.abs(), "{found} {best} {units:?}");
        }
    }
}
