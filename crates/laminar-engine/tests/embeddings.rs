//! Vectors of prompts.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::echo::{Echo, config};
use common::model::{embedded, engine_with};
use common::{answer, assert_idle, bytes, read, tokenizer};
use laminar_engine::{Engine, EngineError, Event, GenerateRequest, Policy, Pooling};

fn request(prompt: &[u32], pooling: Pooling) -> GenerateRequest {
    GenerateRequest { prompt: prompt.to_vec(), pooling: Some(pooling), ..GenerateRequest::default() }
}

#[test]
fn a_vector_depends_on_the_prompt_alone() {
    let (model, tokenizer) = embedded();
    let prompt: Vec<u32> = (0..150).map(|id| id * 7 % 400).collect();
    let layered = Policy::Layered { group_tokens: 64, cohort_tokens: 4096, groups: Some(2) };
    for pooling in [Pooling::Last, Pooling::Mean, Pooling::Cls, Pooling::Ggem([3.0, 1.5].into())] {
        let mut first: Option<Vec<f32>> = None;
        for policy in [Policy::Whole, Policy::Chunked { tokens: 7 }, Policy::Chunked { tokens: 64 }, layered] {
            let engine = engine_with(&model, &tokenizer, policy, 1);
            // Beside others, and behind one that left the same prompt in the prefix cache.
            let text = GenerateRequest { prompt: prompt.clone(), max_tokens: Some(3), ..GenerateRequest::default() };
            answer(&engine, text.clone());
            let beside = engine.submit(text).unwrap();
            let found = answer(&engine, request(&prompt, pooling.clone()));
            let finish = found.finish();
            assert!(found.tokens.is_empty() && finish.usage.cached_tokens == 0 && finish.usage.completion_tokens == 0);
            let vector = finish.embedding.clone().unwrap();
            assert_eq!(vector.len(), model.config().hidden);
            assert_eq!(&vector, first.get_or_insert_with(|| vector.clone()), "{policy:?} {pooling:?}");
            read(beside);
            assert_idle(&engine);
        }
    }
}

#[test]
fn the_first_row_is_that_of_the_first_token_alone() {
    let (model, tokenizer) = embedded();
    let engine = engine_with(&model, &tokenizer, Policy::Chunked { tokens: 64 }, 1);
    let vector =
        |prompt: &[u32], pooling| answer(&engine, request(prompt, pooling)).finish().embedding.clone().unwrap();
    assert_eq!(vector(&[5, 6, 7], Pooling::Cls), vector(&[5], Pooling::Last));
    assert_ne!(vector(&[5, 6, 7], Pooling::Last), vector(&[5, 6, 8], Pooling::Last));
    let rows: Vec<Vec<f32>> = (1..=3).map(|length| vector(&[5, 6, 7][..length], Pooling::Last)).collect();
    for (place, mean) in vector(&[5, 6, 7], Pooling::Mean).into_iter().enumerate() {
        let sum: f64 = rows.iter().map(|row| f64::from(row[place])).sum();
        assert_eq!(mean, (sum / 3.0) as f32);
    }
    // Two groups of columns, each with its power.
    let width = model.config().hidden;
    for (place, found) in vector(&[5, 6, 7], Pooling::Ggem([3.0, 1.0].into())).into_iter().enumerate() {
        let power = if place < width / 2 { 3.0 } else { 1.0 };
        let sum: f64 = rows.iter().map(|row| f64::from(row[place]).max(1e-6).powf(power)).sum();
        assert_eq!(found, (sum / 3.0).powf(1.0 / power) as f32);
    }
}

#[test]
fn an_executor_without_hidden_states_says_so() {
    let engine = Engine::start_with(Box::new(Echo::default()), tokenizer(), config(Policy::Whole)).unwrap();
    let refused = read(engine.submit(request(&bytes("abc"), Pooling::Last)).unwrap());
    assert_eq!(refused.last, Event::Failed(EngineError::NoEmbeddings));
    assert_idle(&engine);
}
