//! What `/v1/chat/completions` answers, whole or in chunks.

use std::sync::Arc;

use laminar_engine::{Finish, TokenEvent};
use laminar_model::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::head::Head;
use super::logprobs::{ChatLogprob, ChatLogprobs, chat_entry};
use crate::generation::{Choice, UsageSum};
use crate::stream::Chunks;

/// The complete response. `scorer` is the tokenizer if log-probabilities were asked for.
pub(crate) fn whole(head: &Head, choices: &[Choice], scorer: Option<&Tokenizer>) -> Value {
    let mut usage = UsageSum::default();
    let mut list = Vec::with_capacity(choices.len());
    for (index, choice) in choices.iter().enumerate() {
        if let Some(finish) = &choice.finish {
            usage.add(index, choices.len(), &finish.usage);
        }
        let logprobs = scorer.map(|tokenizer| ChatLogprobs {
            content: choice.tokens.iter().filter_map(|token| chat_entry(tokenizer, token)).collect(),
        });
        list.push(json!({
            "index": index,
            "message": {"role": "assistant", "content": choice.text, "refusal": null},
            "logprobs": logprobs,
            "finish_reason": choice.finish.as_ref().map(|finish| finish.reason.as_str()),
        }));
    }
    let mut response = head.with_choices(list);
    response["usage"] = usage.to_json();
    response
}

/// The chunks of a streamed response.
pub(crate) struct ChatChunks {
    head: Head,
    scorer: Option<Arc<Tokenizer>>,
}

impl ChatChunks {
    /// `scorer` is the tokenizer if log-probabilities were asked for.
    pub(crate) fn new(head: Head, scorer: Option<Arc<Tokenizer>>) -> ChatChunks {
        ChatChunks { head, scorer }
    }

    fn chunk(&self, index: usize, delta: Value, logprobs: Option<ChatLogprob>, end: Value) -> Value {
        let logprobs = logprobs.map(|entry| ChatLogprobs { content: vec![entry] });
        self.head.with_choices(vec![json!({
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": end,
        })])
    }
}

impl Chunks for ChatChunks {
    fn opening(&mut self, index: usize) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": ""});
        Some(self.chunk(index, delta, None, Value::Null))
    }

    fn token(&mut self, index: usize, token: &TokenEvent) -> Option<Value> {
        let entry = self.scorer.as_ref().and_then(|tokenizer| chat_entry(tokenizer, token));
        if token.text.is_empty() && entry.is_none() {
            return None;
        }
        Some(self.chunk(index, json!({"content": token.text}), entry, Value::Null))
    }

    fn finish(&mut self, index: usize, finish: &Finish) -> Vec<Value> {
        let mut chunks = Vec::with_capacity(2);
        if !finish.text.is_empty() {
            chunks.push(self.chunk(index, json!({"content": finish.text}), None, Value::Null));
        }
        chunks.push(self.chunk(index, json!({}), None, Value::from(finish.reason.as_str())));
        chunks
    }

    fn usage(&mut self) -> Value {
        self.head.with_choices(Vec::new())
    }
}
