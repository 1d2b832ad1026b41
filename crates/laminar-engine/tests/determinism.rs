//! Invariant 2: the tokens and the logits of a request depend on the request alone, bit for bit.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::model::{cold_engine, embedded, engine_with, engine_with_kv, hybrid, tiny};
use common::{Answer, answer, assert_idle, read, tokenizer};
use laminar_engine::{Engine, GenerateRequest, Policy, SamplingParams, Targets};
use laminar_kernels::WeightType;
use laminar_model::synth::Preset;
use laminar_model::tokenizer::Tokenizer;
use laminar_model::{KvType, Model};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// Every policy of the promise: whole, chunks of several sizes, layer groups of every number the model has.
fn policies(layers: usize) -> Vec<Policy> {
    let chunked = [1, 7, 64, 512].map(|tokens| Policy::Chunked { tokens });
    let groups = |groups| Policy::Layered { group_tokens: 512, cohort_tokens: 8192, groups };
    // A cohort budget below the prompt's length: chunked and layered.
    let long = Policy::Layered { group_tokens: 16, cohort_tokens: 48, groups: None };
    let layered = (1..=layers).map(|count| groups(Some(count))).chain([groups(None), long]);
    // Targets so short that steps end inside layers, and others.
    let within = |micros| Targets { tbt: Some(Duration::from_micros(micros)), ttft: None };
    let adaptive = [(Targets::default(), 8192), (within(50), 8192), (within(300), 8192), (within(300), 24)];
    let adaptive = adaptive.map(|(targets, cohort_tokens)| Policy::Adaptive { targets, cohort_tokens });
    let deadline = Policy::ChunkedDeadline { tbt: Some(Duration::from_micros(300)), tokens: 64 };
    [Policy::Whole, deadline].into_iter().chain(chunked).chain(layered).chain(adaptive).collect()
}

/// What must not change: ids, bits of the logits, text, reason.
fn fingerprint(answer: &Answer) -> (Vec<u32>, Vec<Vec<u32>>, String, String) {
    let bits = |logits: &Vec<f32>| logits.iter().map(|logit| logit.to_bits()).collect();
    let logits = answer.tokens.iter().map(|token| bits(token.logits.as_ref().unwrap())).collect();
    (answer.ids(), logits, answer.text(), format!("{:?}", answer.finish().reason))
}

fn request(prompt: Vec<u32>, max_tokens: usize, sampling: SamplingParams) -> GenerateRequest {
    let max_tokens = Some(max_tokens);
    GenerateRequest { prompt, sampling, max_tokens, return_logits: true, ..Default::default() }
}

fn sampling() -> impl Strategy<Value = SamplingParams> {
    let seeded = (any::<u64>(), 0.5f32..1.5, 0.5f32..=1.0, prop_oneof![Just(None), (1usize..40).prop_map(Some)]);
    prop_oneof![
        Just(SamplingParams::greedy()),
        seeded.prop_map(|(seed, temperature, top_p, top_k)| SamplingParams {
            temperature,
            top_p,
            top_k,
            frequency_penalty: 0.5,
            repetition_penalty: 1.1,
            seed: Some(seed),
            ..SamplingParams::default()
        }),
    ]
}

/// Token ids that every model here has.
fn prompts(longest: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0u32..256, 1..longest)
}

/// Requests with the time each comes after the one before.
fn crowd(longest: usize) -> impl Strategy<Value = Vec<(GenerateRequest, u64)>> {
    let one = (prompts(longest), 1usize..12, sampling(), 0u64..300);
    prop::collection::vec(one.prop_map(|(p, max, s, wait)| (request(p, max, s), wait)), 16)
}

/// The answers of requests that come at their times.
fn together(engine: &Engine, crowd: &[(GenerateRequest, u64)]) -> Vec<Answer> {
    let running: Vec<_> = crowd
        .iter()
        .map(|(request, micros)| {
            std::thread::sleep(Duration::from_micros(*micros));
            engine.submit(request.clone()).unwrap()
        })
        .collect();
    running.into_iter().map(read).collect()
}

