//! Text, endings and counts of a single answer, with an executor that echoes the prompt.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::echo::{Echo, config};
use common::{answer, bytes, end_token, greedy, tokenizer};
use laminar_engine::{Engine, FinishReason, GenerateRequest, Policy, Usage};

fn engine() -> Engine {
    Engine::start_with(Box::new(Echo::default()), tokenizer(), config(Policy::Whole)).unwrap()
}

fn stop(strings: &[&str]) -> Vec<String> {
    strings.iter().map(|text| (*text).to_owned()).collect()
}

/// Text and reason of the answer to a text with stop strings and a limit.
fn ask(text: &str, stops: &[&str], max_tokens: Option<usize>) -> (String, FinishReason) {
    let request = GenerateRequest { stop: stop(stops), max_tokens, ..greedy(bytes(text)) };
    let answer = answer(&engine(), request);
    (answer.text(), answer.finish().reason)
}

#[test]
fn an_answer_ends_at_the_checkpoints_end_token_without_its_text() {
    let answer = answer(&engine(), greedy(bytes("hello")));
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.finish().reason, FinishReason::Stop);
    assert_eq!(answer.finish().usage, Usage { prompt_tokens: 5, completion_tokens: 6, cached_tokens: 0 });
    let last = answer.tokens.last().unwrap();
    assert!(last.ends_text && last.text.is_empty() && last.id == end_token());
    assert!(answer.tokens[..5].iter().all(|token| !token.ends_text));
}

#[test]
fn t01_a_character_of_several_tokens_arrives_whole() {
    let answer = answer(&engine(), greedy(bytes("a🙂日")));
    let deltas: Vec<&str> = answer.tokens.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(deltas, ["a", "", "", "", "🙂", "", "", "日", ""]);
}

#[test]
fn t01_a_character_cut_by_the_length_is_left_out() {
    assert_eq!(ask("ab🙂", &[], Some(4)), ("ab".into(), FinishReason::Length));
}

#[test]
fn t03_nothing_of_a_stop_string_is_sent() {
    let request = GenerateRequest { stop: stop(&["DEFGHIJ"]), ..greedy(bytes("abcDEFGHIJxyz")) };
    let answer = answer(&engine(), request);
    assert_eq!(answer.text(), "abc");
    assert_eq!(answer.finish().reason, FinishReason::Stop);
    assert_eq!(answer.tokens.len(), 10, "the answer ends with the stop string");
}

#[test]
fn t04_held_text_is_flushed_at_the_end_token_and_at_the_length() {
    assert_eq!(ask("abcDEF", &["DEFGHIJ"], None), ("abcDEF".into(), FinishReason::Stop));
    assert_eq!(ask("abcDEFGHIJ", &["DEFGHIJ"], Some(6)), ("abcDEF".into(), FinishReason::Length));
}

#[test]
fn stop_token_ids_end_an_answer() {
    let request = GenerateRequest { stop_token_ids: bytes("l"), ..greedy(bytes("hello")) };
    let answer = answer(&engine(), request);
    assert_eq!((answer.text().as_str(), answer.finish().reason), ("he", FinishReason::Stop));
}

#[test]
fn ignore_eos_goes_on_past_the_end_token() {
    let request = GenerateRequest { ignore_eos: true, max_tokens: Some(8), ..greedy(bytes("hello")) };
    let answer = answer(&engine(), request);
    assert_eq!(answer.ids(), [bytes("hello"), vec![end_token(); 3]].concat());
    assert_eq!((answer.text().as_str(), answer.finish().reason), ("hello", FinishReason::Length));
}

#[test]
fn an_answer_ends_where_the_context_ends() {
    let executor = Echo { never_ends: true, ..Echo::default() };
    let engine = Engine::start_with(Box::new(executor), tokenizer(), config(Policy::Whole)).unwrap();
    for max_tokens in [None, Some(1000), Some(125)] {
        let answer = answer(&engine, GenerateRequest { max_tokens, ..greedy(bytes("abc")) });
        assert_eq!(answer.tokens.len(), 125, "128 positions less the prompt");
        assert_eq!(answer.finish().reason, FinishReason::Length);
    }
}

#[test]
fn logprobs_are_the_models_own() {
    let mut request = GenerateRequest { top_logprobs: Some(2), return_logits: true, ..greedy(bytes("b")) };
    // The bias changes the choice but not what the model said.
    request.sampling.logit_bias = vec![(u32::from(b'a'), 100.0)];
    request.max_tokens = Some(1);
    let answer = answer(&engine(), request);
    assert_eq!(answer.ids(), bytes("a"));
    let found = answer.tokens[0].logprob.as_ref().unwrap();
    let others = answer.tokens[0].logits.as_ref().unwrap().len() as f32 - 1.0;
    let norm = (10f32.exp() + others).ln();
    assert!((found.logprob + norm).abs() < 1e-5);
    assert_eq!(found.top.len(), 2);
    assert_eq!(found.top[0].id, u32::from(b'b'));
    assert!((found.top[0].logprob - (10.0 - norm)).abs() < 1e-5);
}

#[test]
fn t34_a_seed_fixes_the_answer_and_no_seed_does_not() {
    let engine = engine();
    let run = |seed| {
        let mut request = greedy(bytes("abc"));
        request.sampling.temperature = 50.0;
        request.sampling.seed = seed;
        request.max_tokens = Some(20);
        request.ignore_eos = true;
        answer(&engine, request).ids()
    };
    assert_eq!(run(Some(3)), run(Some(3)));
    assert_ne!(run(Some(3)), run(Some(4)));
    assert_ne!(run(None), run(None));
}

#[test]
fn times_are_in_order() {
    let answer = answer(&engine(), greedy(bytes("hello")));
    let timings = answer.finish().timings;
    assert!(0.0 <= timings.queue && timings.queue <= timings.ttft && timings.ttft <= timings.total);
    assert!(timings.total < 10.0);
}
