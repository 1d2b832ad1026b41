//! `laminar bench serve` against `laminar serve` on the embedded model, and against servers that misbehave.
//!
//! What is checked is what was counted, never how long it took.

// What several tests share is test code too.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use common::{Finished, Folder, Server, finish, laminar};
use serde_json::Value;

/// `laminar bench serve` with the user's own keys kept out of it.
fn bench(url: &str, arguments: &[&str]) -> Command {
    let mut command = laminar();
    command.env_remove("LAMINAR_API_KEY").env_remove("OPENAI_API_KEY");
    command.args(["bench", "serve", "--url", url]).args(arguments);
    command
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address)
}

/// Percentiles must not fall, and must lie between the ends.
#[track_caller]
fn ordered(spread: &Value) {
    let values = ["min", "p50", "p90", "p99", "max"].map(|name| spread[name].as_f64().unwrap());
    assert!(values.is_sorted() && values[0] >= 0.0, "{spread}");
    let mean = spread["mean"].as_f64().unwrap();
    assert!(values[0] <= mean + 1e-9 && mean <= values[4] + 1e-9, "{spread}");
}

/// The numbers of a group follow from its records.
#[track_caller]
fn accounted(report: &Value, role: &str) -> Value {
    let groups = report["groups"].as_array().unwrap();
    let summary = groups.iter().find(|group| group["role"] == role).unwrap()["summary"].clone();
    let records: Vec<_> =
        report["requests"].as_array().unwrap().iter().filter(|record| record["role"] == role).collect();
    let count = |name: &str| summary[name].as_u64().unwrap() as usize;
    assert_eq!(count("requests"), records.len());
    assert_eq!(count("requests"), count("completed") + count("stopped") + count("failed"));
    let errors: u64 = summary["errors"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(errors as usize, count("failed"));
    let failed = records.iter().filter(|record| !record["failure"].is_null()).count();
    assert_eq!(failed, count("failed"));
    let stamps = |record: &&&Value| record["token_s"].as_array().unwrap().len();
    let gaps: usize = records.iter().map(|record| stamps(&record).saturating_sub(1)).sum();
    if gaps > 0 {
        assert_eq!(summary["gap_s"]["count"].as_u64().unwrap() as usize, gaps);
        ordered(&summary["gap_s"]);
        ordered(&summary["stall_s"]);
    }
    for record in records {
        let times: Vec<f64> = record["token_s"].as_array().unwrap().iter().map(|time| time.as_f64().unwrap()).collect();
        assert!(times.is_sorted(), "{record}");
        let (sent, end) = (record["sent_s"].as_f64().unwrap(), record["end_s"].as_f64().unwrap());
        assert!(times.iter().all(|time| (sent..=end).contains(time)), "{record}");
    }
    summary
}

/// A page that needs nothing but itself, with so many charts.
#[track_caller]
fn self_contained(page: &str, charts: usize) {
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for word in ["http://", "https://", "src=", "<script", "<link", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    assert_eq!(page.matches("<svg ").count(), charts);
    assert_eq!(page.matches("</svg>").count(), charts);
    assert!(!page.contains("NaN") && !page.contains("inf "), "a place that is no number");
    assert!(page.len() < 1 << 20);
}

#[test]
fn mixed_measures_streams_and_prompts_apart() {
    let server = Server::start(&[]);
    let folder = Folder::new();
    let (json, html) = (folder.join("run.json"), folder.join("run.html"));
    let done = finish(
        bench(&url(&server), &["--scenario", "mixed", "--streams", "2", "--prompts", "40,300", "--repeat", "2"])
            .args(["--settle", "100ms", "--output-tokens", "4", "--slo-ttft", "10m"])
            .arg("--json")
            .arg(&json)
            .arg("--html")
            .arg(&html),
    );
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stdout.contains("Arriving prompts"), "{}", done.stdout);
    assert_eq!(done.stderr, "");

    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(report["server"]["model"], "laminar-tiny");
    assert_eq!(report["server"]["prompt_form"], "ids");
    let prompts = accounted(&report, "prompt");
    assert_eq!((&prompts["requests"], &prompts["completed"]), (&Value::from(4), &Value::from(4)));
    assert_eq!(prompts["prompt_tokens"], 40 + 300 + 40 + 300);
    assert_eq!(prompts["output_tokens"], 16);
    assert_eq!(prompts["cached_tokens"], 0);
    assert_eq!(prompts["goodput"]["passed"], 4);
    ordered(&prompts["ttft_s"]);
    ordered(&prompts["e2e_s"]);
    let streams = accounted(&report, "stream");
    assert_eq!(streams["failed"], 0);
    assert!(streams["requests"].as_u64() >= Some(2), "{streams}");
    let arrived: Vec<_> = report["prompts"].as_array().unwrap().iter().map(|prompt| &prompt["prompt_tokens"]).collect();
    assert_eq!(arrived, [40, 300, 40, 300]);
    let mut disturbed = 0;
    for prompt in report["prompts"].as_array().unwrap() {
        let time = |name: &str| prompt[name].as_f64().unwrap();
        assert!(time("settled_s") < time("sent_s") && time("sent_s") < time("until_s"), "{prompt}");
        // Only if both streams were about to start anew there is no gap.
        disturbed += usize::from(!prompt["during_gap_s"].is_null());
        if !prompt["during_gap_s"].is_null() {
            ordered(&prompt["during_gap_s"]);
        }
    }
    assert!(disturbed > 0);
    self_contained(&std::fs::read_to_string(html).unwrap(), 3);
}

#[test]
fn burst_sends_every_request_and_counts_every_answer() {
    let server = Server::start(&[]);
    let arguments = ["--scenario", "burst", "--requests", "6", "--prompt-tokens", "8-60", "--output-tokens", "5"];
    let run = || finish(bench(&url(&server), &arguments).args(["--json", "-"])).json();
    let report = run();
    let summary = accounted(&report, "request");
    assert_eq!((&summary["requests"], &summary["completed"]), (&Value::from(6), &Value::from(6)));
    assert_eq!(summary["output_tokens"], 30);
    assert!(summary["goodput"].is_null());
    for record in report["requests"].as_array().unwrap() {
        assert_eq!(record["prompt_tokens"], record["asked_prompt_tokens"]);
        assert_eq!(record["completion_tokens"], 5);
        assert_eq!(record["finish_reason"], "length");
    }
    // The same seed gives the same requests, and the server's prefix cache no advantage.
    let again = run();
    let lengths = |report: &Value| -> Vec<Value> {
        report["requests"].as_array().unwrap().iter().map(|record| record["asked_prompt_tokens"].clone()).collect()
    };
    assert_eq!(lengths(&report), lengths(&again));
    assert_eq!(accounted(&again, "request")["cached_tokens"], 0);
}

#[test]
fn chat_prompts_have_about_the_length_that_was_asked_for() {
    let server = Server::start(&[]);
    let arguments = ["--scenario", "burst", "--requests", "2", "--prompt-tokens", "200", "--output-tokens", "3"];
    let report = finish(bench(&url(&server), &arguments).args(["--endpoint", "chat", "--json", "-"])).json();
    assert_eq!(report["server"]["prompt_form"], "text");
    let tokens = accounted(&report, "request")["prompt_tokens"].as_u64().unwrap();
    assert!((300..=500).contains(&tokens), "{tokens}");
}

#[test]
fn poisson_and_a_comparison_make_one_page() {
    let server = Server::start(&[]);
    let folder = Folder::new();
    let lengths = folder.write("lengths.csv", "prompt_tokens,output_tokens\n10,3\n20,4\n");
    let mut files = Vec::new();
    for name in ["one", "two"] {
        let json = folder.join(name);
        let done = finish(
            bench(&url(&server), &["--scenario", "poisson", "--rate", "50", "--requests", "5", "--label", "<b>"])
                .args(["--prompt-tokens", &lengths, "--output-tokens", &lengths, "--slo-tbt", "10m", "--json"])
                .arg(&json),
        );
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert!(done.stdout.contains("requests in time: 5 of 5 (100 %)"), "{}", done.stdout);
        let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        assert_eq!(accounted(&report, "request")["completed"], 5);
        for record in report["requests"].as_array().unwrap() {
            let lengths = (&record["asked_prompt_tokens"], &record["asked_output_tokens"]);
            assert!(lengths == (&10.into(), &3.into()) || lengths == (&20.into(), &4.into()), "{record}");
            assert!(record["sent_s"].as_f64() >= record["planned_s"].as_f64(), "{record}");
        }
        files.push(json.to_str().unwrap().to_owned());
    }
    let html = folder.join("both.html");
    let done = finish(laminar().args(["bench", "serve", "--compare", &files.join(","), "--html"]).arg(&html));
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{}", done.stderr);
    let page = std::fs::read_to_string(html).unwrap();
    self_contained(&page, 3);
    assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
}

#[test]
fn a_trace_is_replayed_row_by_row_and_refusals_are_counted() {
    let server = Server::start(&["--ctx", "128"]);
    let folder = Folder::new();
    let trace = folder.write("trace.csv", "arrival_s,prompt_tokens,output_tokens\n5,20,3\n5.5,500,3\n6,30,2\n7,9,9\n");
    let done = finish(bench(&url(&server), &["--scenario", "trace", "--trace", &trace, "--time-scale", "0.1"]).args([
        "--requests",
        "3",
        "--json",
        "-",
    ]));
    let report = done.json();
    let summary = accounted(&report, "request");
    assert_eq!((&summary["requests"], &summary["completed"]), (&Value::from(3), &Value::from(2)));
    assert_eq!(summary["errors"], serde_json::json!({ "http_400": 1 }));
    let message = report["requests"][1]["failure"]["message"].as_str().unwrap();
    assert!(message.contains("400 Bad Request"), "{message}");
}

#[test]
fn a_sweep_stops_after_the_first_rate_that_misses() {
    let server = Server::start(&[]);
    let folder = Folder::new();
    let html = folder.join("sweep.html");
    // No first token comes within a nanosecond, every one within ten minutes.
    for (target, rates) in [("1ns", 1), ("10m", 2)] {
        let done = finish(
            bench(&url(&server), &["--scenario", "sweep", "--rates", "40,80", "--requests", "3"])
                .args(["--prompt-tokens", "9", "--output-tokens", "2", "--slo-ttft", target, "--json", "-", "--html"])
                .arg(&html),
        );
        let report = done.json();
        assert_eq!(report["rates"].as_array().unwrap().len(), rates);
        assert_eq!(accounted(&report, "request")["requests"], 3 * rates);
        self_contained(&std::fs::read_to_string(&html).unwrap(), 4);
    }
}

/// What a server that misbehaves answers to request `number`, counted from 0.
type Reply = fn(usize, &HeaderMap, &Value) -> axum::response::Response;

/// A server of ours on the loopback interface.
fn fake(reply: Reply) -> String {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let seen = Arc::new(AtomicUsize::new(0));
            let app = Router::new().route("/v1/models", get(|| async { r#"{"data":[{"id":"m"}]}"# })).route(
                "/v1/completions",
                post(move |headers: HeaderMap, Json(body): Json<Value>| async move {
                    reply(seen.fetch_add(1, Ordering::Relaxed), &headers, &body)
                }),
            );
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap();
        });
    });
    format!("http://{address}")
}

