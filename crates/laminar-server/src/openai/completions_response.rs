//! What `/v1/completions` answers, whole or in chunks.

use std::sync::Arc;

use laminar_engine::{Finish, TokenEvent};
use laminar_model::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::head::Head;
use super::logprobs::{Echo, LegacyLogprobs, LegacyWriter};
use crate::generation::{Choice, UsageSum};
use crate::stream::Chunks;

/// The complete response. `scorer` is the tokenizer if log-probabilities were asked for; `echoes`
/// the prompts, or nothing if they are not to be repeated.
pub(crate) fn whole(
    head: &Head,
    choices: &[Choice],
    per_prompt: usize,
    echoes: &[Echo],
    scorer: Option<&Tokenizer>,
) -> Value {
    let mut usage = UsageSum::default();
    let mut list = Vec::with_capacity(choices.len());
    for (index, choice) in choices.iter().enumerate() {
        if let Some(finish) = &choice.finish {
            usage.add(index, per_prompt, &finish.usage, None);
        }
        let echo = echoes.get(index / per_prompt.max(1));
        let logprobs = scorer.map(|tokenizer| {
            let mut writer = LegacyWriter::behind(echo.cloned());
            let mut lists = LegacyLogprobs::default();
            for token in &choice.tokens {
                writer.push(tokenizer, token, &mut lists);
            }
            lists
        });
        let text = format!("{}{}", echo.map_or("", |echo| echo.text.as_str()), choice.text);
        list.push(json!({
            "index": index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": choice.finish.as_ref().map(|finish| finish.reason.as_str()),
        }));
    }
    let mut response = head.with_choices(list);
    response["usage"] = usage.to_json();
    response
}

/// The chunks of a streamed response.
pub(crate) struct CompletionChunks {
    head: Head,
    scorer: Option<Arc<Tokenizer>>,
    per_prompt: usize,
    echoes: Vec<Echo>,
    /// One per choice: each has its own text offsets.
    writers: Vec<LegacyWriter>,
}

impl CompletionChunks {
    /// `scorer` and `echoes` as for the whole response.
    pub(crate) fn new(
        head: Head,
        scorer: Option<Arc<Tokenizer>>,
        choices: usize,
        per_prompt: usize,
        echoes: Vec<Echo>,
    ) -> CompletionChunks {
        let per_prompt = per_prompt.max(1);
        let writer = |index: usize| LegacyWriter::behind(echoes.get(index / per_prompt).cloned());
        CompletionChunks { head, scorer, per_prompt, writers: (0..choices).map(writer).collect(), echoes }
    }

    fn chunk(&self, index: usize, text: &str, logprobs: Option<LegacyLogprobs>, end: Value) -> Value {
        self.head.with_choices(vec![json!({
            "index": index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": end,
        })])
    }
}

impl Chunks for CompletionChunks {
    fn opening(&mut self, index: usize) -> Option<Value> {
        let echo = self.echoes.get(index / self.per_prompt)?;
        Some(self.chunk(index, &echo.text, None, Value::Null))
    }

    fn token(&mut self, index: usize, token: &TokenEvent) -> Vec<Value> {
        let mut lists = LegacyLogprobs::default();
        if let (Some(tokenizer), Some(writer)) = (&self.scorer, self.writers.get_mut(index)) {
            writer.push(tokenizer, token, &mut lists);
        }
        let lists = (!lists.tokens.is_empty()).then_some(lists);
        // A token that has no text yet is told too: whoever watches the beat of a stream sees that it flows.
        vec![self.chunk(index, &token.text, lists, Value::Null)]
    }

    fn finish(&mut self, index: usize, finish: &Finish) -> Vec<Value> {
        vec![self.chunk(index, &finish.text, None, Value::from(finish.reason.as_str()))]
    }

    fn usage(&mut self) -> Value {
        self.head.with_choices(Vec::new())
    }
}
