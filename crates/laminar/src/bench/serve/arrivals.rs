//! When requests arrive and how long they are: plans, made before anything is sent.

use std::path::Path;

use anyhow::bail;

use super::csv::Table;
use super::lengths::LengthPair;
use super::random::{Purpose, Random};

/// One request that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    /// Seconds after the start.
    pub at_s: f64,
    /// Tokens in the prompt.
    pub prompt_tokens: usize,
    /// Tokens in the answer.
    pub output_tokens: usize,
}

/// Where a plan ends: at a number of requests, at a time, or at what comes first.
#[derive(Debug, Clone, Copy, Default)]
pub struct End {
    /// Most requests.
    pub requests: Option<usize>,
    /// No arrivals after so many seconds.
    pub seconds: Option<f64>,
}

/// A Poisson process of `rate` arrivals a second.
///
/// The same seed gives the same pattern at every rate, only faster or slower.
pub fn poisson(rate: f64, end: End, lengths: &LengthPair, seed: u64) -> Vec<Planned> {
    let mut random = Random::new(seed, Purpose::Arrivals, 0);
    let mut planned = Vec::new();
    let mut at_s = 0.0;
    while end.requests.is_none_or(|most| planned.len() < most) {
        at_s += -random.unit().ln() / rate;
        if end.seconds.is_some_and(|last| at_s > last) {
            break;
        }
        planned.push(with_lengths(at_s, planned.len(), lengths));
    }
    planned
}

/// All at once.
pub fn burst(requests: usize, lengths: &LengthPair) -> Vec<Planned> {
    (0..requests).map(|number| with_lengths(0.0, number, lengths)).collect()
}

fn with_lengths(at_s: f64, number: usize, lengths: &LengthPair) -> Planned {
    let (prompt_tokens, output_tokens) = lengths.draw(number as u64);
    Planned { at_s, prompt_tokens, output_tokens }
}

/// The rows of a file; times count from its first arrival and are multiplied by `scale`.
///
/// # Errors
/// A file that cannot be read or lacks a column, or arrivals that go back in time.
pub fn trace(path: &Path, scale: f64, end: End) -> anyhow::Result<Vec<Planned>> {
    let table = Table::read(path)?;
    let arrivals = table.numbers("arrival_s")?;
    let first = arrivals.first().copied().unwrap_or(0.0);
    if !arrivals.is_sorted() {
        bail!("{}: arrival_s must not go back in time", path.display());
    }
    let rows = arrivals.into_iter().zip(table.counts("prompt_tokens")?).zip(table.counts("output_tokens")?);
    let planned: Vec<_> = rows
        .map(|((arrival, prompt_tokens), output_tokens)| Planned {
            at_s: (arrival - first) * scale,
            prompt_tokens,
            output_tokens,
        })
        .take_while(|planned| end.seconds.is_none_or(|last| planned.at_s <= last))
        .take(end.requests.unwrap_or(usize::MAX))
        .collect();
    if planned.is_empty() {
        bail!("{}: has no rows", path.display());
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::serve::LengthSpec;

    fn lengths() -> LengthPair {
        LengthPair::load(&LengthSpec::Uniform(1, 100), &LengthSpec::Fixed(8), 5).unwrap()
    }

    #[test]
    fn poisson_arrivals_depend_on_the_seed_alone() {
        let end = End { requests: Some(2000), seconds: None };
        let one = poisson(4.0, end, &lengths(), 5);
        assert_eq!(one, poisson(4.0, end, &lengths(), 5));
        assert_ne!(one, poisson(4.0, end, &lengths(), 6));
        assert!(one.is_sorted_by(|a, b| a.at_s < b.at_s));
        // The mean of 2,000 exponential times is within 10 % by more than four standard deviations.
        let mean = one[1999].at_s / 2000.0;
        assert!((mean * 4.0 - 1.0).abs() < 0.1, "{mean}");
        let faster = poisson(8.0, end, &lengths(), 5);
        assert!(one.iter().zip(&faster).all(|(a, b)| (a.at_s - 2.0 * b.at_s).abs() < 1e-6));
    }

    #[test]
    fn a_plan_ends_at_what_comes_first() {
        let planned = poisson(100.0, End { requests: None, seconds: Some(1.0) }, &lengths(), 1);
        assert!(planned.len() > 50 && planned.iter().all(|planned| planned.at_s <= 1.0));
        let few = poisson(100.0, End { requests: Some(3), seconds: Some(1.0) }, &lengths(), 1);
        assert_eq!(few, planned[..3]);
        assert_eq!(burst(3, &lengths()).iter().map(|planned| planned.at_s).collect::<Vec<_>>(), [0.0; 3]);
    }
}
