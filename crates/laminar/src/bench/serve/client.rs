//! One request over HTTP, with a time stamp for every event that arrives.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, Url};
use serde::Deserialize;
use serde_json::Value;

use super::record::{Answer, Clock, Failure};
use super::sse::Splitter;

/// Most bytes of an error page that are read.
const MAX_ERROR: usize = 16 << 10;
/// Most bytes of a list of models.
const MAX_LIST: usize = 4 << 20;

/// A server under load.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Address up to and without `/v1`.
    base: String,
    silence: Duration,
}

impl Client {
    /// `silence` is the longest time without a byte before a request counts as failed.
    ///
    /// # Errors
    /// An address or a key that no HTTP request can carry.
    pub fn new(url: &str, key: Option<&str>, silence: Duration) -> anyhow::Result<Self> {
        let parsed = Url::parse(url).with_context(|| format!("--url {url}"))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            bail!("--url {url}: must begin with http:// or https://");
        }
        let base = url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base).trim_end_matches('/').to_owned();
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).context("the API key")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // One connection for each request in flight: answers must not share the flow control of one.
        let mut http = reqwest::Client::builder().http1_only().tcp_nodelay(true).default_headers(headers);
        if is_loopback(&parsed) {
            // A proxy can not reach this machine's own servers, and its time is not theirs.
            http = http.no_proxy();
        }
        Ok(Self { http: http.build().context("start the HTTP client")?, base, silence })
    }

    /// The address of the server, without `/v1`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The first model that the server lists.
    pub async fn first_model(&self) -> Result<String, Failure> {
        let sent = self.http.get(format!("{}/v1/models", self.base)).send();
        let mut response = self.in_time(sent).await?;
        refuse_errors(self, &mut response).await?;
        let body = self.read(&mut response, MAX_LIST).await?;
        let list: Value =
            serde_json::from_slice(&body).map_err(|_| Failure::new("protocol", "/v1/models is not JSON"))?;
        let id = list.pointer("/data/0/id").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| Failure::new("protocol", "/v1/models lists no model"))
    }

    /// Sends a request and reads its answer to the end; `on_token` is called at every token.
    ///
    /// Everything is written into `answer` as it happens, so that it holds what came until then when the future is
    /// dropped.
    pub async fn ask(&self, path: &str, body: Vec<u8>, clock: &Clock, answer: &mut Answer, on_token: impl FnMut()) {
        answer.sent_s = clock.now();
        answer.failure = self.exchange(path, body, clock, answer, on_token).await.err();
        answer.end_s = clock.now();
    }

    async fn exchange(
        &self,
        path: &str,
        body: Vec<u8>,
        clock: &Clock,
        answer: &mut Answer,
        mut on_token: impl FnMut(),
    ) -> Result<(), Failure> {
        let request = self.http.post(format!("{}{path}", self.base)).header(CONTENT_TYPE, "application/json");
        let mut response = self.in_time(request.body(body).send()).await?;
        refuse_errors(self, &mut response).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if !kind.starts_with("text/event-stream") {
            return Err(Failure::new("protocol", format!("the answer is no event stream but `{kind}`")));
        }
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        let mut ended = false;
        while let Some(bytes) = self.in_time(response.chunk()).await? {
            // Before anything is parsed: the time belongs to the arrival.
            let now = clock.now();
            splitter.push(&bytes, &mut events).map_err(|_| Failure::new("protocol", "an event without an end"))?;
            for event in events.drain(..) {
                if event.trim() == "[DONE]" {
                    return finish(answer, now);
                }
                let seen = Seen::read(&event)?;
                if seen.token {
                    answer.token_s.push(now);
                    on_token();
                }
                ended |= seen.finish_reason.is_some();
                answer.finish_reason = seen.finish_reason.or(answer.finish_reason.take());
                if let Some(usage) = seen.usage {
                    answer.prompt_tokens = usage.prompt_tokens.or(answer.prompt_tokens);
                    answer.completion_tokens = usage.completion_tokens.or(answer.completion_tokens);
                    let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
                    answer.cached_tokens = cached.or(answer.cached_tokens);
                }
            }
        }
        if !ended {
            return Err(Failure::new("broken", "the stream ended before the answer"));
        }
        finish(answer, clock.now())
    }

    /// Waits for a step of the exchange, but not for ever.
    async fn in_time<T>(&self, step: impl Future<Output = reqwest::Result<T>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.silence, step).await {
            Ok(result) => result.map_err(|error| network_failure(&error)),
            Err(_) => Err(Failure::new("timeout", format!("silent for {:?}", self.silence))),
        }
    }

    async fn read(&self, response: &mut Response, most: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while body.len() < most
            && let Some(bytes) = self.in_time(response.chunk()).await?
        {
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }
}

/// The end of an answer. One whose only tokens have no text still has a first token: its last event.
fn finish(answer: &mut Answer, now: f64) -> Result<(), Failure> {
    if answer.token_s.is_empty() {
        if answer.completion_tokens.unwrap_or(0) == 0 {
            return Err(Failure::new("empty", "the answer has no token"));
        }
        answer.token_s.push(now);
    }
    Ok(())
}

