//! Tells a model of tools where its template does not: in the words of its family, as text of the conversation.

use serde_json::{Value, json};

use crate::answer::{Dialect, deepseek, gemma, kimi};
use crate::family::Family;

impl Family {
    /// Gives a conversation what the template leaves out: the list of the tools, calls and their results. Returns the tools
    /// that are left for the template to list.
    pub(crate) fn describe_tools(&self, messages: &mut Value, tools: Option<Value>) -> Option<Value> {
        let habits = self.template;
        if let Some(list) = messages.as_array_mut() {
            if !habits.writes_calls {
                self.write_out(list);
            } else if habits.arguments_as_text {
                list.iter_mut().for_each(arguments_to_text);
            }
            match self.dialect {
                Dialect::DeepSeek => list.iter_mut().for_each(no_text_beside_calls),
                Dialect::Kimi => number_calls(list),
                _ => {}
            }
        }
        if habits.lists_tools {
            return tools;
        }
        let functions: Vec<&Value> =
            tools.as_ref().and_then(Value::as_array).into_iter().flatten().map(|tool| &tool["function"]).collect();
        if let (Some(list), false) = (messages.as_array_mut(), functions.is_empty()) {
            match habits.tools_in_system {
                true => give_to_system(list, &json!(functions)),
                false => add_instructions(list, &self.instructions(&functions), habits.refuses_system),
            }
        }
        None
    }

    /// Gives the reasoning of earlier turns its other name, `thinking`, as `transformers` does. gpt-oss takes either
    /// reasoning or text beside a call: both become reasoning.
    pub(crate) fn place_reasoning(&self, messages: &mut Value) {
        for message in messages.as_array_mut().into_iter().flatten() {
            let Some(reasoning) = message["reasoning_content"].as_str().map(str::to_owned) else {
                continue;
            };
            let calls = self.dialect == Dialect::Harmony && message["tool_calls"].is_array();
            let text = text_of(message).to_owned();
            if calls && !text.is_empty() {
                message["content"] = Value::from("");
                message["thinking"] = Value::from(format!("{reasoning}\n\n{text}"));
            } else {
                message["thinking"] = Value::from(reasoning);
            }
        }
    }

    /// What the functions are and how to call one.
    fn instructions(&self, functions: &[&Value]) -> String {
        let mut text = "You may call these functions:\n<tools>\n".to_owned();
        for function in functions {
            text += &format!("{function}\n");
        }
        let example = self.write_call("NAME", &json!({"ARGUMENT": "VALUE"}));
        // Without markers, text around a call would hide it.
        let alone = if self.dialect == Dialect::Gemma { "nothing but " } else { "" };
        text + &format!("</tools>\nTo call one, write {alone}{example}")
    }

    /// A call as this model writes it.
    fn write_call(&self, name: &str, arguments: &Value) -> String {
        let call = self.dialect.write(name, arguments);
        match self.dialect {
            // V3.1 has neither the word nor the fence.
            Dialect::DeepSeek if !self.mentions(deepseek::FENCE) => {
                use deepseek::{CALL, CALL_END, CLOSE, OPEN, SEPARATOR};
                format!("{OPEN}{CALL}{name}{SEPARATOR}{arguments}{CALL_END}{CLOSE}")
            }
            _ => call,
        }
    }

    /// Turns messages of calls, and tools' answers, into plain text. The answers of several tools become one message, as
    /// templates may insist on turns.
    fn write_out(&self, list: &mut Vec<Value>) {
        let mut written: Vec<Value> = Vec::with_capacity(list.len());
        let mut behind_result = false;
        for mut message in list.drain(..) {
            // Granite's templates write any role.
            let is_result = message["role"] == "tool" && self.dialect != Dialect::Granite;
            if is_result {
                let content = text_of(&message);
                let text = match self.dialect {
                    Dialect::Gemma => gemma::write_result(content),
                    _ => format!("<tool_response>\n{content}\n</tool_response>"),
                };
                message = json!({"role": "user", "content": text});
            } else if let Some(calls) = message.get("tool_calls").and_then(Value::as_array) {
                let calls = calls.iter().map(|call| {
                    let function = &call["function"];
                    self.write_call(function["name"].as_str().unwrap_or_default(), &function["arguments"])
                });
                let content = Some(text_of(&message).to_owned()).filter(|text| !text.is_empty());
                let parts: Vec<String> = content.into_iter().chain(calls).collect();
                message = json!({"role": message["role"], "content": parts.join("\n")});
            }
            match written.last_mut().filter(|_| behind_result && message["role"] == "user") {
                Some(last) => last["content"] = Value::from(format!("{}\n{}", text_of(last), text_of(&message))),
                None => written.push(message),
            }
            behind_result = is_result;
        }
        *list = written;
    }
}

