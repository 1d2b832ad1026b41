//! Models, health, a full queue, clients that leave.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use http_body_util::BodyExt;
use laminar_engine::Policy;
use serde_json::json;
use tower::ServiceExt;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn models_lists_the_served_model() {
    let mut setup = Setup::default();
    setup.server.model_name = "org/tiny".to_owned();
    let server = start(setup);
    let list = server.get("/v1/models").await.ok();
    assert_eq!(list["object"], "list");
    let card = &list["data"][0];
    assert_eq!(card["id"], "org/tiny");
    assert_eq!(card["object"], "model");
    assert_eq!(card["owned_by"], "laminar");
    assert_eq!(card["max_model_len"], 512);
    assert!(card["created"].as_u64().unwrap() > 1_600_000_000);
    assert_eq!(server.get("/v1/models/org/tiny").await.ok(), *card);
    let error = server.get("/v1/models/org/other").await.error(404);
    assert_eq!(error["code"], "model_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_is_an_option() {
    for cors in [false, true] {
        let mut setup = Setup::default();
        setup.server.cors = cors;
        let answer = start(setup).get("/v1/models").await;
        let allowed = answer.headers.get("access-control-allow-origin");
        assert_eq!(allowed.is_some(), cors);
    }
}

/// A chat request that keeps the engine busy for as long as anyone listens.
fn endless() -> serde_json::Value {
    with(chat("Hello"), json!({"max_tokens": 1_000_000, "stream": true}))
}

fn long_context() -> Setup {
    let mut setup = Setup::default();
    setup.engine.context = 4096;
    setup
}

fn post(request: &serde_json::Value) -> axum::http::Request<axum::body::Body> {
    let body = axum::body::Body::from(request.to_string());
    crate::support::request(axum::http::Method::POST, CHAT, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn t43_a_full_queue_is_a_429_with_retry_after() {
    let mut setup = long_context();
    setup.engine.max_sequences = 1;
    setup.engine.max_waiting = 1;
    let server = start(setup);
    let running = server.app.clone().oneshot(post(&endless())).await.unwrap();
    assert_eq!(running.status(), StatusCode::OK);
    let waiting = tokio::spawn(server.app.clone().oneshot(post(&endless())));
    // Both: the engine's snapshot may still show the first request waiting when its token is here.
    server.until("full", |health| health["running"] == 1 && health["waiting"] == 1).await;
    let began = Instant::now();
    let answer = server.stream(CHAT, &chat("Hello")).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    let error = answer.error(429);
    assert_eq!(error["type"], "rate_limit_error");
    assert!(answer.headers.contains_key("retry-after"));
    // Once the first client leaves, the waiting one runs.
    drop(running);
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
    server.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t41_a_client_that_leaves_while_decoding_frees_its_blocks() {
    let server = start(long_context());
    let response = server.app.clone().oneshot(post(&endless())).await.unwrap();
    let mut body = response.into_body();
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
    }
    server.until("holding blocks", |health| health["kv_blocks"]["used"] != 0).await;
    drop(body);
    server.until_idle().await;
    assert_eq!(server.health().await["engine"]["requests_cancelled"], 1);
    // Not streamed: the handler itself is dropped.
    let whole = with(endless(), json!({"stream": false}));
    let handler = tokio::spawn(server.app.clone().oneshot(post(&whole)));
    server.until("running", |health| health["running"] == 1).await;
    handler.abort();
    server.until_idle().await;
    assert_eq!(server.health().await["engine"]["requests_cancelled"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn t42_a_client_that_leaves_in_a_long_prefill_stops_it() {
    let mut setup = long_context();
    setup.engine.policy = Policy::Chunked { tokens: 1 };
    let server = start(setup);
    let request = with(
        endless(),
        json!({"messages": [
        {"role": "user", "content": "x y z ".repeat(600)}]}),
    );
    let handler = tokio::spawn(server.app.clone().oneshot(post(&request)));
    server.until("prefilling", |health| health["prefilling"] == 1).await;
    handler.abort();
    server.until_idle().await;
    let health = server.health().await;
    assert_eq!(health["engine"]["requests_cancelled"], 1);
    assert!(health["engine"]["steps"].as_u64().unwrap() < 2400, "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t44_health_and_models_answer_during_a_long_prefill() {
    let mut setup = long_context();
    setup.engine.policy = Policy::Whole;
    let server = start(setup);
    let request = with(
        endless(),
        json!({"messages": [
        {"role": "user", "content": "x y z ".repeat(600)}]}),
    );
    let handler = tokio::spawn(server.app.clone().oneshot(post(&request)));
    let mut slowest = Duration::ZERO;
    while !handler.is_finished() {
        let began = Instant::now();
        server.health().await;
        server.get("/v1/models").await.ok();
        slowest = slowest.max(began.elapsed());
    }
    // Milliseconds on a quiet machine; the bound leaves room for a busy one.
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    drop(handler.await.unwrap());
    server.until_idle().await;
}
