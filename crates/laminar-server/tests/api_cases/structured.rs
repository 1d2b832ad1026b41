//! Structured output.

use serde_json::{Value, json};

use crate::script::Want;
use crate::support::*;

/// A request for an answer of a schema, from a model that writes noise.
fn shaped(schema: &Value, seed: u64) -> Value {
    let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}});
    with(chat("noise"), json!({"response_format": format, "temperature": 1, "seed": seed, "max_tokens": 600}))
}

/// The finished answers of some seeds; streamed and whole are compared on the way.
async fn answers(schema: &Value, seeds: u64) -> Vec<Value> {
    let server = scripted().await;
    let mut finished = Vec::new();
    for seed in 0..seeds {
        server.script.wants("noise", vec![Want::Noise(seed)]);
        let (whole, _) = server.both(&shaped(schema, seed)).await;
        let choice = &whole["choices"][0];
        if choice["finish_reason"] == "stop" {
            finished.push(serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap());
        }
    }
    finished
}

/// References: an enumeration behind one, and one to an element of an array.
/// <https://github.com/ggml-org/llama.cpp/issues/8073>, <https://github.com/ggml-org/llama.cpp/issues/16790>
#[tokio::test(flavor = "multi_thread")]
async fn t36_references_are_followed() {
    let schema = json!({"type": "object", "required": ["color", "size"], "additionalProperties": false,
        "properties": {"color": {"$ref": "#/$defs/color"}, "size": {"$ref": "#/$defs/sizes/anyOf/1"}},
        "$defs": {"color": {"enum": ["red", "green"]}, "sizes": {"anyOf": [{"type": "string"}, {"enum": [1, 2, 3]}]}}});
    let found = answers(&schema, 12).await;
    assert_eq!(found.len(), 12);
    for value in &found {
        assert!(value["color"] == "red" || value["color"] == "green", "{value}");
        assert!((1..=3).contains(&value["size"].as_i64().unwrap()), "{value}");
        assert_eq!(value.as_object().unwrap().len(), 2);
    }
    assert!(found.iter().any(|value| value["color"] != found[0]["color"]), "{found:?}");
}

/// A schema that holds itself, with an end.
/// <https://github.com/kekzl/imp/pull/562>
#[tokio::test(flavor = "multi_thread")]
async fn t37_recursive_schemas_work() {
    let schema = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "additionalProperties": false,
        "required": ["next"], "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}}}});
    let depth = |value: &Value| {
        let mut depth = 0;
        let mut at = value;
        while let Some(node) = at.as_object() {
            assert_eq!(node.len(), 1);
            at = &node["next"];
            depth += 1;
        }
        assert!(at.is_null());
        depth
    };
    let found = answers(&schema, 24).await;
    assert!(found.len() >= 12, "{} came to an end", found.len());
    assert!(found.iter().map(depth).any(|depth| depth >= 2), "{found:?}");
    // Depth has no limit of ours: a model that wants to go down forty levels may.
    let server = scripted().await;
    let deep = format!("{}null{}", "{\"next\": ".repeat(40), "}".repeat(40));
    server.script.bytes("noise", &deep);
    let (whole, _) = server.both(&with(shaped(&schema, 0), json!({"temperature": 0}))).await;
    assert_eq!(whole["choices"][0]["message"]["content"], deep);
}

/// What cannot be followed is refused before any token, with the field and the fault by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_cannot_be_followed_is_a_400_naming_the_fault() {
    let server = scripted().await;
    let schema = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object",
        "properties": {"a": {"not": {"type": "string"}}}}}}]);
    for (fields, param, words) in [
        (schema(json!({"type": "array", "uniqueItems": true})), "response_format.json_schema.schema", "uniqueItems"),
        (schema(json!({"type": "king"})), "response_format.json_schema.schema", "king"),
        (schema(json!({"$ref": "https://example.com/x.json"})), "response_format.json_schema.schema", "example.com"),
        (json!({"guided_regex": "(a"}), "guided_regex", "regex"),
        (json!({"structured_outputs": {"grammar": "start: nothing"}}), "structured_outputs", "nothing"),
        (json!({"structured_outputs": {"choice": []}}), "structured_outputs", "choose"),
        (json!({"tools": tool, "tool_choice": "required"}), "tools[0].function.parameters", "not"),
    ] {
        let error = server.stream(CHAT, &with(chat("x"), fields)).await.error(400);
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    server.post(CHAT, &chat("x")).await.ok();
}

/// The forms of other servers, also for plain completions.
#[tokio::test(flavor = "multi_thread")]
async fn other_forms_are_kept_too() {
    let server = scripted().await;
    for (seed, (fields, fits)) in [
        (json!({"response_format": {"type": "json_object"}}), (|text| text.starts_with('{')) as fn(&str) -> bool),
        (json!({"structured_outputs": {"regex": "[ab]{3}"}}), |text| {
            text.len() == 3 && text.bytes().all(|b| b == b'a' || b == b'b')
        }),
        (json!({"guided_choice": ["left", "right"]}), |text| text == "left" || text == "right"),
        (json!({"structured_outputs": {"grammar": "start: \"x\" num\nnum: /[0-9]{2}/"}}), |text| {
            text.len() == 3 && text.starts_with('x')
        }),
        (json!({"json_schema": {"enum": [1, "zwei"]}}), |text| text == "1" || text == "\"zwei\""),
    ]
    .into_iter()
    .enumerate()
    {
        server.script.wants("noise", vec![Want::Noise(seed as u64)]);
        let hot = json!({"temperature": 1, "max_tokens": 300});
        let (whole, _) =
            server.both(&with(with(chat("noise"), hot.clone()), with(fields.clone(), json!({"seed": 7})))).await;
        let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(fits(text), "{fields}: {text:?}");
        let answer = server.post(COMPLETIONS, &with(with(completion("noise"), hot), fields.clone())).await.ok();
        assert!(fits(answer["choices"][0]["text"].as_str().unwrap()), "{fields}: {answer}");
    }
}

/// A seed gives the same answer alone and among others, also under a grammar.
#[tokio::test(flavor = "multi_thread")]
async fn other_requests_do_not_change_a_constrained_answer() {
    let server = std::sync::Arc::new(scripted().await);
    server.script.wants("noise", vec![Want::Noise(5)]);
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
    let alone = server.post(CHAT, &shaped(&schema, 5)).await.ok();
    let others: Vec<_> = (0..12)
        .map(|seed| {
            let (server, request) = (std::sync::Arc::clone(&server), shaped(&schema, seed));
            tokio::spawn(async move { server.post(CHAT, &request).await.ok() })
        })
        .collect();
    let among = server.post(CHAT, &shaped(&schema, 5)).await.ok();
    assert_eq!(among["choices"], alone["choices"]);
    for other in others {
        other.await.unwrap();
    }
}
