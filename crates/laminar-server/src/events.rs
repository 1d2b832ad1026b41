//! Server-sent events with names, for the endpoints whose streams are made of typed events.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use laminar_engine::{Finish, TokenEvent};
use serde_json::Value;

use crate::error::ApiError;
use crate::generation::{Update, Updates};

/// Turns the updates of one generation into events. Every event is an object whose `type` is its name.
pub(crate) trait Events: Send + 'static {
    /// What comes first.
    fn begin(&mut self) -> Vec<Value>;
    /// The events of a token.
    fn token(&mut self, token: &TokenEvent) -> Vec<Value>;
    /// The last events of a complete answer.
    fn finish(&mut self, finish: &Finish) -> Vec<Value>;
    /// The last events of an answer that broke off.
    fn fail(&mut self, error: &ApiError) -> Vec<Value>;
}

/// The streaming response. It owns the updates: when the client leaves, they are dropped, and the generation with them.
pub(crate) fn respond(updates: Updates, events: impl Events, keep_alive: Duration) -> Response {
    let state = State { updates, events, begun: false, ended: false };
    let frames = stream::unfold(state, |mut state| async move {
        if state.ended {
            return None;
        }
        let events = state.next().await;
        Some((stream::iter(events), state))
    });
    let frames = frames.flatten().map(|event| {
        let name = event["type"].as_str().unwrap_or_default();
        Ok::<_, Infallible>(Event::default().event(name).data(event.to_string()))
    });
    let keep_alive = KeepAlive::new().interval(keep_alive).text("waiting");
    let mut response = Sse::new(frames).keep_alive(keep_alive).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct State<E> {
    updates: Updates,
    events: E,
    begun: bool,
    ended: bool,
}

impl<E: Events> State<E> {
    async fn next(&mut self) -> Vec<Value> {
        if !self.begun {
            self.begun = true;
            return self.events.begin();
        }
        loop {
            let events = match self.updates.next().await {
                Some((_, Update::Token(token))) => self.events.token(&token),
                Some((_, Update::Finished(finish))) => {
                    self.ended = true;
                    self.events.finish(&finish)
                }
                Some((_, Update::Failed(error))) => self.fail(&error),
                None => self.fail(&ApiError::Internal { message: "the generation ended without a result".to_owned() }),
            };
            if self.ended || !events.is_empty() {
                return events;
            }
        }
    }

    fn fail(&mut self, error: &ApiError) -> Vec<Value> {
        tracing::error!(%error, "a stream broke off");
        self.ended = true;
        self.events.fail(error)
    }
}
