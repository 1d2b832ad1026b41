//! The blocks of a message, and the events that tell of them.

use laminar_engine::{Finish, FinishReason, TokenEvent};
use serde_json::{Value, json};

use crate::answer::{AnswerFormat, AnswerParser, Piece};
use crate::error::ApiError;
use crate::events::Events;
use crate::openai::head::random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Thinking,
    Text,
    Tool,
}

/// Builds the content of one message.
#[derive(Debug)]
pub(super) struct Blocks {
    parser: AnswerParser,
    content: Vec<Value>,
    /// The kind of the newest block, while it is open.
    open: Option<Kind>,
    /// The arguments of the call that is open.
    arguments: String,
    calls: usize,
}

impl Blocks {
    pub(super) fn new(format: &AnswerFormat) -> Blocks {
        let parser = AnswerParser::new(format);
        Blocks { parser, content: Vec::new(), open: None, arguments: String::new(), calls: 0 }
    }

    fn push(&mut self, text: &str, events: &mut Vec<Value>) {
        let pieces = self.parser.push(text);
        pieces.into_iter().for_each(|piece| self.piece(piece, events));
    }

    /// Takes the last text and closes the last block.
    pub(super) fn finish(&mut self, finish: &Finish, events: &mut Vec<Value>) {
        self.push(&finish.text, events);
        let pieces = self.parser.finish();
        pieces.into_iter().for_each(|piece| self.piece(piece, events));
        self.close(events);
    }

    /// Why the message ended, and the stop sequence that ended it.
    pub(super) fn stop(&self, finish: &Finish) -> (&'static str, Option<String>) {
        match finish.reason {
            FinishReason::Length => ("max_tokens", None),
            _ if self.calls > 0 => ("tool_use", None),
            _ => match &finish.stop {
                Some(stop) => ("stop_sequence", Some(stop.clone())),
                None => ("end_turn", None),
            },
        }
    }

    /// The blocks.
    pub(super) fn into_content(self) -> Vec<Value> {
        self.content
    }

    fn piece(&mut self, piece: Piece, events: &mut Vec<Value>) {
        match piece {
            Piece::Reasoning(text) => {
                self.begin(Kind::Thinking, || json!({"type": "thinking", "thinking": "", "signature": ""}), events);
                self.grow("thinking", &text);
                self.delta(json!({"type": "thinking_delta", "thinking": text}), events);
            }
            Piece::Content(text) => {
                self.begin(Kind::Text, || json!({"type": "text", "text": ""}), events);
                self.grow("text", &text);
                self.delta(json!({"type": "text_delta", "text": text}), events);
            }
            Piece::Call { name } => {
                self.close(events);
                self.calls += 1;
                let id = format!("toolu_{:016x}", random());
                self.begin(Kind::Tool, || json!({"type": "tool_use", "id": id, "name": name, "input": {}}), events);
            }
            Piece::Arguments(text) => {
                self.arguments.push_str(&text);
                self.delta(json!({"type": "input_json_delta", "partial_json": text}), events);
            }
        }
    }

    fn begin(&mut self, kind: Kind, block: impl FnOnce() -> Value, events: &mut Vec<Value>) {
        if self.open == Some(kind) {
            return;
        }
        self.close(events);
        let block = block();
        events.push(json!({"type": "content_block_start", "index": self.content.len(), "content_block": block}));
        self.content.push(block);
        self.open = Some(kind);
    }

    fn grow(&mut self, key: &str, text: &str) {
        if let Some(Value::String(so_far)) = self.content.last_mut().and_then(|block| block.get_mut(key)) {
            so_far.push_str(text);
        }
    }

    fn delta(&self, delta: Value, events: &mut Vec<Value>) {
        let index = self.content.len().saturating_sub(1);
        events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
    }

    fn close(&mut self, events: &mut Vec<Value>) {
        let Some(kind) = self.open.take() else {
            return;
        };
        let index = self.content.len().saturating_sub(1);
        if kind == Kind::Tool
            && let Some(block) = self.content.last_mut()
        {
            // Arguments that were cut off are no JSON; the client sees from the stop reason why there are none.
            block["input"] = serde_json::from_str(&std::mem::take(&mut self.arguments)).unwrap_or_else(|_| json!({}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
}

/// The usage of a complete message.
pub(super) fn usage(finish: &Finish) -> Value {
    let usage = &finish.usage;
    json!({
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    })
}

/// The events of a streamed message.
pub(super) struct MessageEvents {
    pub(super) head: Value,
    pub(super) blocks: Blocks,
}

impl Events for MessageEvents {
    fn begin(&mut self) -> Vec<Value> {
        vec![json!({"type": "message_start", "message": self.head}), json!({"type": "ping"})]
    }

    fn token(&mut self, token: &TokenEvent) -> Vec<Value> {
        let mut events = Vec::new();
        self.blocks.push(&token.text, &mut events);
        events
    }

    fn finish(&mut self, finish: &Finish) -> Vec<Value> {
        let mut events = Vec::new();
        self.blocks.finish(finish, &mut events);
        let (reason, sequence) = self.blocks.stop(finish);
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        events.push(json!({"type": "message_delta", "delta": delta, "usage": usage(finish)}));
        events.push(json!({"type": "message_stop"}));
        events
    }

    fn fail(&mut self, error: &ApiError) -> Vec<Value> {
        vec![super::error_body(error)]
    }
}
