//! From Anthropic's fields to those of chat.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::openapi::messages::{MessagesTool, MessagesToolChoice, Texts, ThinkingOptions, TurnContent, TurnRole};
use crate::openapi::requests::ModelName;

/// A request to `/v1/messages`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct MessagesRequest {
    /// Model name.
    #[serde(default)]
    #[schema(value_type = Option<ModelName>)]
    pub model: Option<String>,
    /// Turns of `user` and `assistant`.
    #[schema(min_items = 1)]
    pub messages: Vec<Turn>,
    /// The system prompt: a text or a list of text blocks.
    #[serde(default)]
    #[schema(value_type = Option<Texts>)]
    pub system: Option<Value>,
    /// Most tokens to generate; required for a message.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub max_tokens: Option<i64>,
    /// Texts that end the answer.
    #[serde(default)]
    pub stop_sequences: Option<Vec<String>>,
    /// Whether to answer with events.
    #[serde(default)]
    pub stream: Option<bool>,
    /// 0 (greedy) to 1.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    /// Nucleus: 0 to 1.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// Number of candidates.
    #[serde(default)]
    #[schema(minimum = -1)]
    pub top_k: Option<i64>,
    /// Functions with a `name`, a `description` and an `input_schema`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<MessagesTool>>, max_items = 512)]
    pub tools: Option<Vec<Value>>,
    /// `{"type": "auto" | "any" | "tool" | "none"}`.
    #[serde(default)]
    #[schema(value_type = Option<MessagesToolChoice>)]
    pub tool_choice: Option<Value>,
    /// `{"type": "enabled"}` or `{"type": "disabled"}`.
    #[serde(default)]
    #[schema(value_type = Option<ThinkingOptions>)]
    pub thinking: Option<Value>,
}

/// One turn.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct Turn {
    /// `user` or `assistant`.
    #[schema(value_type = TurnRole)]
    pub role: String,
    /// A text or a list of blocks.
    #[schema(value_type = TurnContent)]
    pub content: Value,
}

impl MessagesRequest {
    /// The chat request.
    ///
    /// # Errors
    /// A role, a block or a tool that has no counterpart, by its path.
    pub(super) fn chat(&self) -> Result<Value, ApiError> {
        let mut messages = Vec::new();
        if let Some(system) = &self.system {
            let content = text_of(system, "system")?;
            if !content.is_empty() {
                messages.push(json!({"role": "system", "content": content}));
            }
        }
        for (place, turn) in self.messages.iter().enumerate() {
            add_turn(&mut messages, turn, &format!("messages[{place}]"))?;
        }
        let mut chat = Map::new();
        chat.insert("messages".to_owned(), Value::from(messages));
        let fields = [
            ("model", self.model.as_deref().map(Value::from)),
            ("max_tokens", self.max_tokens.map(Value::from)),
            ("stop", self.stop_sequences.clone().map(Value::from)),
            ("temperature", self.temperature.map(Value::from)),
            ("top_p", self.top_p.map(Value::from)),
            ("top_k", self.top_k.map(Value::from)),
        ];
        chat.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        if let Some(tools) = &self.tools {
            let functions =
                tools.iter().enumerate().map(|(place, tool)| function(place, tool)).collect::<Result<_, _>>()?;
            chat.insert("tools".to_owned(), functions);
        }
        if let Some(choice) = &self.tool_choice {
            let wanted = match choice["type"].as_str() {
                Some("auto") => Value::from("auto"),
                Some("any") => Value::from("required"),
                Some("none") => Value::from("none"),
                Some("tool") => json!({"type": "function", "function": {"name": choice["name"]}}),
                _ => {
                    let message = "`tool_choice` must be of type \"auto\", \"any\", \"tool\" or \"none\"";
                    return Err(ApiError::invalid("tool_choice.type", message));
                }
            };
            chat.insert("tool_choice".to_owned(), wanted);
            if choice["disable_parallel_tool_use"] == true {
                chat.insert("parallel_tool_calls".to_owned(), Value::from(false));
            }
        }
        match self.thinking.as_ref().and_then(|thinking| thinking["type"].as_str()) {
            Some("enabled" | "adaptive") => drop(chat.insert("enable_thinking".to_owned(), Value::from(true))),
            Some("disabled") => drop(chat.insert("enable_thinking".to_owned(), Value::from(false))),
            _ => {}
        }
        Ok(Value::Object(chat))
    }
}

fn function(place: usize, tool: &Value) -> Result<Value, ApiError> {
    if !(tool["type"].is_null() || tool["type"] == "custom") {
        let message = format!("tools of type {} are not supported", tool["type"]);
        return Err(ApiError::invalid(format!("tools[{place}].type"), message));
    }
    let mut function = json!({"name": tool["name"], "parameters": tool["input_schema"]});
    if !tool["description"].is_null() {
        function["description"] = tool["description"].clone();
    }
    Ok(json!({"type": "function", "function": function}))
}

/// A turn as one message, with a message of its own for every result of a tool.
fn add_turn(messages: &mut Vec<Value>, turn: &Turn, path: &str) -> Result<(), ApiError> {
    if !matches!(turn.role.as_str(), "user" | "assistant" | "system") {
        let message = format!("unknown role `{}`; expected user or assistant", turn.role);
        return Err(ApiError::invalid(format!("{path}.role"), message));
    }
    let Some(blocks) = turn.content.as_array() else {
        messages.push(json!({"role": turn.role, "content": turn.content}));
        return Ok(());
    };
    let (mut texts, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for (place, block) in blocks.iter().enumerate() {
        let path = format!("{path}.content[{place}]");
        match block["type"].as_str() {
            Some("text") => texts.push(block["text"].as_str().unwrap_or_default()),
            Some("thinking") => thoughts.push(block["thinking"].as_str().unwrap_or_default()),
            Some("redacted_thinking") => {}
            Some("tool_use") => calls.push(json!({"id": block["id"], "type": "function",
                "function": {"name": block["name"], "arguments": block["input"].to_string()}})),
            Some("tool_result") => {
                let content = match &block["content"] {
                    Value::Null => String::new(),
                    content => text_of(content, &format!("{path}.content"))?,
                };
                messages.push(json!({"role": "tool", "tool_call_id": block["tool_use_id"], "content": content}));
            }
            Some(kind @ ("image" | "document")) => {
                let message = format!("this model reads text only; a `{kind}` block cannot be used");
                return Err(ApiError::invalid(format!("{path}.type"), message));
            }
            kind => {
                let message = format!("unknown block type `{}`", kind.unwrap_or_default());
                return Err(ApiError::invalid(format!("{path}.type"), message));
            }
        }
    }
    let only_results = blocks.iter().all(|block| block["type"] == "tool_result") && !blocks.is_empty();
    if !only_results {
        let mut message = json!({"role": turn.role, "content": texts.join("\n")});
        if !thoughts.is_empty() {
            message["reasoning_content"] = Value::from(thoughts.join("\n"));
        }
        if !calls.is_empty() {
            message["tool_calls"] = Value::from(calls);
        }
        messages.push(message);
    }
    Ok(())
}

/// A text, or the texts of blocks that are nothing else.
fn text_of(content: &Value, path: &str) -> Result<String, ApiError> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(blocks) => {
            let texts = blocks.iter().enumerate().map(|(place, block)| {
                block["text"].as_str().ok_or_else(|| {
                    let message = format!("only text blocks can be used here, got {}", block["type"]);
                    ApiError::invalid(format!("{path}[{place}].type"), message)
                })
            });
            Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        _ => Err(ApiError::invalid(path, format!("`{path}` must be a text or a list of text blocks"))),
    }
}
