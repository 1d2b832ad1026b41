//! What a request says of its sender: API key, priority, salt, targets.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::support::*;

/// A request with further headers.
fn post(path: &str, headers: &[(&str, &str)], body: &Value) -> Request<Body> {
    let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
    request.body(Body::from(body.to_string())).unwrap()
}

/// The same question at both endpoints, long enough to fill some KV blocks.
fn questions() -> [(&'static str, Value); 2] {
    let text = "the same long question again and again ".repeat(4);
    [(CHAT, chat(&text)), (COMPLETIONS, completion(text))]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_equal_salts_share_the_prefix_cache() {
    let server = server();
    for (path, question) in questions() {
        let ask = |salt: Value| {
            let (server, request) = (&server, with(question.clone(), json!({"cache_salt": salt})));
            async move {
                let answer = server.post(path, &request).await.ok();
                let text = answer["choices"][0].to_string();
                (answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap(), text)
            }
        };
        let (first, text) = ask(json!("a")).await;
        assert_eq!(first, 0, "{path}");
        let (again, same) = ask(json!("a")).await;
        assert!(again > 0 && same == text, "{path}: {again} tokens");
        assert_eq!(ask(json!("b")).await, (0, text.clone()), "{path}");
        assert_eq!(ask(Value::Null).await, (0, text.clone()), "{path}");
        assert_eq!(ask(Value::Null).await, (again, text), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_by_name() {
    let server = server();
    for (path, question) in questions() {
        for (fields, param) in [
            (json!({"priority": 128}), "priority"),
            (json!({"priority": -129}), "priority"),
            (json!({"priority": 1.5}), "priority"),
            (json!({"priority": "high"}), "priority"),
            (json!({"cache_salt": ""}), "cache_salt"),
            (json!({"cache_salt": 7}), "cache_salt"),
        ] {
            let error = server.post(path, &with(question.clone(), fields)).await.error(400);
            assert_eq!(error["param"], param, "{error}");
            assert!(error["message"].as_str().unwrap().contains(param), "{error}");
        }
        let (tbt, ttft) = ("x-laminar-tbt-ms", "x-laminar-ttft-ms");
        for (headers, param) in [
            (vec![(tbt, "0")], tbt),
            (vec![(tbt, "-5")], tbt),
            (vec![(ttft, "soon")], ttft),
            (vec![(ttft, "NaN")], ttft),
            // The first token cannot come sooner than one token may take; the scheduler says so.
            (vec![(tbt, "300"), (ttft, "200")], tbt),
        ] {
            for stream in [false, true] {
                let request = with(question.clone(), json!({"stream": stream}));
                let error = server.send(post(path, &headers, &request)).await.error(400);
                assert_eq!(error["param"], param, "{error}");
            }
        }
        for (fields, headers) in [
            (json!({"priority": -128, "cache_salt": "x"}), vec![(tbt, "0.5")]),
            (json!({"priority": 127, "cache_salt": null}), vec![(tbt, "200"), (ttft, "200")]),
            (json!({"priority": null}), vec![(ttft, "10000"), ("authorization", "Bearer sk-1")]),
        ] {
            server.send(post(path, &headers, &with(question.clone(), fields))).await.ok();
        }
    }
    server.until_idle().await;
}

/// A server that runs one request at a time, and is busy with one of this key until the task is aborted.
async fn busy(key: &'static str) -> (Server, tokio::task::JoinHandle<()>) {
    let mut setup = Setup::default();
    setup.engine.context = 4096;
    setup.engine.max_sequences = 1;
    let server = start(setup);
    let app = server.app.clone();
    let endless = with(completion("Hello"), json!({"max_tokens": 1_000_000}));
    let running = tokio::spawn(async move {
        let bearer = format!("Bearer {key}");
        let _ = tower::ServiceExt::oneshot(app, post(COMPLETIONS, &[("authorization", &bearer)], &endless)).await;
    });
    server.until("busy", |health| health["running"] == 1).await;
    (server, running)
}

/// Lets a request wait as number `waiting`; its name is sent when it is answered.
async fn queue(server: &Server, waiting: usize, key: &str, priority: i64, name: &str, done: &UnboundedSender<String>) {
    let bearer = format!("Bearer {key}");
    let request = with(completion("Once upon a time"), json!({"max_tokens": 150, "priority": priority}));
    let request = post(COMPLETIONS, &[("authorization", &bearer)], &request);
    let (app, name, done) = (server.app.clone(), name.to_owned(), done.clone());
    tokio::spawn(async move {
        tower::ServiceExt::oneshot(app, request).await.unwrap();
        done.send(name).unwrap();
    });
    server.until("waiting", |health| health["waiting"] == waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_many_requests_does_not_hold_up_the_one_of_another_key() {
    let (server, running) = busy("heavy").await;
    let (done, mut order) = unbounded_channel();
    for number in 0..8 {
        queue(&server, number + 1, "heavy", 0, "heavy", &done).await;
    }
    queue(&server, 9, "light", 0, "light", &done).await;
    running.abort();
    let mut names = Vec::new();
    for _ in 0..9 {
        names.push(tokio::time::timeout(Duration::from_secs(60), order.recv()).await.unwrap().unwrap());
    }
    let light = names.iter().position(|name| name == "light").unwrap();
    // At most one of the heavy ones is before it; a second one may be answered in the same moment.
    assert!(light <= 2, "{names:?}");
    server.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_priority_runs_first_among_those_that_wait() {
    let (server, running) = busy("key").await;
    let (done, mut order) = unbounded_channel();
    for (number, priority) in [0, 100, -100, 50, -50].into_iter().enumerate() {
        queue(&server, number + 1, "key", priority, &priority.to_string(), &done).await;
    }
    running.abort();
    let mut names = Vec::new();
    for _ in 0..5 {
        names.push(tokio::time::timeout(Duration::from_secs(60), order.recv()).await.unwrap().unwrap());
    }
    assert_eq!(names, ["-100", "-50", "0", "50", "100"]);
    server.until_idle().await;
}
