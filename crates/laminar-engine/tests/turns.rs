//! Whose turn it is among requests that wait: tenants and priorities. With an executor that echoes the prompt.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::echo::{Echo, LAYERED, config};
use common::{answer, assert_idle, bytes, greedy, read, tokenizer};
use laminar_engine::{Engine, EngineConfig, EngineError, Event, GenerateRequest, Policy, SequenceId};
use std::sync::Arc;
use std::time::Duration;

/// Submits these requests while the engine, which runs one at a time, is busy with one of tenant 1; returns the numbers of
/// the requests in the order in which they began to run.
fn order(policy: Policy, requests: &[GenerateRequest]) -> Vec<u64> {
    let (executor, gate) = Echo::gated();
    let seen = Arc::clone(&executor.seen);
    let config = EngineConfig { policy, max_sequences: 1, max_waiting: 64, ..config(policy) };
    let engine = Engine::start_with(Box::new(executor), tokenizer(), config).unwrap();
    let first = engine.submit(GenerateRequest { tenant: 1, ..greedy(bytes("first")) }).unwrap();
    let running: Vec<_> = requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    // All of them are in the channel before the first one is done.
    drop(gate);
    assert_eq!(read(first).text(), "first");
    running.into_iter().for_each(|generation| assert_eq!(read(generation).text(), "hello"));
    assert_idle(&engine);
    let mut order: Vec<SequenceId> =
        seen.lock().unwrap().iter().flat_map(|step| step.prefill.iter().map(|(id, _)| *id)).collect();
    order.dedup();
    // The first one has number 0.
    order.into_iter().filter_map(|id| id.0.checked_sub(1)).collect()
}

#[test]
fn a_tenant_with_many_requests_does_not_hold_up_the_one_of_another() {
    let of = |tenant| GenerateRequest { tenant, ..greedy(bytes("hello")) };
    for policy in [Policy::Whole, Policy::Chunked { tokens: 3 }, LAYERED] {
        let mut requests = vec![of(1); 20];
        requests.push(of(2));
        let order = order(policy, &requests);
        let light = order.iter().position(|number| *number == 20).unwrap();
        assert!(light <= 1, "{policy:?}: {order:?}");
        let heavy: Vec<u64> = order.into_iter().filter(|number| *number != 20).collect();
        assert_eq!(heavy, Vec::from_iter(0..20), "{policy:?}: those of one tenant run as they came");
    }
}

#[test]
fn a_higher_priority_runs_first_among_those_of_a_tenant() {
    let of = |priority| GenerateRequest { tenant: 1, priority, ..greedy(bytes("hello")) };
    let requests = [0, -128, 5, 127, 0, -1].map(of);
    assert_eq!(order(LAYERED, &requests), [3, 2, 0, 4, 5, 1]);
}

#[test]
fn targets_that_nothing_can_meet_fail_their_request_alone() {
    let engine = Engine::start_with(Box::new(Echo::default()), tokenizer(), config(LAYERED)).unwrap();
    let (long, short) = (Some(Duration::from_secs(1)), Some(Duration::from_millis(1)));
    for (tbt_target, ttft_target, wrong) in [
        (Some(Duration::ZERO), None, "tbt_target"),
        (None, Some(Duration::ZERO), "ttft_target"),
        (long, short, "tbt_target"),
    ] {
        let bad = answer(&engine, GenerateRequest { tbt_target, ttft_target, ..greedy(bytes("bad")) });
        let Event::Failed(EngineError::InvalidRequest { field, .. }) = bad.last else { panic!("it must fail") };
        assert_eq!(field, wrong);
    }
    let good = GenerateRequest { tbt_target: short, ttft_target: long, ..greedy(bytes("good")) };
    assert_eq!(answer(&engine, good).text(), "good");
    assert_idle(&engine);
}
