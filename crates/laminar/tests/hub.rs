//! Models by hub id, against a hub of our own on the loopback interface.

// The fake hub is test code too.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use common::{Finished, Folder, embedded_model, finish, laminar};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the fake hub holds and how it behaves.
#[derive(Default)]
struct Hub {
    /// Files by name of the one repository, `acme/tiny`.
    files: BTreeMap<String, Vec<u8>>,
    /// Answer every request with this status.
    refuse: Option<StatusCode>,
    /// Answer the next request for content like this.
    next_content: Option<Content>,
    /// `METHOD path` and the token of every request so far.
    requests: Vec<(String, Option<String>)>,
}

/// Ways in which a download goes wrong.
#[derive(Clone, Copy)]
enum Content {
    /// Half of the bytes, then the connection ends.
    Half,
    /// An error page.
    Refused,
}

type Shared = Arc<Mutex<Hub>>;

/// A hub that listens until the test drops it.
struct FakeHub {
    address: SocketAddr,
    hub: Shared,
    runtime: Option<tokio::runtime::Runtime>,
    home: Folder,
}

impl FakeHub {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let hub = Arc::new(Mutex::new(Hub { files, ..Hub::default() }));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state((hub.clone(), address));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { address, hub, runtime: Some(runtime), home: Folder::new() }
    }

    /// With the embedded model as its only GGUF.
    fn with_model() -> Self {
        let model = std::fs::read(embedded_model()).unwrap();
        Self::new(&[("README.md", b"# Tiny".to_vec()), ("tiny-Q8_0.gguf", model)])
    }

    fn set(&self, change: impl FnOnce(&mut Hub)) {
        change(&mut self.hub.lock().unwrap());
    }

    fn requests(&self) -> Vec<(String, Option<String>)> {
        self.hub.lock().unwrap().requests.clone()
    }

    /// How often content was asked for.
    fn downloads(&self) -> usize {
        self.requests().iter().filter(|(line, _)| line.starts_with("GET /cdn/")).count()
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    fn command(&self) -> Command {
        let mut command = laminar();
        command.env("HF_ENDPOINT", format!("http://{}", self.address)).env("HF_HOME", self.home.path());
        command
    }

    fn inspect(&self, model: &str) -> Finished {
        finish(self.command().args(["inspect", model, "--json"]))
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Every route of the hub that the client uses.
async fn answer(State((hub, address)): State<(Shared, SocketAddr)>, request: Request) -> Response {
    let mut hub = hub.lock().unwrap();
    let path = request.uri().path().to_owned();
    let token = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    hub.requests.push((format!("{} {path}", request.method()), token));
    if let Some(status) = hub.refuse {
        return (status, "no").into_response();
    }
    let json =
        |value: serde_json::Value| ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response();
    let of_revision = |prefix: &str| {
        let rest = path.strip_prefix(prefix)?;
        rest.strip_prefix("main").or_else(|| rest.strip_prefix(COMMIT))
    };
    if of_revision("/api/models/acme/tiny/revision/").is_some() {
        return json(serde_json::json!({ "id": "acme/tiny", "sha": COMMIT }));
    }
    if of_revision("/api/models/acme/tiny/tree/").is_some() {
        let entry = |(name, bytes): (&String, &Vec<u8>)| serde_json::json!({ "type": "file", "oid": etag(name), "size": bytes.len(), "path": name });
        return json(hub.files.iter().map(entry).collect());
    }
    if let Some(name) = of_revision("/acme/tiny/resolve/").and_then(|rest| rest.strip_prefix('/')) {
        let Some(bytes) = hub.files.get(name) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        // As the real hub does for large files: facts here, bytes elsewhere.
        let headers = [
            ("location", format!("http://{address}/cdn/{name}")),
            ("x-repo-commit", COMMIT.to_owned()),
            ("x-linked-etag", format!("\"{}\"", etag(name))),
            ("x-linked-size", bytes.len().to_string()),
        ];
        return (StatusCode::FOUND, headers, "").into_response();
    }
    if let Some(name) = path.strip_prefix("/cdn/") {
        let bytes = hub.files[name].clone();
        if request.method() == Method::GET {
            match hub.next_content.take() {
                None => {}
                Some(Content::Refused) => return (StatusCode::FORBIDDEN, "link expired").into_response(),
                Some(Content::Half) => return half_of(&bytes),
            }
        }
        return bytes.into_response();
    }
    StatusCode::NOT_FOUND.into_response()
}

/// Promises all bytes and breaks off in the middle.
fn half_of(bytes: &[u8]) -> Response {
    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
    let parts: [Result<Bytes, std::io::Error>; 2] = [Ok(half), Err(std::io::Error::other("cut"))];
    let body = Body::from_stream(futures_util::stream::iter(parts));
    ([(header::CONTENT_LENGTH, bytes.len().to_string())], body).into_response()
}

fn etag(name: &str) -> String {
    format!("etag-{}", name.replace('/', "-"))
}

#[test]
fn a_model_is_downloaded_once_and_then_served_from_the_cache() {
    let mut hub = FakeHub::with_model();
    let summary = finish(hub.command().args(["inspect", "acme/tiny", "--json"]).env("HF_TOKEN", "hf_secret")).json();
    assert_eq!(summary["architecture"], "qwen3moe");
    assert_eq!(hub.downloads(), 1, "{:?}", hub.requests());
    let of_hub = |line: &str| line.contains("/api/") || line.contains("/resolve/");
    for (line, token) in hub.requests() {
        if of_hub(&line) {
            assert_eq!(token.as_deref(), Some("Bearer hf_secret"), "{line}");
        }
        assert!(!line.contains("README"), "{line}");
    }

    // Again, by file name in both spellings.
    for model in ["acme/tiny", "acme/tiny:tiny-Q8_0.gguf", "acme/tiny/tiny-Q8_0.gguf"] {
        assert_eq!(hub.inspect(model).json(), summary);
    }
    assert_eq!(hub.downloads(), 1);

    // Offline nothing is asked, and without the hub nothing is missing.
    let before = hub.requests().len();
    let offline = finish(hub.command().args(["inspect", "acme/tiny", "--json"]).env("HF_HUB_OFFLINE", "1")).json();
    assert_eq!(offline, summary);
    assert_eq!(hub.requests().len(), before);
    hub.stop();
    let unreachable = hub.inspect("acme/tiny");
    assert!(unreachable.stderr.contains("using the cached copy"), "{}", unreachable.stderr);
    assert_eq!(unreachable.json(), summary);
    let offline = finish(hub.command().args(["inspect", "acme/tiny", "--json"]).env("HF_HUB_OFFLINE", "TRUE")).json();
    assert_eq!(offline, summary);
}

#[test]
fn run_takes_a_hub_id() {
    let hub = FakeHub::with_model();
    let answer = finish(hub.command().args(["run", "--model", "acme/tiny", "--json", "-n", "2", "Hi"])).json();
    assert_eq!(answer["model"], "acme/tiny");
    assert!(!answer["token_ids"].as_array().unwrap().is_empty());
}

#[test]
fn refusals_say_what_to_do() {
    let cases: [(StatusCode, &[&str]); 5] = [
        (StatusCode::UNAUTHORIZED, &["acme/tiny", "401", "HF_TOKEN"]),
        (StatusCode::FORBIDDEN, &["acme/tiny", "403", "terms"]),
        (StatusCode::NOT_FOUND, &["acme/tiny", "404", "no such model"]),
        (StatusCode::TOO_MANY_REQUESTS, &["acme/tiny", "429"]),
        (StatusCode::INTERNAL_SERVER_ERROR, &["acme/tiny", "500"]),
    ];
    let hub = FakeHub::with_model();
    for (status, words) in cases {
        hub.set(|hub| hub.refuse = Some(status));
        hub.inspect("acme/tiny").refused(words);
    }
}

#[test]
fn a_hub_that_can_not_be_reached_is_named() {
    let mut hub = FakeHub::with_model();
    hub.stop();
    let address = hub.address.to_string();
    hub.inspect("acme/tiny").refused(&["acme/tiny", &address, "reached"]);
    let offline = finish(hub.command().args(["inspect", "acme/tiny"]).env("HF_HUB_OFFLINE", "1"));
    offline.refused(&["HF_HUB_OFFLINE", "acme/tiny", "cache"]);
    let endpoint = finish(hub.command().args(["inspect", "acme/tiny"]).env("HF_ENDPOINT", "no url"));
    endpoint.refused(&["HF_ENDPOINT"]);
}

/// What a broken transfer left behind is never taken for a model.
#[test]
fn a_broken_download_starts_again() {
    for broken in [Content::Half, Content::Refused] {
        let hub = FakeHub::with_model();
        hub.set(|hub| hub.next_content = Some(broken));
        hub.inspect("acme/tiny").refused(&["acme/tiny", "again"]);
        assert_eq!(hub.inspect("acme/tiny").json()["architecture"], "qwen3moe");
        assert_eq!(hub.downloads(), 2);
    }
}

#[test]
fn a_folder_of_safetensors_is_downloaded_whole() {
    let header = r#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
    let mut weights = (header.len() as u64).to_le_bytes().to_vec();
    weights.extend_from_slice(header.as_bytes());
    weights.extend_from_slice(&[0; 16]);
    let config = br#"{"model_type":"llama","vocab_size":2}"#.to_vec();
    let hub = FakeHub::new(&[
        ("config.json", config),
        ("model.safetensors", weights.clone()),
        ("onnx/model.safetensors", weights),
        ("pytorch_model.bin", vec![0; 8]),
    ]);
    let summary = hub.inspect("acme/tiny").json();
    assert_eq!(summary["format"], "safetensors");
    assert_eq!(summary["architecture"], "llama");
    assert_eq!(hub.downloads(), 2, "{:?}", hub.requests());
}

#[test]
fn an_open_choice_and_a_missing_file_list_what_is_there() {
    let hub = FakeHub::new(&[("a-F16.gguf", vec![0; 4]), ("b-F16.gguf", vec![0; 4])]);
    hub.inspect("acme/tiny").refused(&["acme/tiny", "a-F16.gguf, b-F16.gguf"]);
    hub.inspect("acme/tiny:c.gguf").refused(&["no file c.gguf", "a-F16.gguf"]);
    assert_eq!(hub.downloads(), 0);
    let hub = FakeHub::new(&[("pytorch_model.bin", vec![0; 4])]);
    hub.inspect("acme/tiny").refused(&["acme/tiny", ".gguf"]);
}
