//! Server-sent events: updates in, `data:` frames out, always closed by `[DONE]`.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use laminar_engine::{Finish, TokenEvent};
use serde_json::Value;

use crate::error::ApiError;
use crate::generation::{Update, Updates, UsageSum};

/// Turns updates into the chunks of one endpoint.
pub(crate) trait Chunks: Send + 'static {
    /// The chunk that opens choice `index`, before its first token.
    fn opening(&mut self, index: usize) -> Option<Value>;
    /// The chunks of one token; none if it has nothing to show.
    fn token(&mut self, index: usize, token: &TokenEvent) -> Vec<Value>;
    /// The chunks that end choice `index`.
    fn finish(&mut self, index: usize, finish: &Finish) -> Vec<Value>;
    /// Tokens of reasoning in choice `index`, once it has ended; none where that is not told apart.
    fn reasoning_tokens(&self, _index: usize) -> Option<usize> {
        None
    }
    /// The last chunk, with no choices.
    fn usage(&mut self) -> Value;
}

/// What a stream needs to know beside its chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamPlan {
    /// Choices in total.
    pub(crate) choices: usize,
    /// Choices of each prompt.
    pub(crate) per_prompt: usize,
    /// Whether every chunk has a `usage` field and a last chunk the totals.
    pub(crate) include_usage: bool,
    /// Pause after which a comment keeps the connection open.
    pub(crate) keep_alive: Duration,
}

