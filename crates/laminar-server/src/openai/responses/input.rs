//! From the fields of a response request to those of chat.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::openapi::responses::{ReasoningOptions, ResponseInput, ResponseTool, ResponseToolChoice, TextOptions};

/// A request to `/v1/responses`. Fields with the same name and meaning as in chat are read there.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ResponseRequest {
    /// A text, or a list of items.
    #[schema(value_type = ResponseInput)]
    pub input: Value,
    /// A system message for this answer alone.
    #[serde(default)]
    pub instructions: Option<String>,
    /// The response that this one continues.
    #[serde(default)]
    pub previous_response_id: Option<String>,
    /// Whether the response is kept for later ones; true unless said otherwise.
    #[serde(default)]
    pub store: Option<bool>,
    /// Whether to answer with events.
    #[serde(default)]
    pub stream: Option<bool>,
    /// Not supported.
    #[serde(default)]
    pub background: Option<bool>,
    /// Most tokens to generate.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub max_output_tokens: Option<i64>,
    /// Functions, without the nesting of chat.
    #[serde(default)]
    #[schema(value_type = Option<Vec<ResponseTool>>, max_items = 512)]
    pub tools: Option<Vec<Value>>,
    /// `"none"`, `"auto"`, `"required"`, or one function by name.
    #[serde(default)]
    #[schema(value_type = Option<ResponseToolChoice>)]
    pub tool_choice: Option<Value>,
    /// The form of the answer, under `format`.
    #[serde(default)]
    #[schema(value_type = Option<TextOptions>)]
    pub text: Option<Map<String, Value>>,
    /// How much to reason, under `effort`.
    #[serde(default)]
    #[schema(value_type = Option<ReasoningOptions>)]
    pub reasoning: Option<Map<String, Value>>,
}

/// Fields that mean the same in chat.
const SAME: [&str; 20] = [
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "stop_token_ids",
    "ignore_eos",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "priority",
    "cache_salt",
    "parallel_tool_calls",
    "chat_template_kwargs",
    "enable_thinking",
    "structured_outputs",
    "user",
];

impl ResponseRequest {
    /// The input as chat messages.
    ///
    /// # Errors
    /// An item that cannot be read, by its path.
    pub(super) fn messages(&self) -> Result<Vec<Value>, ApiError> {
        match &self.input {
            Value::String(text) => Ok(vec![json!({"role": "user", "content": text})]),
            Value::Array(items) => {
                let mut messages = Vec::new();
                for (place, item) in items.iter().enumerate() {
                    add_item(&mut messages, item, &format!("input[{place}]"))?;
                }
                Ok(messages)
            }
            _ => Err(ApiError::invalid("input", "`input` must be a string or a list of items")),
        }
    }

    /// The chat request with these messages; `body` is the whole request.
    ///
    /// # Errors
    /// A field that has no counterpart.
    pub(super) fn chat(&self, body: &Value, messages: &[Value]) -> Result<Value, ApiError> {
        let mut chat = Map::new();
        for name in SAME {
            if let Some(value) = body.get(name) {
                chat.insert(name.to_owned(), value.clone());
            }
        }
        let system = self.instructions.iter().map(|text| json!({"role": "system", "content": text}));
        chat.insert("messages".to_owned(), system.chain(messages.iter().cloned()).collect());
        if let Some(most) = self.max_output_tokens {
            chat.insert("max_completion_tokens".to_owned(), Value::from(most));
        }
        if let Some(tools) = &self.tools {
            let nested = tools.iter().enumerate().map(|(place, tool)| nest(place, tool)).collect::<Result<_, _>>()?;
            chat.insert("tools".to_owned(), nested);
        }
        if let Some(choice) = &self.tool_choice {
            chat.insert("tool_choice".to_owned(), nest_choice(choice));
        }
        let given = |fields: &Option<Map<String, Value>>, name: &str| {
            fields.as_ref().and_then(|fields| fields.get(name)).filter(|value| !value.is_null()).cloned()
        };
        if let Some(effort) = given(&self.reasoning, "effort") {
            if !effort.is_string() {
                return Err(ApiError::invalid("reasoning.effort", "`reasoning.effort` must be a string"));
            }
            chat.insert("reasoning_effort".to_owned(), effort);
        }
        if let Some(format) = given(&self.text, "format") {
            let nested = match format["type"].as_str() {
                Some("json_schema") => json!({"type": "json_schema", "json_schema": {"name": format["name"],
                    "schema": format["schema"], "strict": format["strict"]}}),
                _ => format,
            };
            chat.insert("response_format".to_owned(), nested);
        }
        Ok(Value::Object(chat))
    }
}

