//! A run against one server: its clock, its counters, and how a request is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::arrivals::Planned;
use super::client::Client;
use super::dialect::Dialect;
use super::live::Counters;
use super::record::{Answer, Clock, Record, Role};
use crate::exit::Internal;

/// Seconds by which a request is made ready before it is sent.
const LEAD_S: f64 = 0.25;

/// What all requests of a run share.
#[derive(Debug)]
pub struct Load {
    /// The server.
    pub client: Client,
    /// How it wants to be asked.
    pub dialect: Dialect,
    /// The time of the run.
    pub clock: Clock,
    /// For the line on stderr.
    pub counters: Arc<Counters>,
    next_number: AtomicU64,
}

/// A request that only has to be sent.
#[derive(Debug)]
pub struct Ready {
    number: u64,
    role: Role,
    rate: Option<f64>,
    planned: Planned,
    body: Vec<u8>,
}

impl Load {
    /// A run that starts now.
    pub fn start(client: Client, dialect: Dialect, counters: Arc<Counters>) -> Arc<Self> {
        let clock = Clock::start();
        Arc::new(Self { client, dialect, clock, counters, next_number: AtomicU64::new(0) })
    }

    /// Writes the body of the next request. `planned` is in the time of the run.
    pub fn prepare(&self, role: Role, planned: Planned, rate: Option<f64>) -> Ready {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let body = self.dialect.body(number, planned.prompt_tokens, planned.output_tokens);
        Ready { number, role, rate, planned, body }
    }

    /// Sends a request and waits for the end of its answer, or for `stop`.
    pub async fn send(&self, ready: Ready, stop: impl Future<Output = ()>, mut on_token: impl FnMut()) -> Record {
        let mut answer = Answer::default();
        self.counters.sent();
        let counted = || {
            self.counters.token();
            on_token();
        };
        let ask = self.client.ask(self.dialect.path(), ready.body, &self.clock, &mut answer, counted);
        let stopped = tokio::select! {
            () = ask => false,
            () = stop => true,
        };
        if stopped {
            answer.stopped = true;
            answer.end_s = self.clock.now();
        }
        self.counters.ended(answer.failure.is_some());
        Record {
            number: ready.number,
            role: ready.role,
            rate: ready.rate,
            planned_s: ready.planned.at_s,
            asked_prompt_tokens: ready.planned.prompt_tokens,
            asked_output_tokens: ready.planned.output_tokens,
            answer,
        }
    }

    /// Sends requests at their times, whether or not earlier ones have been answered, and waits for all of them.
    pub async fn replay(self: &Arc<Self>, plan: &[Planned], rate: Option<f64>) -> anyhow::Result<Vec<Record>> {
        let start_s = self.clock.now() + LEAD_S;
        let mut running = JoinSet::new();
        for planned in plan {
            let planned = Planned { at_s: start_s + planned.at_s, ..*planned };
            sleep_until(self.clock.at(planned.at_s - LEAD_S).into()).await;
            let ready = self.prepare(Role::Request, planned, rate);
            let load = self.clone();
            running.spawn(async move {
                sleep_until(load.clock.at(planned.at_s).into()).await;
                load.send(ready, std::future::pending(), || {}).await
            });
        }
        let mut records = Vec::with_capacity(plan.len());
        while let Some(record) = running.join_next().await {
            records.push(record.context(Internal("a request's task ended without a result"))?);
        }
        records.sort_by_key(|record: &Record| record.number);
        Ok(records)
    }

    /// Requests one after the other; their answers are not kept.
    pub async fn warm_up(&self, requests: usize, prompt_tokens: usize, output_tokens: usize) {
        for _ in 0..requests {
            let planned = Planned { at_s: self.clock.now(), prompt_tokens, output_tokens };
            let ready = self.prepare(Role::Request, planned, None);
            self.send(ready, std::future::pending(), || {}).await;
        }
    }
}
