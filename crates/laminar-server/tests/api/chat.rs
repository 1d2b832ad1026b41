//! Whole chat responses.

use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_answer_has_the_documented_shape() {
    let server = server();
    let answer = server.post(CHAT, &chat("Hello")).await.ok();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "tiny");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(answer["created"].as_u64().unwrap() > 1_600_000_000);
    let choice = &answer["choices"][0];
    assert_eq!(choice["index"], 0);
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(choice["message"]["content"].is_string());
    assert_eq!(choice["finish_reason"], "length");
    assert!(choice["logprobs"].is_null());
    let usage = &answer["usage"];
    assert_eq!(usage["completion_tokens"], 8);
    assert_eq!(usage["total_tokens"].as_u64().unwrap(), usage["prompt_tokens"].as_u64().unwrap() + 8);
    server.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_turn_token_finishes_with_stop() {
    let server = server();
    let eos = server.tokenizer.eos().unwrap().to_string();
    let request = with(chat("Hello"), json!({"ignore_eos": false, "logit_bias": {eos: 100}}));
    let answer = server.post(CHAT, &request).await.ok();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["choices"][0]["message"]["content"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn logit_bias_decides_the_text() {
    let server = server();
    // Token 65 of the byte tokenizer is the letter A.
    let request = with(chat("Hello"), json!({"logit_bias": {"65": 100}}));
    let answer = server.post(CHAT, &request).await.ok();
    assert_eq!(answer["choices"][0]["message"]["content"], "AAAAAAAA");
}

#[tokio::test(flavor = "multi_thread")]
async fn t03_nothing_of_a_stop_string_is_sent() {
    let server = server();
    let biased = with(chat("Hello"), json!({"logit_bias": {"65": 100}}));
    for (stop, text) in [(json!("AAA"), ""), (json!(["never", "AAAAAAAA"]), ""), (json!("AAAAAAAAA"), "AAAAAAAA")] {
        let request = with(biased.clone(), json!({"stop": stop}));
        let whole = server.post(CHAT, &request).await.ok();
        let reason = if text.is_empty() { "stop" } else { "length" };
        assert_eq!(whole["choices"][0]["message"]["content"], text, "{stop}");
        assert_eq!(whole["choices"][0]["finish_reason"], reason, "{stop}");
        let chunks = server.stream(CHAT, &request).await.chunks();
        assert_eq!(chat_text(&chunks, 0), text, "{stop}");
        assert_eq!(finishes(&chunks, 0), [reason], "{stop}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t09_several_choices_differ_and_the_prompt_counts_once() {
    let server = server();
    let one = server.post(CHAT, &chat("Hello")).await.ok();
    let request = with(chat("Hello"), json!({"n": 3, "temperature": 1, "seed": 5}));
    let answer = server.post(CHAT, &request).await.ok();
    let texts: Vec<_> = (0..3)
        .map(|index| {
            assert_eq!(answer["choices"][index]["index"], index);
            answer["choices"][index]["message"]["content"].clone()
        })
        .collect();
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2]);
    assert_eq!(answer["usage"]["prompt_tokens"], one["usage"]["prompt_tokens"]);
    assert_eq!(answer["usage"]["completion_tokens"], 24);
    // The first choice is what the seed gives without `n`.
    let single = with(request, json!({"n": 1}));
    let answer = server.post(CHAT, &single).await.ok();
    assert_eq!(answer["choices"][0]["message"]["content"], texts[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t27_chat_logprobs_have_the_chat_shape() {
    let server = server();
    for (fields, alternatives) in [(json!({"logprobs": true}), 0), (json!({"logprobs": true, "top_logprobs": 3}), 3)] {
        let request = with(chat("Hello"), fields);
        let answer = server.post(CHAT, &request).await.ok();
        let whole = answer["choices"][0]["logprobs"]["content"].clone();
        let entries = whole.as_array().unwrap();
        assert_eq!(entries.len(), 8);
        for entry in entries {
            assert!(entry["token"].is_string());
            assert!(entry["logprob"].as_f64().unwrap() <= 0.0);
            assert!(entry["bytes"].is_array());
            let top = entry["top_logprobs"].as_array().unwrap();
            assert_eq!(top.len(), alternatives);
            if let Some(best) = top.first() {
                // Greedy: the token chosen is the most probable one.
                assert_eq!(best["token"], entry["token"]);
                assert_eq!(best["logprob"], entry["logprob"]);
            }
        }
        let chunks = server.stream(CHAT, &request).await.chunks();
        let streamed: Vec<_> = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array())
            .flatten()
            .cloned()
            .collect();
        assert_eq!(json!(streamed), whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t34_a_seed_repeats_and_no_seed_does_not() {
    let server = server();
    let text = |fields| {
        let request = with(chat("Hello"), json!({"temperature": 1, "max_tokens": 24}));
        let request = with(request, fields);
        let server = &server;
        async move { server.post(CHAT, &request).await.ok()["choices"][0]["message"].clone() }
    };
    assert_eq!(text(json!({"seed": 3})).await, text(json!({"seed": 3})).await);
    assert_eq!(text(json!({"seed": -3})).await, text(json!({"seed": -3})).await);
    assert_ne!(text(json!({"seed": 3})).await, text(json!({"seed": 4})).await);
    assert_ne!(text(json!({})).await, text(json!({})).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_parts_and_history_are_accepted() {
    let server = server();
    let request = with(
        chat(""),
        json!({"user": "me", "metadata": {"a": 1}, "store": false, "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",
                "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "42"},
            {"role": "assistant", "content": ""},
            {"role": "user", "content": "and?", "name": "me"},
        ]}),
    );
    server.post(CHAT, &request).await.ok();
}