/// Turns a status that is no success into a failure with the server's own words.
async fn refuse_errors(client: &Client, response: &mut Response) -> Result<(), Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = client.read(response, MAX_ERROR).await.unwrap_or_default();
    let message = serde_json::from_slice(&body).ok().and_then(|body: Value| error_message(&body));
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(&body).chars().take(300).collect());
    Err(Failure::new(format!("http_{}", status.as_u16()), format!("{status}: {message}")))
}

fn network_failure(error: &reqwest::Error) -> Failure {
    let mut message = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        message = error.to_string();
        cause = error.source();
    }
    // The innermost cause says what happened; the outer ones repeat the address.
    Failure::new(if error.is_connect() { "connect" } else { "broken" }, message)
}

/// The message of an error in one of the shapes that servers use.
fn error_message(body: &Value) -> Option<String> {
    let error = body.get("error");
    let message = error.and_then(|error| error.get("message").or(Some(error))).or_else(|| body.get("message"))?;
    Some(message.as_str().map_or_else(|| message.to_string(), str::to_owned))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// What one event says.
#[derive(Debug, Default)]
struct Seen {
    token: bool,
    finish_reason: Option<String>,
    usage: Option<Usage>,
}

impl Seen {
    fn read(event: &str) -> Result<Self, Failure> {
        let protocol = |_| Failure::new("protocol", format!("an event is not what the API promises: {}", head(event)));
        let value: Value = serde_json::from_str(event).map_err(protocol)?;
        let failed = value.get("error").is_some_and(|error| !error.is_null());
        if failed || value.get("object").is_some_and(|object| object == "error") {
            let message = error_message(&value).unwrap_or_default();
            return Err(Failure::new("stream_error", message));
        }
        let chunk: Chunk = serde_json::from_value(value).map_err(protocol)?;
        let mut seen = Self { usage: chunk.usage, ..Self::default() };
        for choice in chunk.choices.unwrap_or_default() {
            let delta = choice.delta.unwrap_or_default();
            // Of plain completions every event before the last one is a token, some of which have no text yet; chats
            // also have events that only say who speaks.
            seen.token |= choice.text.is_some() && choice.finish_reason.is_none();
            let texts = [choice.text, delta.content, delta.reasoning_content, delta.reasoning];
            seen.token |= texts.iter().flatten().any(|text| !text.is_empty());
            seen.finish_reason = choice.finish_reason.or(seen.finish_reason);
        }
        Ok(seen)
    }
}

fn head(text: &str) -> String {
    text.chars().take(100).collect()
}

#[derive(Debug, Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    text: Option<String>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    content: Option<String>,
    /// As llama.cpp and DeepSeek name the text of a model that thinks.
    reasoning_content: Option<String>,
    /// As vLLM names it.
    reasoning: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
}

#[derive(Debug, Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_with_text_are_tokens_and_so_are_completions_without() {
        let cases = [
            (r#"{"choices":[{"text":"a"}]}"#, true),
            (r#"{"choices":[{"text":"","finish_reason":null}]}"#, true),
            (r#"{"choices":[{"text":"","finish_reason":"stop"}]}"#, false),
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, false),
            (r#"{"choices":[{"delta":{"content":"a"}}],"usage":null}"#, true),
            (r#"{"choices":[{"delta":{"reasoning_content":"a","content":null}}]}"#, true),
            (r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#, false),
        ];
        for (event, text) in cases {
            assert_eq!(Seen::read(event).unwrap().token, text, "{event}");
        }
        let end = Seen::read(r#"{"choices":[{"text":"","finish_reason":"length"}]}"#).unwrap();
        assert_eq!(end.finish_reason.as_deref(), Some("length"));
    }

    #[test]
    fn errors_in_a_stream_keep_their_message() {
        for event in [r#"{"error":{"message":"no"}}"#, r#"{"object":"error","message":"no"}"#, r#"{"error":"no"}"#] {
            assert_eq!(Seen::read(event).unwrap_err(), Failure::new("stream_error", "no"));
        }
        for event in ["", "{", "[]", r#"{"choices":1}"#] {
            assert_eq!(Seen::read(event).unwrap_err().kind, "protocol", "{event}");
        }
    }

    #[test]
    fn addresses_are_checked_and_lose_v1() {
        let client = |url| Client::new(url, Some("key"), Duration::from_secs(1));
        for url in ["http://host:1", "http://host:1/", "http://host:1/v1", "http://host:1/v1/"] {
            assert_eq!(client(url).unwrap().base(), "http://host:1");
        }
        assert_eq!(client("https://host/api/v1").unwrap().base(), "https://host/api");
        for bad in ["", "host:1", "ftp://host", "http://", "127.0.0.1:80"] {
            assert!(client(bad).unwrap_err().to_string().contains("--url"), "{bad}");
        }
        assert!(Client::new("http://host", Some("a\nb"), Duration::from_secs(1)).is_err());
    }
}
