//! One request inside the engine thread.

use crate::choose::choose;
use crate::guide::{Advance, Guide, MaskThreads};
use crate::logprobs::logprobs;
use crate::ranking::not_finite;
use crate::sampler::Sampler;
use crate::shared::Slot;
use crate::stop::Matched;
use crate::text::AnswerText;
use crate::{
    EngineError, Event, Finish, FinishReason, GenerateRequest, Pooling, Timings, TokenEvent, TokenLogprobs, Usage,
};
use laminar_model::tokenizer::Tokenizer;
use laminar_schedule::Prefix;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;

/// A request on its way to the engine thread.
pub(crate) struct Job {
    pub request: GenerateRequest,
    /// Cut to what the context leaves.
    pub max_tokens: usize,
    /// The parser of the request's grammar.
    pub guide: Option<Guide>,
    pub events: UnboundedSender<Due>,
    pub submitted: Instant,
    pub slot: Slot,
}

/// A request in the engine thread, from its submission to its end.
pub(crate) struct Active {
    prompt: Arc<[u32]>,
    /// The prompt's tokens and those generated.
    tokens: Vec<u32>,
    cache_salt: u64,
    /// Prompt tokens whose KV was in the prefix cache; none before the first step.
    cached_tokens: Option<usize>,
    max_tokens: usize,
    /// Token ids that end the answer.
    stop_ids: Vec<u32>,
    pooling: Option<Pooling>,
    embedding: Option<Vec<f32>>,
    top_logprobs: Option<usize>,
    /// Whether the prompt's log-probabilities are still to be told.
    scores_prompt: bool,
    return_logits: bool,
    sampler: Sampler,
    guide: Option<Guide>,
    text: AnswerText,
    events: UnboundedSender<Due>,
    submitted: Instant,
    first_step: Option<Instant>,
    /// When its first and its newest token were due.
    first_token: Option<Instant>,
    newest_token: Option<Instant>,
    prefill_expert_loads: u64,
    slot: Slot,
}

/// A message on its way to a client.
#[derive(Debug)]
pub(crate) struct Due {
    pub event: Event,
    /// Not to be handed out before this moment.
    pub at: Option<Instant>,
}

/// Most tokens that a request takes from its grammar between two steps: each is a row of the next step, for which others wait.
const MOST_FORCED: usize = 32;

/// How a request ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Finished(FinishReason),
    Failed(EngineError),
}

impl Active {
    /// Takes a job in.
    pub fn new(job: Job, tokenizer: &Arc<Tokenizer>) -> Self {
        let Job { request, max_tokens, guide, events, submitted, slot } = job;
        let mut stop_ids = request.stop_token_ids;
        if !request.ignore_eos {
            stop_ids.extend_from_slice(tokenizer.stop_ids());
        }
        Self {
            sampler: Sampler::new(&request.sampling, &request.prompt),
            text: AnswerText::new(Arc::clone(tokenizer), &request.stop, request.shown_tokens),
            guide,
            prompt: request.prompt.as_slice().into(),
            tokens: request.prompt,
            cache_salt: request.cache_salt,
            cached_tokens: None,
            max_tokens,
            stop_ids,
            pooling: request.pooling,
            embedding: None,
            top_logprobs: request.top_logprobs,
            scores_prompt: request.prompt_logprobs,
            return_logits: request.return_logits,
            events,
            submitted,
            first_step: None,
            first_token: None,
            newest_token: None,
            prefill_expert_loads: 0,
            slot,
        }
    }

    /// The prompt's tokens.
    pub fn prompt(&self) -> &Arc<[u32]> {
        &self.prompt
    }

    /// All tokens there are: those of the prompt, and those generated.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens generated so far.
    fn generated(&self) -> usize {
        self.tokens.len() - self.prompt.len()
    }

    /// What the prefix cache may know of the prompt.
    pub fn prefix(&self) -> Prefix {
        Prefix { tokens: Arc::clone(&self.prompt), salt: self.cache_salt, ..Prefix::default() }
    }

    /// How its prompt is pooled, if it wants a vector and no answer.
    pub fn pooling(&self) -> Option<Pooling> {
        self.pooling.clone()
    }

    /// The alternatives wanted with each token of the prompt, while its log-probabilities are still to be told.
    pub fn scores_prompt(&self) -> Option<usize> {
        self.top_logprobs.filter(|_| self.scores_prompt)
    }

    /// Takes the vector of its prompt, with which it ends.
    pub fn embed(&mut self, pooled: Option<Vec<f32>>, position: usize) -> End {
        let Some(vector) = pooled else {
            return End::Failed(EngineError::NoEmbeddings);
        };
        if let Some(id) = vector.iter().position(|value| !value.is_finite()) {
            return End::Failed(EngineError::NonFiniteLogits { id: id as u32, position });
        }
        self.embedding = Some(vector);
        End::Finished(FinishReason::Stop)
    }