fn text_of(message: &Value) -> &str {
    message["content"].as_str().unwrap_or_default()
}

/// Puts instructions in front of the conversation: into the system message, or into the user's first one.
fn add_instructions(list: &mut Vec<Value>, text: &str, refuses_system: bool) {
    let role = if refuses_system { "user" } else { "system" };
    match list.first_mut().filter(|first| first["role"] == role) {
        Some(first) if refuses_system => first["content"] = Value::from(format!("{text}\n\n{}", text_of(first))),
        Some(first) => first["content"] = Value::from(format!("{}\n\n{text}", text_of(first))),
        None => list.insert(0, json!({"role": role, "content": text})),
    }
}

/// Hands the functions to the template as a field of the system message.
fn give_to_system(list: &mut Vec<Value>, functions: &Value) {
    if list.first().is_none_or(|first| first["role"] != "system") {
        list.insert(0, json!({"role": "system", "content": "You are a helpful assistant with some tools."}));
    }
    if let Some(first) = list.first_mut() {
        first["tools"] = Value::from(functions.to_string());
    }
}

/// Turns the arguments of a message's calls back into text.
fn arguments_to_text(message: &mut Value) {
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(arguments) = call.pointer_mut("/function/arguments").filter(|arguments| arguments.is_object()) {
            *arguments = Value::from(arguments.to_string());
        }
    }
}

/// DeepSeek's templates write an answer behind a call for each text that is there, be it empty.
fn no_text_beside_calls(message: &mut Value) {
    if message["tool_calls"].is_array() && message["content"] == "" {
        message["content"] = Value::Null;
    }
}