fn events(body: &'static str) -> axum::response::Response {
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

const WHOLE: &str = "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";

fn four(url: &str) -> Finished {
    finish(&mut bench(url, &["--scenario", "burst", "--requests", "4", "--warmup", "0", "--json", "-"]))
}

#[test]
fn failures_are_counted_by_kind() {
    // Request 0 is the probe.
    let url = fake(|number, _, _| match number {
        0 | 1 => events(WHOLE),
        2 => (StatusCode::TOO_MANY_REQUESTS, r#"{"error":{"message":"full"}}"#).into_response(),
        3 => events("data: {\"choices\":[{\"text\":\"a\"}]}\n\n"),
        _ => events("data: {\"error\":{\"message\":\"lost\"}}\n\ndata: [DONE]\n\n"),
    });
    let report = four(&url).json();
    let summary = accounted(&report, "request");
    assert_eq!(summary["completed"], 1);
    assert_eq!(summary["errors"], serde_json::json!({ "broken": 1, "http_429": 1, "stream_error": 1 }));
    assert_eq!(summary["ttft_s"]["count"], 2);
}

#[test]
fn a_run_without_any_answer_is_reported_and_fails() {
    let url = fake(|number, _, _| match number {
        0 => events(WHOLE),
        _ => (StatusCode::TOO_MANY_REQUESTS, r#"{"error":{"message":"full"}}"#).into_response(),
    });
    let done = four(&url);
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("not one of 4 requests") && done.stderr.contains("full"), "{}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(accounted(&report, "request")["errors"], serde_json::json!({ "http_429": 4 }));
}

#[test]
fn a_server_that_knows_neither_token_ids_nor_extensions_is_measured_too() {
    let url = fake(|number, _, _| match number {
        0..3 => (StatusCode::BAD_REQUEST, r#"{"error":{"message":"unknown field"}}"#).into_response(),
        _ => events(WHOLE),
    });
    let report = four(&url).json();
    assert_eq!(report["server"]["prompt_form"], "text");
    assert_eq!(report["server"]["ignore_eos"], false);
    assert_eq!(accounted(&report, "request")["completed"], 4);
}

#[test]
fn servers_that_cannot_be_measured_are_one_line() {
    four(&fake(|_, _, _| StatusCode::NOT_FOUND.into_response())).refused(&["http_404"]);
    four(&fake(|_, _, _| StatusCode::TOO_MANY_REQUESTS.into_response())).refused(&["http_429"]);
    four(&fake(|_, _, _| "{}".into_response())).refused(&["no event stream"]);
    // Nothing listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    four(&format!("http://{free}")).refused(&["cannot connect", &free.to_string()]);
    for bad in ["127.0.0.1:80", "ftp://x", "http://"] {
        four(bad).refused(&["--url"]);
    }
}

#[test]
fn bad_flags_are_refused_before_anything_is_sent() {
    let folder = Folder::new();
    let table = folder.write("t.csv", "prompt_tokens\n3\n");
    // Nothing is there, and nobody asks.
    let refused =
        |arguments: &[&str], words: &[&str]| finish(&mut bench("http://127.0.0.1:9", arguments)).refused(words);
    refused(&["--scenario", "sweep"], &["--slo-ttft"]);
    refused(&["--scenario", "trace", "--trace", &table], &["t.csv", "arrival_s"]);
    refused(&["--scenario", "burst", "--output-tokens", &table], &["t.csv", "output_tokens"]);
    refused(&["--scenario", "burst", "--json", "/no/such/folder/x"], &["/no/such/folder/x"]);
    refused(&["--scenario", "burst", "--html", "x.html", "--compare", &table], &["--compare", "t.csv"]);
    refused(&["--scenario", "poisson", "--duration", "1ns"], &["--duration"]);
}

#[test]
fn the_key_and_the_extra_fields_reach_the_server() {
    let url = fake(|_, headers, body| {
        let key = headers.get("authorization").is_some_and(|key| key == "Bearer secret");
        let fields = body["top_k"] == 5 && body.get("seed").is_none() && body["ignore_eos"] == true;
        if key && fields && body["stream"] == true { events(WHOLE) } else { StatusCode::FORBIDDEN.into_response() }
    });
    let extra = r#"{"top_k":5,"seed":null}"#;
    let arguments = ["--scenario", "burst", "--requests", "1", "--json", "-", "--extra", extra];
    for variable in ["LAMINAR_API_KEY", "OPENAI_API_KEY"] {
        let done = finish(bench(&url, &arguments).env(variable, "secret"));
        assert_eq!(accounted(&done.json(), "request")["completed"], 1);
        assert!(!done.stdout.contains("secret"));
    }
    finish(bench(&url, &arguments).env("OPENAI_API_KEY", "other").args(["--api-key", "secret"])).json();
    finish(&mut bench(&url, &arguments)).refused(&["http_403"]);
}
