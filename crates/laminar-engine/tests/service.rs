//! Many requests: order, bounds, errors, clients that leave, shutdown. With an executor that echoes the prompt.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::echo::{ERROR, Echo, LAYERED, LAYERS, NAN, PANIC, Seen, config};
use common::{answer, assert_idle, bytes, greedy, read, tokenizer};
use laminar_engine::{Engine, EngineConfig, EngineError, EngineStats, Event, FinishReason, GenerateRequest, Policy};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn engine(executor: Echo, config: EngineConfig) -> Engine {
    Engine::start_with(Box::new(executor), tokenizer(), config).unwrap()
}

/// Waits until the engine's state is as wanted.
fn wait(engine: &Engine, wanted: impl Fn(&EngineStats) -> bool) -> EngineStats {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let stats = engine.stats();
        if wanted(&stats) {
            return stats;
        }
        assert!(Instant::now() < deadline, "the engine does not get there: {stats:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a shutdown or a drain has been asked for.
fn wait_for_closing(engine: &Engine) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !matches!(engine.submit(greedy(bytes("late"))), Err(EngineError::ShuttingDown)) {
        assert!(Instant::now() < deadline, "the engine still takes requests");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn invariant_1_every_decoding_sequence_advances_in_every_step() {
    for policy in [Policy::Whole, Policy::Chunked { tokens: 3 }, LAYERED] {
        let executor = Echo::default();
        let seen = Arc::clone(&executor.seen);
        let engine = engine(executor, config(policy));
        let prompts = ["a stream that is long enough to see others come", "one", "a second one", "and a third"];
        let running: Vec<_> = prompts.map(|text| engine.submit(greedy(bytes(text))).unwrap()).into();
        for (generation, text) in running.into_iter().zip(prompts) {
            assert_eq!(read(generation).text(), text);
        }
        let seen = seen.lock().unwrap();
        let decodes = |id| seen.iter().enumerate().filter(move |(_, step)| step.decode.contains(&id));
        let sequences: BTreeSet<_> = seen.iter().flat_map(|step| step.prefill.iter().map(|(id, _)| *id)).collect();
        assert_eq!(sequences.len(), prompts.len());
        for id in sequences {
            let through = |step: &Seen| step.prefill.iter().any(|(other, layers)| *other == id && layers.end == LAYERS);
            let prompt_done = seen.iter().rposition(through).unwrap();
            let steps: Vec<usize> = decodes(id).map(|(number, _)| number).collect();
            let expected: Vec<usize> = (prompt_done + 1..).take(steps.len()).collect();
            assert_eq!(steps, expected, "{policy:?}: from its prompt's last step on, a stream is in every step");
        }
        assert_idle(&engine);
    }
}

#[test]
fn invariant_5_a_client_that_leaves_in_its_prefill_frees_its_blocks_by_the_next_step() {
    let (executor, gate) = Echo::gated();
    let engine = engine(executor, config(LAYERED));
    let leaving = engine.submit(greedy(bytes("some prompt"))).unwrap();
    gate.send(()).unwrap();
    wait(&engine, |stats| stats.steps == 1 && stats.prefilling == 1 && stats.used_blocks > 0);
    drop(leaving);
    // The engine sits in the second group now; the step after it must not come.
    gate.send(()).unwrap();
    let stats = wait(&engine, |stats| stats.used_blocks == 0);
    assert_eq!((stats.prefilling, stats.running, stats.requests_cancelled), (0, 0, 1));
    assert!(stats.steps <= 2);
}

#[test]
fn invariant_5_clients_that_leave_while_decoding_or_waiting_free_everything() {
    let (executor, gate) = Echo::gated();
    let engine = engine(executor, EngineConfig { max_sequences: 1, ..config(Policy::Whole) });
    let decoding = engine.submit(greedy(bytes("decoding"))).unwrap();
    let waiting = engine.submit(greedy(bytes("waiting"))).unwrap();
    gate.send(()).unwrap();
    wait(&engine, |stats| stats.running == 1 && stats.waiting == 1);
    drop(waiting);
    drop(decoding);
    gate.send(()).unwrap();
    let stats = wait(&engine, |stats| stats.used_blocks == 0 && stats.waiting == 0);
    assert_eq!(stats.requests_cancelled, 2);
    assert!(stats.steps <= 2);
    drop(gate);
    assert_eq!(answer(&engine, greedy(bytes("next"))).text(), "next");
}

#[test]
fn invariant_5_a_client_that_does_not_read_holds_nobody_up() {
    let engine = engine(Echo::default(), config(LAYERED));
    let silent = engine.submit(greedy(bytes("nobody reads this"))).unwrap();
    assert_eq!(answer(&engine, greedy(bytes("hello"))).text(), "hello");
    assert_idle(&engine);
    assert_eq!(read(silent).text(), "nobody reads this");
}

#[test]
fn a_cohort_goes_on_without_the_member_that_left() {
    let (executor, gate) = Echo::gated();
    let engine = engine(executor, config(LAYERED));
    // The first one keeps the engine busy until both others are there.
    let first = engine.submit(greedy(bytes("x"))).unwrap();
    wait(&engine, |stats| stats.waiting == 1 || stats.prefilling == 1);
    let short = |text| GenerateRequest { max_tokens: Some(20), ..greedy(bytes(text)) };
    let leaving = engine.submit(short("leaving")).unwrap();
    let staying = engine.submit(short("staying")).unwrap();
    (0..3).for_each(|_| gate.send(()).unwrap());
    wait(&engine, |stats| stats.steps == 3 && stats.prefilling == 2);
    drop(leaving);
    drop(gate);
    assert_eq!(read(staying).text(), "staying");
    assert_eq!(read(first).text(), "x");
    assert_idle(&engine);
}

#[test]
fn invariant_7_logits_that_are_no_numbers_fail_their_request_alone() {
    let engine = engine(Echo::default(), config(LAYERED));
    let good = engine.submit(greedy(bytes("a good prompt"))).unwrap();
    let bad = engine.submit(greedy([bytes("ab"), vec![NAN]].concat())).unwrap();
    let bad = read(bad);
    assert_eq!(bad.ids(), bytes("ab"));
    assert_eq!(bad.last, Event::Failed(EngineError::NonFiniteLogits { id: NAN, position: 4 }));
    assert_eq!(read(good).text(), "a good prompt");
    assert_idle(&engine);
    assert_eq!(engine.stats().requests_failed, 1);
}

#[test]
fn invariant_7_a_failed_step_fails_its_requests_and_the_engine_lives_on() {
    for (trouble, said) in [(ERROR, "an error in the middle of a prefill"), (PANIC, "the prompt asked for it")] {
        let (executor, gate) = Echo::gated();
        let engine = engine(executor, EngineConfig { max_sequences: 1, ..config(LAYERED) });
        let bad = engine.submit(greedy([bytes("a"), vec![trouble]].concat())).unwrap();
        let waiting = engine.submit(greedy(bytes("waiting"))).unwrap();
        drop(gate);
        let Event::Failed(EngineError::StepFailed { message }) = read(bad).last else { panic!("it must fail") };
        assert!(message.contains(said), "{message}");
        assert_eq!(read(waiting).text(), "waiting");
        assert_idle(&engine);
        assert_eq!(answer(&engine, greedy(bytes("next"))).text(), "next");
        assert_eq!(engine.stats().requests_failed, 1);
    }
}

#[test]
fn invariant_7_bad_requests_are_refused_before_any_event() {
    let engine = engine(Echo::default(), config(LAYERED));
    let refused = |request: GenerateRequest| engine.submit(request).unwrap_err().to_string();
    assert!(refused(greedy(Vec::new())).contains("`prompt`"));
    assert!(refused(greedy(vec![100_000])).contains("token id 100000 is outside the vocabulary"));
    let too_long = engine.submit(greedy(vec![1; 128])).unwrap_err();
    assert_eq!(too_long, EngineError::PromptTooLong { prompt_tokens: 128, context: 128 });
    assert_idle(&engine);
}

#[test]
fn t43_a_full_engine_refuses_at_once() {
    let (executor, gate) = Echo::gated();
    let engine = engine(executor, EngineConfig { max_sequences: 2, max_waiting: 1, ..config(LAYERED) });
    let accepted: Vec<_> = (0..3).map(|_| engine.submit(greedy(bytes("hi"))).unwrap()).collect();
    assert_eq!(engine.submit(greedy(bytes("hi"))).unwrap_err(), EngineError::QueueFull { requests: 3 });
    drop(gate);
    for generation in accepted {
        assert_eq!(read(generation).text(), "hi");
        // Whoever has read the end of an answer may ask again.
        drop(engine.submit(greedy(bytes("hi"))).unwrap());
    }
    assert_idle(&engine);
}

#[test]
fn a_shutdown_ends_every_request_and_refuses_new_ones() {
    let (executor, gate) = Echo::gated();
    let engine = engine(executor, EngineConfig { max_sequences: 1, ..config(Policy::Whole) });
    let running = engine.submit(greedy(bytes("running"))).unwrap();
    let waiting = engine.submit(greedy(bytes("waiting"))).unwrap();
    gate.send(()).unwrap();
    wait(&engine, |stats| stats.running == 1 && stats.waiting == 1);
    let other = engine.clone();
    let stopping = std::thread::spawn(move || other.shutdown());
    wait_for_closing(&engine);
    drop(gate);
    stopping.join().unwrap();
    let running = read(running);
    assert_eq!(running.finish().reason, FinishReason::Cancelled);
    assert!(running.text().starts_with('r'));
    assert_eq!(read(waiting).finish().reason, FinishReason::Cancelled);
    assert_eq!(engine.stats().used_blocks, 0);
}

#[test]
fn a_drain_finishes_what_is_in_and_refuses_the_rest() {
    let (executor, gate) = Echo::gated();
    let engine = engine(executor, EngineConfig { max_sequences: 1, ..config(LAYERED) });
    let running = engine.submit(greedy(bytes("running"))).unwrap();
    let waiting = engine.submit(greedy(bytes("waiting"))).unwrap();
    let other = engine.clone();
    let draining = std::thread::spawn(move || other.drain());
    wait_for_closing(&engine);
    drop(gate);
    draining.join().unwrap();
    assert_eq!(read(running).text(), "running");
    assert_eq!(read(waiting).text(), "waiting");
    assert_eq!(engine.stats().used_blocks, 0);
}

#[test]
fn the_last_handle_takes_the_engine_with_it() {
    let (executor, gate) = Echo::gated();
    let engine = engine(executor, config(LAYERED));
    let other = engine.clone();
    let running = other.submit(greedy(bytes("running"))).unwrap();
    drop(engine);
    drop(other);
    drop(gate);
    // It may have taken some steps before it noticed.
    assert_eq!(read(running).finish().reason, FinishReason::Cancelled);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let zero = EngineConfig { max_sequences: 0, ..config(LAYERED) };
    let error = Engine::start_with(Box::new(Echo::default()), tokenizer(), zero).err().unwrap().to_string();
    assert!(error.contains("max_sequences"), "{error}");
}

/// Processor time of the threads named `laminar-engine`, in clock ticks.
#[cfg(target_os = "linux")]
fn engine_ticks() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let of_engines = stats.filter(|stat| stat.contains("(laminar-engine)"));
    let ticks = |stat: String| -> u64 {
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    of_engines.map(ticks).sum()
}

#[test]
#[cfg(target_os = "linux")]
fn t46_an_idle_engine_uses_no_processor_time() {
    let engine = engine(Echo::default(), config(LAYERED));
    assert_eq!(answer(&engine, greedy(bytes("hello"))).text(), "hello");
    assert_idle(&engine);
    // Other tests of this process run their own engines, so look for a quiet stretch rather than at one.
    let quiet = (0..50).any(|_| {
        let before = engine_ticks();
        std::thread::sleep(Duration::from_millis(100));
        engine_ticks() == before
    });
    assert!(quiet, "an idle engine is busy");
}
