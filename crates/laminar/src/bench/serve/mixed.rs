//! `mixed`: streams that decode all the time, and prompts that arrive among them one after the other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::arrivals::Planned;
use super::live::Live;
use super::load::Load;
use super::record::{Answer, Record, Role};
use super::stats::Spread;
use crate::exit::Internal;

/// What is run.
#[derive(Debug)]
pub struct MixedPlan {
    /// Streams at once.
    pub streams: usize,
    /// Tokens in the prompt of a stream.
    pub stream_prompt: usize,
    /// Tokens after which a stream starts anew.
    pub stream_tokens: usize,
    /// Lengths of prompts and answers, in the order in which they arrive.
    pub arrivals: Vec<(usize, usize)>,
    /// Time before each arrival.
    pub settle: Duration,
}

/// One arriving prompt, and what it did to the streams. Times are seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Disturbance {
    /// Number of the request.
    pub number: u64,
    /// Tokens in the prompt, as asked.
    pub prompt_tokens: usize,
    /// When the time before it began.
    pub settled_s: f64,
    /// When it was sent.
    pub sent_s: f64,
    /// When its first token came, or it failed.
    pub until_s: f64,
    /// Time to its first token.
    pub ttft_s: Option<f64>,
    /// Kind of its failure.
    pub failure: Option<String>,
    /// Gaps of the streams that lie wholly in the time before it.
    pub plain_gap_s: Option<Spread>,
    /// Gaps of the streams that overlap the time from its sending to its first token.
    pub during_gap_s: Option<Spread>,
    /// Tokens a second of all streams together before it.
    pub plain_tokens_per_s: f64,
    /// The same, from its sending to its first token.
    pub during_tokens_per_s: f64,
}

/// Runs it.
///
/// # Errors
/// A task of ours that failed; failed requests are in the records.
pub async fn run(load: &Arc<Load>, plan: &MixedPlan, live: &Live) -> anyhow::Result<(Vec<Record>, Vec<Disturbance>)> {
    // Streams that have had a token or have given up: nothing is measured before all are one or the other.
    let (settled, mut all_settled) = watch::channel(0usize);
    let settled = Arc::new(settled);
    let (stop, stopped) = watch::channel(false);
    let mut streams = JoinSet::new();
    for index in 0..plan.streams {
        // Streams that begin together would otherwise also end together, and start anew in one heap.
        let first = (plan.stream_tokens * (index + 1)).div_ceil(plan.streams);
        let lengths = StreamLengths { prompt: plan.stream_prompt, first, others: plan.stream_tokens };
        streams.spawn(stream(load.clone(), lengths, stopped.clone(), settled.clone()));
    }
    live.phase("mixed, starting the streams");
    let _ = all_settled.wait_for(|count| *count >= plan.streams).await;
    let mut prompts = Vec::new();
    let mut starts = Vec::new();
    for (index, &(prompt_tokens, output_tokens)) in plan.arrivals.iter().enumerate() {
        live.phase(&format!("mixed, prompt {} of {} ({prompt_tokens} tokens)", index + 1, plan.arrivals.len()));
        starts.push(load.clock.now());
        let planned = Planned { at_s: load.clock.now() + plan.settle.as_secs_f64(), prompt_tokens, output_tokens };
        let ready = load.prepare(Role::Prompt, planned, None);
        tokio::time::sleep_until(load.clock.at(planned.at_s).into()).await;
        prompts.push(load.send(ready, std::future::pending(), || {}).await);
    }
    stop.send_replace(true);
    let mut records = Vec::new();
    while let Some(ended) = streams.join_next().await {
        records.extend(ended.context(Internal("a stream's task ended without a result"))?);
    }
    let answers: Vec<&Answer> = records.iter().map(|record| &record.answer).collect();
    let disturbances = prompts.iter().zip(starts).map(|(prompt, start)| disturbance(prompt, start, &answers)).collect();
    records.extend(prompts);
    records.sort_by_key(|record| record.number);
    Ok((records, disturbances))
}

