//! Request fields that chat and plain completions share, and their checks.

use std::collections::BTreeMap;

use laminar_engine::{Constraint, GenerateRequest, SamplingParams};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::parse::in_range;
use crate::error::ApiError;
use crate::openapi::requests::{ChoiceCount, ModelName, TokenId};

/// Most stop strings of one request.
const MAX_STOPS: usize = 64;
/// Longest stop string in bytes; the engine holds back that much text.
const MAX_STOP_BYTES: usize = 4096;
/// Most alternatives per token that may be asked for.
pub(crate) const MAX_TOP_LOGPROBS: i64 = 20;

/// The shared fields of both completion endpoints. `null` means the same as absent.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct Options {
    /// Model name; checked against the served name and its aliases.
    #[schema(value_type = Option<ModelName>)]
    pub model: Option<String>,
    /// Whether to answer with server-sent events.
    pub stream: Option<bool>,
    /// Options of streaming.
    pub stream_options: Option<StreamOptions>,
    /// Most tokens to generate (the older name).
    #[schema(minimum = 0)]
    pub max_tokens: Option<i64>,
    /// Most tokens to generate; wins over `max_tokens`.
    #[schema(minimum = 0)]
    pub max_completion_tokens: Option<i64>,
    /// Choices per prompt.
    #[schema(value_type = Option<ChoiceCount>)]
    pub n: Option<i64>,
    /// Strings that end the text; they are not part of it.
    pub stop: Option<Stop>,
    /// Token ids that end the text (as vLLM).
    #[schema(value_type = Option<Vec<TokenId>>)]
    pub stop_token_ids: Option<Vec<u32>>,
    /// Whether to go on after an end-of-sequence token (as vLLM).
    pub ignore_eos: Option<bool>,
    /// 0 (greedy) to 2.
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    /// Nucleus: 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// Number of candidates; 0 and -1 mean all.
    #[schema(minimum = -1)]
    pub top_k: Option<i64>,
    /// Floor relative to the best candidate: 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub min_p: Option<f64>,
    /// Multiplicative penalty on seen tokens; 1 is none.
    #[serde(alias = "repeat_penalty")]
    #[schema(minimum = 0.01, maximum = 100)]
    pub repetition_penalty: Option<f64>,
    /// Penalty per occurrence: -2 to 2.
    #[schema(minimum = -2, maximum = 2)]
    pub frequency_penalty: Option<f64>,
    /// Penalty on any occurrence: -2 to 2.
    #[schema(minimum = -2, maximum = 2)]
    pub presence_penalty: Option<f64>,
    /// Seed of the sampler.
    pub seed: Option<i64>,
    /// Token ids, written as strings, to an addition of -100 to 100 on their logit.
    pub logit_bias: Option<BTreeMap<String, f64>>,
    /// Lower is earlier, 0 for most: -128 to 127 (as vLLM).
    #[schema(minimum = -128, maximum = 127)]
    pub priority: Option<i64>,
    /// Only requests of equal salt share what the prefix cache holds of their prompts; not empty (as vLLM).
    #[schema(min_length = 1)]
    pub cache_salt: Option<String>,
}

/// Options of streaming.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct StreamOptions {
    /// Whether a last chunk carries the usage.
    pub include_usage: Option<bool>,
}

