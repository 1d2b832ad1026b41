//! Servers on a loopback port, and a client that talks HTTP to them.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use laminar_engine::{Engine, EngineConfig, Policy};
use laminar_kernels::Pool;
use laminar_model::checkpoint::{Checkpoint, Gguf, Metadata};
use laminar_model::synth::{self, Preset, SynthOptions, byte_tokenizer};
use laminar_model::tokenizer::Tokenizer;
use laminar_model::{LoadOptions, Model};
use laminar_server::template::ChatTemplate;
use laminar_server::{ServerConfig, router, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::script::{Script, Scripted, Steps, vocabulary};

pub const CHAT: &str = "/v1/chat/completions";
pub const COMPLETIONS: &str = "/v1/completions";

/// The chat template in the manner of Qwen 3: tools, tool calls and thinking in ChatML.
pub const QWEN: &str = include_str!("../templates/chatml_thinking.jinja");

/// What makes a server differ from the usual one.
pub struct Setup {
    pub engine: EngineConfig,
    pub server: ServerConfig,
    /// The vocabulary.
    pub donor: Metadata,
    /// Another chat template than the vocabulary's own.
    pub template: Option<String>,
    /// What a scripted step takes.
    pub pace: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        let policy = Policy::Chunked { tokens: 64 };
        Setup {
            engine: EngineConfig { policy, context: 2048, prefix_cache: false, ..EngineConfig::default() },
            server: ServerConfig { model_name: "tiny".to_owned(), ..ServerConfig::default() },
            donor: vocabulary(),
            template: None,
            pace: Duration::ZERO,
        }
    }
}

impl Setup {
    /// The usual setup with another chat template.
    pub fn template(source: &str) -> Setup {
        Setup { template: Some(source.to_owned()), ..Setup::default() }
    }
}

/// A server on a loopback port, with its client.
pub struct Server {
    pub address: SocketAddr,
    pub tokenizer: Arc<Tokenizer>,
    pub script: Script,
    /// The steps of a scripted model.
    pub steps: Steps,
    client: reqwest::Client,
}

/// A server over a scripted model.
pub async fn scripted() -> Server {
    start(Setup::default()).await
}

/// A server over a scripted model.
pub async fn start(setup: Setup) -> Server {
    let tokenizer = Arc::new(Tokenizer::from_gguf(&setup.donor).unwrap());
    let script = Script::new(Arc::clone(&tokenizer));
    let executor = Scripted::new(script.clone(), setup.pace);
    let steps = Arc::clone(&executor.steps);
    let engine = Engine::start_with(Box::new(executor), Arc::clone(&tokenizer), setup.engine.clone()).unwrap();
    listen(setup, engine, tokenizer, script, steps).await
}

/// A server over a tiny model with random weights.
pub async fn tiny(setup: Setup) -> Server {
    let tokenizer = Arc::new(Tokenizer::from_gguf(&byte_tokenizer()).unwrap());
    let engine = Engine::start(model(), Arc::clone(&tokenizer), Pool::new(1), setup.engine.clone()).unwrap();
    let script = Script::new(Arc::clone(&tokenizer));
    listen(setup, engine, tokenizer, script, Steps::default()).await
}

/// The tiny model; its weights depend on nothing but the seed, so all tests share them.
fn model() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    let load = || {
        let bytes = synth::to_vec(&SynthOptions::new(Preset::Tiny), &byte_tokenizer()).unwrap();
        let checkpoint = Checkpoint::Gguf(Gguf::from_vec(bytes).unwrap());
        Arc::new(Model::load(&checkpoint, &Pool::new(1), &LoadOptions::default()).unwrap())
    };
    Arc::clone(MODEL.get_or_init(load))
}

async fn listen(setup: Setup, engine: Engine, tokenizer: Arc<Tokenizer>, script: Script, steps: Steps) -> Server {
    let template = match &setup.template {
        Some(source) => Some(ChatTemplate::new(source, "<|endoftext|>", "<|im_end|>").unwrap()),
        None => ChatTemplate::from_tokenizer(&tokenizer).unwrap(),
    };
    let app = router(engine, Arc::clone(&tokenizer), template, setup.server);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, app, std::future::pending()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Server { address, tokenizer, script, steps, client }
}

