//! Sampling, log-probabilities, determinism.

use laminar_engine::{EngineConfig, Policy};
use serde_json::{Value, json};

use crate::script::Want;
use crate::support::*;

fn scores(answer: &Value) -> &Vec<Value> {
    answer["choices"][0]["logprobs"]["content"].as_array().unwrap()
}

/// The shape of chat log-probabilities, with and without alternatives.
/// <https://github.com/vllm-project/vllm/issues/3179>, <https://github.com/vllm-project/vllm/issues/4795>
#[tokio::test(flavor = "multi_thread")]
async fn t27_chat_logprobs_have_the_chat_shape() {
    let server = scripted().await;
    server.script.pieces("mark", &["ABC".as_bytes(), b"\xf0\x9f", b"\x99\x82"]);
    for (fields, alternatives) in [
        (json!({"logprobs": true}), 0),
        (json!({"logprobs": true, "top_logprobs": 0}), 0),
        (json!({"logprobs": true, "top_logprobs": 3}), 3),
    ] {
        let (whole, chunks) = server.both(&with(chat("mark"), fields)).await;
        let entries = scores(&whole);
        let tokens: Vec<&str> = entries.iter().map(|entry| entry["token"].as_str().unwrap()).collect();
        assert_eq!(tokens, ["ABC", "\\xf0\\x9f", "\\x99\\x82"]);
        assert_eq!(entries[0]["bytes"], json!([65, 66, 67]));
        for entry in entries {
            assert!((-1e-3..=0.0).contains(&entry["logprob"].as_f64().unwrap()));
            let top = entry["top_logprobs"].as_array().unwrap();
            assert_eq!(top.len(), alternatives);
            if let Some(best) = top.first() {
                assert_eq!((&best["token"], &best["bytes"]), (&entry["token"], &entry["bytes"]));
            }
        }
        let streamed: Vec<&Value> =
            choices(&chunks, 0).filter_map(|choice| choice["logprobs"]["content"].as_array()).flatten().collect();
        assert_eq!(json!(streamed), json!(entries));
    }
    let (whole, _) = server.both(&chat("mark")).await;
    assert_eq!(whole["choices"][0]["logprobs"], Value::Null);
    server.post(CHAT, &with(chat("mark"), json!({"top_logprobs": 2}))).await.error(400);
}

/// <https://github.com/ggml-org/llama.cpp/issues/11346>
#[tokio::test(flavor = "multi_thread")]
async fn t28_legacy_logprobs_are_filled() {
    let server = scripted().await;
    server.script.pieces("mark", &["ABC", "DEF"]);
    let answer = server.both_texts(&with(completion("mark"), json!({"logprobs": 1}))).await;
    let scores = &answer["choices"][0]["logprobs"];
    assert_eq!(scores["tokens"], json!(["ABC", "DEF"]));
    assert_eq!(scores["text_offset"], json!([0, 3]));
    for place in 0..2 {
        let token = scores["tokens"][place].as_str().unwrap();
        assert_eq!(scores["top_logprobs"][place][token], scores["token_logprobs"][place]);
    }
}

/// No tokens, with echo: the prompt alone; with scores as well, a clean refusal.
/// <https://github.com/vllm-project/vllm/issues/6521>,
/// <https://github.com/EleutherAI/lm-evaluation-harness/issues/1411>
#[tokio::test(flavor = "multi_thread")]
async fn t29_no_tokens_with_echo_and_scores_is_a_clean_refusal() {
    let server = scripted().await;
    let request = with(completion("Once"), json!({"max_tokens": 0, "echo": true}));
    let answer = server.both_texts(&request).await;
    assert_eq!(answer["choices"][0]["text"], "Once");
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 0}})
    );
    for stream in [false, true] {
        let request = with(request.clone(), json!({"logprobs": 1, "stream": stream}));
        assert_eq!(server.post(COMPLETIONS, &request).await.error(400)["param"], "echo");
    }
    server.post(COMPLETIONS, &completion("Once")).await.ok();
}

/// The scores of a prompt are those that each of its tokens would have had as an answer to the tokens before it, whatever the
/// prompt is cut into, and for no tokens of an answer as well as for some.
/// <https://github.com/vllm-project/vllm/issues/6521>, <https://github.com/EleutherAI/lm-evaluation-harness/issues/1411>
#[tokio::test(flavor = "multi_thread")]
async fn t29_the_scores_of_a_prompt_are_those_of_its_tokens_as_answers() {
    let text = "Once upon a time there was a fox 🦊.";
    let mut found: Vec<Value> = Vec::new();
    for tokens in [5, 64] {
        let mut setup = Setup::default();
        setup.engine.policy = laminar_engine::Policy::Chunked { tokens };
        let server = tiny(setup).await;
        let request = with(completion(text), json!({"max_tokens": 0, "echo": true, "logprobs": 2}));
        let answer = server.both_texts(&request).await;
        let choice = &answer["choices"][0];
        assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!(text), &json!("length")));
        assert_eq!(answer["usage"]["completion_tokens"], 0);
        found.push(choice["logprobs"].clone());
        let prompt_tokens = answer["usage"]["prompt_tokens"].as_u64().unwrap() as usize;

        let some = server.both_texts(&with(request, json!({"max_tokens": 3}))).await;
        let lists = &some["choices"][0]["logprobs"];
        for (key, list) in lists.as_object().unwrap() {
            let list = list.as_array().unwrap();
            assert_eq!(list.len(), prompt_tokens + 3, "{key}");
            assert_eq!(Value::from(list[..prompt_tokens].to_vec()), choice["logprobs"][key], "{key}");
        }
        assert_eq!(lists["text_offset"][prompt_tokens], text.chars().count());
    }
    assert_eq!(found[0], found[1]);
    assert_eq!((&found[0]["token_logprobs"][0], &found[0]["top_logprobs"][0]), (&Value::Null, &Value::Null));

    let server = tiny(Setup::default()).await;
    let ids = server.post("/tokenize", &json!({"content": text})).await.ok()["tokens"].clone();
    for place in [1, 4, 11] {
        let before = ids.as_array().unwrap()[..place].to_vec();
        let forced = json!({"max_tokens": 1, "logprobs": 2, "guided_choice": [found[0]["tokens"][place]]});
        let answer = server.post(COMPLETIONS, &with(completion(before), forced)).await.ok();
        let lists = &answer["choices"][0]["logprobs"];
        assert_eq!(lists["token_logprobs"][0], found[0]["token_logprobs"][place]);
        assert_eq!(lists["top_logprobs"][0], found[0]["top_logprobs"][place]);
    }
}