/// One stop string or several.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum Stop {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Options {
    /// Whether the answer is a stream.
    pub fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    /// Whether a stream ends with a usage chunk.
    pub fn includes_usage(&self) -> bool {
        self.stream_options.is_some_and(|options| options.include_usage == Some(true))
    }

    /// Choices per prompt: 1 unless `n` says otherwise.
    ///
    /// # Errors
    /// Below 1 or above `max`.
    pub fn choices(&self, max: usize) -> Result<usize, ApiError> {
        let n = self.n.unwrap_or(1);
        usize::try_from(n)
            .ok()
            .filter(|n| (1..=max).contains(n))
            .ok_or_else(|| ApiError::invalid("n", format!("`n` must be between 1 and {max}, got {n}")))
    }

    /// The bound on generated tokens, at least `least`.
    ///
    /// # Errors
    /// A bound below `least`, naming the field that carried it.
    pub fn max_tokens(&self, least: usize) -> Result<Option<usize>, ApiError> {
        let (name, value) = match (self.max_completion_tokens, self.max_tokens) {
            (Some(value), _) => ("max_completion_tokens", value),
            (None, Some(value)) => ("max_tokens", value),
            (None, None) => return Ok(None),
        };
        match usize::try_from(value).ok().filter(|value| *value >= least) {
            Some(value) => Ok(Some(value)),
            None => Err(ApiError::invalid(name, format!("`{name}` must be at least {least}, got {value}"))),
        }
    }

    /// The stop strings, without empty ones (some clients send `""` for none).
    ///
    /// # Errors
    /// Too many or too long.
    pub fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops = match &self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop.clone()],
            Some(Stop::Many(stops)) => stops.clone(),
        };
        if stops.len() > MAX_STOPS {
            return Err(ApiError::invalid(
                "stop",
                format!("at most {MAX_STOPS} stop strings are allowed, got {}", stops.len()),
            ));
        }
        if stops.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
            return Err(ApiError::invalid("stop", format!("a stop string may have at most {MAX_STOP_BYTES} bytes")));
        }
        Ok(stops.into_iter().filter(|stop| !stop.is_empty()).collect())
    }

    /// The sampling parameters, each checked against its range.
    ///
    /// # Errors
    /// The first field out of range, or a bias on an id outside the vocabulary.
    pub fn sampling(&self, vocab_size: usize) -> Result<SamplingParams, ApiError> {
        let mut params = SamplingParams::default();
        if let Some(value) = self.temperature {
            in_range("temperature", value, 0.0..=2.0)?;
            params.temperature = value as f32;
        }
        if let Some(value) = self.top_p {
            in_range("top_p", value, 0.0..=1.0)?;
            // Zero keeps the best candidate alone; the engine wants a share above zero for that.
            params.top_p = (value as f32).max(f32::MIN_POSITIVE);
        }
        if let Some(value) = self.min_p {
            in_range("min_p", value, 0.0..=1.0)?;
            params.min_p = value as f32;
        }
        if let Some(value) = self.frequency_penalty {
            in_range("frequency_penalty", value, -2.0..=2.0)?;
            params.frequency_penalty = value as f32;
        }
        if let Some(value) = self.presence_penalty {
            in_range("presence_penalty", value, -2.0..=2.0)?;
            params.presence_penalty = value as f32;
        }
        if let Some(value) = self.repetition_penalty {
            // Zero would divide by nothing and a negative factor would turn preferences around.
            in_range("repetition_penalty", value, 0.01..=100.0)?;
            params.repetition_penalty = value as f32;
        }
        if let Some(value) = self.top_k {
            params.top_k = match value {
                -1 | 0 => None,
                1.. => Some(usize::try_from(value).unwrap_or(usize::MAX)),
                _ => {
                    return Err(ApiError::invalid("top_k", format!("`top_k` must be -1 (all) or more, got {value}")));
                }
            };
        }
        // Any 64 bits are a seed; negative ones keep their bit pattern.
        params.seed = self.seed.map(i64::cast_unsigned);
        if let Some(biases) = &self.logit_bias {
            for (key, value) in biases {
                params.logit_bias.push(bias(key, *value, vocab_size)?);
            }
        }
        Ok(params)
    }

    /// The extra stop ids.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn stop_ids(&self, vocab_size: usize) -> Result<Vec<u32>, ApiError> {
        let ids = self.stop_token_ids.clone().unwrap_or_default();
        match ids.iter().find(|id| **id as usize >= vocab_size) {
            None => Ok(ids),
            Some(id) => Err(ApiError::invalid(
                "stop_token_ids",
                format!("token id {id} is outside the vocabulary of {vocab_size}"),
            )),
        }
    }

    /// The engine's priority, of which higher ones are earlier.
    ///
    /// # Errors
    /// Below -128 or above 127.
    pub fn engine_priority(&self) -> Result<i8, ApiError> {
        let value = self.priority.unwrap_or(0);
        let priority = i8::try_from(value).map_err(|_| {
            ApiError::invalid("priority", format!("`priority` must be between -128 and 127, got {value}"))
        })?;
        // There is no 128: the two most urgent ones are the same.
        Ok(priority.saturating_neg())
    }

    /// The engine's salt: 0 without one, otherwise its 64-bit FNV-1a hash.
    ///
    /// The hash is the same on every machine. Whoever wants to learn from answer times what another client has asked would
    /// have to guess a salt of the same hash, one of 2^64.
    ///
    /// # Errors
    /// An empty salt.
    pub fn salt(&self) -> Result<u64, ApiError> {
        match self.cache_salt.as_deref() {
            None => Ok(0),
            Some("") => Err(ApiError::invalid("cache_salt", "`cache_salt` must not be empty; leave it out instead")),
            Some(salt) => Ok(fnv1a(salt.as_bytes()).max(1)),
        }
    }
}

