//! Percentiles, and what a set of requests amounts to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::{Answer, Record};

/// Tokens with a shorter gap, in seconds, came together: the server sent several at once, or one of the two machines had
/// no core free to send or to read them singly.
pub const TOGETHER_S: f64 = 1e-4;

/// The smallest of the sorted values that at least `percent` % of them do not exceed (nearest rank, no interpolation:
/// every percentile is a value that was measured).
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    // A product such as 0.9 * 10 must not become the rank after it through rounding.
    let rank = (percent * sorted.len() as f64 / 100.0 - 1e-9).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

/// A distribution in a few numbers, in the unit of its values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of some values; nothing of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            count: sorted.len(),
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            min: *sorted.first()?,
            p50: percentile(&sorted, 50.0)?,
            p90: percentile(&sorted, 90.0)?,
            p99: percentile(&sorted, 99.0)?,
            max: *sorted.last()?,
        })
    }
}

/// What a request has to keep to pass, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// To the first token.
    pub ttft_s: Option<f64>,
    /// Every gap.
    pub tbt_s: Option<f64>,
}

impl Slo {
    /// Whether there is anything to keep.
    pub fn is_set(&self) -> bool {
        self.ttft_s.is_some() || self.tbt_s.is_some()
    }

    /// Whether an answer keeps it: it is there, and its first token and every gap are in time.
    pub fn passes(&self, answer: &Answer) -> bool {
        let within = |value: f64, limit: Option<f64>| limit.is_none_or(|limit| value <= limit);
        answer.failure.is_none()
            && answer.ttft().is_some_and(|ttft| within(ttft, self.ttft_s))
            && answer.gaps().all(|gap| within(gap, self.tbt_s))
    }
}

/// How many requests kept their targets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Goodput {
    /// Requests that pass.
    pub passed: usize,
    /// Their share of all requests, failed ones included, 0 to 1.
    pub attainment: f64,
    /// Requests that pass, a second.
    pub requests_per_s: f64,
}

/// What a set of requests amounts to. Times are seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// All that were sent; the sum of the next three.
    pub requests: usize,
    /// Whole answers.
    pub completed: usize,
    /// Answers that the end of the measurement cut off (streams of mixed).
    pub stopped: usize,
    /// The others.
    pub failed: usize,
    /// Failures by kind.
    pub errors: BTreeMap<String, usize>,
    /// From the first request to the end of the last.
    pub duration_s: f64,
    /// Prompt tokens of answers, by the server's count where it gives one.
    pub prompt_tokens: u64,
    /// Prompt tokens that came from the server's prefix cache, as far as it says.
    pub cached_tokens: u64,
    /// Tokens of answers, by the server's count where it gives one.
    pub output_tokens: u64,
    /// Output tokens over the duration.
    pub output_tokens_per_s: f64,
    /// Completed requests over the duration.
    pub requests_per_s: f64,
    /// Time to the first token.
    pub ttft_s: Option<Spread>,
    /// Every gap of every answer.
    pub gap_s: Option<Spread>,
    /// Gaps shorter than [`TOGETHER_S`].
    pub together: usize,
    /// The longest gap of each answer.
    pub stall_s: Option<Spread>,
    /// From sending to the end, of completed requests.
    pub e2e_s: Option<Spread>,
    /// Tokens a second of each completed answer after its first token.
    pub decode_tokens_per_s: Option<Spread>,
    /// Against the targets, if there are any.
    pub goodput: Option<Goodput>,
}

impl Summary {
    /// Of some requests. What a failed request received before its failure counts as received.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>, slo: &Slo) -> Self {
        let records: Vec<&Record> = records.into_iter().collect();
        let answers: Vec<&Answer> = records.iter().map(|record| &record.answer).collect();
        let completed = || answers.iter().copied().filter(|answer| answer.complete());
        let started = answers.iter().map(|answer| answer.sent_s).fold(f64::INFINITY, f64::min);
        let ended = answers.iter().map(|answer| answer.end_s).fold(0.0, f64::max);
        let duration_s = if answers.is_empty() { 0.0 } else { ended - started };
        let per_second = |count: f64| if duration_s > 0.0 { count / duration_s } else { 0.0 };
        let mut errors = BTreeMap::new();
        for failure in answers.iter().filter_map(|answer| answer.failure.as_ref()) {
            *errors.entry(failure.kind.clone()).or_insert(0) += 1;
        }
        let prompt = |record: &&Record| {
            let counted = record.answer.prompt_tokens;
            let answered = !record.answer.token_s.is_empty();
            counted.unwrap_or(if answered { record.asked_prompt_tokens as u64 } else { 0 })
        };
        let output_tokens = answers.iter().map(|answer| answer.tokens()).sum();
        let passed = answers.iter().filter(|answer| slo.passes(answer)).count();
        Self {
            requests: answers.len(),
            completed: completed().count(),
            stopped: answers.iter().filter(|answer| answer.failure.is_none() && answer.stopped).count(),
            failed: errors.values().sum(),
            errors,
            duration_s,
            prompt_tokens: records.iter().map(prompt).sum(),
            cached_tokens: answers.iter().filter_map(|answer| answer.cached_tokens).sum(),
            output_tokens,
            output_tokens_per_s: per_second(output_tokens as f64),
            requests_per_s: per_second(completed().count() as f64),
            ttft_s: Spread::of(answers.iter().filter_map(|answer| answer.ttft())),
            gap_s: Spread::of(answers.iter().flat_map(|answer| answer.gaps())),
            together: answers.iter().flat_map(|answer| answer.gaps()).filter(|gap| *gap < TOGETHER_S).count(),
            stall_s: Spread::of(answers.iter().filter_map(|answer| answer.gaps().reduce(f64::max))),
            e2e_s: Spread::of(completed().map(Answer::e2e)),
            decode_tokens_per_s: Spread::of(completed().filter_map(decode_rate)),
            goodput: (slo.is_set() && !answers.is_empty()).then(|| Goodput {
                passed,
                attainment: passed as f64 / answers.len() as f64,
                requests_per_s: per_second(passed as f64),
            }),
        }
    }
}

