//! Answers that follow grammars.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::model::{embedded, engine_with};
use common::{Answer, answer, read};
use laminar_engine::{Engine, Event, FinishReason, GenerateRequest, Grammar, GrammarCompiler, Policy, SamplingParams};
use laminar_model::tokenizer::{EncodeOptions, Tokenizer};
use serde_json::{Value, json};

fn engine() -> (Engine, GrammarCompiler, std::sync::Arc<Tokenizer>) {
    let (model, tokenizer) = embedded();
    let compiler = GrammarCompiler::new(&tokenizer).unwrap();
    (engine_with(&model, &tokenizer, Policy::Chunked { tokens: 64 }, 1), compiler, tokenizer)
}

fn request(tokenizer: &Tokenizer, compiler: &GrammarCompiler, grammar: &Grammar, seed: u64) -> GenerateRequest {
    GenerateRequest {
        prompt: tokenizer.encode("Once upon a time", EncodeOptions::default()).unwrap(),
        sampling: SamplingParams { seed: Some(seed), ..SamplingParams::default() },
        max_tokens: Some(400),
        constraint: Some(compiler.compile(grammar).unwrap()),
        ..GenerateRequest::default()
    }
}

#[test]
fn answers_match_their_regex_and_end_with_it() {
    let (engine, compiler, tokenizer) = engine();
    let grammar = Grammar::Regex("[0-9]{3}-[a-c]{2}/x".into());
    for seed in 0..10 {
        let answer = answer(&engine, request(&tokenizer, &compiler, &grammar, seed));
        let text = answer.text();
        let fits = text.len() == 8
            && text.bytes().take(3).all(|byte| byte.is_ascii_digit())
            && text.as_bytes()[3] == b'-'
            && text.bytes().skip(4).take(2).all(|byte| (b'a'..=b'c').contains(&byte))
            && text.ends_with("/x");
        assert!(fits, "{text:?}");
        assert_eq!(answer.finish().reason, FinishReason::Stop);
    }
}

#[test]
fn answers_are_one_of_the_choices_and_all_of_them_come_up() {
    let (engine, compiler, tokenizer) = engine();
    let choices = ["yes", "no", "a \"quoted\" one\n"];
    let grammar = Grammar::Choice(choices.iter().map(|choice| (*choice).to_owned()).collect());
    let hot = |seed| {
        let mut request = request(&tokenizer, &compiler, &grammar, seed);
        request.sampling.temperature = 100.0;
        request
    };
    let texts: Vec<String> = (0..40).map(|seed| answer(&engine, hot(seed)).text()).collect();
    assert!(texts.iter().all(|text| choices.contains(&text.as_str())), "{texts:?}");
    assert!(choices.iter().all(|choice| texts.iter().any(|text| text == choice)), "{texts:?}");
}

#[test]
fn finished_json_fits_its_schema() {
    let (engine, compiler, tokenizer) = engine();
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["name", "size", "tags"],
        "properties": {"name": {"type": "string", "maxLength": 8}, "size": {"type": "integer", "minimum": 1, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}}});
    let grammar = Grammar::Json(schema);
    let mut finished = 0;
    for seed in 0..20 {
        let answer = answer(&engine, request(&tokenizer, &compiler, &grammar, seed));
        if answer.finish().reason == FinishReason::Stop {
            finished += 1;
            let value: Value = serde_json::from_str(&answer.text()).unwrap();
            assert!(value["name"].as_str().unwrap().chars().count() <= 8, "{value}");
            assert!((1..=99).contains(&value["size"].as_i64().unwrap()), "{value}");
            let tags = value["tags"].as_array().unwrap();
            assert!(tags.len() <= 3 && tags.iter().all(|tag| tag == "a" || tag == "b"), "{value}");
            assert_eq!(value.as_object().unwrap().len(), 3);
        }
    }
    assert!(finished >= 15, "{finished} of 20 came to an end");
}

/// The tokens depend on the request alone: not on requests beside it, nor on earlier ones with the same grammar.
#[test]
fn other_requests_change_nothing() {
    let (engine, compiler, tokenizer) = engine();
    let grammar = Grammar::Json(json!({"type": "object"}));
    let requests: Vec<GenerateRequest> = (0..8).map(|seed| request(&tokenizer, &compiler, &grammar, seed)).collect();
    let alone: Vec<Answer> = requests.iter().map(|request| answer(&engine, request.clone())).collect();
    let together: Vec<_> = requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    for (alone, together) in alone.iter().zip(together) {
        assert_eq!(alone.ids(), read(together).ids());
    }
}

#[test]
fn log_probabilities_are_those_of_the_model() {
    let (engine, compiler, tokenizer) = engine();
    let mut constrained = request(&tokenizer, &compiler, &Grammar::Choice(vec!["zzz".into()]), 0);
    constrained.top_logprobs = Some(1);
    let answer = answer(&engine, constrained);
    assert_eq!(answer.text(), "zzz");
    let scores: Vec<_> = answer.tokens.iter().map(|token| token.logprob.as_ref().unwrap()).collect();
    assert!(scores.iter().any(|score| score.logprob < score.top[0].logprob), "{scores:?}");
}