/// The streaming response. It owns the updates: when the client leaves, hyper drops the body and
/// with it every generation.
pub(crate) fn respond(updates: Updates, chunks: impl Chunks, plan: StreamPlan) -> Response {
    let events = frames(updates, chunks, plan).map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    let keep_alive = KeepAlive::new().interval(plan.keep_alive).text("waiting");
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Buffering proxies would hold tokens back; nginx reads this header.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct State<C> {
    updates: Updates,
    chunks: C,
    plan: StreamPlan,
    usage: UsageSum,
    open: usize,
    opened: bool,
    closed: bool,
}

/// The data of each frame in order: openings, tokens and ends of all choices as they come, the
/// usage if asked for, `[DONE]`. After a failure: one error object, then `[DONE]`.
fn frames(updates: Updates, chunks: impl Chunks, plan: StreamPlan) -> impl Stream<Item = String> + Send {
    let state =
        State { updates, chunks, plan, usage: UsageSum::default(), open: plan.choices, opened: false, closed: false };
    stream::unfold(state, |mut state| async move {
        if state.closed {
            return None;
        }
        let frames = state.next().await;
        Some((stream::iter(frames), state))
    })
    .flatten()
}

impl<C: Chunks> State<C> {
    /// The frames of the next update that has any; sets `closed` with the last.
    async fn next(&mut self) -> Vec<String> {
        let mut frames = Vec::new();
        if !self.opened {
            self.opened = true;
            let openings: Vec<_> = (0..self.plan.choices).filter_map(|index| self.chunks.opening(index)).collect();
            frames.extend(openings.into_iter().map(|chunk| self.text(chunk)));
        }
        while frames.is_empty() {
            match self.updates.next().await {
                Some((index, Update::Token(token))) => {
                    let chunks = self.chunks.token(index, &token);
                    frames.extend(chunks.into_iter().map(|chunk| self.text(chunk)));
                }
                Some((index, Update::Finished(finish))) => {
                    let chunks = self.chunks.finish(index, &finish);
                    let reasoning = self.chunks.reasoning_tokens(index);
                    self.usage.add(index, self.plan.per_prompt, &finish.usage, reasoning);
                    frames.extend(chunks.into_iter().map(|chunk| self.text(chunk)));
                    self.open = self.open.saturating_sub(1);
                    if self.open == 0 {
                        self.close(&mut frames);
                    }
                }
                Some((_, Update::Failed(error))) => self.fail(&error, &mut frames),
                None => {
                    let error = ApiError::Internal { message: "the generation ended without a result".to_owned() };
                    self.fail(&error, &mut frames);
                }
            }
        }
        frames
    }

    fn text(&self, mut chunk: Value) -> String {
        if self.plan.include_usage
            && let Some(object) = chunk.as_object_mut()
        {
            object.entry("usage").or_insert(Value::Null);
        }
        chunk.to_string()
    }

    fn close(&mut self, frames: &mut Vec<String>) {
        if self.plan.include_usage {
            let mut chunk = self.chunks.usage();
            if let Some(object) = chunk.as_object_mut() {
                object.insert("usage".to_owned(), self.usage.to_json());
            }
            frames.push(chunk.to_string());
        }
        frames.push("[DONE]".to_owned());
        self.closed = true;
    }

    fn fail(&mut self, error: &ApiError, frames: &mut Vec<String>) {
        tracing::error!(%error, "a stream broke off");
        frames.push(error.body().to_string());
        frames.push("[DONE]".to_owned());
        self.closed = true;
        // The other choices need not run on until the client has read the error.
        self.updates = Box::pin(stream::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::AnswerFormat;
    use crate::family::Family;
    use crate::openai::chat_response::{ChatChunks, Writer};
    use crate::openai::head::Head;
    use laminar_engine::{FinishReason, Timings, Usage};
    use laminar_model::tokenizer::Tokenizer;
    use std::sync::Arc;

    fn token(text: &str) -> Update {
        Update::Token(TokenEvent {
            id: 1,
            text: text.to_owned(),
            bytes: text.len(),
            ends_text: false,
            logprob: None,
            prompt_logprobs: None,
            logits: None,
        })
    }

    fn finish(text: &str, reason: FinishReason, completion_tokens: usize) -> Update {
        Update::Finished(Finish {
            reason,
            text: text.to_owned(),
            embedding: None,
            stop: None,
            usage: Usage { prompt_tokens: 10, completion_tokens, cached_tokens: 8 },
            timings: Timings::default(),
        })
    }

    fn writers(choices: usize) -> Vec<Writer> {
        (0..choices).map(|_| Writer::new(&AnswerFormat::default(), &family())).collect()
    }

    fn family() -> Arc<Family> {
        let tokenizer = Tokenizer::from_gguf(&laminar_model::synth::byte_tokenizer()).unwrap();
        Arc::new(Family::of("", &tokenizer))
    }

    fn plan(choices: usize, include_usage: bool) -> StreamPlan {
        StreamPlan { choices, per_prompt: choices, include_usage, keep_alive: Duration::from_secs(1) }
    }

    async fn run(updates: Vec<(usize, Update)>, plan: StreamPlan) -> Vec<Value> {
        let head = Head::new("chatcmpl", "chat.completion.chunk", "m");
        let chunks = ChatChunks::new(head, None, writers(plan.choices));
        let updates: Updates = Box::pin(stream::iter(updates));
        let mut frames: Vec<String> = frames(updates, chunks, plan).collect().await;
        assert_eq!(frames.pop().as_deref(), Some("[DONE]"));
        assert!(!frames.iter().any(|frame| frame == "[DONE]"));
        frames.iter().map(|frame| serde_json::from_str(frame).unwrap()).collect()
    }

    fn joined(chunks: &[Value], index: usize) -> String {
        let choices = chunks.iter().filter_map(|chunk| chunk["choices"].get(0));
        choices
            .filter(|choice| choice["index"] == index)
            .filter_map(|choice| choice["delta"]["content"].as_str())
            .collect()
    }

    #[tokio::test]
    async fn t04_text_held_back_is_flushed_at_the_end() {
        let chunks =
            run(vec![(0, token("ab")), (0, token("")), (0, finish("DEF", FinishReason::Length, 2))], plan(1, false))
                .await;
        assert_eq!(joined(&chunks, 0), "abDEF");
        let last = chunks.last().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "length");
        assert_eq!(last["choices"][0]["delta"], serde_json::json!({}));
        // The role, "ab", the tail, the end: an empty token makes no chunk.
        assert_eq!(chunks.len(), 4);
    }

    #[tokio::test]
    async fn t06_usage_is_null_until_the_last_chunk_and_absent_without_the_option() {
        let updates = || vec![(0, token("a")), (0, finish("", FinishReason::Stop, 2))];
        let chunks = run(updates(), plan(1, true)).await;
        let (last, rest) = chunks.split_last().unwrap();
        assert!(rest.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
        assert_eq!(last["choices"], serde_json::json!([]));
        assert_eq!(last["usage"]["total_tokens"], 12);
        let chunks = run(updates(), plan(1, false)).await;
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    }

    #[tokio::test]
    async fn t08_an_error_after_tokens_is_one_event_and_ends_the_stream() {
        let error = ApiError::Internal { message: "the step failed".to_owned() };
        let chunks = run(
            vec![(0, token("a")), (1, token("b")), (0, Update::Failed(error)), (1, token("never sent"))],
            plan(2, true),
        )
        .await;
        let errors: Vec<_> = chunks.iter().filter(|c| c.get("error").is_some()).collect();
        assert_eq!(errors.len(), 1);
        assert_eq!(chunks.last(), Some(errors[0]));
        assert_eq!(errors[0]["error"]["type"], "server_error");
        assert_eq!(joined(&chunks, 1), "b");
    }

    #[tokio::test]
    async fn t08_updates_that_end_early_are_an_error_too() {
        let chunks = run(vec![(0, token("a"))], plan(1, false)).await;
        assert!(chunks.last().unwrap().get("error").is_some());
    }

    #[tokio::test]
    async fn an_idle_stream_is_kept_open_by_comments() {
        use http_body_util::BodyExt;

        let head = Head::new("chatcmpl", "chat.completion.chunk", "m");
        let updates: Updates = Box::pin(stream::iter([(0, token("a"))]).chain(stream::pending()));
        let plan = StreamPlan { keep_alive: Duration::from_millis(5), ..plan(1, false) };
        let mut body = respond(updates, ChatChunks::new(head, None, writers(1)), plan).into_body();
        let mut frames = Vec::new();
        while frames.last().is_none_or(|frame| frame != ": waiting\n\n") {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            frames.push(String::from_utf8(frame.into()).unwrap());
        }
        // The role and the token came first; the comment is no event.
        assert!(frames.len() >= 3 && frames[1].contains("\"a\""), "{frames:?}");
    }

    #[tokio::test]
    async fn t09_choices_interleave_and_usage_counts_the_prompt_once() {
        let chunks = run(
            vec![
                (2, token("c")),
                (0, token("a")),
                (1, token("b")),
                (0, finish("", FinishReason::Stop, 1)),
                (2, token("C")),
                (1, finish("B", FinishReason::Length, 5)),
                (2, finish("", FinishReason::Stop, 3)),
            ],
            plan(3, true),
        )
        .await;
        assert_eq!(joined(&chunks, 0), "a");
        assert_eq!(joined(&chunks, 1), "bB");
        assert_eq!(joined(&chunks, 2), "cC");
        let finished: Vec<_> = chunks
            .iter()
            .filter_map(|c| c["choices"].get(0))
            .filter(|c| !c["finish_reason"].is_null())
            .map(|c| (c["index"].as_u64().unwrap(), c["finish_reason"].clone()))
            .collect();
        assert_eq!(finished, [(0, "stop".into()), (1, "length".into()), (2, "stop".into())]);
        let usage = &chunks.last().unwrap()["usage"];
        assert_eq!(usage["prompt_tokens"], 10);
        assert_eq!(usage["completion_tokens"], 9);
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 8);
    }
}