/// A chat request whose log-probabilities show every bit of the arithmetic.
fn scored(text: &str) -> Value {
    with(chat(text), json!({"max_tokens": 12, "ignore_eos": true, "logprobs": true, "top_logprobs": 20}))
}

/// The same request alone and among 44 others.
/// <https://github.com/vllm-project/vllm/issues/5898>, <https://github.com/vllm-project/vllm/issues/51187>
#[tokio::test(flavor = "multi_thread")]
async fn t30_an_answer_alone_is_the_answer_among_44_others() {
    let server = std::sync::Arc::new(tiny(Setup::default()).await);
    let (alone, _) = server.both(&scored("Hello")).await;
    let others: Vec<_> = (0..44)
        .map(|number: usize| {
            let server = std::sync::Arc::clone(&server);
            let text = "word ".repeat(1 + number % 7) + &number.to_string();
            tokio::spawn(async move { server.both(&scored(&text)).await })
        })
        .collect();
    let (among, _) = server.both(&scored("Hello")).await;
    assert_eq!(among["choices"], alone["choices"]);
    for other in others {
        other.await.unwrap();
    }
}

/// A prefix found in the cache changes neither the answer nor its scores.
/// <https://github.com/vllm-project/vllm/issues/40896>, <https://github.com/vllm-project/vllm/issues/5543>
#[tokio::test(flavor = "multi_thread")]
async fn t31_a_cached_prefix_changes_no_bit() {
    let engine = EngineConfig { prefix_cache: true, ..Setup::default().engine };
    let server = tiny(Setup { engine, ..Setup::default() }).await;
    let request = scored(&"all work and no play ".repeat(12));
    let cold = server.post(CHAT, &request).await.ok();
    // What is streamed is compared with what is not: both of these find the prefix.
    let (again, _) = server.both(&request).await;
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert_eq!(cached(&cold), 0);
    assert!(cached(&again) >= 64, "{}", again["usage"]);
    assert_eq!(again["choices"], cold["choices"]);
}

/// Every slice size and layer grouping gives the scores of one pass, to the bit.
/// <https://github.com/GeeeekExplorer/nano-vllm/issues/212>, <https://github.com/vllm-project/vllm/issues/26042>,
/// <https://github.com/huggingface/transformers/issues/43082>
#[tokio::test(flavor = "multi_thread")]
async fn t33_slices_and_layer_groups_change_no_bit() {
    let layered = |groups| Policy::Layered { group_tokens: 64, cohort_tokens: 4096, groups: Some(groups) };
    let request = scored(&"The quick brown fox jumps over the lazy dog. ".repeat(6));
    let mut first: Option<Value> = None;
    for policy in [
        Policy::Whole,
        Policy::Chunked { tokens: 1 },
        Policy::Chunked { tokens: 7 },
        Policy::Chunked { tokens: 64 },
        layered(1),
        layered(2),
        Policy::ADAPTIVE,
    ] {
        let engine = EngineConfig { policy, ..Setup::default().engine };
        let server = tiny(Setup { engine, ..Setup::default() }).await;
        let (answer, _) = server.both(&request).await;
        let first = first.get_or_insert_with(|| answer["choices"].clone());
        assert_eq!(&answer["choices"], first, "{policy:?}");
    }
}

/// A seed twice is the same answer; no seed twice is not.
/// <https://github.com/vllm-project/vllm/issues/11953>, <https://github.com/vllm-project/vllm/issues/6197>
#[tokio::test(flavor = "multi_thread")]
async fn t34_a_seed_repeats_and_no_seed_does_not() {
    let server = scripted().await;
    server.script.wants("letters", vec![Want::Any((b'a'..=b'z').map(u32::from).collect()); 32]);
    let text = async |fields, stream| {
        let request = with(with(chat("letters"), json!({"temperature": 1})), fields);
        match stream {
            true => deltas(&server.stream(CHAT, &request).await.chunks(), 0).concat(),
            false => {
                let answer = server.post(CHAT, &request).await.ok();
                answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
            }
        }
    };
    for seed in [0, 3, -3, i64::MAX] {
        let seeded = json!({"seed": seed});
        assert_eq!(text(seeded.clone(), false).await, text(seeded.clone(), false).await);
        assert_eq!(text(seeded.clone(), true).await, text(seeded, false).await);
    }
    for stream in [false, true] {
        assert_ne!(text(json!({"seed": 3}), stream).await, text(json!({"seed": 4}), stream).await);
        assert_ne!(text(json!({}), stream).await, text(json!({}), stream).await);
    }
}
