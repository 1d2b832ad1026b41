//! How long prompts and answers are.
//!
//! The built-in distributions are fitted to what is published of traces, so that nothing need be downloaded:
//!
//! - `sharegpt`: the length trace of the paper's repository. Prompts: mean 2340, deviation 2089, median 1730, 90 % below 5696,
//!   99 % below 7434, at most 8141. Answers: mean 439, deviation 266, median 415, 90 % below 834, at most 1024.
//! - `arxiv`: summaries of papers. Prompts: mean 9194 (the paper), and the quantiles of the dataset's length trace in the paper's
//!   repository, scaled from its tokenizer's tokens to that mean. They were taken from 1479 of its rows at three places; of
//!   these, those below 16k have a median of 6985 and a 90 % point of 13056, where Sarathi-Serve (OSDI 2024, table 2) published
//!   7059 and 12985 for the whole trace. Answers: median 208 and 90 % below 371 there, so a mean of 230.
//! - `azure-conv`, `azure-code`: Azure's traces of 2023 (Splitwise, ISCA 2024). Median prompt 1020 and 1500, mean 1155 and
//!   2048; median answer 129 and 13, mean 211 and 28.

use crate::PlanError;
use crate::random::{Random, mix};

/// A distribution of prompt and output lengths.
#[derive(Clone, Debug, PartialEq)]
pub enum Lengths {
    /// Always the same.
    Fixed {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the answer.
        output: usize,
    },
    /// Drawn independently of each other.
    Drawn {
        /// Tokens of the prompt.
        prompt: Spread,
        /// Tokens of the answer.
        output: Spread,
    },
    /// Rows of a trace, in its order, again from the begin when all are used.
    Rows(Vec<(usize, usize)>),
}

/// A distribution of one length.
#[derive(Clone, Debug, PartialEq)]
pub enum Spread {
    /// The logarithm is normal; values above `most` are cut.
    LogNormal {
        /// Half of the values are below.
        median: f64,
        /// Deviation of the logarithm.
        deviation: f64,
        /// Largest value.
        most: f64,
    },
    /// Straight lines between quantiles: shares in ascending order, from 0 to 1, and values.
    Quantiles(&'static [(f64, f64)]),
}

const SHAREGPT_PROMPT: Spread = Spread::Quantiles(&[
    (0.0, 10.0),
    (0.25, 470.0),
    (0.5, 1730.0),
    (0.75, 3500.0),
    (0.9, 5696.0),
    (0.99, 7434.0),
    (1.0, 8141.0),
]);

const SHAREGPT_OUTPUT: Spread =
    Spread::Quantiles(&[(0.0, 4.0), (0.25, 205.0), (0.5, 415.0), (0.75, 600.0), (0.9, 834.0), (1.0, 1024.0)]);

const ARXIV_PROMPT: Spread = Spread::Quantiles(&[
    (0.0, 569.0),
    (0.01, 1179.0),
    (0.05, 2202.0),
    (0.1, 2968.0),
    (0.2, 4192.0),
    (0.3, 5029.0),
    (0.4, 6052.0),
    (0.5, 7184.0),
    (0.6, 8514.0),
    (0.7, 10_293.0),
    (0.8, 12_666.0),
    (0.9, 16_659.0),
    (0.95, 20_923.0),
    (0.98, 29_906.0),
    (0.99, 36_919.0),
    (0.995, 51_540.0),
    (1.0, 91_281.0),
]);

const fn log_normal(median: f64, deviation: f64, most: f64) -> Spread {
    Spread::LogNormal { median, deviation, most }
}

/// Separates the random numbers of lengths from those of arrivals.
const STREAM: u64 = 0x6c65_6e67_7468_7321;

impl Lengths {
    /// The built-in distributions: name, prompts, answers.
    pub(super) const BUILT_IN: [(&'static str, Spread, Spread); 4] = [
        ("sharegpt", SHAREGPT_PROMPT, SHAREGPT_OUTPUT),
        ("arxiv", ARXIV_PROMPT, log_normal(208.0, 0.449, 1024.0)),
        ("azure-conv", log_normal(1020.0, 0.5, 14_000.0), log_normal(129.0, 0.99, 1500.0)),
        ("azure-code", log_normal(1500.0, 0.79, 14_000.0), log_normal(13.0, 1.24, 2000.0)),
    ];

    /// A built-in distribution.
    pub(super) fn named(name: &str) -> Result<Self, PlanError> {
        let found = Self::BUILT_IN.into_iter().find(|(known, _, _)| *known == name);
        let known = || PlanError::unknown("workload", name, Self::BUILT_IN.iter().map(|(name, _, _)| *name));
        let (_, prompt, output) = found.ok_or_else(known)?;
        Ok(Lengths::Drawn { prompt, output })
    }

    /// The lengths of so many requests. Drawn ones are spread evenly over the distribution, in random order.
    pub(super) fn list(&self, count: usize, seed: u64) -> Vec<(usize, usize)> {
        match self {
            Lengths::Fixed { prompt, output } => vec![(*prompt, *output); count],
            Lengths::Rows(rows) => rows.iter().copied().cycle().take(count).collect(),
            Lengths::Drawn { prompt, output } => {
                let mut random = Random::new(mix(seed, STREAM));
                let prompts = prompt.list(count, &mut random);
                prompts.into_iter().zip(output.list(count, &mut random)).collect()
            }
        }
    }
}

impl Spread {
    /// A value in each of `count` equal parts of the distribution, shuffled.
    fn list(&self, count: usize, random: &mut Random) -> Vec<usize> {
        let mut values: Vec<usize> = (0..count)
            .map(|part| self.at((part as f64 + random.unit()) / count as f64).round().max(1.0) as usize)
            .collect();
        for last in (1..count).rev() {
            values.swap(last, random.below(last as u64 + 1) as usize);
        }
        values
    }

    /// The value that a share of all do not exceed.
    fn at(&self, share: f64) -> f64 {
        match self {
            Spread::LogNormal { median, deviation, most } => {
                let share = share.clamp(1e-9, 1.0 - 1e-9);
                (median * (deviation * normal_quantile(share)).exp()).min(*most)
            }
            Spread::Quantiles(knots) => {
                let pair = knots.windows(2).find(|pair| share <= pair[1].0);
                pair.map_or(1.0, |pair| {
                    let ((low, from), (high, to)) = (pair[0], pair[1]);
                    from + (to - from) * (share - low) / (high - low)
                })
            }
        }
    }
}

/// The value that a share of the standard normal distribution does not exceed. Abramowitz and Stegun, *Handbook of mathematical
/// functions*, 26.2.23: off by at most 4.5e-4.
fn normal_quantile(share: f64) -> f64 {
    let tail = (-2.0 * share.min(1.0 - share).ln()).sqrt();
    let above = 2.515_517 + tail * (0.802_853 + tail * 0.010_328);
    let below = 1.0 + tail * (1.432_788 + tail * (0.189_269 + tail * 0.001_308));
    (tail - above / below).copysign(share - 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        for (share, value) in [(0.5, 0.0), (0.841_344_7, 1.0), (0.977_249_9, 2.0), (0.1, -1.281_551_6)] {
            assert!((normal_quantile(share) - value).abs() < 5e-4, "{share}");
        }
    }
}
