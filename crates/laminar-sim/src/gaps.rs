//! Gaps between tokens, counted by step: all streams of a step have the same one.

/// Many gaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gaps {
    /// Seconds, and how often.
    counted: Vec<(f64, u32)>,
}

impl Gaps {
    /// Adds a gap so many times.
    pub(crate) fn push(&mut self, seconds: f64, times: u32) {
        if times > 0 {
            self.counted.push((seconds, times));
        }
    }

    /// Number of gaps.
    pub fn count(&self) -> u64 {
        self.counted.iter().map(|(_, times)| u64::from(*times)).sum()
    }

    /// Mean seconds; 0 of none.
    pub fn mean(&self) -> f64 {
        let sum: f64 = self.counted.iter().map(|(seconds, times)| seconds * f64::from(*times)).sum();
        sum / self.count().max(1) as f64
    }

    /// The smallest gap that this share of all does not exceed; 0 of none.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.counted.clone();
        sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
        let place = (share * self.count() as f64).ceil() as u64;
        let mut passed = 0;
        for (seconds, times) in &sorted {
            passed += u64::from(*times);
            if passed >= place {
                return *seconds;
            }
        }
        sorted.last().map_or(0.0, |(seconds, _)| *seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_each_gap_as_often_as_it_was() {
        let mut gaps = Gaps::default();
        [(0.5, 1), (0.1, 97), (0.2, 2), (9.0, 0)].into_iter().for_each(|(seconds, times)| gaps.push(seconds, times));
        assert_eq!(gaps.count(), 100);
        assert_eq!([0.5, 0.97, 0.98, 0.99, 1.0].map(|share| gaps.quantile(share)), [0.1, 0.1, 0.2, 0.2, 0.5]);
        assert!((gaps.mean() - 0.106).abs() < 1e-12);
        assert_eq!(Gaps::default().quantile(0.99), 0.0);
    }
}
