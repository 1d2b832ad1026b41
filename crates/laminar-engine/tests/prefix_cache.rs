//! The prefix cache: answers behind a hit are those without it, bit for bit, and nothing unfinished is found.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::echo::{ERROR, Echo, LAYERED, NAN, config};
use common::model::{cold_engine, engine, hybrid, tiny};
use common::{Answer, answer, assert_idle, bytes, greedy, read, tokenizer};
use laminar_engine::{Engine, EngineConfig, Event, GenerateRequest, Policy, Targets};
use laminar_kernels::WeightType;
use laminar_model::synth::Preset;
use proptest::prelude::*;
use std::time::Duration;

const POLICIES: [Policy; 5] = [
    Policy::Adaptive { targets: Targets { tbt: Some(Duration::from_micros(100)), ttft: None }, cohort_tokens: 8192 },
    Policy::Whole,
    Policy::Chunked { tokens: 24 },
    Policy::Layered { group_tokens: 16, cohort_tokens: 8192, groups: None },
    // Longer prompts than a cohort: chunked and layered.
    Policy::Layered { group_tokens: 16, cohort_tokens: 40, groups: Some(4) },
];

/// Ids and the bits of every logit.
fn fingerprint(answer: &Answer) -> (Vec<u32>, Vec<Vec<u32>>) {
    let bits = |logits: &Vec<f32>| logits.iter().map(|logit| logit.to_bits()).collect();
    (answer.ids(), answer.tokens.iter().map(|token| bits(token.logits.as_ref().unwrap())).collect())
}

/// A prompt that begins with `common` tokens of one text and goes on with those of another.
fn prompt(length: usize, common: usize, own: u32) -> Vec<u32> {
    let token = |place: u32, text: u32| (place * place * 7 + place * 13 + text * 31) % 256;
    (0..length).map(|place| token(place as u32, if place < common { 0 } else { own })).collect()
}

fn request(prompt: Vec<u32>) -> GenerateRequest {
    GenerateRequest { max_tokens: Some(4), ignore_eos: true, return_logits: true, ..greedy(prompt) }
}

#[test]
fn invariant_2_a_hit_changes_no_bit_at_the_borders_of_blocks() {
    // Keys and values, latents, and convolutions that need rows of the block before.
    for preset in [Preset::Tiny, Preset::TinyDeepSeek2, Preset::TinyLfm2Moe] {
        check_borders(preset);
    }
}

