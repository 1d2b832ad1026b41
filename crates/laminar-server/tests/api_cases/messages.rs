//! Anthropic's `/v1/messages`.

use serde_json::{Value, json};

use crate::script::Want;
use crate::support::*;

const MESSAGES: &str = "/v1/messages";

fn asked(text: &str) -> Value {
    json!({"model": "tiny", "max_tokens": 300, "temperature": 0, "messages": [{"role": "user", "content": text}]})
}

/// The message that the events add up to, as the official client adds them up.
fn joined(events: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut arguments = String::new();
    for event in events {
        let index = event["index"].as_u64().map(|index| index as usize);
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(index, Some(content.len()));
                content.push(event["content_block"].clone());
                arguments.clear();
            }
            "content_block_delta" => {
                let block = &mut message["content"][index.unwrap()];
                let delta = &event["delta"];
                let key = match delta["type"].as_str().unwrap() {
                    "text_delta" => "text",
                    "thinking_delta" => "thinking",
                    "input_json_delta" => {
                        arguments += delta["partial_json"].as_str().unwrap();
                        continue;
                    }
                    other => panic!("{other}"),
                };
                block[key] = Value::from(block[key].as_str().unwrap().to_owned() + delta[key].as_str().unwrap());
            }
            "content_block_stop" if !arguments.is_empty() => {
                message["content"][index.unwrap()]["input"] = serde_json::from_str(&arguments).unwrap_or(json!({}));
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                message["usage"] = event["usage"].clone();
            }
            "content_block_stop" | "message_stop" | "ping" => {}
            other => panic!("{other}"),
        }
    }
    message
}

fn comparable(message: &Value) -> Value {
    let mut message = message.clone();
    message["id"] = Value::Null;
    for block in message["content"].as_array_mut().unwrap() {
        block.as_object_mut().unwrap().shift_remove("id");
    }
    message
}

async fn both(server: &Server, request: &Value) -> Value {
    let whole = server.post(MESSAGES, request).await.ok();
    let events = server.stream(MESSAGES, request).await.named_events();
    assert_eq!(events[0]["type"], "message_start");
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    assert_eq!(comparable(&joined(&events)), comparable(&whole));
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_have_blocks_and_a_reason_to_stop() {
    let server = start(Setup::template(QWEN)).await;
    server.script.bytes("say", "<think>\nhm\n</think>\n\nHello 日本 🙂");
    let whole = both(&server, &with(asked("say"), json!({"system": [{"type": "text", "text": "Be brief."}]}))).await;
    assert_eq!((&whole["type"], &whole["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!(
        whole["content"],
        json!([{"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "Hello 日本 🙂"}])
    );
    assert_eq!((&whole["stop_reason"], &whole["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    let cut = both(&server, &with(asked("say"), json!({"max_tokens": 30}))).await;
    assert_eq!(cut["stop_reason"], "max_tokens");
    let stopped = both(&server, &with(asked("say"), json!({"stop_sequences": ["never", "本"]}))).await;
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!("本")));
    assert_eq!(stopped["content"][1]["text"], "Hello 日");
    let counted = server.post("/v1/messages/count_tokens", &asked("say")).await.ok();
    let usage = server.post(MESSAGES, &asked("say")).await.ok()["usage"].clone();
    assert_eq!(counted["input_tokens"], usage["input_tokens"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_go_there_and_back() {
    let server = start(Setup::template(QWEN)).await;
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
    server.script.bytes(&format!("{call}<|im_end|>\n<|im_start|>user\n<tool_response>\n42"), "It is 42.");
    server.script.bytes("question", &format!("Let me see.\n{call}"));
    let tools = json!([{"name": "f", "description": "d", "input_schema": {"type": "object",
        "properties": {"a": {"type": "integer", "maximum": 9, "minimum": 0}}, "required": ["a"], "additionalProperties": false}}]);
    let request = with(asked("question"), json!({"tools": tools}));
    let whole = both(&server, &request).await;
    assert_eq!(whole["stop_reason"], "tool_use");
    let block = &whole["content"][1];
    assert_eq!((&block["type"], &block["name"], &block["input"]), (&json!("tool_use"), &json!("f"), &json!({"a": 1})));
    let result =
        json!([{"type": "tool_result", "tool_use_id": block["id"], "content": [{"type": "text", "text": "42"}]}]);
    let history = json!([{"role": "user", "content": "question"}, {"role": "assistant", "content": whole["content"]},
        {"role": "user", "content": result}]);
    let after = both(&server, &with(request.clone(), json!({"messages": history}))).await;
    assert_eq!(after["content"][0]["text"], "It is 42.");
    server.script.wants("noise", vec![Want::Noise(1)]);
    for choice in [json!({"type": "tool", "name": "f"}), json!({"type": "any", "disable_parallel_tool_use": true})] {
        let noise = json!({"tool_choice": choice, "messages": [{"role": "user", "content": "noise"}]});
        let forced = both(&server, &with(request.clone(), noise)).await;
        assert_eq!(forced["stop_reason"], "tool_use", "{forced}");
        let call = forced["content"].as_array().unwrap().last().unwrap();
        assert!((0..=9).contains(&call["input"]["a"].as_i64().unwrap()), "{forced}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_anthropics_shape() {
    let server = scripted().await;
    let image = json!([{"role": "user", "content": [{"type": "image", "source": {}}]}]);
    for (fields, status, kind) in [
        (json!({"max_tokens": null}), 400, "invalid_request_error"),
        (json!({"max_tokens": 0}), 400, "invalid_request_error"),
        (json!({"messages": []}), 400, "invalid_request_error"),
        (json!({"messages": image}), 400, "invalid_request_error"),
        (json!({"messages": [{"role": "user", "content": "x".repeat(3000)}]}), 400, "invalid_request_error"),
        (json!({"tool_choice": {"type": "maybe"}}), 400, "invalid_request_error"),
        (json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}), 400, "invalid_request_error"),
        (json!({"model": "other"}), 404, "not_found_error"),
    ] {
        let answer = server.stream(MESSAGES, &with(asked("x"), fields.clone())).await;
        assert_eq!(answer.status, status, "{fields}: {}", answer.text);
        let body: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{body}");
        assert!(body["error"]["message"].is_string());
    }
    server.script.wants("breaks", vec![Want::Token(97), Want::Failure]);
    let events = server.stream(MESSAGES, &asked("breaks")).await.named_events();
    assert_eq!(events.last().unwrap()["error"]["type"], "api_error");
}