#[test]
fn the_length_limit_cuts_an_answer_that_is_not_complete() {
    let (engine, compiler, tokenizer) = engine();
    let grammar = Grammar::Regex("[a-z]{1000}".into());
    let cut = GenerateRequest { max_tokens: Some(5), ..request(&tokenizer, &compiler, &grammar, 1) };
    let mut generation = engine.submit(cut).unwrap();
    let mut tokens = 0;
    let last = loop {
        match generation.blocking_next().unwrap() {
            Event::Token(_) => tokens += 1,
            last => break last,
        }
    };
    assert!(matches!(last, Event::Finished(finish) if finish.reason == FinishReason::Length));
    assert_eq!(tokens, 5);
}

#[test]
fn what_is_wrong_with_a_grammar_is_told_when_it_is_compiled() {
    let (_, compiler, _) = engine();
    for (grammar, words) in [
        (
            Grammar::Json(json!({"type": "object", "properties": {"a": {"minContains": 1, "contains": {}}}})),
            "properties.a.minContains",
        ),
        (Grammar::Json(json!({"type": "number", "multipleOf": "x"})), "multipleOf"),
        (Grammar::Json(json!({"type": "king"})), "king"),
        (Grammar::Json(json!({"$ref": "#/$defs/none"})), "none"),
        (Grammar::Json(json!([])), "object"),
        (Grammar::Json(json!({"oneOf": [{"type": "string"}, {"minLength": 1, "type": "string"}]})), "oneOf"),
        (Grammar::Regex("a(b".into()), "regex"),
        (Grammar::Lark("start: nothing".into()), "nothing"),
        (Grammar::Lark("begin: \"a\"".into()), "start"),
        (Grammar::Choice(Vec::new()), "choose"),
        (Grammar::Lark(format!("start: \"{}\"", "x".repeat(2 << 20))), "bytes"),
    ] {
        let error = compiler.compile(&grammar).unwrap_err().to_string();
        assert!(error.contains(words), "{grammar:?}: {error}");
    }
}

/// What a grammar forces is taken without a step for each token, and the answer is the same as with one.
#[test]
fn forced_tokens_come_together_and_change_nothing() {
    let (engine, compiler, tokenizer) = engine();
    let text = "{\"kind\": \"a rather long text that nobody chooses\", \"size\": ";
    let grammar = Grammar::Regex(format!("{}[0-9]{{3}}, and so on, until the end\\.", text.replace('{', "\\{")));
    let mut stepwise = request(&tokenizer, &compiler, &grammar, 3);
    stepwise.top_logprobs = Some(0);
    let steps = |request| {
        let before = engine.stats().steps;
        let answer = answer(&engine, request);
        (answer, engine.stats().steps - before)
    };
    let (one_by_one, many) = steps(stepwise);
    let (together, few) = steps(request(&tokenizer, &compiler, &grammar, 3));
    assert_eq!(together.ids(), one_by_one.ids());
    assert_eq!(together.text(), one_by_one.text());
    assert!(together.text().starts_with(text) && together.text().ends_with("until the end."), "{}", together.text());
    assert_eq!(together.finish().reason, FinishReason::Stop);
    assert_eq!(many, one_by_one.tokens.len() as u64);
    assert!(few <= many - 10, "{few} steps instead of {many}");
    assert!(one_by_one.tokens.iter().all(|token| token.logprob.is_some()));
}

#[test]
fn a_limit_or_a_stop_string_ends_an_answer_in_the_middle_of_what_is_forced() {
    let (engine, compiler, tokenizer) = engine();
    let grammar = Grammar::Choice(vec!["one two three four five six seven eight nine ten".into()]);
    let cut = GenerateRequest { max_tokens: Some(3), ..request(&tokenizer, &compiler, &grammar, 1) };
    let cut = answer(&engine, cut);
    assert_eq!((cut.tokens.len(), cut.finish().reason), (3, FinishReason::Length));
    let stopped = GenerateRequest { stop: vec!["four".into()], ..request(&tokenizer, &compiler, &grammar, 1) };
    let stopped = answer(&engine, stopped);
    assert_eq!((stopped.text().as_str(), stopped.finish().reason), ("one two three ", FinishReason::Stop));
    let all = answer(&engine, request(&tokenizer, &compiler, &grammar, 1));
    assert!(all.text().ends_with("nine ten"));
    assert_eq!(all.finish().usage.completion_tokens, all.tokens.len());
}

/// A greedy choice is that of the mask, though masks are left out as long as the model keeps to the grammar by itself. So
/// cold that nothing else can be drawn, with masks for all tokens, the answer is the same.
#[test]
fn greedy_answers_need_no_masks_and_are_the_same() {
    let (engine, compiler, tokenizer) = engine();
    for grammar in [
        Grammar::Json(json!({"type": "object", "properties": {"story": {"type": "string"}}, "required": ["story"]})),
        Grammar::Regex("([a-z]+ ){5,20}\\.".into()),
        Grammar::Lark("start: /(.|\\n)*/".into()),
        Grammar::Choice(vec!["Once".into(), "Once upon".into(), "Once more".into()]),
    ] {
        let with_temperature = |temperature| {
            let mut request = request(&tokenizer, &compiler, &grammar, 1);
            request.sampling.temperature = temperature;
            request.max_tokens = Some(120);
            answer(&engine, request)
        };
        let (greedy, cold) = (with_temperature(0.0), with_temperature(1e-6));
        assert_eq!(greedy.ids(), cold.ids(), "{grammar:?}");
        assert_eq!(greedy.text(), cold.text());
    }
}
