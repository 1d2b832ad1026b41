//! One HTTP request may be several generations (`n`, several prompts). This file submits them and
//! merges their events into one stream that owns them: dropping the stream cancels them all.

use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt};
use laminar_engine::{
    Engine, EngineError, Event, Finish, FinishReason, GenerateRequest, Generation, Timings, TokenEvent, Usage,
};

use crate::error::ApiError;

/// What happened to one choice.
#[derive(Debug)]
pub enum Update {
    /// It has one more token.
    Token(TokenEvent),
    /// It is complete.
    Finished(Finish),
    /// It broke off; no further update of this choice follows.
    Failed(ApiError),
}

/// Updates of all choices of a request, each with the index of its choice.
pub type Updates = Pin<Box<dyn Stream<Item = (usize, Update)> + Send>>;

/// Submits all generations, then waits for the first update of any of them, so that a failure
/// before the first token is still an ordinary HTTP error.
///
/// # Errors
/// The engine's refusal of any of the requests, or a failure as the very first update. In both
/// cases the other generations are cancelled.
pub async fn start(engine: &Engine, requests: Vec<GenerateRequest>) -> Result<Updates, ApiError> {
    let mut parts = Vec::with_capacity(requests.len());
    for (index, request) in requests.into_iter().enumerate() {
        parts.push(match request.max_tokens {
            Some(0) if request.prompt_logprobs => {
                // The scores of a prompt come with a first token, which nobody has asked for.
                let updates = updates_of(index, engine.submit(GenerateRequest { max_tokens: Some(1), ..request })?);
                Box::pin(updates.map(|(index, update)| (index, without_answer(update))))
            }
            Some(0) => nothing(index, &request),
            _ => updates_of(index, engine.submit(request)?),
        });
    }
    settle(Box::pin(stream::select_all(parts))).await
}

/// Waits for the first update and puts it back in front.
///
/// # Errors
/// A failure as the first update.
pub async fn settle(mut updates: Updates) -> Result<Updates, ApiError> {
    match updates.next().await {
        Some((_, Update::Failed(error))) => Err(error),
        Some(first) => Ok(Box::pin(stream::iter([first]).chain(updates))),
        None => Ok(updates),
    }
}

/// The updates of one generation; a channel that closes without an end is a failure.
fn updates_of(index: usize, generation: Generation) -> Updates {
    let state = Some(generation);
    Box::pin(stream::unfold(state, move |state| async move {
        let mut generation = state?;
        let (update, rest) = match generation.next().await {
            Some(Event::Token(token)) => (Update::Token(token), Some(generation)),
            // A shutdown cut it off: the client must not take it for a complete answer.
            Some(Event::Finished(finish)) if finish.reason == FinishReason::Cancelled => {
                (Update::Failed(EngineError::ShuttingDown.into()), None)
            }
            Some(Event::Finished(finish)) => (Update::Finished(finish), None),
            Some(Event::Failed(error)) => (Update::Failed(error.into()), None),
            None => (Update::Failed(engine_gone()), None),
        };
        Some(((index, update), rest))
    }))
}

/// The updates of a request for no tokens at all; the engine need not hear of it.
fn nothing(index: usize, request: &GenerateRequest) -> Updates {
    let finish = Finish {
        reason: FinishReason::Length,
        text: String::new(),
        embedding: None,
        stop: None,
        usage: Usage { prompt_tokens: request.prompt.len(), completion_tokens: 0, cached_tokens: 0 },
        timings: Timings::default(),
    };
    Box::pin(stream::iter([(index, Update::Finished(finish))]))
}

/// What is left of an update when no token was asked for.
fn without_answer(update: Update) -> Update {
    match update {
        // Whoever writes scores leaves out those of a token that ends the text.
        Update::Token(token) => Update::Token(TokenEvent { text: String::new(), ends_text: true, ..token }),
        Update::Finished(finish) => Update::Finished(Finish {
            reason: FinishReason::Length,
            text: String::new(),
            usage: Usage { completion_tokens: 0, ..finish.usage },
            ..finish
        }),
        failed @ Update::Failed(_) => failed,
    }
}

fn engine_gone() -> ApiError {
    ApiError::Unavailable { message: "the engine stopped before the generation was complete".to_owned() }
}

/// One complete choice.
#[derive(Debug, Default)]
pub struct Choice {
    /// Its whole text.
    pub text: String,
    /// The bytes of text that each of its tokens adds; one that ends the text is left out.
    pub pieces: Vec<usize>,
    /// Its tokens in order; kept only if logprobs were asked for.
    pub tokens: Vec<TokenEvent>,
    /// How it ended.
    pub finish: Option<Finish>,
}

/// Gathers all choices of a request.
///
/// # Errors
/// The first failure; the other choices are cancelled.
pub async fn collect(mut updates: Updates, choices: usize, keep_tokens: bool) -> Result<Vec<Choice>, ApiError> {
    let mut gathered: Vec<Choice> = (0..choices).map(|_| Choice::default()).collect();
    while let Some((index, update)) = updates.next().await {
        let Some(choice) = gathered.get_mut(index) else {
            continue;
        };
        match update {
            Update::Token(token) => {
                choice.text.push_str(&token.text);
                if !token.ends_text {
                    choice.pieces.push(token.bytes);
                }
                if keep_tokens {
                    choice.tokens.push(token);
                }
            }
            Update::Finished(finish) => {
                choice.text.push_str(&finish.text);
                choice.finish = Some(finish);
            }
            Update::Failed(error) => return Err(error),
        }
    }
    Ok(gathered)
}

/// The usage of a whole request: the prompt of each group of `per_prompt` choices counts once, as its first choice ran it.
#[derive(Debug, Default)]
pub struct UsageSum {
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
    /// None where nothing is told apart.
    reasoning_tokens: Option<usize>,
}

impl UsageSum {
    /// Adds the usage of choice `index`, where each prompt has `per_prompt` choices; `reasoning` of its tokens are reasoning,
    /// where that is told apart.
    pub fn add(&mut self, index: usize, per_prompt: usize, usage: &Usage, reasoning: Option<usize>) {
        if index.is_multiple_of(per_prompt.max(1)) {
            self.prompt_tokens += usage.prompt_tokens;
            self.cached_tokens += usage.cached_tokens;
        }
        self.completion_tokens += usage.completion_tokens;
        if let Some(reasoning) = reasoning {
            *self.reasoning_tokens.get_or_insert(0) += reasoning;
        }
    }

    /// The OpenAI usage object.
    pub fn to_json(&self) -> serde_json::Value {
        let mut usage = serde_json::json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": { "cached_tokens": self.cached_tokens },
        });
        if let Some(reasoning) = self.reasoning_tokens {
            usage["completion_tokens_details"] = serde_json::json!({ "reasoning_tokens": reasoning });
        }
        usage
    }
}