fn nest(place: usize, tool: &Value) -> Result<Value, ApiError> {
    if tool["type"] != "function" {
        let message = format!("only tools of type \"function\" are supported, got {}", tool["type"]);
        return Err(ApiError::invalid(format!("tools[{place}].type"), message));
    }
    let mut function = tool.clone();
    if let Some(fields) = function.as_object_mut() {
        fields.shift_remove("type");
    }
    Ok(json!({"type": "function", "function": function}))
}

fn nest_choice(choice: &Value) -> Value {
    match choice["type"].as_str() {
        Some("function") => json!({"type": "function", "function": {"name": choice["name"]}}),
        Some("allowed_tools") => {
            let tools = choice["tools"].as_array().map_or(&[][..], Vec::as_slice);
            let tools: Vec<Value> = tools.iter().map(nest_choice).collect();
            json!({"type": "allowed_tools", "allowed_tools": {"mode": choice["mode"], "tools": tools}})
        }
        _ => choice.clone(),
    }
}

/// Adds one item of the input, or of an earlier output, to a conversation.
pub(super) fn add_item(messages: &mut Vec<Value>, item: &Value, path: &str) -> Result<(), ApiError> {
    match item["type"].as_str() {
        None | Some("message") => {
            let Some(role) = item["role"].as_str() else {
                return Err(ApiError::invalid(format!("{path}.role"), "a message needs a `role`"));
            };
            let content = content(&item["content"]);
            match answering(messages).filter(|last| role == "assistant" && last["content"] == "") {
                Some(last) => last["content"] = content,
                None => messages.push(json!({"role": role, "content": content})),
            }
        }
        Some("function_call") => {
            let call = json!({"id": item["call_id"], "type": "function",
                "function": {"name": item["name"], "arguments": item["arguments"]}});
            match answering(messages) {
                Some(last) => match last.get_mut("tool_calls").and_then(Value::as_array_mut) {
                    Some(calls) => calls.push(call),
                    None => last["tool_calls"] = json!([call]),
                },
                None => messages.push(json!({"role": "assistant", "content": "", "tool_calls": [call]})),
            }
        }
        Some("function_call_output") => {
            let output = match &item["output"] {
                Value::Array(_) => content(&item["output"]),
                output => output.clone(),
            };
            messages.push(json!({"role": "tool", "tool_call_id": item["call_id"], "content": output}));
        }
        Some("reasoning") => {
            let parts = item["content"].as_array().map_or(&[][..], Vec::as_slice);
            let text: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            messages.push(json!({"role": "assistant", "content": "", "reasoning_content": text.join("\n")}));
        }
        Some(kind) => {
            return Err(ApiError::invalid(format!("{path}.type"), format!("items of type `{kind}` are not supported")));
        }
    }
    Ok(())
}

/// The assistant's message at the end of a conversation: reasoning, text and calls that follow each other are one.
fn answering(messages: &mut [Value]) -> Option<&mut Value> {
    messages.last_mut().filter(|last| last["role"] == "assistant")
}

/// Content with the names that chat has for its parts.
fn content(content: &Value) -> Value {
    let Some(parts) = content.as_array() else {
        return content.clone();
    };
    let rename = |part: &Value| {
        let mut part = part.clone();
        if matches!(part["type"].as_str(), Some("input_text" | "output_text")) {
            part["type"] = Value::from("text");
        }
        part
    };
    parts.iter().map(rename).collect()
}
