//! What a request must be before the engine takes it.

use crate::{EngineError, GenerateRequest, SamplingParams};

/// Most entries of `top_logprobs`.
const MAX_TOP_LOGPROBS: usize = 64;
/// Most stop strings, and most bytes of one. Each token is compared with each of them.
const MAX_STOPS: usize = 32;
const MAX_STOP_BYTES: usize = 1024;

/// Checks every field; `vocab` is the number of logits and `context` the most positions of a sequence.
pub(crate) fn validate(request: &GenerateRequest, vocab: usize, context: usize) -> Result<(), EngineError> {
    if request.prompt.is_empty() {
        return invalid("prompt", "it is empty; at least one token is needed");
    }
    if let Some(id) = request.prompt.iter().find(|id| **id as usize >= vocab) {
        return invalid("prompt", format!("token id {id} is outside the vocabulary of {vocab}"));
    }
    let prompt_tokens = request.prompt.len();
    if prompt_tokens >= context {
        return Err(EngineError::PromptTooLong { prompt_tokens, context });
    }
    if request.max_tokens == Some(0) {
        return invalid("max_tokens", "it is 0; at least one token must be asked for");
    }
    if request.stop.len() > MAX_STOPS {
        return invalid("stop", format!("{} stop strings are more than {MAX_STOPS}", request.stop.len()));
    }
    if request.stop.iter().any(String::is_empty) {
        return invalid("stop", "a stop string is empty; leave it out");
    }
    if request.stop.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
        return invalid("stop", format!("a stop string is longer than {MAX_STOP_BYTES} bytes"));
    }
    if let Some(id) = request.stop_token_ids.iter().find(|id| **id as usize >= vocab) {
        return invalid("stop_token_ids", format!("token id {id} is outside the vocabulary of {vocab}"));
    }
    if request.top_logprobs.is_some_and(|count| count > MAX_TOP_LOGPROBS) {
        return invalid("top_logprobs", format!("it must be at most {MAX_TOP_LOGPROBS}"));
    }
    if request.prompt_logprobs && request.top_logprobs.is_none() {
        return invalid("prompt_logprobs", "it needs `top_logprobs`");
    }
    validate_sampling(&request.sampling, vocab)
}

fn validate_sampling(params: &SamplingParams, vocab: usize) -> Result<(), EngineError> {
    // Written so that a value that is no number fails.
    within(
        "temperature",
        params.temperature,
        params.temperature >= 0.0 && params.temperature.is_finite(),
        "at least 0",
    )?;
    within("top_p", params.top_p, params.top_p > 0.0 && params.top_p <= 1.0, "above 0 and at most 1")?;
    within("min_p", params.min_p, (0.0..=1.0).contains(&params.min_p), "from 0 to 1")?;
    let repetition = params.repetition_penalty;
    within("repetition_penalty", repetition, (0.01..=100.0).contains(&repetition), "from 0.01 to 100")?;
    let frequency = params.frequency_penalty;
    within("frequency_penalty", frequency, (-2.0..=2.0).contains(&frequency), "from -2 to 2")?;
    let presence = params.presence_penalty;
    within("presence_penalty", presence, (-2.0..=2.0).contains(&presence), "from -2 to 2")?;
    for (id, bias) in &params.logit_bias {
        if *id as usize >= vocab {
            return invalid("logit_bias", format!("token id {id} is outside the vocabulary of {vocab}"));
        }
        within("logit_bias", *bias, (-100.0..=100.0).contains(bias), "from -100 to 100")?;
    }
    Ok(())
}

fn within(field: &'static str, value: f32, ok: bool, range: &str) -> Result<(), EngineError> {
    if ok { Ok(()) } else { invalid(field, format!("it is {value} but must be {range}")) }
}

fn invalid(field: &'static str, message: impl Into<String>) -> Result<(), EngineError> {
    Err(EngineError::InvalidRequest { field, message: message.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(change: impl Fn(&mut GenerateRequest)) -> String {
        let mut request = GenerateRequest { prompt: vec![1, 2], ..Default::default() };
        change(&mut request);
        match validate(&request, 10, 8) {
            Ok(()) => "fine".into(),
            Err(EngineError::InvalidRequest { field, .. }) => field.into(),
            Err(other) => other.to_string(),
        }
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        assert_eq!(field(|_| ()), "fine");
        assert_eq!(field(|r| r.prompt.clear()), "prompt");
        assert_eq!(field(|r| r.prompt[1] = 10), "prompt");
        assert_eq!(field(|r| r.max_tokens = Some(0)), "max_tokens");
        assert_eq!(field(|r| r.stop = vec![String::new()]), "stop");
        assert_eq!(field(|r| r.stop = vec!["x".into(); 33]), "stop");
        assert_eq!(field(|r| r.stop = vec!["x".repeat(1025)]), "stop");
        assert_eq!(field(|r| r.stop_token_ids = vec![10]), "stop_token_ids");
        assert_eq!(field(|r| r.top_logprobs = Some(65)), "top_logprobs");
        assert_eq!(field(|r| r.prompt_logprobs = true), "prompt_logprobs");
        for bad in [-0.1, f32::NAN, f32::INFINITY] {
            assert_eq!(field(|r| r.sampling.temperature = bad), "temperature");
            assert_eq!(field(|r| r.sampling.top_p = bad), "top_p");
            assert_eq!(field(|r| r.sampling.min_p = bad), "min_p");
            assert_eq!(field(|r| r.sampling.repetition_penalty = bad), "repetition_penalty");
            assert_eq!(field(|r| r.sampling.frequency_penalty = bad * 30.0), "frequency_penalty");
            assert_eq!(field(|r| r.sampling.presence_penalty = bad * 30.0), "presence_penalty");
            assert_eq!(field(|r| r.sampling.logit_bias = vec![(1, bad * 2000.0)]), "logit_bias");
        }
        assert_eq!(field(|r| r.sampling.top_p = 0.0), "top_p");
        assert_eq!(field(|r| r.sampling.logit_bias = vec![(10, 0.0)]), "logit_bias");
    }

    #[test]
    fn a_prompt_that_fills_the_context_is_too_long_with_both_counts() {
        let error = field(|r| r.prompt = vec![1; 8]);
        assert!(error.contains("8 tokens") && error.contains("holds 8"), "{error}");
        assert_eq!(field(|r| r.prompt = vec![1; 7]), "fine");
    }
}
