//! How the served model spells tool calls and reasoning, told by its chat template and its vocabulary.

use std::collections::BTreeMap;

use laminar_model::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::answer::{Dialect, MISTRAL_ARGUMENTS, MISTRAL_ID};

/// Tags that an answer may hold; where they are control tokens the engine is asked to show them.
const TAGS: [&str; 8] = [
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    MISTRAL_ARGUMENTS,
    MISTRAL_ID,
    "<|python_tag|>",
];

/// The spellings of one model.
#[derive(Debug, Clone)]
pub struct Family {
    /// How it spells calls.
    pub dialect: Dialect,
    /// Whether it reasons between `<think>` and `</think>`.
    pub thinks: bool,
    /// Whether its template shows tools; otherwise the system message describes them.
    pub template_shows_tools: bool,
    /// Whether the name of a Mistral call is followed by `[ARGS]`.
    pub has_arguments_tag: bool,
    /// Tags that are control tokens, with their ids.
    control: BTreeMap<&'static str, u32>,
}

impl Family {
    /// Looks at the template for the tags it writes. A template that knows no calls gets Hermes' spelling.
    pub fn of(template: &str, tokenizer: &Tokenizer) -> Family {
        let has = |text: &str| template.contains(text);
        let dialect = if has("[TOOL_CALLS]") {
            Dialect::Mistral
        } else if has("<function=") && has("<parameter=") {
            Dialect::QwenXml
        } else if has("<tool_call>") {
            Dialect::Hermes
        } else if has("<|python_tag|>") || (has("<|start_header_id|>") && has("parameters")) {
            Dialect::Llama
        } else {
            Dialect::Hermes
        };
        let ids = 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
        let mut control = BTreeMap::new();
        for id in ids.filter(|id| tokenizer.is_control(*id)) {
            let text = tokenizer.token_text(id);
            if let Some(tag) = TAGS.iter().find(|tag| **tag == text) {
                control.insert(*tag, id);
            }
        }
        Family {
            dialect,
            thinks: has("<think>") || has("</think>"),
            template_shows_tools: has("tools"),
            has_arguments_tag: has(MISTRAL_ARGUMENTS),
            control,
        }
    }

    /// The control tokens that the answers must show.
    pub(crate) fn shown_tokens(&self) -> Vec<u32> {
        self.control.values().copied().collect()
    }

    /// A tag in a Lark grammar: its control token, or its text.
    pub(crate) fn lark(&self, tag: &str) -> String {
        match self.control.get(tag) {
            Some(id) => format!("<[{id}]>"),
            None => Value::from(tag).to_string(),
        }
    }

    /// A random id for a call. Mistral's templates insist on nine letters and digits.
    pub(crate) fn call_id(&self, random: u64) -> String {
        match self.dialect {
            Dialect::Mistral => format!("{:09x}", random >> 28),
            _ => format!("call_{random:016x}"),
        }
    }
}

/// Tells a model of its tools where its template does not: in the system message, with the conversation's calls and their
/// results written out as text.
pub(crate) fn describe_tools(messages: &mut Value, tools: &[Value]) {
    let Some(list) = messages.as_array_mut() else {
        return;
    };
    for message in list.iter_mut() {
        write_out(message);
    }
    if tools.is_empty() {
        return;
    }
    let mut text = "You may call these functions:\n<tools>\n".to_owned();
    for tool in tools {
        text += &format!("{}\n", tool["function"]);
    }
    text += "</tools>\nTo call one, write <tool_call>\n{\"name\": NAME, \"arguments\": OBJECT}\n</tool_call>";
    match list.first_mut().filter(|first| first["role"] == "system") {
        Some(first) => {
            let before = first["content"].as_str().unwrap_or_default();
            first["content"] = Value::from(format!("{before}\n\n{text}"));
        }
        None => list.insert(0, json!({"role": "system", "content": text})),
    }
}

/// Turns a message of calls, or a tool's answer, into one of plain text.
fn write_out(message: &mut Value) {
    let content = message["content"].as_str().unwrap_or_default().to_owned();
    if message["role"] == "tool" {
        let text = format!("<tool_response>\n{content}\n</tool_response>");
        *message = json!({"role": "user", "content": text});
        return;
    }
    let Some(calls) = message.get("tool_calls").and_then(Value::as_array) else {
        return;
    };
    let written = calls.iter().map(|call| {
        let function = json!({"name": call["function"]["name"], "arguments": call["function"]["arguments"]});
        format!("<tool_call>\n{function}\n</tool_call>")
    });
    let parts: Vec<String> = Some(content).filter(|text| !text.is_empty()).into_iter().chain(written).collect();
    *message = json!({"role": message["role"], "content": parts.join("\n")});
}

#[cfg(test)]
mod tests {
    use super::*;
    use laminar_model::synth::byte_tokenizer;

    fn dialect(template: &str) -> Dialect {
        Family::of(template, &Tokenizer::from_gguf(&byte_tokenizer()).unwrap()).dialect
    }

    #[test]
    fn templates_tell_their_dialect() {
        assert_eq!(dialect("... <tool_call> ..."), Dialect::Hermes);
        assert_eq!(dialect("<tool_call> <function=x> <parameter=y>"), Dialect::QwenXml);
        assert_eq!(dialect("[AVAILABLE_TOOLS] [TOOL_CALLS]"), Dialect::Mistral);
        assert_eq!(dialect("<|start_header_id|> {\"name\": function name, \"parameters\": {}}"), Dialect::Llama);
        assert_eq!(dialect("{{ messages }}"), Dialect::Hermes);
    }

    #[test]
    fn a_template_without_tools_gets_them_as_text() {
        let mut messages = json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
            {"role": "tool", "tool_call_id": "c", "content": "42"},
        ]);
        describe_tools(&mut messages, &[json!({"type": "function", "function": {"name": "f"}})]);
        assert!(messages[0]["content"].as_str().unwrap().contains("{\"name\":\"f\"}"));
        assert_eq!(messages[2]["content"], "<tool_call>\n{\"name\":\"f\",\"arguments\":{\"a\":1}}\n</tool_call>");
        assert_eq!(messages[3], json!({"role": "user", "content": "<tool_response>\n42\n</tool_response>"}));
    }
}
