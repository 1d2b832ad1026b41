//! More answers than KV memory: requests lose their blocks to others, start anew, and answer as if they were alone.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::model::{cold_engine, hybrid, tiny};
use common::{Answer, answer, assert_idle, greedy, read, tokenizer};
use laminar_engine::{Engine, EngineConfig, GenerateRequest, Policy, SamplingParams, Targets};
use laminar_kernels::{Pool, WeightType};
use laminar_model::Model;
use laminar_model::synth::Preset;
use std::sync::Arc;
use std::time::Duration;

/// One line for each policy, with cohorts small enough that prompts are cut.
const POLICIES: [Policy; 7] = [
    Policy::Whole,
    Policy::Chunked { tokens: 24 },
    Policy::Layered { group_tokens: 16, cohort_tokens: 256, groups: None },
    Policy::Layered { group_tokens: 16, cohort_tokens: 40, groups: Some(4) },
    Policy::ChunkedDeadline { tbt: Some(Duration::from_millis(1)), tokens: 64 },
    Policy::ADAPTIVE,
    // Steps so short that layers are cut.
    Policy::Adaptive { targets: Targets { tbt: Some(Duration::from_micros(500)), ttft: None }, cohort_tokens: 40 },
];

/// KV blocks of 32 positions: enough for one request of the longest kind, and for four as they begin.
const BLOCKS: usize = 8;
const REQUESTS: usize = 12;

/// Little memory for many requests.
fn cramped(model: &Arc<Model>, policy: Policy, prefix_cache: bool) -> Engine {
    let config = EngineConfig {
        policy,
        max_sequences: 6,
        context: 256,
        kv_blocks: Some(BLOCKS),
        prefix_cache,
        ..EngineConfig::default()
    };
    Engine::start(Arc::clone(model), tokenizer(), Pool::new(2), config).unwrap()
}

/// Short prompts with long answers, every other one drawn at random. Some prompts begin alike.
fn requests() -> Vec<GenerateRequest> {
    let prompt = |number: usize| (0..20 + 3 * number).map(move |place| ((place * 7 + number % 3 * 31) % 256) as u32);
    let request = |number: usize| GenerateRequest {
        max_tokens: Some(90 + 10 * (number % 5)),
        ignore_eos: true,
        return_logits: true,
        priority: (number % 4) as i8,
        sampling: match number % 2 {
            0 => SamplingParams::greedy(),
            _ => SamplingParams { seed: Some(number as u64), repetition_penalty: 1.1, ..SamplingParams::default() },
        },
        ..greedy(prompt(number).collect())
    };
    (0..REQUESTS).map(request).collect()
}

/// Ids, the bits of every logit, and the text.
fn fingerprint(answer: &Answer) -> (Vec<u32>, Vec<Vec<u32>>, String) {
    let bits = |logits: &Vec<f32>| logits.iter().map(|logit| logit.to_bits()).collect();
    let logits = answer.tokens.iter().map(|token| bits(token.logits.as_ref().unwrap())).collect();
    (answer.ids(), logits, answer.text())
}

/// Runs all requests at once in little memory; those for which `leaves` gives a number leave after so many tokens. The
/// others must answer as they do alone.
fn check(model: &Arc<Model>, leaves: impl Fn(usize) -> Option<usize>) {
    let alone = cold_engine(model, &tokenizer(), Policy::Whole);
    let expected: Vec<_> = requests().into_iter().map(|request| fingerprint(&answer(&alone, request))).collect();
    assert_eq!(alone.stats().preemptions, 0);
    for policy in POLICIES {
        for prefix_cache in [false, true] {
            let engine = cramped(model, policy, prefix_cache);
            let mut running: Vec<_> =
                requests().into_iter().map(|request| Some(engine.submit(request).unwrap())).collect();
            std::thread::scope(|scope| {
                for (number, generation) in running.iter_mut().enumerate() {
                    let (mut generation, expected) = (generation.take().unwrap(), &expected[number]);
                    let leaves = leaves(number);
                    scope.spawn(move || match leaves {
                        Some(tokens) => (0..tokens).for_each(|_| drop(generation.blocking_next())),
                        None => {
                            let found = read(generation);
                            let what = format!("{policy:?}, prefix cache {prefix_cache}, request {number}");
                            assert_eq!(found.finish().usage.completion_tokens, expected.0.len(), "{what}");
                            assert!(fingerprint(&found) == *expected, "{what}: the answer is another one than alone");
                        }
                    });
                }
            });
            assert_idle(&engine);
            let stats = engine.stats();
            assert!(stats.preemptions > 0, "{policy:?}, prefix cache {prefix_cache}: memory was never short");
            assert_eq!(stats.requests_failed, 0);
            assert_eq!((stats.requests_finished + stats.requests_cancelled) as usize, REQUESTS);
            // Had a block been lost, this request, which needs all of them, would wait for ever.
            let all = GenerateRequest { max_tokens: None, ignore_eos: true, ..greedy(vec![7; 200]) };
            assert_eq!(answer(&engine, all).ids().len(), BLOCKS * 32 - 200);
        }
    }
}

#[test]
fn invariant_2_preempted_requests_answer_as_they_do_alone() {
    for model in [tiny(Preset::Tiny, WeightType::Q8_0, 5), hybrid("qwen3_next")] {
        check(&model, |_| None);
    }
}

#[test]
fn invariant_5_requests_that_leave_among_preempted_ones_leave_nothing_behind() {
    for model in [tiny(Preset::Tiny, WeightType::Q8_0, 5), hybrid("qwen3_next")] {
        check(&model, |number| [None, Some(0), None, Some(40)][number % 4]);
    }
}
