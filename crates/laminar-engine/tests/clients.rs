//! Clients that come and leave at random, with a real model.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::model::{engine, tiny};
use common::{answer, assert_idle, greedy};
use laminar_engine::{Event, GenerateRequest, Policy};
use laminar_kernels::WeightType;
use laminar_model::synth::Preset;
use std::time::Duration;

/// A cheap source of numbers that differ.
fn mix(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

#[test]
fn t41_t42_half_of_64_clients_leave_at_random_and_nothing_is_left() {
    let model = tiny(Preset::Tiny, WeightType::Q8_0, 1);
    for policy in [
        Policy::Whole,
        Policy::Chunked { tokens: 16 },
        Policy::Layered { group_tokens: 16, cohort_tokens: 256, groups: None },
    ] {
        let engine = engine(&model, policy, 2);
        std::thread::scope(|scope| {
            for client in 0..64u64 {
                let engine = &engine;
                scope.spawn(move || {
                    let prompt = (0..1 + mix(client) % 120).map(|place| mix(client * 1000 + place) as u32 % 256);
                    let request = GenerateRequest {
                        max_tokens: Some(1 + mix(client + 64) as usize % 30),
                        ignore_eos: true,
                        ..greedy(prompt.collect())
                    };
                    let wanted = request.max_tokens;
                    let mut generation = engine.submit(request).unwrap();
                    if client % 2 == 0 {
                        // Leaves at once, in its prefill, or after some tokens.
                        std::thread::sleep(Duration::from_micros(mix(client + 128) % 3000));
                        for _ in 0..mix(client + 192) % 4 {
                            generation.blocking_next();
                        }
                        return;
                    }
                    let mut tokens = 0;
                    loop {
                        match generation.blocking_next() {
                            Some(Event::Token(_)) => tokens += 1,
                            Some(Event::Finished(finish)) => {
                                assert_eq!(Some(finish.usage.completion_tokens), wanted);
                                break;
                            }
                            other => panic!("client {client} got {other:?}"),
                        }
                    }
                    assert_eq!(Some(tokens), wanted);
                });
            }
        });
        assert_idle(&engine);
        let stats = engine.stats();
        assert_eq!(stats.requests_failed, 0);
        assert_eq!(stats.requests_finished + stats.requests_cancelled, 64);
        assert!(stats.requests_finished >= 32);
        assert_eq!(answer(&engine, GenerateRequest { max_tokens: Some(2), ..greedy(vec![1]) }).ids().len(), 2);
    }
}
