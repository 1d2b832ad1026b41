//! What a client asks for.

use crate::{Constraint, Pooling};
use std::time::Duration;

/// One generation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerateRequest {
    /// Token ids of the prompt; at least one.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Most tokens to generate, at least 1; `None` and anything larger mean what the context leaves.
    pub max_tokens: Option<usize>,
    /// Texts that end the answer; neither they nor anything behind them is sent. Empty ones are refused.
    pub stop: Vec<String>,
    /// Token ids that end the answer, beside those of the checkpoint.
    pub stop_token_ids: Vec<u32>,
    /// Goes on past the checkpoint's end-of-text tokens.
    pub ignore_eos: bool,
    /// `Some(n)`: report the log-probability of each token, and of the `n` most probable ones (at most 64).
    pub top_logprobs: Option<usize>,
    /// Reports the log-probabilities of the prompt's tokens too, with as many alternatives; needs `top_logprobs`. The prefix
    /// cache is not used, since every row is needed.
    pub prompt_logprobs: bool,
    /// Only requests of equal salt find each other's prompts in the prefix cache.
    pub cache_salt: u64,
    /// Whose request it is. Tenants with waiting requests get equal shares of the machine, however many each of them sends.
    pub tenant: u64,
    /// 0 for most; higher is earlier. Each level counts as if the request had come
    /// [`PRIORITY_LEVEL`](laminar_schedule::PRIORITY_LEVEL) sooner, and when KV memory is short, requests of lower priority
    /// lose theirs first.
    pub priority: i8,
    /// Longest time between two tokens of the answer, above 0, where the policy keeps targets; the policy's own without it.
    pub tbt_target: Option<Duration>,
    /// Longest time to the first token, at least `tbt_target`, where the policy keeps targets; the policy's own without it.
    pub ttft_target: Option<Duration>,
    /// The grammar that the answer must follow. When nothing more may come by it, the answer ends.
    pub constraint: Option<Constraint>,
    /// Control tokens that are shown in the text by their name, such as `[TOOL_CALLS]`; others are not shown.
    pub shown_tokens: Vec<u32>,
    /// Asks for a vector of the prompt instead of an answer: [`Finish::embedding`](crate::Finish::embedding). No token is
    /// generated, and the prefix cache is not used, since every row is needed.
    pub pooling: Option<Pooling>,
    /// Puts the model's raw logits into every token event; for tests.
    pub return_logits: bool,
}

/// How tokens are chosen. The order of the steps is: logit bias, penalties, temperature, top-k, top-p, min-p, draw.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy (the most probable token; the lowest id among equals). Otherwise logits are divided by it.
    pub temperature: f32,
    /// Keep the `k` most probable tokens; `None` and `Some(0)` keep all.
    pub top_k: Option<usize>,
    /// Keep the most probable tokens until their probabilities sum to this; above 0, at most 1 (off).
    pub top_p: f32,
    /// Keep tokens at least this times as probable as the most probable one; 0 (off) to 1.
    pub min_p: f32,
    /// Divides positive logits (multiplies negative ones) of every token of the prompt and the answer; above 0, 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from a logit for each time the token stands in the answer; -2 to 2, 0 is off.
    pub frequency_penalty: f32,
    /// Subtracted from the logit of every token that stands in the answer; -2 to 2, 0 is off.
    pub presence_penalty: f32,
    /// The same seed gives the same draws; `None` takes one from the operating system.
    pub seed: Option<u64>,
    /// Added to logits, by token id; -100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplingParams {
    /// OpenAI's defaults: temperature 1 and everything else off.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: None,
            logit_bias: Vec::new(),
        }
    }
}

impl SamplingParams {
    /// The most probable token every time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }
}
