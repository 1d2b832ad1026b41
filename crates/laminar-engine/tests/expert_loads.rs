//! Invariant 3: under `layered` a prompt's rows meet each layer once, so its prefill loads each expert it touches once.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::model::{engine, tiny};
use common::{Answer, answer, greedy, read};
use laminar_engine::{EngineStats, GenerateRequest, Policy};
use laminar_kernels::WeightType;
use laminar_model::Model;
use laminar_model::synth::Preset;
use std::sync::Arc;

fn layered(groups: Option<usize>) -> Policy {
    Policy::Layered { group_tokens: 64, cohort_tokens: 8192, groups }
}

/// A prompt of `length` tokens, different for each `salt`.
fn prompt(length: usize, salt: u32) -> Vec<u32> {
    (0..length as u32).map(|place| (place * place * 7 + place * 13 + salt * 31) % 256).collect()
}

/// One answer under a policy, and the engine's counters after it.
fn run(model: &Arc<Model>, policy: Policy, prompt: Vec<u32>) -> (Answer, EngineStats) {
    let engine = engine(model, policy, 1);
    let answer = answer(&engine, GenerateRequest { max_tokens: Some(3), ..greedy(prompt) });
    (answer, engine.stats())
}

#[test]
fn invariant_3_a_layered_prompt_loads_each_touched_expert_of_each_layer_once() {
    for seed in 0..4 {
        let model = tiny(Preset::Tiny, WeightType::Q8_0, seed);
        for length in [1, 3, 10, 64, 300] {
            let prompt = prompt(length, seed as u32);
            // Under `whole` all rows pass a layer in one call: by definition the count is that of the distinct experts
            // of each layer, summed over layers.
            let (answer, stats) = run(&model, Policy::Whole, prompt.clone());
            let touched = answer.finish().timings.prefill_expert_loads;
            assert_eq!(stats.prefill_expert_loads, touched);
            assert!(touched >= 2 * 4, "two experts a token in each of four layers");
            assert!(touched <= 8 * 4, "there are eight experts in each of four layers");
            for groups in [None, Some(1), Some(2), Some(3), Some(4)] {
                let (answer, stats) = run(&model, layered(groups), prompt.clone());
                assert_eq!(answer.finish().timings.prefill_expert_loads, touched, "{groups:?} groups, {length} tokens");
                assert_eq!(stats.prefill_expert_loads, touched);
            }
        }
    }
}

#[test]
fn chunked_loads_experts_again_with_every_chunk() {
    let model = tiny(Preset::Tiny, WeightType::Q8_0, 0);
    let loads = |policy| run(&model, policy, prompt(256, 0)).0.finish().timings.prefill_expert_loads;
    let whole = loads(Policy::Whole);
    let counts = [256, 128, 64, 16, 4, 1].map(|tokens| loads(Policy::Chunked { tokens }));
    assert_eq!(counts[0], whole, "one chunk is the whole prompt");
    assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "more chunks, more loads: {counts:?}");
    assert_eq!(counts[5], 256 * 2 * 4, "a chunk of one token loads its two experts in each of four layers");
}

#[test]
fn a_cohort_loads_the_experts_of_its_prompts_once_for_all() {
    let model = tiny(Preset::Tiny, WeightType::Q8_0, 0);
    let one = |length, salt| GenerateRequest { max_tokens: Some(1), ..greedy(prompt(length, salt)) };
    // While the first prompt walks, the others gather in the queue and become one cohort; on a busy machine they may come
    // too late for that, so there are several attempts.
    let merged = (0..20).any(|_| {
        let engine = engine(&model, layered(Some(2)), 1);
        let first = engine.submit(one(900, 9)).unwrap();
        let others: Vec<_> = (0..4).map(|salt| engine.submit(one(100, salt)).unwrap()).collect();
        let all = [first].into_iter().chain(others);
        let each: u64 = all.map(|generation| read(generation).finish().timings.prefill_expert_loads).sum();
        // Two cohorts of at most 32 experts each; a load counts for each request that shared it.
        let loads = engine.stats().prefill_expert_loads;
        loads <= 2 * 8 * 4 && each > loads
    });
    assert!(merged, "the prompts of a cohort do not share their loads");
}

#[test]
fn loads_are_counted_in_bytes_too() {
    let model = tiny(Preset::Tiny, WeightType::Q8_0, 0);
    let (_, stats) = run(&model, Policy::Whole, prompt(100, 0));
    // Three matrices of 64 x 32 weights, 34 bytes for 32 of them.
    let expert_bytes = 3 * 64 * 32 / 32 * 34;
    assert_eq!(stats.prefill_expert_bytes, stats.prefill_expert_loads * expert_bytes);
    assert_eq!(stats.total_expert_bytes, stats.total_expert_loads * expert_bytes);
    // Two decode steps: two experts in each of four layers.
    assert_eq!(stats.total_expert_loads, stats.prefill_expert_loads + 2 * 2 * 4);
}

#[test]
fn a_dense_model_loads_no_experts() {
    let model = tiny(Preset::TinyDense, WeightType::Q8_0, 0);
    let (_, stats) = run(&model, layered(Some(2)), prompt(10, 0));
    assert_eq!((stats.prefill_expert_loads, stats.total_expert_bytes), (0, 0));
}
