//! A server over a tiny model, and a client that talks to it in process.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use laminar_engine::{Engine, EngineConfig, Policy};
use laminar_kernels::Pool;
use laminar_model::checkpoint::{Checkpoint, Gguf, Metadata};
use laminar_model::synth::{self, Preset, SynthOptions, byte_tokenizer};
use laminar_model::tokenizer::Tokenizer;
use laminar_model::{LoadOptions, Model};
use laminar_server::template::ChatTemplate;
use laminar_server::{ServerConfig, router};
use serde_json::{Value, json};
use tower::ServiceExt;

/// Everything that makes a test server differ from the usual one.
pub struct Setup {
    pub engine: EngineConfig,
    pub server: ServerConfig,
    /// The tokenizer's metadata.
    pub donor: Metadata,
    /// The chat template instead of the tokenizer's own.
    pub template: Option<String>,
    /// No chat template at all.
    pub no_template: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let engine = EngineConfig { policy: Policy::Chunked { tokens: 64 }, context: 512, ..EngineConfig::default() };
        let server = ServerConfig {
            model_name: "tiny".to_owned(),
            aliases: vec!["tiny-alias".to_owned()],
            ..ServerConfig::default()
        };
        Setup { engine, server, donor: byte_tokenizer(), template: None, no_template: false }
    }
}

pub struct Server {
    pub app: Router,
    pub engine: Engine,
    pub tokenizer: Arc<Tokenizer>,
}

/// The tiny model; its weights depend on nothing but the seed, so all tests share them.
fn model() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    let load = || {
        let bytes = synth::to_vec(&SynthOptions::new(Preset::Tiny), &byte_tokenizer()).unwrap();
        let checkpoint = Checkpoint::Gguf(Gguf::from_vec(bytes).unwrap());
        let options = LoadOptions::default();
        Arc::new(Model::load(&checkpoint, &Pool::new(1), &options).unwrap())
    };
    Arc::clone(MODEL.get_or_init(load))
}

pub fn start(setup: Setup) -> Server {
    let tokenizer = Arc::new(Tokenizer::from_gguf(&setup.donor).unwrap());
    let template = match (&setup.template, setup.no_template) {
        (_, true) => None,
        (Some(source), _) => Some(ChatTemplate::new(source, "<|endoftext|>", "<|im_end|>").unwrap()),
        (None, _) => ChatTemplate::from_tokenizer(&tokenizer).unwrap(),
    };
    let pool = Pool::new(1);
    let engine = Engine::start(model(), Arc::clone(&tokenizer), pool, setup.engine).unwrap();
    let app = router(engine.clone(), Arc::clone(&tokenizer), template, setup.server);
    Server { app, engine, tokenizer }
}

pub fn server() -> Server {
    start(Setup::default())
}

/// A chat request for a few greedy tokens that never stops early.
pub fn chat(text: &str) -> Value {
    json!({
        "model": "tiny",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": 8,
        "ignore_eos": true,
    })
}

/// The same for plain completions.
pub fn completion(prompt: impl Into<Value>) -> Value {
    json!({
        "model": "tiny",
        "prompt": prompt.into(),
        "temperature": 0,
        "max_tokens": 8,
        "ignore_eos": true,
    })
}

/// A request with some of its fields replaced.
pub fn with(mut request: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields must be an object") };
    for (key, value) in fields {
        request[key] = value;
    }
    request
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    /// The JSON of a 200.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    /// The error object of a status.
    #[track_caller]
    pub fn error(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let kind = self.headers["content-type"].to_str().unwrap();
        assert!(kind.starts_with("application/json"), "{kind}");
        let error = self.json()["error"].clone();
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "no {key} in {error}");
        }
        error
    }

    /// The JSON of every event of a stream, `[DONE]` checked and removed.
    #[track_caller]
    pub fn chunks(&self) -> Vec<Value> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        let kind = self.headers["content-type"].to_str().unwrap();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        let mut events: Vec<&str> = self.text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        assert_eq!(events.pop(), Some("[DONE]"));
        let parse = |event: &str| serde_json::from_str(event).unwrap();
        events.into_iter().map(parse).collect()
    }
}

/// The text that one choice of a chat stream adds up to.
pub fn chat_text(chunks: &[Value], index: u64) -> String {
    choices(chunks, index).filter_map(|choice| choice["delta"]["content"].as_str()).collect()
}

/// The text that one choice of a completion stream adds up to.
pub fn completion_text(chunks: &[Value], index: u64) -> String {
    choices(chunks, index).filter_map(|choice| choice["text"].as_str()).collect()
}

/// The finish reasons of one choice of a stream.
pub fn finishes(chunks: &[Value], index: u64) -> Vec<String> {
    choices(chunks, index).filter_map(|choice| choice["finish_reason"].as_str().map(str::to_owned)).collect()
}

fn choices(chunks: &[Value], index: u64) -> impl Iterator<Item = &Value> {
    chunks.iter().filter_map(|chunk| chunk["choices"].get(0)).filter(move |choice| choice["index"] == index)
}

pub const CHAT: &str = "/v1/chat/completions";
pub const COMPLETIONS: &str = "/v1/completions";

impl Server {
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.into()).unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, Body::empty())).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, body.to_string()).await
    }

    pub async fn post_text(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(request(Method::POST, path, body.into())).await
    }

    pub async fn stream(&self, path: &str, body: &Value) -> Answer {
        let body = with(body.clone(), json!({"stream": true}));
        self.post(path, &body).await
    }

    pub async fn health(&self) -> Value {
        self.get("/health").await.ok()
    }

    /// Waits until the condition on `/health` holds.
    pub async fn until(&self, what: &str, condition: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let health = self.health().await;
            if condition(&health) {
                return;
            }
            assert!(Instant::now() < deadline, "never {what}: {health}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until nothing runs, waits or holds a KV block, and stays so.
    pub async fn until_idle(&self) {
        let idle = |health: &Value| {
            ["running", "prefilling", "waiting"].iter().all(|key| health[key] == 0) && health["kv_blocks"]["used"] == 0
        };
        self.until("idle", idle).await;
        // A request whose client has just left may not have reached the engine yet.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.until("idle again", idle).await;
    }
}

pub fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).body(body).unwrap()
}