/// A greedy chat request.
pub fn chat(text: &str) -> Value {
    json!({"model": "tiny", "messages": [{"role": "user", "content": text}], "temperature": 0})
}

/// A greedy completion request.
pub fn completion(prompt: impl Into<Value>) -> Value {
    json!({"model": "tiny", "prompt": prompt.into(), "temperature": 0, "max_tokens": 64})
}

/// A request with some of its fields replaced.
pub fn with(mut request: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().unwrap() {
        request[key] = value.clone();
    }
    request
}

/// A response read to its end.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    /// The JSON of a 200.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    /// The error object of a status, with all of its keys.
    #[track_caller]
    pub fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/json");
        let body: Value = serde_json::from_str(&self.text).unwrap();
        let error = body["error"].clone();
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "no {key} in {error}");
        }
        error
    }

    /// The JSON of every event of a stream, `[DONE]` checked and removed.
    #[track_caller]
    pub fn chunks(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.text);
        assert_eq!(self.headers["content-type"], "text/event-stream");
        let mut events: Vec<&str> = self.text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        assert_eq!(events.pop(), Some("[DONE]"), "{}", self.text);
        events.into_iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

impl Answer {
    /// The JSON of every event of a stream whose events have names; each name is the `type` of its data.
    #[track_caller]
    pub fn named_events(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.text);
        assert_eq!(self.headers["content-type"], "text/event-stream");
        let events = self.text.split("\n\n").filter_map(|event| event.strip_prefix("event: "));
        let parse = |event: &str| {
            let (name, data) = event.split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["type"], name);
            data
        };
        events.map(parse).collect()
    }
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends a request and hands back the response unread.
    pub async fn open(&self, path: &str, body: &Value) -> reqwest::Response {
        self.client.post(self.url(path)).body(body.to_string()).send().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        read(self.open(path, body).await).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        read(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        read(self.client.delete(self.url(path)).send().await.unwrap()).await
    }

    pub async fn stream(&self, path: &str, body: &Value) -> Answer {
        self.post(path, &with(body.clone(), json!({"stream": true}))).await
    }

    /// The whole answer of a chat request, after comparing it with the stream of the same request: message, finish
    /// reason, scores and usage of every choice are the same.
    #[track_caller]
    pub fn both<'s>(&'s self, body: &Value) -> impl Future<Output = (Value, Vec<Value>)> + 's {
        let body = body.clone();
        async move {
            let whole = self.post(CHAT, &body).await.ok();
            let asked = with(body.clone(), json!({"stream_options": {"include_usage": true}}));
            let chunks = self.stream(CHAT, &asked).await.chunks();
            let (last, rest) = chunks.split_last().unwrap();
            assert_eq!(last["usage"], whole["usage"], "{body}");
            for choice in whole["choices"].as_array().unwrap() {
                let index = choice["index"].as_u64().unwrap();
                let (message, finish) = joined(rest, index);
                let whole_message = without_call_ids(&choice["message"]);
                assert_eq!(message, whole_message, "{body}");
                assert_eq!(finish, choice["finish_reason"], "{body}");
                let scores = &choice["logprobs"]["content"];
                assert_eq!(streamed_scores(rest, index, "content"), scores.as_array().cloned().unwrap_or_default());
            }
            (whole, rest.to_vec())
        }
    }

    /// The whole answer of a plain completion, after comparing it with the stream of the same request: text, finish reason,
    /// scores and usage of every choice are the same.
    pub async fn both_texts(&self, body: &Value) -> Value {
        let whole = self.post(COMPLETIONS, body).await.ok();
        let asked = with(body.clone(), json!({"stream_options": {"include_usage": true}}));
        let chunks = self.stream(COMPLETIONS, &asked).await.chunks();
        let (last, rest) = chunks.split_last().unwrap();
        assert_eq!(last["usage"], whole["usage"], "{body}");
        for choice in whole["choices"].as_array().unwrap() {
            let index = choice["index"].as_u64().unwrap();
            let text: String = choices(rest, index).filter_map(|choice| choice["text"].as_str()).collect();
            assert_eq!(text, choice["text"], "{body}");
            let finish = choices(rest, index).map(|choice| &choice["finish_reason"]).filter(|finish| !finish.is_null());
            assert_eq!(finish.collect::<Vec<_>>(), [&choice["finish_reason"]], "{body}");
            for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
                let scores = choice["logprobs"][key].as_array().cloned().unwrap_or_default();
                assert_eq!(streamed_scores(rest, index, key), scores, "{key}: {body}");
            }
        }
        whole
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

    /// Waits until nothing runs, waits or holds a KV block.
    pub async fn until_idle(&self) {
        self.until("idle", |health| {
            ["running", "prefilling", "waiting"].iter().all(|key| health[key] == 0) && health["kv_blocks"]["used"] == 0
        })
        .await;
    }
}