/// Tokens a second after the first; absent below two tokens.
fn decode_rate(answer: &Answer) -> Option<f64> {
    let time = answer.token_s.last()? - answer.token_s.first()?;
    (answer.tokens() > 1 && time > 0.0).then(|| (answer.tokens() - 1) as f64 / time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::serve::record::Failure;

    #[test]
    fn percentiles_are_measured_values_at_the_nearest_rank() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        for (percent, expected) in [(0.0, 1.0), (1.0, 1.0), (10.0, 1.0), (10.1, 2.0), (50.0, 5.0), (90.0, 9.0)] {
            assert_eq!(percentile(&ten, percent), Some(expected), "{percent}");
        }
        assert_eq!(percentile(&ten, 99.0), Some(10.0));
        assert_eq!(percentile(&ten, 100.0), Some(10.0));
        assert_eq!(percentile(&[7.0], 50.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        for percent in 1..=100 {
            assert_eq!(percentile(&hundred, f64::from(percent)), Some(f64::from(percent)));
        }
    }

    #[test]
    fn a_spread_needs_a_value_and_sorts_them() {
        assert_eq!(Spread::of([]), None);
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.count, spread.mean, spread.min, spread.p50, spread.max), (3, 2.0, 1.0, 2.0, 3.0));
    }

    fn answer(sent_s: f64, token_s: &[f64]) -> Answer {
        Answer { sent_s, token_s: token_s.to_vec(), end_s: *token_s.last().unwrap_or(&sent_s), ..Answer::default() }
    }

    #[test]
    fn a_request_passes_only_if_its_first_token_and_every_gap_are_in_time() {
        let slo = Slo { ttft_s: Some(1.0), tbt_s: Some(0.25) };
        assert!(slo.passes(&answer(0.0, &[1.0, 1.25, 1.5])));
        assert!(!slo.passes(&answer(0.0, &[1.5, 1.75])));
        assert!(!slo.passes(&answer(0.0, &[1.0, 1.25, 1.75, 2.0])));
        assert!(!slo.passes(&answer(0.0, &[])));
        let failed = Answer { failure: Some(Failure::new("broken", "")), ..answer(0.0, &[0.5]) };
        assert!(!slo.passes(&failed));
    }

    #[test]
    fn every_request_is_counted_once() {
        let failed = Answer { failure: Some(Failure::new("http_429", "")), end_s: 0.5, ..Answer::default() };
        let cut = Answer { failure: Some(Failure::new("broken", "")), ..answer(1.0, &[1.5]) };
        let stopped = Answer { stopped: true, ..answer(1.0, &[2.0, 2.5]) };
        let counted = Answer { completion_tokens: Some(5), ..answer(0.0, &[1.0, 1.5, 1.5, 3.0]) };
        let records: Vec<_> = [failed.clone(), failed, cut, stopped, counted].map(Record::of_answer).into();
        let summary = Summary::of(&records, &Slo { ttft_s: Some(1.0), tbt_s: None });
        assert_eq!((summary.requests, summary.completed, summary.stopped, summary.failed), (5, 1, 1, 3));
        assert_eq!(summary.errors, BTreeMap::from([("broken".to_owned(), 1), ("http_429".to_owned(), 2)]));
        assert_eq!(summary.duration_s, 3.0);
        assert_eq!(summary.prompt_tokens, 30);
        assert_eq!(summary.output_tokens, 1 + 2 + 5);
        assert_eq!(summary.decode_tokens_per_s.unwrap().max, 2.0);
        assert_eq!(summary.stall_s.unwrap().max, 1.5);
        assert_eq!((summary.gap_s.unwrap().count, summary.together), (4, 1));
        let goodput = summary.goodput.unwrap();
        assert_eq!((goodput.passed, goodput.attainment), (2, 0.4));
        assert_eq!(Summary::of(&[], &Slo::default()).requests, 0);
    }
}
