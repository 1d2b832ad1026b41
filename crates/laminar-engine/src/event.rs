//! What a client hears.

use crate::EngineError;

/// One message of a generation: any number of tokens, then exactly one of the other two.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token was generated.
    Token(TokenEvent),
    /// The generation is over.
    Finished(Finish),
    /// The generation ended with an error.
    Failed(EngineError),
}

/// A generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// Its id.
    pub id: u32,
    /// Text that is safe to show now. It may be empty: an incomplete character, or text that may turn out to be the
    /// beginning of a stop string, is held back. The texts of all events of a generation, in order and with
    /// [`Finish::text`], are the answer.
    pub text: String,
    /// Bytes of text that the token itself has added, shown by now or held back. Their sum over all tokens is the length of
    /// the answer, with the stop string that may have ended it.
    pub bytes: usize,
    /// Whether the token itself ended the answer (end of text, or one of the request's `stop_token_ids`). Such a token
    /// has no text but counts as generated.
    pub ends_text: bool,
    /// Log-probabilities, if asked for.
    pub logprob: Option<TokenLogprobs>,
    /// With the first token, if asked for: log-probabilities of the prompt's tokens from the second on.
    pub prompt_logprobs: Option<Vec<TokenLogprobs>>,
    /// The model's raw logits of the row the token was chosen from, if asked for.
    pub logits: Option<Vec<f32>>,
}

/// Log-probabilities of one token. They are those of the model (the log-softmax of its raw logits), before bias,
/// penalties, temperature and cuts.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Of the token chosen.
    pub logprob: f32,
    /// Of the most probable tokens, falling; the lower id first among equals.
    pub top: Vec<TopLogprob>,
}

/// A token and its log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopLogprob {
    /// The token.
    pub id: u32,
    /// Its natural log-probability.
    pub logprob: f32,
}

/// The end of a generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Why it ended.
    pub reason: FinishReason,
    /// Text that was held back until now.
    pub text: String,
    /// The stop string that ended the answer, if one did.
    pub stop: Option<String>,
    /// Token counts.
    pub usage: Usage,
    /// The vector of the prompt, if that was asked for.
    pub embedding: Option<Vec<f32>>,
    /// Times.
    pub timings: Timings,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end-of-text token, a stop token or a stop string.
    Stop,
    /// `max_tokens` were generated or the context is full.
    Length,
    /// The engine was shut down.
    Cancelled,
}

impl FinishReason {
    /// The reason in one word; the first two are OpenAI's.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
        }
    }
}

/// Token counts of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, an ending one included.
    pub completion_tokens: usize,
    /// Those of the prompt whose KV was found in the prefix cache.
    pub cached_tokens: usize,
}

/// Times of one generation, in seconds from its submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Timings {
    /// Until its first step began.
    pub queue: f64,
    /// Until its first token.
    pub ttft: f64,
    /// Until its end.
    pub total: f64,
    /// Distinct experts touched by prefill rows, summed over layers and steps, in the steps that ran its prompt. A load
    /// that several prompts of a cohort shared counts for each of them.
    pub prefill_expert_loads: u64,
}
