//! `laminar serve` on the embedded model, over plain TCP.

mod common;

use common::Server;
use serde_json::Value;

#[test]
fn the_server_says_where_it_is_and_answers() {
    let server = Server::start(&[]);
    assert!(server.greeting.contains("curl "), "{}", server.greeting);

    let (status, health) = server.request("GET", "/health", "");
    assert_eq!(status, 200, "{health}");

    let (status, models) = server.request("GET", "/v1/models", "");
    assert_eq!(status, 200);
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!(models["data"][0]["id"], "laminar-tiny");

    let body = r#"{"messages":[{"role":"user","content":"Hello!"}],"max_tokens":8,"temperature":0}"#;
    let (status, chat) = server.request("POST", "/v1/chat/completions", body);
    assert_eq!(status, 200, "{chat}");
    let chat: Value = serde_json::from_str(&chat).unwrap();
    let text = chat["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(!text.is_empty());

    let body = r#"{"messages":[{"role":"user","content":"Hello!"}],"max_tokens":8,"temperature":0,"stream":true}"#;
    let (status, stream) = server.request("POST", "/v1/chat/completions", body);
    assert_eq!(status, 200, "{stream}");
    assert!(stream.trim_end().ends_with("data: [DONE]"), "{stream}");
    let streamed: String = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| data.starts_with('{'))
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(streamed, text);
}

#[test]
fn a_bad_request_hurts_nobody_else() {
    let server = Server::start(&["--ctx", "128", "--model-name", "small"]);
    for body in ["{", "[]", r#"{"messages":[]}"#, r#"{"messages":"hi"}"#] {
        let (status, answer) = server.request("POST", "/v1/chat/completions", body);
        assert!((400..500).contains(&status), "{body}: {status} {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["error"]["message"].is_string(), "{answer}");
    }
    let long = format!(r#"{{"prompt":"{}"}}"#, "word ".repeat(2000));
    let (status, answer) = server.request("POST", "/v1/completions", &long);
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = server.request("POST", "/v1/completions", r#"{"prompt":"The","max_tokens":4}"#);
    assert_eq!(status, 200, "{answer}");
}

#[cfg(unix)]
#[test]
fn sigterm_ends_it_with_success() {
    let server = Server::start(&[]);
    assert_eq!(server.terminate(), 0);
}
