//! How the service behaves under its clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use laminar_engine::{EngineConfig, Policy};
use serde_json::{Value, json};

use crate::script::Want;
use crate::support::*;

/// A scripted server whose answers to `endless` go on for as long as anyone listens, a millisecond a step.
async fn endless(engine: EngineConfig) -> Server {
    let server = start(Setup { engine, pace: Duration::from_millis(1), ..Setup::default() }).await;
    server.script.wants("endless", vec![Want::Noise(1)]);
    server
}

fn endless_request() -> Value {
    with(chat("endless"), json!({"ignore_eos": true}))
}

fn stats(health: &Value, key: &str) -> u64 {
    health["engine"][key].as_u64().unwrap()
}

/// A client drops while it decodes, streamed and not: the sequence ends by the next step and its blocks are free.
/// <https://github.com/ggml-org/llama.cpp/issues/24496>, <https://github.com/ROCm/ATOM/pull/1562>
#[tokio::test(flavor = "multi_thread")]
async fn t41_a_client_that_leaves_while_decoding_frees_everything() {
    let server = Arc::new(endless(Setup::default().engine).await);
    for (count, streamed) in [true, false].into_iter().enumerate() {
        let request = with(endless_request(), json!({"stream": streamed}));
        let caller = Arc::clone(&server);
        let client = tokio::spawn(async move {
            let mut response = caller.open(CHAT, &request).await;
            while response.chunk().await.unwrap().is_some() {}
        });
        server.until("decoding", |health| health["running"] == 1 && health["kv_blocks"]["used"] != 0).await;
        client.abort();
        server.until_idle().await;
        assert_eq!(stats(&server.health().await, "requests_cancelled"), count as u64 + 1);
    }
}

/// A client drops during a long prefill: it stops at the next slice.
/// <https://github.com/antirez/ds4/issues/333>
#[tokio::test(flavor = "multi_thread")]
async fn t42_a_client_that_leaves_in_a_long_prefill_stops_it() {
    for policy in
        [Policy::Chunked { tokens: 1 }, Policy::Layered { group_tokens: 16, cohort_tokens: 64, groups: Some(4) }]
    {
        for stream in [false, true] {
            let engine = EngineConfig { policy, ..Setup::default().engine };
            let server = Arc::new(endless(engine).await);
            let caller = Arc::clone(&server);
            let request = with(chat(&"x".repeat(1900)), json!({"stream": stream}));
            let client = tokio::spawn(async move { caller.post(CHAT, &request).await });
            server.until("prefilling", |health| health["prefilling"] == 1).await;
            client.abort();
            server.until_idle().await;
            let health = server.health().await;
            assert_eq!(stats(&health, "requests_cancelled"), 1);
            let rows: usize = server.steps.lock().unwrap().iter().map(|(rows, _)| rows).sum();
            assert!(rows < 1900, "{rows} rows ran, {policy:?}, stream {stream}");
        }
    }
}

/// Past the bound of the queue: 429 with Retry-After at once.
/// <https://github.com/vllm-project/vllm/issues/2901>, <https://github.com/ollama/ollama/issues/7758>
#[tokio::test(flavor = "multi_thread")]
async fn t43_a_full_queue_is_a_429_with_retry_after_at_once() {
    let engine = EngineConfig { max_sequences: 1, max_waiting: 1, ..Setup::default().engine };
    let server = Arc::new(endless(engine).await);
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let caller = Arc::clone(&server);
            tokio::spawn(async move { caller.post(CHAT, &endless_request()).await })
        })
        .collect();
    server.until("full", |health| health["running"] == 1 && health["waiting"] == 1).await;
    for (path, stream) in [(CHAT, true), (CHAT, false), (COMPLETIONS, true), (COMPLETIONS, false)] {
        let began = Instant::now();
        let request = with(chat("x"), json!({"prompt": "x", "stream": stream}));
        let answer = server.post(path, &request).await;
        assert!(began.elapsed() < Duration::from_secs(1));
        let error = answer.error(429);
        assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("queue_full")));
        assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    }
    clients.iter().for_each(|client| client.abort());
    server.until_idle().await;
    server.post(CHAT, &chat("x")).await.ok();
}

