//! What each parameter does, streamed and not.

use serde_json::{Value, json};

use crate::script::Want;
use crate::support::*;

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

/// What is for somebody else's books changes nothing and is no error.
#[tokio::test(flavor = "multi_thread")]
async fn fields_for_others_change_nothing() {
    let server = scripted().await;
    server.script.bytes("mark", "the same");
    let plain = server.both(&chat("mark")).await.0;
    for fields in [
        json!({"user": "me", "safety_identifier": "x", "prompt_cache_key": "k"}),
        json!({"metadata": {"a": "b"}, "store": true}),
        json!({"service_tier": "auto", "verbosity": "low"}),
        json!({"parallel_tool_calls": true, "modalities": ["text"]}),
        json!({"a_field_of_next_year": [1]}),
    ] {
        let (answer, _) = server.both(&with(chat("mark"), fields.clone())).await;
        assert_eq!((&answer["choices"], &answer["usage"]), (&plain["choices"], &plain["usage"]), "{fields}");
        let text = server.both_texts(&with(completion("mark"), fields)).await;
        assert_eq!(text["choices"][0]["text"], "the same");
    }
}

/// What cannot be done is refused by name.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused_by_name() {
    let server = scripted().await;
    for (path, fields, param) in [
        (CHAT, json!({"modalities": ["text", "audio"]}), "modalities"),
        (CHAT, json!({"functions": [{"name": "f"}]}), "functions"),
        (COMPLETIONS, json!({"suffix": "end"}), "suffix"),
        (COMPLETIONS, json!({"best_of": 3}), "best_of"),
    ] {
        for stream in [false, true] {
            let request = with(with(chat("x"), json!({"prompt": "x", "stream": stream})), fields.clone());
            assert_eq!(server.post(path, &request).await.error(400)["param"], param);
        }
    }
}

/// Two tokens that are as probable as each other: which one comes shows what the penalties do.
#[tokio::test(flavor = "multi_thread")]
async fn penalties_and_biases_turn_the_choice() {
    let server = scripted().await;
    server.script.wants("two", vec![Want::Any(vec![u32::from(b'X'), u32::from(b'Z')]); 6]);
    for (fields, text) in [
        (json!({}), "XXXXXX"),
        (json!({"frequency_penalty": 1}), "XZXZXZ"),
        (json!({"presence_penalty": 1}), "XZXXXX"),
        (json!({"presence_penalty": -1}), "XXXXXX"),
        (json!({"repetition_penalty": 1.5}), "XZXXXX"),
        (json!({"logit_bias": {"90": 1}}), "ZZZZZZ"),
        (json!({"logit_bias": {"88": -100}}), "ZZZZZZ"),
    ] {
        let (answer, _) = server.both(&with(chat("two"), fields.clone())).await;
        assert_eq!(content(&answer), text, "{fields}");
        let answer = server.both_texts(&with(completion("two"), fields.clone())).await;
        assert_eq!(answer["choices"][0]["text"], text, "{fields}");
    }
}

/// Cuts that leave one token are as good as no temperature.
#[tokio::test(flavor = "multi_thread")]
async fn cuts_to_one_token_are_greedy() {
    let server = scripted().await;
    server.script.wants("noise", vec![Want::Noise(4)]);
    let short = |fields| with(with(chat("noise"), json!({"max_tokens": 30, "ignore_eos": true})), fields);
    let greedy = server.both(&short(json!({"temperature": 0}))).await.0;
    for cut in [json!({"top_k": 1}), json!({"top_p": 0}), json!({"min_p": 1})] {
        let hot = server.both(&with(short(cut.clone()), json!({"temperature": 2, "seed": 1}))).await.0;
        assert_eq!(hot["choices"], greedy["choices"], "{cut}");
    }
    let hot = server.both(&short(json!({"temperature": 2, "seed": 1}))).await.0;
    assert_ne!(hot["choices"], greedy["choices"]);
}

/// Bounds, and token ids that end an answer.
#[tokio::test(flavor = "multi_thread")]
async fn bounds_and_ids_end_an_answer() {
    let server = scripted().await;
    server.script.pieces("mark", &["ABC", "DEF", "G", "HI", "J"]);
    for (fields, text, reason) in [
        (json!({"max_tokens": 2}), "ABCDEF", "length"),
        (json!({"max_completion_tokens": 1, "max_tokens": 4}), "ABC", "length"),
        (json!({"stop_token_ids": [server.script.token("G")]}), "ABCDEF", "stop"),
        (json!({"stop": "H"}), "ABCDEFG", "stop"),
        (json!({"stop": ["never", "FG"]}), "ABCDE", "stop"),
        (json!({"stop": []}), "ABCDEFGHIJ", "stop"),
    ] {
        let (answer, _) = server.both(&with(chat("mark"), fields.clone())).await;
        assert_eq!((content(&answer), &answer["choices"][0]["finish_reason"]), (text, &json!(reason)), "{fields}");
        let answer = server.both_texts(&with(completion("mark"), fields.clone())).await;
        let choice = &answer["choices"][0];
        assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!(text), &json!(reason)), "{fields}");
    }
}

/// One call at most, though the model writes two.
#[tokio::test(flavor = "multi_thread")]
async fn calls_side_by_side_can_be_switched_off() {
    let server = start(Setup::template(QWEN)).await;
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    server.script.bytes("calls", &format!("{call}\n{call}"));
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for (parallel, count) in [(json!(null), 2), (json!(true), 2), (json!(false), 1)] {
        let request = with(chat("calls"), json!({"tools": tools, "parallel_tool_calls": parallel}));
        let (answer, _) = server.both(&request).await;
        assert_eq!(answer["choices"][0]["message"]["tool_calls"].as_array().unwrap().len(), count, "{parallel}");
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    }
}