/// FNV-1a in 64 bits (Fowler, Noll and Vo).
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// What a request is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Ids of the vocabulary.
    pub vocab_size: usize,
    /// Most choices of one request, over all its prompts.
    pub max_choices: usize,
}

/// The checked, shared part of a request: how to generate, but not yet from what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Choices per prompt.
    pub choices: usize,
    /// The request for each choice, without prompt.
    template: GenerateRequest,
}

impl Plan {
    /// Checks all shared fields. `least_tokens` is the smallest bound on generated tokens that the
    /// endpoint takes; `prompts` the number of prompts.
    ///
    /// # Errors
    /// The first field out of range.
    pub fn new(
        options: &Options,
        limits: &Limits,
        prompts: usize,
        least_tokens: usize,
        top_logprobs: Option<usize>,
    ) -> Result<Plan, ApiError> {
        let template = GenerateRequest {
            sampling: options.sampling(limits.vocab_size)?,
            max_tokens: options.max_tokens(least_tokens)?,
            stop: options.stops()?,
            stop_token_ids: options.stop_ids(limits.vocab_size)?,
            ignore_eos: options.ignore_eos == Some(true),
            top_logprobs,
            cache_salt: options.salt()?,
            priority: options.engine_priority()?,
            ..GenerateRequest::default()
        };
        Ok(Plan { choices: options.choices(limits.max_choices / prompts.max(1))?, template })
    }

    /// Sets the bound on generated tokens where the request gave none.
    pub fn default_max_tokens(mut self, bound: usize) -> Plan {
        self.template.max_tokens.get_or_insert(bound);
        self
    }

    /// Says whose request it is and how fast the answer must come.
    pub fn asked_by(mut self, caller: Caller) -> Plan {
        let Caller { tenant, tbt_target, ttft_target } = caller;
        self.template = GenerateRequest { tenant, tbt_target, ttft_target, ..self.template };
        self
    }

    /// Binds the answers to a grammar, and has them show some control tokens.
    pub fn in_form(mut self, constraint: Option<Constraint>, shown_tokens: Vec<u32>) -> Plan {
        self.template = GenerateRequest { constraint, shown_tokens, ..self.template };
        self
    }

    /// Has the tokens of the prompts scored too.
    pub fn with_prompt_scores(mut self, wanted: bool) -> Plan {
        self.template.prompt_logprobs = wanted;
        self
    }

    /// The engine's requests: all choices of the first prompt, then all of the second, and so on.
    pub fn requests(&self, prompts: Vec<Vec<u32>>) -> Vec<GenerateRequest> {
        let mut requests = Vec::with_capacity(prompts.len() * self.choices);
        for prompt in prompts {
            for index in 0..self.choices {
                let mut request = self.template.clone();
                request.prompt.clone_from(&prompt);
                request.sampling.seed = choice_seed(request.sampling.seed, index);
                requests.push(request);
            }
        }
        requests
    }
}

fn bias(key: &str, value: f64, vocab_size: usize) -> Result<(u32, f32), ApiError> {
    let path = format!("logit_bias.{key}");
    let id = key.parse::<u32>().ok().filter(|id| (*id as usize) < vocab_size).ok_or_else(|| {
        ApiError::invalid(path.as_str(), format!("`{key}` is not a token id below the vocabulary size {vocab_size}"))
    })?;
    in_range(&path, value, -100.0..=100.0)?;
    Ok((id, value as f32))
}

/// The seed of choice `index`: the first choice uses the seed itself, so that `n` does not change
/// it; later ones a mix of seed and index (SplitMix64's finaliser, Steele et al. 2014).
pub(crate) fn choice_seed(seed: Option<u64>, index: usize) -> Option<u64> {
    let seed = seed?;
    if index == 0 {
        return Some(seed);
    }
    let mut z = seed.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(z ^ (z >> 31))
}