/// Health, metrics and models answer while a prompt runs that takes whole seconds.
/// <https://github.com/ikawrakow/ik_llama.cpp/issues/1210>
#[tokio::test(flavor = "multi_thread")]
async fn t44_health_metrics_and_models_answer_during_a_long_step() {
    let engine = EngineConfig { policy: Policy::Whole, ..Setup::default().engine };
    let server = Arc::new(start(Setup { engine, pace: Duration::from_secs(2), ..Setup::default() }).await);
    let caller = Arc::clone(&server);
    let client = tokio::spawn(async move { caller.post(CHAT, &with(chat("x"), json!({"max_tokens": 1}))).await.ok() });
    let mut slowest = Duration::ZERO;
    let mut asked = 0;
    while !client.is_finished() {
        let began = Instant::now();
        server.health().await;
        server.get("/v1/models").await.ok();
        assert_eq!(server.get("/metrics").await.status, 200);
        slowest = slowest.max(began.elapsed());
        asked += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.await.unwrap();
    // Milliseconds on a quiet machine; the bound leaves room for a busy one, and is far below the step.
    assert!(asked > 4 && slowest < Duration::from_millis(400), "{asked} times, {slowest:?}");
}

/// An idle server uses no processor time.
/// <https://github.com/EricLBuehler/mistral.rs/issues/1293>
#[test]
fn t46_an_idle_server_uses_no_processor_time() {
    const CHILD: &str = "LAMINAR_TEST_IDLE_CHILD";
    let window = Duration::from_secs(3);
    if std::env::var_os(CHILD).is_some() {
        // Alone in its process, so that the process's time is the server's.
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(async {
            let server = tiny(Setup::default()).await;
            server.post(CHAT, &with(chat("Hello"), json!({"max_tokens": 4}))).await.ok();
            server.until_idle().await;
            server
        });
        std::thread::sleep(Duration::from_millis(500));
        let before = processor_time();
        std::thread::sleep(window);
        println!("used {}", (processor_time() - before).as_micros());
        drop(server);
        return;
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "service::t46_an_idle_server_uses_no_processor_time", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    let used = text.split("used ").nth(1).unwrap_or_else(|| panic!("{text}"));
    let micros: u64 = used.lines().next().unwrap().trim().parse().unwrap();
    assert!(Duration::from_micros(micros) < window / 100, "{micros} us in {window:?}");
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A long prompt arrives during a decode: between two tokens lies at most the configured slice, and the prompt is through
/// after the fewest steps that this leaves.
/// Reported at llama.cpp (29175) and SGLang (32549).
#[tokio::test(flavor = "multi_thread")]
async fn t47_a_long_prompt_leaves_a_decode_its_pace() {
    for stream in [false, true] {
        let engine = EngineConfig { policy: Policy::Chunked { tokens: 64 }, ..Setup::default().engine };
        let server = Arc::new(endless(engine).await);
        let caller = Arc::clone(&server);
        let request = with(endless_request(), json!({"stream": stream}));
        let decoding = tokio::spawn(async move { caller.post(CHAT, &request).await });
        server.until("decoding", |health| stats(health, "tokens_generated") > 3).await;
        let long = with(chat(&"x".repeat(1600)), json!({"max_tokens": 1, "stream": stream}));
        assert_eq!(server.post(CHAT, &long).await.status, 200);
        decoding.abort();
        let steps = server.steps.lock().unwrap().clone();
        let long: Vec<&(usize, usize)> =
            steps.iter().skip_while(|(_, decode)| *decode == 0).filter(|(rows, _)| *rows > 0).collect();
        assert!(long.iter().all(|(rows, decode)| *rows <= 64 && *decode == 1), "{long:?}");
        assert!((26..=28).contains(&long.len()), "{long:?}");
    }
}