/// Tokens of the answers that make one stream.
#[derive(Debug, Clone, Copy)]
struct StreamLengths {
    prompt: usize,
    first: usize,
    others: usize,
}

/// Keeps a stream running until told to stop; ends at the first failure, for a server that refuses once would
/// otherwise be asked without end.
async fn stream(
    load: Arc<Load>,
    lengths: StreamLengths,
    mut stopped: watch::Receiver<bool>,
    settled: Arc<watch::Sender<usize>>,
) -> Vec<Record> {
    let mut records = Vec::new();
    let mut waiting = true;
    let mut output_tokens = lengths.first;
    let mut settle = || {
        if std::mem::take(&mut waiting) {
            settled.send_modify(|count| *count += 1);
        }
    };
    while !*stopped.borrow() {
        let planned = Planned { at_s: load.clock.now(), prompt_tokens: lengths.prompt, output_tokens };
        output_tokens = lengths.others;
        let ready = load.prepare(Role::Stream, planned, None);
        let stop = async {
            // An error means that the run is over.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let record = load.send(ready, stop, &mut settle).await;
        let failed = record.answer.failure.is_some();
        records.push(record);
        if failed {
            break;
        }
    }
    settle();
    records
}

/// What the streams did before and during a prompt.
fn disturbance(prompt: &Record, start_s: f64, streams: &[&Answer]) -> Disturbance {
    let sent_s = prompt.answer.sent_s;
    let until_s = prompt.answer.token_s.first().copied().unwrap_or(prompt.answer.end_s);
    let gaps = || streams.iter().flat_map(|answer| answer.token_s.windows(2)).map(|pair| (pair[0], pair[1]));
    let plain = gaps().filter(|&(from, to)| from >= start_s && to <= sent_s);
    let during = gaps().filter(|&(from, to)| to > sent_s && from < until_s);
    let rate = |from: f64, to: f64| {
        let tokens = streams.iter().flat_map(|answer| &answer.token_s).filter(|at| (from..to).contains(*at)).count();
        if to > from { tokens as f64 / (to - from) } else { 0.0 }
    };
    Disturbance {
        number: prompt.number,
        prompt_tokens: prompt.asked_prompt_tokens,
        settled_s: start_s,
        sent_s,
        until_s,
        ttft_s: prompt.answer.ttft(),
        failure: prompt.answer.failure.as_ref().map(|failure| failure.kind.clone()),
        plain_gap_s: Spread::of(plain.map(|(from, to)| to - from)),
        during_gap_s: Spread::of(during.map(|(from, to)| to - from)),
        plain_tokens_per_s: rate(start_s, sent_s),
        during_tokens_per_s: rate(sent_s, until_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_that_reaches_into_the_prefill_belongs_to_it() {
        let answer = |sent_s: f64, token_s: &[f64]| Answer { sent_s, token_s: token_s.to_vec(), ..Answer::default() };
        let prompt = Record {
            number: 9,
            role: Role::Prompt,
            rate: None,
            planned_s: 4.0,
            asked_prompt_tokens: 100,
            asked_output_tokens: 1,
            answer: answer(4.0, &[8.0]),
        };
        // Before the settling; plain twice; into the prefill; in it; out of it; after it.
        let stream = answer(0.0, &[0.5, 1.5, 2.0, 3.0, 5.0, 7.0, 11.0, 11.5]);
        let seen = disturbance(&prompt, 1.0, &[&stream]);
        assert_eq!(seen.ttft_s, Some(4.0));
        let plain = seen.plain_gap_s.unwrap();
        assert_eq!((plain.count, plain.min, plain.max), (2, 0.5, 1.0));
        let during = seen.during_gap_s.unwrap();
        assert_eq!((during.count, during.p50, during.max), (3, 2.0, 4.0));
        assert_eq!((seen.plain_tokens_per_s, seen.during_tokens_per_s), (1.0, 0.5));
    }
}
