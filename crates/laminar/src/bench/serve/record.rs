//! What is written down of each request.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Seconds since the start of the run, from a clock that never jumps.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at 0.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start, in whole microseconds so that reports stay short.
    pub fn now(&self) -> f64 {
        self.0.elapsed().as_micros() as f64 / 1e6
    }

    /// The moment so many seconds after the start.
    pub fn at(&self, seconds: f64) -> Instant {
        // Times beyond what the clock can hold are as good as now for a run that never gets there.
        std::time::Duration::try_from_secs_f64(seconds)
            .ok()
            .and_then(|after| self.0.checked_add(after))
            .unwrap_or(self.0)
    }
}

/// Why a request did not get its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `connect`, `timeout`, `http_NNN`, `stream_error` (the server said so in the stream), `broken` (the answer
    /// stopped before its end), `protocol` (not what the API promises) or `empty` (an answer without a token).
    pub kind: String,
    /// What the server or the network said.
    pub message: String,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into() }
    }
}

/// What came back for one request. Times are seconds since the start of the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answer {
    /// When the request was handed to the network.
    pub sent_s: f64,
    /// When each event with a token arrived.
    pub token_s: Vec<f64>,
    /// When the answer or the attempt ended.
    pub end_s: f64,
    /// Prompt tokens by the server's count.
    pub prompt_tokens: Option<u64>,
    /// Answer tokens by the server's count.
    pub completion_tokens: Option<u64>,
    /// Prompt tokens that the server found in its prefix cache.
    pub cached_tokens: Option<u64>,
    /// Why the answer ended, in the server's words.
    pub finish_reason: Option<String>,
    /// Why there is no whole answer.
    pub failure: Option<Failure>,
    /// The measurement ended before the answer, as it should for the streams of `mixed`.
    #[serde(default)]
    pub stopped: bool,
}

impl Answer {
    /// Seconds from sending to the first token.
    pub fn ttft(&self) -> Option<f64> {
        self.token_s.first().map(|first| first - self.sent_s)
    }

    /// Seconds between neighbouring tokens.
    pub fn gaps(&self) -> impl Iterator<Item = f64> {
        self.token_s.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// Seconds from sending to the end.
    pub fn e2e(&self) -> f64 {
        self.end_s - self.sent_s
    }

    /// Tokens of the answer: as the server counts, else events with text.
    pub fn tokens(&self) -> u64 {
        self.completion_tokens.unwrap_or(self.token_s.len() as u64)
    }

    /// Whether the whole answer came.
    pub fn complete(&self) -> bool {
        self.failure.is_none() && !self.stopped
    }
}

/// What a request is in its scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A request of burst, poisson, trace or sweep.
    Request,
    /// A stream of mixed.
    Stream,
    /// A prompt that arrives among the streams of mixed.
    Prompt,
}

/// A request and its answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Number of the request in the run; prompts and lengths follow from it and the seed.
    pub number: u64,
    /// What it is for.
    pub role: Role,
    /// The arrival rate it belongs to, under sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// When it was to be sent, in seconds since the start of the run.
    pub planned_s: f64,
    /// Prompt tokens that were asked for.
    pub asked_prompt_tokens: usize,
    /// Answer tokens that were asked for.
    pub asked_output_tokens: usize,
    /// What came back.
    #[serde(flatten)]
    pub answer: Answer,
}

#[cfg(test)]
impl Record {
    /// A small request with this answer.
    pub fn of_answer(answer: Answer) -> Self {
        Self {
            number: 0,
            role: Role::Request,
            rate: None,
            planned_s: 0.0,
            asked_prompt_tokens: 10,
            asked_output_tokens: 3,
            answer,
        }
    }
}
