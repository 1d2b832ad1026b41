//! `/v1/responses`.

use serde_json::{Value, json};

use crate::support::*;

const RESPONSES: &str = "/v1/responses";

fn asked(input: impl Into<Value>) -> Value {
    json!({"model": "tiny", "input": input.into(), "temperature": 0})
}

fn text_of(response: &Value) -> &str {
    response["output"].as_array().unwrap().last().unwrap()["content"][0]["text"].as_str().unwrap()
}

/// Responses of the same answer, without what is random in them.
fn comparable(response: &Value) -> Value {
    let mut response = response.clone();
    for key in ["id", "created_at"] {
        response[key] = Value::Null;
    }
    for item in response["output"].as_array_mut().unwrap() {
        for key in ["id", "call_id"] {
            item[key] = Value::Null;
        }
    }
    response
}

/// The whole response, and the events of the same request streamed, after comparing the two.
async fn both(server: &Server, request: &Value) -> (Value, Vec<Value>) {
    let whole = server.post(RESPONSES, request).await.ok();
    let events = server.stream(RESPONSES, request).await.named_events();
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let last = events.last().unwrap();
    assert_eq!(last["type"], format!("response.{}", whole["status"].as_str().unwrap()));
    assert_eq!(comparable(&last["response"]), comparable(&whole));
    // Every item that was announced is complete, and its deltas add up to it.
    for (index, item) in last["response"]["output"].as_array().unwrap().iter().enumerate() {
        let of_item: Vec<&Value> = events.iter().filter(|event| event["output_index"] == index).collect();
        assert_eq!(of_item[0]["type"], "response.output_item.added");
        assert_eq!(of_item.last().unwrap()["type"], "response.output_item.done");
        assert_eq!(&of_item.last().unwrap()["item"], item);
        let deltas: String = of_item.iter().filter_map(|event| event["delta"].as_str()).collect();
        let whole = item["arguments"].as_str().unwrap_or_else(|| item["content"][0]["text"].as_str().unwrap());
        assert_eq!(deltas, whole);
    }
    (whole, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_has_the_documented_shape_streamed_and_whole() {
    let server = start(Setup::template(QWEN)).await;
    server.script.bytes("say", "<think>\nhm 🙂\n</think>\n\nHello 日本");
    let (whole, events) = both(&server, &with(asked("say"), json!({"metadata": {"a": "b"}}))).await;
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("completed")));
    assert!(whole["id"].as_str().unwrap().starts_with("resp_"));
    assert_eq!(whole["metadata"], json!({"a": "b"}));
    let output = whole["output"].as_array().unwrap();
    assert_eq!((&output[0]["type"], &output[0]["content"][0]["text"]), (&json!("reasoning"), &json!("hm 🙂")));
    assert_eq!((&output[1]["type"], text_of(&whole)), (&json!("message"), "Hello 日本"));
    assert_eq!(whole["usage"]["output_tokens"], "<think>\nhm 🙂\n</think>\n\nHello 日本".len() + 1);
    assert_eq!(whole["usage"]["output_tokens_details"]["reasoning_tokens"], "\nhm 🙂\n".len());
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["response.created", "response.in_progress"]);
    for kind in ["response.content_part.added", "response.output_text.delta", "response.output_text.done"] {
        assert!(kinds.contains(&kind), "{kind}");
    }
    let (cut, _) = both(&server, &with(asked("say"), json!({"max_output_tokens": 30}))).await;
    assert_eq!(
        (&cut["status"], &cut["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_continues_the_one_before() {
    let server = start(Setup::template(QWEN)).await;
    server.script.bytes("<|im_start|>user\nthird", "nobody asks this first");
    server.script.bytes("first<|im_end|>\n<|im_start|>assistant\none<|im_end|>\n<|im_start|>user\nsecond", "two");
    server.script.bytes("first", "one");
    let first = server.post(RESPONSES, &with(asked("first"), json!({"instructions": "Be brief."}))).await.ok();
    assert_eq!(text_of(&first), "one");
    let follow = with(asked("second"), json!({"previous_response_id": first["id"]}));
    let (second, _) = both(&server, &follow).await;
    // Its instructions are not inherited, its conversation is.
    assert_eq!(text_of(&second), "two");
    let path = format!("{RESPONSES}/{}", second["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.ok(), second);
    let unkept = server.post(RESPONSES, &with(asked("first"), json!({"store": false}))).await.ok();
    for (id, param) in [(unkept["id"].clone(), "previous_response_id"), (json!("resp_none"), "previous_response_id")] {
        let request = with(asked("second"), json!({"previous_response_id": id}));
        assert_eq!(server.post(RESPONSES, &request).await.error(404)["param"], param);
    }
    server.get(&format!("{RESPONSES}/resp_none")).await.error(404);
    assert_eq!(server.delete(&path).await.ok()["deleted"], true);
    server.get(&path).await.error(404);
    server.delete(&path).await.error(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_items_and_their_outputs_go_back() {
    let server = start(Setup::template(QWEN)).await;
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
    server.script.bytes(&format!("{call}<|im_end|>\n<|im_start|>user\n<tool_response>\n42"), "It is 42.");
    server.script.bytes("question", call);
    let tools = json!([{"type": "function", "name": "f", "parameters": {"type": "object",
        "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false}}]);
    for choice in [json!("auto"), json!("required"), json!({"type": "function", "name": "f"})] {
        let request =
            with(asked("question"), json!({"tools": tools, "tool_choice": choice, "parallel_tool_calls": false}));
        let (whole, _) = both(&server, &request).await;
        let item = &whole["output"][0];
        assert_eq!(
            (&item["type"], &item["name"], &item["arguments"]),
            (&json!("function_call"), &json!("f"), &json!("{\"a\": 1}"))
        );
        let result = json!({"type": "function_call_output", "call_id": item["call_id"], "output": "42"});
        let stateless = with(
            request.clone(),
            json!({"tool_choice": "auto",
            "input": [{"role": "user", "content": "question"}, item, result]}),
        );
        assert_eq!(text_of(&server.post(RESPONSES, &stateless).await.ok()), "It is 42.");
        let stateful =
            with(request, json!({"tool_choice": "auto", "input": [result], "previous_response_id": whole["id"]}));
        assert_eq!(text_of(&server.post(RESPONSES, &stateful).await.ok()), "It is 42.");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_and_errors_have_their_own_names() {
    let server = scripted().await;
    server.script.bytes("shape", "[1]");
    let schema =
        json!({"format": {"type": "json_schema", "name": "n", "schema": {"type": "array", "items": {"const": 1}}}});
    let (whole, _) = both(&server, &with(asked("shape"), json!({"text": schema}))).await;
    assert_eq!(text_of(&whole), "[1]");
    let bad = json!({"format": {"type": "json_schema", "name": "n", "schema": {"type": "king"}}});
    for (fields, param) in [
        (json!({"text": bad}), "text.format.schema"),
        (json!({"input": 5}), "input"),
        (json!({"input": [{"type": "item_reference", "id": "x"}]}), "input[0].type"),
        (json!({"input": []}), "input"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"background": true}), "background"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (json!({"reasoning": 6.5}), "reasoning"),
        (json!({"reasoning": [null]}), "reasoning"),
        (json!({"reasoning": {"effort": 3}}), "reasoning.effort"),
        (json!({"text": "json"}), "text"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"input": "x".repeat(3000)}), "input"),
    ] {
        let error = server.stream(RESPONSES, &with(asked("x"), fields.clone())).await.error(400);
        assert_eq!(error["param"], param, "{fields}");
    }
}