/// Kimi knows calls by their function and their number in the conversation, and its templates write the ids that there are.
fn number_calls(list: &mut [Value]) {
    let mut heads = Vec::new();
    for message in list {
        for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            let head = kimi::head(call["function"]["name"].as_str().unwrap_or_default(), heads.len());
            let id = call.as_object_mut().and_then(|call| call.insert("id".to_owned(), Value::from(head.as_str())));
            heads.push((id, head));
        }
        if let Some(id) = message.get_mut("tool_call_id")
            && let Some((_, head)) = heads.iter().rev().find(|(known, _)| known.as_ref() == Some(&*id))
        {
            *id = Value::from(head.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laminar_model::synth::byte_tokenizer;
    use laminar_model::tokenizer::Tokenizer;

    fn family(template: &str) -> Family {
        Family::of(template, &Tokenizer::from_gguf(&byte_tokenizer()).unwrap())
    }

    fn tools() -> Option<Value> {
        Some(json!([{"type": "function", "function": {"name": "f"}}]))
    }

    fn conversation() -> Value {
        let call = |value: u8| json!({"function": {"name": "f", "arguments": {"a": value}}});
        json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "", "tool_calls": [call(1), call(2)]},
            {"role": "tool", "tool_call_id": "c", "content": "42"},
            {"role": "tool", "tool_call_id": "d", "content": "43"},
        ])
    }

    #[test]
    fn a_template_without_tools_gets_them_as_text() {
        let mut messages = conversation();
        assert_eq!(family("{{ messages }}").describe_tools(&mut messages, tools()), None);
        assert!(messages[0]["content"].as_str().unwrap().contains("{\"name\":\"f\"}"));
        let call = |value: u8| format!("<tool_call>\n{{\"name\":\"f\",\"arguments\":{{\"a\":{value}}}}}\n</tool_call>");
        assert_eq!(messages[2]["content"], format!("{}\n{}", call(1), call(2)));
        let result = |value: u8| format!("<tool_response>\n{value}\n</tool_response>");
        assert_eq!(messages[3], json!({"role": "user", "content": format!("{}\n{}", result(42), result(43))}));
        assert_eq!(messages.as_array().unwrap().len(), 4);
    }

    #[test]
    fn gemma_is_asked_for_an_object_and_nothing_else() {
        let mut gemma = family("<start_of_turn>");
        gemma.template.refuses_system = true;
        let mut messages = conversation();
        gemma.describe_tools(&mut messages, tools());
        let first = messages[0]["content"].as_str().unwrap();
        assert!(
            first.contains("nothing but {\"name\":\"NAME\",\"parameters\":") && first.ends_with("\n\nq"),
            "{first}"
        );
        assert_eq!(messages[1]["content"].as_str().unwrap().lines().count(), 2);
        assert_eq!(messages[2]["content"], "```tool_output\n42\n```\n```tool_output\n43\n```");
    }

    #[test]
    fn what_the_template_does_is_left_to_it() {
        let mut messages = conversation();
        assert_eq!(family("{{ tools }}{{ m.tool_calls }}").describe_tools(&mut messages, tools()), tools());
        assert_eq!(messages, conversation());
        // DeepSeek writes calls but lists no tools, and takes arguments as text.
        let mut deepseek = family("<｜tool▁calls▁begin｜>{{ message['tool_calls'] }}");
        deepseek.template.arguments_as_text = true;
        assert_eq!(deepseek.describe_tools(&mut messages, tools()), None);
        assert!(messages[0]["content"].as_str().unwrap().contains("NAME<｜tool▁sep｜>{"));
        assert_eq!(messages[2]["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
        assert_eq!(messages[2]["content"], Value::Null);
    }

    #[test]
    fn gpt_oss_gets_reasoning_under_its_own_name() {
        let gpt_oss = family("<|channel|><|message|>");
        let mut messages = json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "so", "reasoning_content": "why", "tool_calls": [{}]},
            {"role": "assistant", "content": "a", "reasoning_content": "because"},
            {"role": "assistant", "content": "b"},
        ]);
        gpt_oss.place_reasoning(&mut messages);
        assert_eq!((&messages[1]["thinking"], &messages[1]["content"]), (&json!("why\n\nso"), &json!("")));
        assert_eq!((&messages[2]["thinking"], &messages[2]["content"]), (&json!("because"), &json!("a")));
        assert!(messages[3].get("thinking").is_none());
        let mut messages =
            json!([{"role": "assistant", "content": "so", "reasoning_content": "why", "tool_calls": [{}]}]);
        let other = family("");
        other.place_reasoning(&mut messages);
        assert_eq!((&messages[0]["thinking"], &messages[0]["content"]), (&json!("why"), &json!("so")));
    }

    #[test]
    fn kimi_s_calls_are_numbered() {
        let kimi = family("<|tool_calls_section_begin|>{{ tools }}{{ m.tool_calls }}{{ m.tool_call_id }}");
        let call = |id: &str, name: &str| json!({"id": id, "function": {"name": name, "arguments": {}}});
        let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "42"});
        let mut messages = json!([
            {"role": "assistant", "tool_calls": [call("x", "f"), call("y", "g")]},
            result("y"),
            result("x"),
            {"role": "assistant", "tool_calls": [call("x", "f")]},
            result("x"),
            result("unknown"),
        ]);
        assert_eq!(kimi.describe_tools(&mut messages, tools()), tools());
        let ids = |key: &str| {
            let all = messages.as_array().unwrap().iter().flat_map(|message| match key {
                "id" => message["tool_calls"].as_array().into_iter().flatten().map(|call| call["id"].clone()).collect(),
                _ => message.get(key).cloned().into_iter().collect::<Vec<_>>(),
            });
            all.collect::<Vec<_>>()
        };
        assert_eq!(ids("id"), ["functions.f:0", "functions.g:1", "functions.f:2"]);
        assert_eq!(ids("tool_call_id"), ["functions.g:1", "functions.f:0", "functions.f:2", "unknown"]);
    }

    #[test]
    fn phi_gets_tools_in_its_system_message() {
        let mut messages = conversation();
        let phi = family("{% if message['tools'] %}<|tool|>{{ message['tools'] }}<|/tool|>{% endif %}");
        assert_eq!(phi.describe_tools(&mut messages, tools()), None);
        assert_eq!(messages[0]["tools"], "[{\"name\":\"f\"}]");
        assert!(messages[2]["content"].as_str().unwrap().starts_with("<|tool_call|>[{"));
    }
}
