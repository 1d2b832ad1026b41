//! Streamed responses.

use serde_json::{Value, json};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_equals_the_whole_answer_and_begins_with_the_role() {
    let server = server();
    let request = with(chat("Hello"), json!({"max_tokens": 40}));
    let whole = server.post(CHAT, &request).await.ok();
    let answer = server.stream(CHAT, &request).await;
    assert_eq!(answer.headers["cache-control"], "no-cache");
    assert_eq!(answer.headers["x-accel-buffering"], "no");
    let chunks = answer.chunks();
    assert_eq!(chunks[0]["object"], "chat.completion.chunk");
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(json!(chat_text(&chunks, 0)), whole["choices"][0]["message"]["content"]);
    assert_eq!(finishes(&chunks, 0), ["length"]);
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    server.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t01_a_split_character_arrives_whole() {
    let server = server();
    // Random byte tokens at a high temperature, and one run forced onto the bytes of an emoji: the
    // deltas must add up to the whole text, and a held-back byte never shows as a character.
    for seed in 0..8 {
        let request = with(
            chat("Hello"),
            json!({"temperature": 2, "seed": seed, "max_tokens": 64,
                "logit_bias": {"240": 50, "159": 50, "152": 50, "128": 50}}),
        );
        let whole = server.post(CHAT, &request).await.ok();
        let chunks = server.stream(CHAT, &request).await.chunks();
        let text = chat_text(&chunks, 0);
        assert_eq!(json!(text), whole["choices"][0]["message"]["content"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_usage_comes_last_and_only_if_asked_for() {
    let server = server();
    for (path, request) in [(CHAT, chat("Hello")), (COMPLETIONS, completion("Hello"))] {
        let whole = server.post(path, &request).await.ok();
        let asked = with(request.clone(), json!({"stream_options": {"include_usage": true}}));
        let chunks = server.stream(path, &asked).await.chunks();
        let (last, rest) = chunks.split_last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"], whole["usage"]);
        assert!(rest.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
        let chunks = server.stream(path, &request).await.chunks();
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
        assert_ne!(chunks.last().unwrap()["choices"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_an_error_before_the_first_token_is_plain_http() {
    let server = server();
    let long = "word ".repeat(600);
    for (path, request, status) in [
        (CHAT, chat(&long), 400),
        (COMPLETIONS, completion(long.as_str()), 400),
        (CHAT, with(chat("x"), json!({"temperature": 3})), 400),
        (CHAT, with(chat("x"), json!({"model": "other"})), 404),
        (CHAT, with(chat("x"), json!({"messages": []})), 400),
    ] {
        server.stream(path, &request).await.error(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_no_choices_is_an_error_and_not_a_hang() {
    let server = server();
    let request = with(chat("x"), json!({"n": 0}));
    assert_eq!(server.stream(CHAT, &request).await.error(400)["param"], "n");
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_a_shutdown_ends_a_stream_with_an_error_event() {
    let server = server();
    let request = with(chat("Hello"), json!({"max_tokens": 400}));
    let engine = server.engine.clone();
    let stop = async {
        server.until("running", |health| health["running"] == 1).await;
        tokio::task::spawn_blocking(move || engine.shutdown()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(server.stream(CHAT, &request), stop);
    if answer.status == 503 {
        // The shutdown won before the first token: still plain HTTP.
        answer.error(503);
    } else {
        let chunks = answer.chunks();
        let errors = chunks.iter().filter(|chunk| chunk.get("error").is_some());
        assert_eq!(errors.count(), 1);
        assert!(chunks.last().unwrap().get("error").is_some());
    }
    server.post(CHAT, &request).await.error(503);
}

#[tokio::test(flavor = "multi_thread")]
async fn t09_streamed_choices_carry_their_index_and_their_own_end() {
    let server = server();
    let request = with(
        chat("Hello"),
        json!({"n": 3, "temperature": 1, "seed": 9, "max_tokens": 24,
            "stream_options": {"include_usage": true}}),
    );
    let whole = server.post(CHAT, &request).await.ok();
    let chunks = server.stream(CHAT, &request).await.chunks();
    for index in 0..3 {
        let text = &whole["choices"][index as usize]["message"]["content"];
        assert_eq!(&json!(chat_text(&chunks, index)), text);
        assert_eq!(finishes(&chunks, index), ["length"]);
    }
    assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);
    let order: Vec<_> = chunks.iter().filter_map(|chunk| chunk["choices"][0]["index"].as_u64()).skip(3).collect();
    let turns = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(turns > 3, "choices do not interleave: {order:?}");
}