    /// Most tokens to generate.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Whether the client has dropped its end.
    pub fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// A step with prompt rows of this request begins, the first of them at `start`. Rows before the first one ever were in
    /// the prefix cache.
    pub fn starts_prefill(&mut self, start: usize, now: Instant) {
        self.first_step.get_or_insert(now);
        self.cached_tokens.get_or_insert(start);
    }

    /// A step with prompt rows of this request touched so many experts.
    pub fn count_loads(&mut self, prefill_expert_loads: u64) {
        self.prefill_expert_loads += prefill_expert_loads;
    }

    /// Chooses the next token from the model's logits of the row at `position`, tells the client when it is due, and says
    /// whether the request ends with it.
    ///
    /// With the first token go the log-probabilities of the prompt, if they were asked for.
    pub fn advance(
        &mut self,
        logits: &[f32],
        position: usize,
        scores: Option<Vec<TokenLogprobs>>,
        masks: &MaskThreads,
        due: Instant,
    ) -> Option<End> {
        if self.scores_prompt && scores.is_none() {
            return Some(End::Failed(EngineError::NoScores));
        }
        self.scores_prompt = false;
        if let Some(id) = not_finite(logits) {
            return Some(End::Failed(EngineError::NonFiniteLogits { id: id as u32, position }));
        }
        let id = match &mut self.guide {
            None => self.sampler.row(logits).sample(None),
            Some(guide) => match choose(&mut self.sampler, guide, logits, masks) {
                Ok(id) => id,
                Err(message) => return Some(End::Failed(EngineError::Grammar { message })),
            },
        };
        self.first_token.get_or_insert(due);
        self.newest_token = Some(due);
        self.append(id, Some(logits), scores, masks)
    }

    /// Appends the tokens that the grammar is known to force by now, and says whether the request ends with one of them. They
    /// are the same whether they are taken here or one a step, and whoever wants to see logits gets them one a step.
    pub fn jump(&mut self, masks: &MaskThreads) -> Option<End> {
        if self.top_logprobs.is_some() || self.return_logits {
            return None;
        }
        for _ in 0..MOST_FORCED {
            let id = self.guide.as_mut()?.forced()?;
            self.sampler.take(id);
            let end = self.append(id, None, None, masks);
            if end.is_some() {
                return end;
            }
        }
        None
    }

    /// Appends a token and tells the client. The logits are those of the row it was chosen from, if there was one.
    fn append(
        &mut self,
        id: u32,
        logits: Option<&[f32]>,
        prompt_logprobs: Option<Vec<TokenLogprobs>>,
        masks: &MaskThreads,
    ) -> Option<End> {
        self.tokens.push(id);

        let ends_text = self.stop_ids.contains(&id);
        let (text, stopped) = if ends_text {
            (String::new(), true)
        } else {
            match self.text.push(id) {
                Matched::Text(text) => (text, false),
                Matched::Stop(text) => (text, true),
            }
        };
        let complete = match &mut self.guide {
            Some(guide) if !stopped => match guide.accept(id, self.sampler.hint(), masks) {
                Ok(advance) => advance == Advance::Complete,
                Err(message) => return Some(End::Failed(EngineError::Grammar { message })),
            },
            _ => false,
        };
        let scored = self.top_logprobs.zip(logits);
        let logprob: Option<TokenLogprobs> = scored.map(|(count, logits)| logprobs(logits, id, count));
        let logits = logits.filter(|_| self.return_logits).map(<[f32]>::to_vec);
        let bytes = if ends_text { 0 } else { self.text.newest_bytes() };
        let event = Event::Token(TokenEvent { id, text, bytes, ends_text, logprob, prompt_logprobs, logits });
        // A client that is gone is noticed before the next step.
        let _ = self.events.send(Due { event, at: self.newest_token });

        if stopped || complete {
            return Some(End::Finished(FinishReason::Stop));
        }
        (self.generated() >= self.max_tokens).then_some(End::Finished(FinishReason::Length))
    }

    /// Sends the last event. The request's place in the engine is free before its client can know.
    pub fn end(mut self, end: End, now: Instant) {
        let event = match end {
            End::Failed(error) => Event::Failed(error),
            End::Finished(reason) => {
                let completion_tokens = self.generated();
                // Its last token may still have to wait.
                let now = self.newest_token.map_or(now, |due| now.max(due));
                let since =
                    |then: Option<Instant>| then.unwrap_or(now).saturating_duration_since(self.submitted).as_secs_f64();
                // The text held back may hold a stop string.
                let text = self.text.finish();
                let stop = self.text.stop().map(str::to_owned);
                Event::Finished(Finish {
                    reason,
                    text,
                    stop,
                    embedding: self.embedding,
                    usage: Usage {
                        prompt_tokens: self.prompt.len(),
                        completion_tokens,
                        cached_tokens: self.cached_tokens.unwrap_or(0),
                    },
                    timings: Timings {
                        queue: since(self.first_step),
                        ttft: since(self.first_token),
                        total: since(None),
                        prefill_expert_loads: self.prefill_expert_loads,
                    },
                })
            }
        };
        drop(self.slot);
        let _ = self.events.send(Due { event, at: None });
    }
}
