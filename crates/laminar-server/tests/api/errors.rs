//! Every way to be refused.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn malformed_json_is_a_400_and_the_engine_lives_on() {
    let server = server();
    for text in ["", "{", "nonsense", "{\"messages\": [}", "[]", "null", "\u{feff}{}"] {
        for path in [CHAT, COMPLETIONS] {
            let error = server.post_text(path, text.to_owned()).await.error(400);
            assert_eq!(error["type"], "invalid_request_error", "{text:?}");
        }
    }
    let error = server.post_text(CHAT, vec![0xff, 0xfe]).await.error(400);
    assert!(error["message"].as_str().unwrap().contains("JSON"));
    server.post(CHAT, &chat("Hello")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_type_is_named_by_its_path() {
    let server = server();
    for (fields, param) in [
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"messages": [{"role": 1}]}), "messages[0].role"),
        (json!({"stream_options": {"include_usage": "yes"}}), "stream_options.include_usage"),
        (json!({"logit_bias": {"1": "x"}}), "logit_bias.1"),
        (json!({"stop": {"a": 1}}), "stop"),
        (json!({"seed": 1.5}), "seed"),
        (json!({"max_tokens": "many"}), "max_tokens"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function.name"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
        (json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), "messages[0].content[0].type"),
    ] {
        let request = with(chat("Hello"), fields);
        let error = server.post(CHAT, &request).await.error(400);
        assert_eq!(error["param"], param, "{error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let missing = json!({"model": "tiny"});
    server.post(CHAT, &missing).await.error(400);
    server.post(COMPLETIONS, &missing).await.error(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_content_type_does_not_matter() {
    let server = server();
    for kind in ["application/x-www-form-urlencoded", "text/plain", "application/json"] {
        let request =
            Request::post(CHAT).header("content-type", kind).body(Body::from(chat("Hello").to_string())).unwrap();
        server.send(request).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_past_the_limit_is_a_413() {
    let mut setup = Setup::default();
    setup.server.max_body_bytes = 1000;
    let server = start(setup);
    let body = chat(&"x".repeat(2000)).to_string();
    server.post_text(CHAT, body.clone()).await.error(413);
    // The same when the announced length says so, before a byte is read.
    let request = Request::post(CHAT).header("content-length", body.len());
    let request = request.body(Body::from(body)).unwrap();
    server.send(request).await.error(413);
    server.post(CHAT, &chat("Hello")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_routes_and_methods_are_json() {
    let server = server();
    server.get("/v1/nothing").await.error(404);
    server.post("/", &json!({})).await.error(404);
    server.get(CHAT).await.error(405);
    server.post("/v1/models", &json!({})).await.error(405);
    let delete = request(Method::DELETE, "/health", Body::empty());
    server.send(delete).await.error(405);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_is_a_404_and_aliases_are_known() {
    let server = server();
    for name in [json!("tiny"), json!("tiny-alias"), Value::Null] {
        server.post(CHAT, &with(chat("x"), json!({"model": name}))).await.ok();
    }
    for path in [CHAT, COMPLETIONS] {
        let request = json!({"model": "gpt-4", "prompt": "x",
            "messages": [{"role": "user", "content": "x"}]});
        let error = server.post(path, &request).await.error(404);
        assert_eq!(error["code"], "model_not_found");
        assert_eq!(error["param"], "model");
        assert!(error["message"].as_str().unwrap().contains("tiny"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t26_a_prompt_past_the_context_is_a_400_with_both_counts() {
    let server = server();
    let ids = vec![97; 600];
    let error = server.post(COMPLETIONS, &completion(ids)).await.error(400);
    assert_eq!(error["code"], "context_length_exceeded");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("600") && message.contains("512"), "{message}");
    let error = server.post(CHAT, &chat(&"x".repeat(600))).await.error(400);
    assert_eq!(error["code"], "context_length_exceeded");
    assert_eq!(error["param"], "messages");
    // The last prompt that fits has room for one token.
    let ids = vec![97; 511];
    let answer = server.post(COMPLETIONS, &completion(ids)).await.ok();
    assert_eq!(answer["usage"]["completion_tokens"], 1);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    server.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_that_are_no_prompts_are_refused() {
    let server = server();
    let size = server.tokenizer.vocab_size();
    for prompt in [json!([]), json!(""), json!([[]]), json!([size]), json!({"a": 1})] {
        let error = server.post(COMPLETIONS, &completion(prompt.clone())).await;
        let error = error.error(400);
        assert!(error["param"].as_str().unwrap().starts_with("prompt"), "{prompt}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_without_a_template_points_to_completions() {
    let server = start(Setup { no_template: true, ..Setup::default() });
    let error = server.post(CHAT, &chat("Hello")).await.error(400);
    assert!(error["message"].as_str().unwrap().contains("/v1/completions"));
    server.post(COMPLETIONS, &completion("Hello")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn t21_a_template_that_refuses_is_a_400_with_its_reason() {
    let server = start(Setup {
        template: Some(
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system role here') }}\
             {% endif %}{{ messages[0].content }}"
                .to_owned(),
        ),
        ..Setup::default()
    });
    let request = with(chat(""), json!({"messages": [{"role": "system", "content": "x"}]}));
    let error = server.stream(CHAT, &request).await.error(400);
    assert!(error["message"].as_str().unwrap().contains("no system role here"));
    server.post(CHAT, &chat("Hello")).await.ok();
}
