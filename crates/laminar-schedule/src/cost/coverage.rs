//! How many distinct experts some rows touch.

use super::StepKind;

/// The least weight of a new report against what was learned before.
const GAIN: f64 = 0.05;

/// Distinct experts that rows touch in one pass through a layer of a mixture. Dense models have none.
///
/// Were every row to choose its experts at random, `rows` rows would touch `E * (1 - (1 - k/E)^rows)` of them on average.
/// Real rows resemble each other, so they touch fewer; by how much is learned, separately for decode rows (strangers to
/// each other) and prefill rows (of one text).
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    experts: f64,
    per_row: f64,
    factors: [Factor; StepKind::COUNT],
}

/// Touched experts against the formula's, for rows of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Factor {
    value: f64,
    reports: f64,
}

impl Coverage {
    /// A mixture of `experts` of which each row uses `per_row` in every layer. At least one and at most all of them.
    pub fn new(experts: usize, per_row: usize) -> Self {
        let experts = experts.max(1);
        let per_row = per_row.clamp(1, experts);
        let factors = [Factor { value: 1.0, reports: 0.0 }; StepKind::COUNT];
        Self { experts: experts as f64, per_row: per_row as f64, factors }
    }

    /// Distinct experts that `rows` rows of a kind touch in one layer. At least those of one row, at most those of as many
    /// rows that share none, and never more than there are.
    pub fn loads(&self, rows: usize, kind: StepKind) -> f64 {
        if rows == 0 {
            return 0.0;
        }
        let rows = rows as f64;
        let random = self.experts * (1.0 - (1.0 - self.per_row / self.experts).powf(rows));
        (random * self.factor(kind)).clamp(self.per_row, (self.per_row * rows).min(self.experts))
    }

    /// Touched experts against those of random choice, from `per_row / experts` to 1.
    pub fn factor(&self, kind: StepKind) -> f64 {
        self.factors[kind.index()].value
    }

    /// Learns from a report: `expected` loads, as [`Coverage::loads`] gave them for the step (summed over its passes), and
    /// `actual` ones. Numbers that cannot be are ignored.
    pub fn learn(&mut self, kind: StepKind, expected: f64, actual: f64) {
        if !(expected.is_finite() && actual.is_finite() && expected > 0.0 && actual > 0.0) {
            return;
        }
        let lowest = self.per_row / self.experts;
        let factor = &mut self.factors[kind.index()];
        factor.reports += 1.0;
        // `expected` contains the factor, so the factor that would have been right is this one.
        let right = (factor.value * actual / expected).clamp(lowest, 1.0);
        factor.value += (right - factor.value) * GAIN.max(1.0 / factor.reports);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepKind::{Decode, Prefill};
    use proptest::prelude::*;

    #[test]
    fn one_row_touches_its_own_experts_and_many_rows_touch_all() {
        let coverage = Coverage::new(128, 8);
        assert_eq!(coverage.loads(0, Decode), 0.0);
        assert_eq!(coverage.loads(1, Decode), 8.0);
        assert!((coverage.loads(2, Decode) - 15.5).abs() < 1e-9);
        assert!(coverage.loads(2048, Prefill) > 127.999);
    }

    #[test]
    fn rows_that_resemble_each_other_touch_fewer() {
        let mut coverage = Coverage::new(128, 8);
        let random = coverage.loads(16, Decode);
        for _ in 0..100 {
            let expected = coverage.loads(16, Decode);
            coverage.learn(Decode, expected * 48.0, random * 0.6 * 48.0);
        }
        assert!((coverage.loads(16, Decode) / (random * 0.6) - 1.0).abs() < 0.01);
        assert_eq!(coverage.loads(16, Prefill), random, "prefill rows are learned apart");
    }

    #[test]
    fn a_single_row_teaches_nothing_about_several() {
        let mut coverage = Coverage::new(128, 8);
        coverage.learn(Decode, coverage.loads(16, Decode), coverage.loads(16, Decode) * 0.5);
        let before = coverage.loads(16, Decode);
        for _ in 0..100 {
            coverage.learn(Decode, coverage.loads(1, Decode), 8.0);
        }
        assert_eq!(coverage.loads(16, Decode), before);
    }

    #[test]
    fn the_newest_reports_count_most() {
        let mut coverage = Coverage::new(64, 4);
        let random = coverage.loads(32, Prefill);
        for share in [0.9, 0.5] {
            for _ in 0..200 {
                coverage.learn(Prefill, coverage.loads(32, Prefill), random * share);
            }
            assert!((coverage.factor(Prefill) - share).abs() < 0.01, "{}", coverage.factor(Prefill));
        }
    }

    proptest! {
        #[test]
        fn loads_stay_within_what_rows_can_touch(
            experts in 0usize..300,
            per_row in 0usize..300,
            rows in 0usize..5000,
            reports in prop::collection::vec((any::<f64>(), any::<f64>()), 0..20),
        ) {
            let mut coverage = Coverage::new(experts, per_row);
            for (expected, actual) in reports {
                coverage.learn(Decode, expected, actual);
            }
            let (experts, per_row) = (experts.max(1), per_row.clamp(1, experts.max(1)));
            let loads = coverage.loads(rows, Decode);
            prop_assert!(loads <= experts.min(per_row * rows) as f64);
            prop_assert!(rows == 0 || loads >= per_row as f64);
            prop_assert!(coverage.loads(rows + 1, Decode) >= loads, "more rows touch no fewer");
        }
    }
}
