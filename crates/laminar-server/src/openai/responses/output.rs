//! The output of a response: items that open, grow and close, and the events that tell of it.

use laminar_engine::{Finish, FinishReason, TokenEvent};
use serde_json::{Value, json};

use crate::answer::{AnswerFormat, AnswerParser, Piece};
use crate::error::ApiError;
use crate::events::Events;
use crate::openai::head::random;

/// An item that is being written.
#[derive(Debug)]
struct Open {
    kind: Kind,
    id: String,
    text: String,
    /// Of a call: its name and its id.
    call: Option<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Message,
    Call,
}

impl Open {
    fn item(&self, status: &str) -> Value {
        let (id, text) = (&self.id, &self.text);
        match (&self.call, self.kind) {
            (Some((name, call_id)), _) => {
                json!({"id": id, "type": "function_call", "status": status, "call_id": call_id,
                "name": name, "arguments": text})
            }
            (None, Kind::Reasoning) => {
                let content = if text.is_empty() { json!([]) } else { json!([self.part()]) };
                json!({"id": id, "type": "reasoning", "status": status, "summary": [], "content": content})
            }
            (None, _) => {
                let content = if text.is_empty() && status == "in_progress" { json!([]) } else { json!([self.part()]) };
                json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
            }
        }
    }

    fn part(&self) -> Value {
        match self.kind {
            Kind::Reasoning => json!({"type": "reasoning_text", "text": self.text}),
            _ => json!({"type": "output_text", "text": self.text, "annotations": [], "logprobs": []}),
        }
    }
}

/// Builds the output of one response.
#[derive(Debug)]
pub(super) struct Output {
    parser: AnswerParser,
    items: Vec<Value>,
    open: Option<Open>,
    status: &'static str,
}

impl Output {
    pub(super) fn new(format: &AnswerFormat) -> Output {
        Output { parser: AnswerParser::new(format), items: Vec::new(), open: None, status: "completed" }
    }

    /// The items that are complete.
    pub(super) fn items(&self) -> &[Value] {
        &self.items
    }

    /// Says how long the texts of the answer's tokens are.
    pub(super) fn tokens(&mut self, bytes: &[usize]) {
        bytes.iter().for_each(|bytes| self.parser.token(*bytes));
    }

    /// Takes more text.
    pub(super) fn push(&mut self, text: &str, events: &mut Vec<Value>) {
        let pieces = self.parser.push(text);
        pieces.into_iter().for_each(|piece| self.piece(piece, events));
    }

    /// Takes the last text. An answer cut off leaves its last item incomplete; one without anything is an empty message.
    pub(super) fn finish(&mut self, finish: &Finish, events: &mut Vec<Value>) {
        self.push(&finish.text, events);
        let pieces = self.parser.finish();
        pieces.into_iter().for_each(|piece| self.piece(piece, events));
        if finish.reason == FinishReason::Length {
            self.status = "incomplete";
        }
        if self.open.is_none() && self.items.is_empty() {
            self.begin(Kind::Message, None, events);
        }
        self.close(events);
    }

    fn piece(&mut self, piece: Piece, events: &mut Vec<Value>) {
        let (kind, text, name) = match piece {
            Piece::Reasoning(text) => (Kind::Reasoning, text, None),
            Piece::Content(text) => (Kind::Message, text, None),
            Piece::Call { name } => (Kind::Call, String::new(), Some(name)),
            Piece::Arguments(text) => (Kind::Call, text, None),
        };
        if name.is_some() || self.open.as_ref().is_none_or(|open| open.kind != kind) {
            self.close(events);
            self.begin(kind, name, events);
        }
        let index = self.items.len();
        if let Some(open) = self.open.as_mut().filter(|_| !text.is_empty()) {
            open.text.push_str(&text);
            let mut event = json!({"item_id": open.id, "output_index": index, "delta": text});
            event["type"] = Value::from(match kind {
                Kind::Reasoning => "response.reasoning_text.delta",
                Kind::Message => "response.output_text.delta",
                Kind::Call => "response.function_call_arguments.delta",
            });
            if kind != Kind::Call {
                event["content_index"] = Value::from(0);
            }
            if kind == Kind::Message {
                event["logprobs"] = json!([]);
            }
            events.push(event);
        }
    }

