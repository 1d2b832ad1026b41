//! `sweep`: Poisson arrivals at rising rates until too many requests miss their targets, or the server falls behind.

use std::sync::Arc;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::arrivals::{End, poisson};
use super::lengths::LengthPair;
use super::live::Live;
use super::load::Load;
use super::record::Record;
use super::stats::{Slo, Summary};

/// Share of requests that must keep their targets.
pub const ENOUGH: f64 = 0.9;
/// Share of the rate that must come out in time. A few requests, sent faster than they can be served, may all keep loose
/// targets; that the server falls behind shows in how many it finishes a second.
pub const KEEPS_UP: f64 = 0.5;
/// Most times that the rate is doubled.
const DOUBLINGS: usize = 12;
/// Most times that it is halved when already the first one is too much.
const HALVINGS: usize = 4;
/// How often the step between the last good and the first bad rate is halved.
const REFINEMENTS: usize = 2;

/// What came of one rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    /// Arrivals a second.
    pub rate: f64,
    /// What its requests amount to.
    pub summary: Summary,
}

impl Point {
    /// Whether enough requests keep their targets, and the server keeps up.
    pub fn is_good(&self) -> bool {
        self.summary
            .goodput
            .is_some_and(|goodput| goodput.attainment >= ENOUGH && goodput.requests_per_s >= KEEPS_UP * self.rate)
    }
}

/// Which rates are tried.
#[derive(Debug)]
pub enum Rates {
    /// These, up to the first that is too much.
    Listed(Vec<f64>),
    /// Found by doubling from here.
    From(f64),
}

impl Rates {
    /// The rate after those that were tried; whether each was good enough.
    fn next(&self, tried: &[(f64, bool)]) -> Option<f64> {
        match self {
            Self::Listed(rates) if tried.iter().all(|(_, good)| *good) => rates.get(tried.len()).copied(),
            Self::Listed(_) => None,
            Self::From(first) => search(*first, tried),
        }
    }
}

fn search(first: f64, tried: &[(f64, bool)]) -> Option<f64> {
    let rates = |wanted: bool| tried.iter().filter(move |(_, good)| *good == wanted).map(|(rate, _)| *rate);
    let good = rates(true).reduce(f64::max);
    let bad = rates(false).reduce(f64::min);
    match (good, bad) {
        (None, None) => Some(first),
        (Some(good), None) => (tried.len() <= DOUBLINGS).then_some(good * 2.0),
        (None, Some(bad)) => (tried.len() <= HALVINGS).then_some(bad / 2.0),
        (Some(good), Some(bad)) => {
            // Doubling leaves a factor of two between them, and each refinement takes its root.
            let floor = 2f64.powf(0.5f64.powi(REFINEMENTS as i32));
            (bad / good > floor * 1.0001).then(|| (good * bad).sqrt())
        }
    }
}

/// Runs it; the points come in the order of their rates.
///
/// # Errors
/// A rate at which nothing arrives in the time given.
pub async fn run(
    load: &Arc<Load>,
    rates: &Rates,
    end: End,
    lengths: &LengthPair,
    seed: u64,
    slo: &Slo,
    live: &Live,
) -> anyhow::Result<(Vec<Record>, Vec<Point>)> {
    let mut records = Vec::new();
    let mut points: Vec<Point> = Vec::new();
    let mut tried = Vec::new();
    while let Some(rate) = rates.next(&tried) {
        live.phase(&format!("sweep, {rate:.3} requests/s"));
        let plan = poisson(rate, end, lengths, seed);
        if plan.is_empty() {
            bail!("--duration: nothing arrives in this time at {rate} requests a second; make it longer");
        }
        let answered = load.replay(&plan, Some(rate)).await?;
        let point = Point { rate, summary: Summary::of(&answered, slo) };
        tried.push((rate, point.is_good()));
        points.push(point);
        records.extend(answered);
    }
    points.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    Ok((records, points))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::serve::record::Answer;

    fn tried(rates: &Rates, most: f64) -> Vec<f64> {
        let mut tried = Vec::new();
        while let Some(rate) = rates.next(&tried) {
            tried.push((rate, rate <= most));
        }
        tried.iter().map(|(rate, _)| (rate * 1000.0).round() / 1000.0).collect()
    }

    #[test]
    fn rates_double_and_then_close_in() {
        assert_eq!(tried(&Rates::From(1.0), 5.0), [1.0, 2.0, 4.0, 8.0, 5.657, 4.757]);
        assert_eq!(tried(&Rates::From(1.0), 6.0), [1.0, 2.0, 4.0, 8.0, 5.657, 6.727]);
        assert_eq!(tried(&Rates::From(4.0), 1.5), [4.0, 2.0, 1.0, 1.414, 1.682]);
    }

    #[test]
    fn the_search_ends_when_every_rate_is_good_or_bad() {
        assert_eq!(tried(&Rates::From(1.0), f64::INFINITY).last(), Some(&4096.0));
        assert_eq!(tried(&Rates::From(1.0), 0.0), [1.0, 0.5, 0.25, 0.125, 0.063]);
    }

    #[test]
    fn a_list_is_followed_to_the_first_bad_rate() {
        let rates = Rates::Listed(vec![1.0, 3.0, 5.0, 7.0]);
        assert_eq!(tried(&rates, 4.0), [1.0, 3.0, 5.0]);
        assert_eq!(tried(&rates, 9.0), [1.0, 3.0, 5.0, 7.0]);
    }

    #[test]
    fn a_rate_that_the_server_falls_behind_is_no_good_however_loose_the_targets() {
        let slo = Slo { ttft_s: Some(60.0), tbt_s: Some(60.0) };
        // Ten requests, all sent at once, of which each is answered a second after the one before.
        let records: Vec<Record> = (1..=10)
            .map(|second| Answer { token_s: vec![f64::from(second)], end_s: f64::from(second), ..Answer::default() })
            .map(Record::of_answer)
            .collect();
        let good = |rate| Point { rate, summary: Summary::of(&records, &slo) }.is_good();
        assert!(good(1.9) && !good(2.1));
    }
}
