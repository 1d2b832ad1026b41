//! What `/v1/chat/completions` answers, whole or in chunks.

use std::sync::Arc;

use laminar_engine::{Finish, FinishReason, TokenEvent};
use laminar_model::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::head::{Head, random};
use super::logprobs::{ChatLogprob, ChatLogprobs, chat_entry};
use crate::answer::{AnswerFormat, AnswerParser, Piece};
use crate::family::Family;
use crate::generation::{Choice, UsageSum};
use crate::stream::Chunks;

/// Turns the text of one choice into deltas.
#[derive(Debug)]
pub(crate) struct Writer {
    parser: AnswerParser,
    family: Arc<Family>,
    /// Calls begun so far.
    calls: usize,
}

impl Writer {
    /// A writer at the beginning of an answer.
    pub(crate) fn new(format: &AnswerFormat, family: &Arc<Family>) -> Writer {
        Writer { parser: AnswerParser::new(format), family: Arc::clone(family), calls: 0 }
    }

    /// The deltas of one more token.
    fn push(&mut self, token: &TokenEvent) -> Vec<Value> {
        if !token.ends_text {
            self.parser.token(token.bytes);
        }
        self.parser.push(&token.text).into_iter().map(|piece| self.delta(piece)).collect()
    }

    /// The deltas of the last text.
    fn finish(&mut self, text: &str) -> Vec<Value> {
        let mut pieces = self.parser.push(text);
        pieces.extend(self.parser.finish());
        pieces.into_iter().map(|piece| self.delta(piece)).collect()
    }

    fn delta(&mut self, piece: Piece) -> Value {
        match piece {
            Piece::Content(text) => json!({"content": text}),
            Piece::Reasoning(text) => json!({"reasoning_content": text}),
            Piece::Call { name } => {
                let index = self.calls;
                self.calls += 1;
                let id = self.family.call_id(random());
                let function = json!({"name": name, "arguments": ""});
                json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
            }
            Piece::Arguments(text) => {
                json!({"tool_calls": [{"index": self.calls.saturating_sub(1), "function": {"arguments": text}}]})
            }
        }
    }

    /// The whole message of a choice.
    fn message(&mut self, choice: &Choice) -> Value {
        choice.pieces.iter().for_each(|bytes| self.parser.token(*bytes));
        let (mut content, mut reasoning, mut calls) = (String::new(), String::new(), Vec::<Value>::new());
        let mut pieces = self.parser.push(&choice.text);
        pieces.extend(self.parser.finish());
        let mut arguments = String::new();
        let close = |calls: &mut Vec<Value>, arguments: &mut String| {
            if let Some(call) = calls.last_mut() {
                call["function"]["arguments"] = Value::from(std::mem::take(arguments));
            }
        };
        for piece in pieces {
            match piece {
                Piece::Content(text) => content += &text,
                Piece::Reasoning(text) => reasoning += &text,
                Piece::Arguments(text) => arguments += &text,
                Piece::Call { name } => {
                    close(&mut calls, &mut arguments);
                    let id = self.family.call_id(random());
                    calls.push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": ""}}));
                }
            }
        }
        close(&mut calls, &mut arguments);
        self.calls = calls.len();
        let content = if content.is_empty() && !calls.is_empty() { Value::Null } else { Value::from(content) };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !reasoning.is_empty() {
            message["reasoning_content"] = Value::from(reasoning);
        }
        if !calls.is_empty() {
            message["tool_calls"] = Value::from(calls);
        }
        message
    }

    /// Why the choice ended: a model that stops behind calls waits for their results.
    fn reason(&self, finish: &Finish) -> &'static str {
        match finish.reason {
            FinishReason::Stop if self.calls > 0 => "tool_calls",
            reason => reason.as_str(),
        }
    }
}

/// The complete response. `scorer` is the tokenizer if log-probabilities were asked for; there is a writer for each
/// choice.
pub(crate) fn whole(head: &Head, choices: &[Choice], scorer: Option<&Tokenizer>, writers: Vec<Writer>) -> Value {
    let mut usage = UsageSum::default();
    let mut list = Vec::with_capacity(choices.len());
    for (index, (choice, mut writer)) in choices.iter().zip(writers).enumerate() {
        let logprobs = scorer.map(|tokenizer| ChatLogprobs {
            content: choice.tokens.iter().filter_map(|token| chat_entry(tokenizer, token)).collect(),
            refusal: None,
        });
        let message = writer.message(choice);
        if let Some(finish) = &choice.finish {
            usage.add(index, choices.len(), &finish.usage, Some(writer.parser.reasoning_tokens()));
        }
        list.push(json!({
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": choice.finish.as_ref().map(|finish| writer.reason(finish)),
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
    writers: Vec<Writer>,
}

impl ChatChunks {
    /// `scorer` is the tokenizer if log-probabilities were asked for; there is a writer for each choice.
    pub(crate) fn new(head: Head, scorer: Option<Arc<Tokenizer>>, writers: Vec<Writer>) -> ChatChunks {
        ChatChunks { head, scorer, writers }
    }

    fn chunk(&self, index: usize, delta: Value, logprobs: Option<ChatLogprob>, end: Value) -> Value {
        let logprobs = logprobs.map(|entry| ChatLogprobs { content: vec![entry], refusal: None });
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

    fn token(&mut self, index: usize, token: &TokenEvent) -> Vec<Value> {
        let mut entry = self.scorer.as_ref().and_then(|tokenizer| chat_entry(tokenizer, token));
        let mut deltas = self.writers.get_mut(index).map(|writer| writer.push(token)).unwrap_or_default();
        if deltas.is_empty() && entry.is_some() {
            deltas.push(json!({"content": ""}));
        }
        // The scores of a token go with the first of its chunks.
        deltas.into_iter().map(|delta| self.chunk(index, delta, entry.take(), Value::Null)).collect()
    }

    fn finish(&mut self, index: usize, finish: &Finish) -> Vec<Value> {
        let Some(writer) = self.writers.get_mut(index) else {
            return Vec::new();
        };
        let deltas = writer.finish(&finish.text);
        let reason = writer.reason(finish);
        let mut chunks: Vec<Value> =
            deltas.into_iter().map(|delta| self.chunk(index, delta, None, Value::Null)).collect();
        chunks.push(self.chunk(index, json!({}), None, Value::from(reason)));
        chunks
    }

    fn reasoning_tokens(&self, index: usize) -> Option<usize> {
        self.writers.get(index).map(|writer| writer.parser.reasoning_tokens())
    }

    fn usage(&mut self) -> Value {
        self.head.with_choices(Vec::new())
    }
}