/// Refuses a field that this server does not implement yet, rather than ignoring its promise.
pub(crate) fn unsupported(name: &str, what: &str) -> ApiError {
    ApiError::invalid(name, format!("`{name}` is not supported by this server yet: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::parse::from_json;

    fn options(text: &str) -> Options {
        from_json(text.as_bytes()).unwrap()
    }

    fn refused(text: &str) -> String {
        match options(text).sampling(100).unwrap_err() {
            ApiError::Invalid { param, .. } => param.unwrap(),
            other => panic!("unexpected {other}"),
        }
    }

    #[test]
    fn every_number_is_checked_against_its_range() {
        for (text, param) in [
            (r#"{"temperature":2.5}"#, "temperature"),
            (r#"{"temperature":-0.1}"#, "temperature"),
            (r#"{"top_p":1.1}"#, "top_p"),
            (r#"{"min_p":-1}"#, "min_p"),
            (r#"{"top_k":-2}"#, "top_k"),
            (r#"{"frequency_penalty":3}"#, "frequency_penalty"),
            (r#"{"presence_penalty":-3}"#, "presence_penalty"),
            (r#"{"repetition_penalty":0}"#, "repetition_penalty"),
            (r#"{"logit_bias":{"7":101}}"#, "logit_bias.7"),
            (r#"{"logit_bias":{"100":1}}"#, "logit_bias.100"),
            (r#"{"logit_bias":{"x":1}}"#, "logit_bias.x"),
        ] {
            assert_eq!(refused(text), param, "{text}");
        }
    }

    #[test]
    fn null_means_absent() {
        let options = options(r#"{"temperature":null,"stop":null,"n":null,"seed":null}"#);
        assert_eq!(options.choices(4).unwrap(), 1);
        assert!(options.stops().unwrap().is_empty());
        assert_eq!(options.sampling(10).unwrap().temperature, 1.0);
    }

    #[test]
    fn completion_bound_wins_over_the_older_name() {
        let options = options(r#"{"max_tokens":5,"max_completion_tokens":9}"#);
        assert_eq!(options.max_tokens(1).unwrap(), Some(9));
    }

    #[test]
    fn stop_takes_a_string_or_a_list_and_drops_empty_ones() {
        assert_eq!(options(r#"{"stop":"a"}"#).stops().unwrap(), ["a"]);
        assert_eq!(options(r#"{"stop":["a","","b"]}"#).stops().unwrap(), ["a", "b"]);
        assert!(from_json::<Options>(br#"{"stop":{"a":1}}"#).is_err());
    }

    #[test]
    fn choices_of_a_seeded_request_differ_and_the_first_keeps_the_seed() {
        assert_eq!(choice_seed(Some(7), 0), Some(7));
        assert_ne!(choice_seed(Some(7), 1), choice_seed(Some(7), 2));
        assert_eq!(choice_seed(Some(7), 2), choice_seed(Some(7), 2));
        assert_eq!(choice_seed(None, 3), None);
    }

    #[test]
    fn a_lower_priority_is_earlier_and_the_engine_takes_the_opposite() {
        let priority = |value: i64| options(&format!("{{\"priority\":{value}}}")).engine_priority();
        for (wire, engine) in [(0, 0), (1, -1), (-1, 1), (127, -127), (-127, 127), (-128, 127)] {
            assert_eq!(priority(wire).unwrap(), engine);
        }
        assert_eq!(options("{}").engine_priority().unwrap(), 0);
        for wire in [-129, 128, i64::MAX, i64::MIN] {
            let error = priority(wire).unwrap_err().to_string();
            assert!(error.contains("`priority`") && error.contains("-128 and 127"), "{error}");
        }
    }

    #[test]
    fn a_salt_is_its_fnv_1a_hash_and_never_empty() {
        // The value that the hash's authors publish for this text.
        assert_eq!(options(r#"{"cache_salt":"foobar"}"#).salt().unwrap(), 0x8594_4171_f739_67e8);
        assert_eq!(options(r#"{"cache_salt":null}"#).salt().unwrap(), 0);
        assert!(options(r#"{"cache_salt":""}"#).salt().unwrap_err().to_string().contains("cache_salt"));
    }

    #[test]
    fn a_negative_seed_is_a_seed() {
        assert_eq!(options(r#"{"seed":-1}"#).sampling(10).unwrap().seed, Some(u64::MAX));
    }
}