/// The answers alone under `whole` with one thread and without the prefix cache, then under every policy, alone and in the crowd, with one and with
/// two threads, one of them a second time behind a hit of the prefix cache.
fn check(model: &Arc<Model>, tokenizer: &Arc<Tokenizer>, crowd: &[(GenerateRequest, u64)]) {
    let alone = cold_engine(model, tokenizer, Policy::Whole);
    let expected: Vec<_> = crowd.iter().map(|(request, _)| fingerprint(&answer(&alone, request.clone()))).collect();
    let mut shared_steps = false;
    for (number, policy) in policies(model.layers()).into_iter().enumerate() {
        for threads in [1, 2] {
            let engine = engine_with(model, tokenizer, policy, threads);
            let single = number % crowd.len();
            let found = fingerprint(&answer(&engine, crowd[single].0.clone()));
            assert_eq!(found, expected[single], "{policy:?}, alone, {threads} threads");
            for (place, found) in together(&engine, crowd).iter().enumerate() {
                let found = fingerprint(found);
                assert_eq!(found, expected[place], "{policy:?}, request {place} of 16, {threads} threads");
            }
            assert_idle(&engine);
            let stats = engine.stats();
            shared_steps |= stats.tokens_generated > stats.steps;
        }
    }
    assert!(shared_steps, "the requests of the crowd never met, so nothing was tested");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn invariant_2_a_moe_answers_alike_whatever_surrounds_it(
        seed in any::<u64>(),
        quant in prop_oneof![Just(WeightType::Q8_0), Just(WeightType::Q4_0), Just(WeightType::F32)],
        crowd in crowd(150),
    ) {
        check(&tiny(Preset::Tiny, quant, seed), &tokenizer(), &crowd);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn invariant_2_a_dense_model_answers_alike_whatever_surrounds_it(seed in any::<u64>(), crowd in crowd(150)) {
        check(&tiny(Preset::TinyDense, WeightType::Q8_0, seed), &tokenizer(), &crowd);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn invariant_2_latents_and_convolutions_answer_alike_whatever_surrounds_them(
        seed in any::<u64>(),
        crowd in crowd(100),
    ) {
        for preset in [Preset::TinyDeepSeek2, Preset::TinyLfm2Moe] {
            check(&tiny(preset, WeightType::Q8_0, seed), &tokenizer(), &crowd);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn invariant_2_recurrent_states_answer_alike_whatever_surrounds_them(crowd in crowd(100)) {
        for fixture in ["qwen3_next", "qwen3_5"] {
            check(&hybrid(fixture), &tokenizer(), &crowd);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn invariant_2_layer_inputs_and_shared_keys_answer_alike_whatever_surrounds_them(crowd in crowd(100)) {
        // With several streams, and with one.
        for fixture in ["gemma3n_small", "gemma4_small"] {
            check(&hybrid(fixture), &tokenizer(), &crowd);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn invariant_2_a_model_with_kv_in_8_bits_answers_alike_whatever_surrounds_it(
        seed in any::<u64>(),
        crowd in crowd(100),
    ) {
        let model = tiny(Preset::Tiny, WeightType::Q8_0, seed);
        let alone = engine_with_kv(&model, Policy::Whole, 1, KvType::Q8_0);
        let expected: Vec<_> = crowd.iter().map(|(request, _)| fingerprint(&answer(&alone, request.clone()))).collect();
        for (policy, threads) in [(Policy::Chunked { tokens: 7 }, 1), (Policy::ADAPTIVE, 2)] {
            let engine = engine_with_kv(&model, policy, threads, KvType::Q8_0);
            let found: Vec<_> = together(&engine, &crowd).iter().map(fingerprint).collect();
            prop_assert!(found == expected, "{:?}, {} threads", policy, threads);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, max_shrink_iters: 5, ..ProptestConfig::default() })]

    #[test]
    fn invariant_2_the_embedded_model_answers_alike_whatever_surrounds_it(crowd in crowd(80)) {
        let (model, tokenizer) = embedded();
        check(&model, &tokenizer, &crowd);
    }
}