async fn read(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

/// The choices with an index, in the order of the chunks.
pub fn choices(chunks: &[Value], index: u64) -> impl Iterator<Item = &Value> {
    chunks.iter().filter_map(|chunk| chunk["choices"].get(0)).filter(move |choice| choice["index"] == index)
}

/// A list of the scores of one choice, put together from its chunks.
fn streamed_scores(chunks: &[Value], index: u64, key: &str) -> Vec<Value> {
    choices(chunks, index).filter_map(|choice| choice["logprobs"][key].as_array()).flatten().cloned().collect()
}

/// The text pieces of one choice of a chat stream, in order.
pub fn deltas(chunks: &[Value], index: u64) -> Vec<&str> {
    choices(chunks, index).filter_map(|choice| choice["delta"]["content"].as_str()).collect()
}

/// The message that the deltas of one choice add up to, as clients add them up, and its finish reason. Ids of tool calls
/// are random and left out.
pub fn joined(chunks: &[Value], index: u64) -> (Value, Value) {
    let mut message = json!({"role": null, "content": "", "refusal": null});
    let mut calls: Vec<Value> = Vec::new();
    let (mut reasoning, mut finish) = (None::<String>, Value::Null);
    for choice in choices(chunks, index) {
        let delta = &choice["delta"];
        if delta["role"].is_string() {
            message["role"] = delta["role"].clone();
        }
        if let Some(text) = delta["content"].as_str() {
            let so_far = message["content"].as_str().unwrap().to_owned();
            message["content"] = Value::from(so_far + text);
        }
        if let Some(text) = delta["reasoning_content"].as_str() {
            reasoning.get_or_insert_default().push_str(text);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let place = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if place == calls.len() {
                calls.push(json!({"type": call["type"], "function":
                    {"name": call["function"]["name"], "arguments": ""}}));
            }
            let function = &mut calls[place]["function"];
            let so_far = function["arguments"].as_str().unwrap().to_owned();
            function["arguments"] = Value::from(so_far + call["function"]["arguments"].as_str().unwrap_or(""));
        }
        if choice["finish_reason"].is_string() {
            assert!(finish.is_null(), "a second finish reason");
            finish = choice["finish_reason"].clone();
        }
    }
    if let Some(text) = reasoning {
        message["reasoning_content"] = Value::from(text);
    }
    if !calls.is_empty() {
        message["tool_calls"] = Value::from(calls);
        if message["content"] == "" {
            message["content"] = Value::Null;
        }
    }
    (message, finish)
}

/// A message without the random ids of its calls.
pub fn without_call_ids(message: &Value) -> Value {
    let mut message = message.clone();
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let id = call.as_object_mut().unwrap().shift_remove("id");
        assert!(id.is_some_and(|id| id.as_str().is_some_and(|id| id.len() >= 9)));
    }
    message
}