fn check_borders(preset: Preset) {
    let model = tiny(preset, WeightType::Q8_0, 3);
    let cold = cold_engine(&model, &tokenizer(), Policy::Whole);
    let lengths = [31, 32, 33, 63, 64, 65, 100];
    let prompts: Vec<_> =
        lengths.into_iter().flat_map(|length| [prompt(length, 1000, 0), prompt(length, 40, 5)]).collect();
    let expected: Vec<_> = prompts.iter().map(|prompt| fingerprint(&answer(&cold, request(prompt.clone())))).collect();
    for policy in POLICIES {
        let engine = engine(&model, policy, 2);
        // Two texts of 200 tokens with 40 tokens in common: the others are beginnings of one or the other.
        answer(&engine, request(prompt(200, 1000, 0)));
        let second = answer(&engine, request(prompt(200, 40, 5)));
        assert_eq!(second.finish().usage.cached_tokens, 32, "{policy:?}");
        for (prompt, expected) in prompts.iter().zip(&expected) {
            let found = answer(&engine, request(prompt.clone()));
            assert_eq!(found.finish().usage.cached_tokens, (prompt.len() - 1) / 32 * 32, "{policy:?}");
            assert_eq!(fingerprint(&found), *expected, "{policy:?}, {} tokens", prompt.len());
        }
        assert_idle(&engine);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn invariant_2_prompts_with_common_beginnings_answer_alike_whatever_is_cached(
        seed in any::<u64>(),
        quant in prop_oneof![Just(WeightType::Q8_0), Just(WeightType::Q4_0)],
        crowd in prop::collection::vec((1usize..150, 0usize..150, 0u32..4, 0u64..600), 16),
    ) {
        // Every other time a model with states, of which there are few.
        let model = if seed % 2 == 0 { tiny(Preset::Tiny, quant, seed) } else { hybrid("qwen3_5") };
        let cold = cold_engine(&model, &tokenizer(), Policy::Whole);
        let requests: Vec<_> = crowd.iter().map(|(length, common, own, _)| request(prompt(*length, *common, *own))).collect();
        let expected: Vec<_> = requests.iter().map(|request| fingerprint(&answer(&cold, request.clone()))).collect();
        for policy in POLICIES {
            let engine = engine(&model, policy, 2);
            // The first round meets a cache that fills, the second one a full one.
            for round in 0..2 {
                let running: Vec<_> = requests.iter().zip(&crowd).map(|(request, (.., micros))| {
                    std::thread::sleep(Duration::from_micros(*micros));
                    engine.submit(request.clone()).unwrap()
                }).collect();
                for (place, generation) in running.into_iter().enumerate() {
                    let found = read(generation);
                    prop_assert_eq!(&fingerprint(&found), &expected[place], "{:?}, request {}", policy, place);
                    if round == 1 {
                        let wanted = (requests[place].prompt.len() - 1) / 32 * 32;
                        prop_assert!(found.finish().usage.cached_tokens <= wanted);
                    }
                }
                assert_idle(&engine);
            }
            let stats = engine.stats();
            prop_assert!(stats.prefix_hit_tokens <= stats.prefix_lookup_tokens);
            prop_assert_eq!(stats.prompt_tokens + stats.prefix_hit_tokens, stats.prefix_lookup_tokens);
        }
    }
}

#[test]
fn invariant_2_recurrent_states_are_found_and_change_no_bit() {
    let model = hybrid("qwen3_next");
    let cold = cold_engine(&model, &tokenizer(), Policy::Whole);
    let turn = |prompt: Vec<u32>| GenerateRequest { max_tokens: Some(40), ..request(prompt) };
    for policy in POLICIES {
        let engine = engine(&model, policy, 2);
        // An equal prompt, one that departs, and one that departs at the same place: a state is left where the second did.
        let prompts = [(200, 1000, 0), (200, 1000, 0), (200, 90, 1), (170, 90, 2), (65, 1000, 0)];
        let hits = [0, 192, 0, 64, 64];
        for ((length, common, own), hit) in prompts.into_iter().zip(hits) {
            let prompt = prompt(length, common, own);
            let found = answer(&engine, request(prompt.clone()));
            assert_eq!(found.finish().usage.cached_tokens, hit, "{policy:?}, {length} tokens, {own}");
            assert_eq!(
                fingerprint(&found),
                fingerprint(&answer(&cold, request(prompt))),
                "{policy:?}, {length} tokens"
            );
        }
        // A conversation goes on behind its newest whole block, prompts and answers together.
        let mut text = prompt(50, 0, 9);
        for hit in [0, 64, 128] {
            let found = answer(&engine, turn(text.clone()));
            assert_eq!(found.finish().usage.cached_tokens, hit, "{policy:?}, turn of {} tokens", text.len());
            assert_eq!(fingerprint(&found), fingerprint(&answer(&cold, turn(text.clone()))), "{policy:?}");
            text.extend(found.ids());
            text.extend(prompt(10, 0, 3));
        }
        assert_idle(&engine);
    }
}

fn echo(executor: Echo, config: EngineConfig) -> Engine {
    Engine::start_with(Box::new(executor), tokenizer(), config).unwrap()
}

#[test]
fn invariant_4_a_prompt_in_the_middle_of_the_layers_is_not_found_and_a_finished_one_is() {
    let (executor, gate) = Echo::gated();
    // Fourteen tokens are a cohort of ten and one of four, two steps each; a block has four positions.
    let policy = Policy::Layered { group_tokens: 512, cohort_tokens: 10, groups: Some(2) };
    let engine = echo(executor, config(policy));
    let text = "fourteen bytes";
    let first = engine.submit(greedy(bytes(text))).unwrap();
    gate.send(()).unwrap();
    while engine.stats().steps < 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // It comes while the first cohort is in the middle of the layers and is admitted to the second one: of the first
    // request's blocks two are done by then, the third one is half done.
    let second = engine.submit(greedy(bytes(text))).unwrap();
    drop(gate);
    let (first, second) = (read(first), read(second));
    assert_eq!([&first, &second].map(|answer| answer.finish().usage.cached_tokens), [0, 8]);
    let third = answer(&engine, greedy(bytes(text)));
    assert_eq!(third.finish().usage.cached_tokens, 12);
    // The echo reads what it did not run from the blocks, so the texts tell whether these were complete.
    assert_eq!([first, second, third].map(|answer| answer.text()), [text; 3]);
    assert_idle(&engine);
}

#[test]
fn a_request_that_fails_publishes_nothing_of_the_step_that_failed() {
    let engine = echo(Echo::default(), config(LAYERED));
    for bad in [ERROR, NAN] {
        let prompt = [vec![bad], bytes("and seven")].concat();
        for _ in 0..2 {
            assert!(matches!(answer(&engine, greedy(prompt.clone())).last, Event::Failed(_)));
        }
    }
    assert_idle(&engine);
    let stats = engine.stats();
    assert_eq!((stats.prefix_hit_tokens, stats.cached_blocks), (0, 0));
}

#[test]
fn requests_share_only_with_their_own_salt() {
    let engine = echo(Echo::default(), config(Policy::Whole));
    let ask = |cache_salt| {
        let found = answer(&engine, GenerateRequest { cache_salt, ..greedy(bytes("the same prompt")) });
        assert_eq!(found.text(), "the same prompt");
        found.finish().usage.cached_tokens
    };
    assert_eq!([ask(0), ask(1), ask(1), ask(0)], [0, 0, 12, 12]);
}

#[test]
fn without_the_cache_nothing_is_found() {
    let engine = echo(Echo::default(), EngineConfig { prefix_cache: false, ..config(Policy::Whole) });
    for _ in 0..2 {
        assert_eq!(answer(&engine, greedy(bytes("the same prompt"))).finish().usage.cached_tokens, 0);
    }
    let stats = engine.stats();
    assert_eq!((stats.cached_blocks, stats.prefix_lookup_tokens), (0, 0));
}
