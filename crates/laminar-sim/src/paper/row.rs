//! One published number and ours beside it.

use serde::Serialize;

/// Whether a number was fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The constants were fitted on it.
    Fit,
    /// It follows from constants that were fitted on others.
    Prediction,
}

/// How far ours may be from theirs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerance {
    /// By this share of theirs.
    Share(f64),
    /// By so many of the row's units.
    Difference(f64),
    /// Ours must be at most theirs.
    AtMost,
    /// Ours must be at least theirs.
    AtLeast,
    /// Ours must have the sign of theirs.
    Sign,
}

impl Tolerance {
    /// Whether ours is near enough.
    pub fn holds(self, published: f64, ours: f64) -> bool {
        match self {
            Tolerance::Share(share) => (ours - published).abs() <= share * published.abs(),
            Tolerance::Difference(most) => (ours - published).abs() <= most,
            Tolerance::AtMost => ours <= published,
            Tolerance::AtLeast => ours >= published,
            Tolerance::Sign => ours * published > 0.0,
        }
    }
}

/// One published number and ours beside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Section of our notes on the paper.
    pub section: &'static str,
    /// What it is.
    pub what: String,
    /// Its unit.
    pub unit: &'static str,
    /// Theirs.
    pub published: f64,
    /// Ours.
    pub ours: f64,
    /// How far apart they may be; `None` for numbers that are shown and not judged.
    pub tolerance: Option<Tolerance>,
    /// Whether they are no farther apart; `true` where nothing is judged.
    pub holds: bool,
    /// Fitted or predicted.
    pub kind: Kind,
    /// Why it does not hold, or what to know about it.
    pub note: &'static str,
}

impl Row {
    /// A prediction that is judged.
    pub(super) fn new(
        section: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        [published, ours]: [f64; 2],
        tolerance: Tolerance,
    ) -> Self {
        let holds = tolerance.holds(published, ours);
        let tolerance = Some(tolerance);
        Self { section, what: what.into(), unit, published, ours, tolerance, holds, kind: Kind::Prediction, note: "" }
    }

    /// The same as a fit.
    pub(super) fn fitted(self) -> Self {
        Self { kind: Kind::Fit, ..self }
    }

    /// The same, shown and not judged.
    pub(super) fn shown(self) -> Self {
        Self { tolerance: None, holds: true, ..self }
    }

    /// The same with a note.
    pub(super) fn noted(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    /// The same with a note if it does not hold.
    pub(super) fn reason(self, note: &'static str) -> Self {
        if self.holds { self } else { self.noted(note) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerances_judge_both_sides() {
        let holds = |tolerance: Tolerance| [-1.3, -1.0, -0.8, 1.0].map(|ours| tolerance.holds(-1.0, ours));
        assert_eq!(holds(Tolerance::Share(0.25)), [false, true, true, false]);
        assert_eq!(holds(Tolerance::Difference(0.35)), [true, true, true, false]);
        assert_eq!(holds(Tolerance::AtMost), [true, true, false, false]);
        assert_eq!(holds(Tolerance::AtLeast), [false, true, true, true]);
        assert_eq!(holds(Tolerance::Sign), [true, true, true, false]);
    }
}