    fn begin(&mut self, kind: Kind, name: Option<String>, events: &mut Vec<Value>) {
        let prefix = match kind {
            Kind::Reasoning => "rs",
            Kind::Message => "msg",
            Kind::Call => "fc",
        };
        let call = (kind == Kind::Call).then(|| (name.unwrap_or_default(), format!("call_{:016x}", random())));
        let open = Open { kind, id: format!("{prefix}_{:016x}", random()), text: String::new(), call };
        let index = self.items.len();
        events.push(
            json!({"type": "response.output_item.added", "output_index": index, "item": open.item("in_progress")}),
        );
        if kind != Kind::Call {
            events.push(json!({"type": "response.content_part.added", "item_id": open.id, "output_index": index,
                "content_index": 0, "part": open.part()}));
        }
        self.open = Some(open);
    }

    fn close(&mut self, events: &mut Vec<Value>) {
        let Some(open) = self.open.take() else {
            return;
        };
        let (id, index, text) = (&open.id, self.items.len(), &open.text);
        match open.kind {
            Kind::Call => events.push(json!({"type": "response.function_call_arguments.done", "item_id": id,
                "output_index": index, "name": open.call.as_ref().map(|(name, _)| name), "arguments": text})),
            kind => {
                let mut done = json!({"item_id": id, "output_index": index, "content_index": 0, "text": text});
                if kind == Kind::Reasoning {
                    done["type"] = Value::from("response.reasoning_text.done");
                } else {
                    done["type"] = Value::from("response.output_text.done");
                    done["logprobs"] = json!([]);
                }
                events.push(done);
                events.push(json!({"type": "response.content_part.done", "item_id": id, "output_index": index,
                    "content_index": 0, "part": open.part()}));
            }
        }
        let item = open.item(self.status);
        events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
        self.items.push(item);
    }
}

/// The response object around an output.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// All fields but those that the answer decides.
    pub(super) response: Value,
}

impl Frame {
    /// The response while nothing of it is there.
    fn in_progress(&self) -> Value {
        let mut response = self.response.clone();
        response["status"] = Value::from("in_progress");
        response
    }

    /// The complete response.
    pub(super) fn complete(&self, output: &Output, finish: &Finish) -> Value {
        let mut response = self.response.clone();
        let cut = finish.reason == FinishReason::Length;
        response["status"] = Value::from(if cut { "incomplete" } else { "completed" });
        if cut {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        response["output"] = Value::from(output.items().to_vec());
        let usage = &finish.usage;
        response["usage"] = json!({
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": output.parser.reasoning_tokens()},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        });
        response
    }
}

/// The events of a streamed response. `done` gets the complete response before its last event leaves.
pub(super) struct ResponseEvents<D> {
    pub(super) frame: Frame,
    pub(super) output: Output,
    pub(super) number: u64,
    pub(super) done: D,
}

impl<D: FnMut(&Value)> ResponseEvents<D> {
    fn numbered(&mut self, mut events: Vec<Value>) -> Vec<Value> {
        for event in &mut events {
            event["sequence_number"] = Value::from(self.number);
            self.number += 1;
        }
        events
    }
}

impl<D: FnMut(&Value) + Send + 'static> Events for ResponseEvents<D> {
    fn begin(&mut self) -> Vec<Value> {
        let response = self.frame.in_progress();
        let kinds = ["response.created", "response.in_progress"];
        let events = kinds.iter().map(|kind| json!({"type": kind, "response": response})).collect();
        self.numbered(events)
    }

    fn token(&mut self, token: &TokenEvent) -> Vec<Value> {
        let mut events = Vec::new();
        if !token.ends_text {
            self.output.tokens(&[token.bytes]);
        }
        self.output.push(&token.text, &mut events);
        self.numbered(events)
    }

    fn finish(&mut self, finish: &Finish) -> Vec<Value> {
        let mut events = Vec::new();
        self.output.finish(finish, &mut events);
        let response = self.frame.complete(&self.output, finish);
        (self.done)(&response);
        let status = response["status"].as_str().unwrap_or_default();
        events.push(json!({"type": format!("response.{status}"), "response": response}));
        self.numbered(events)
    }

    fn fail(&mut self, error: &ApiError) -> Vec<Value> {
        let mut response = self.frame.response.clone();
        response["status"] = Value::from("failed");
        response["error"] = json!({"code": "server_error", "message": error.to_string()});
        self.numbered(vec![json!({"type": "response.failed", "response": response})])
    }
}
