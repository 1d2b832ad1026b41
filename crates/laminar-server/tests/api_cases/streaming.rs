//! Text and streaming.

use serde_json::{Value, json};

use crate::script::Want;
use crate::support::*;

/// Tokens that split a 4-byte emoji or a CJK character: no U+FFFD, the character arrives whole in one delta.
/// <https://github.com/mlc-ai/mlc-llm/pull/1142>, <https://github.com/triton-inference-server/server/issues/8039>,
/// <https://github.com/penta2himajin/qwisp/pull/134>
#[tokio::test(flavor = "multi_thread")]
async fn t01_characters_split_over_tokens_arrive_whole() {
    let server = scripted().await;
    let emoji: [&[u8]; 4] = [b"a", b"\xf0\x9f", b"\x99\x82", b"b"];
    server.script.pieces("emoji", &emoji);
    server.script.pieces("cjk", &[b"\xe6\x97".as_slice(), b"\xa5\xe6", b"\x9c", b"\xac"]);
    server.script.bytes("bytes", "né🙂日本語");
    for (mark, deltas_expected) in
        [("emoji", vec!["a", "🙂", "b"]), ("cjk", vec!["日", "本"]), ("bytes", vec!["n", "é", "🙂", "日", "本", "語"])]
    {
        let (whole, chunks) = server.both(&chat(mark)).await;
        assert_eq!(whole["choices"][0]["message"]["content"], deltas_expected.concat());
        let pieces: Vec<&str> = deltas(&chunks, 0).into_iter().filter(|piece| !piece.is_empty()).collect();
        assert_eq!(pieces, deltas_expected);
    }
}

/// A character that the length limit cuts off is left out rather than shown as U+FFFD, streamed or not.
#[tokio::test(flavor = "multi_thread")]
async fn t01_a_character_that_never_becomes_whole_is_not_shown() {
    let server = scripted().await;
    server.script.bytes("emoji", "a🙂");
    let (whole, _) = server.both(&with(chat("emoji"), json!({"max_tokens": 3}))).await;
    assert_eq!(whole["choices"][0]["message"]["content"], "a");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
}

/// A stop string over several tokens: none of it is ever sent.
/// <https://github.com/vllm-project/vllm/issues/3574>,
/// <https://github.com/huggingface/text-generation-inference/issues/1254>,
/// <https://github.com/mzau/mlx-knife/issues/68>
#[tokio::test(flavor = "multi_thread")]
async fn t03_no_part_of_a_stop_string_is_sent() {
    let server = scripted().await;
    server.script.pieces("alone", &["DEF", "G", "HI", "J", "x"]);
    server.script.pieces("behind", &["ABC", "DEF", "G", "HI", "J", "x"]);
    server.script.pieces("inside", &["C", "DEF", "G", "HI", "J", "x"]);
    for (mark, stop, text) in [
        ("alone", json!(["DEFGHIJ"]), ""),
        ("behind", json!(["DEFGHIJ"]), "ABC"),
        ("behind", json!("CDE"), "AB"),
        ("inside", json!(["never", "EFGH", "GHIJ"]), "CD"),
    ] {
        let (whole, chunks) = server.both(&with(chat(mark), json!({"stop": stop}))).await;
        assert_eq!(whole["choices"][0]["message"]["content"], text, "{mark} {stop}");
        assert_eq!(whole["choices"][0]["finish_reason"], "stop");
        assert_eq!(deltas(&chunks, 0).concat(), text);
        let answer = server.both_texts(&with(completion(mark), json!({"stop": stop}))).await;
        assert_eq!(answer["choices"][0]["text"], text);
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    }
}

/// The answer ends in a beginning of the stop string: the text that was held back is flushed.
/// <https://github.com/ggml-org/llama.cpp/pull/9867>, <https://github.com/LostRuins/koboldcpp/pull/1031>
#[tokio::test(flavor = "multi_thread")]
async fn t04_text_held_back_is_flushed_at_the_end() {
    let server = scripted().await;
    server.script.pieces("ends", &["ABC", "DEF", "G"]);
    server.script.pieces("goes on", &["ABC", "DEF", "G", "HI"]);
    for (mark, fields, reason) in [("ends", json!({}), "stop"), ("goes on", json!({"max_tokens": 3}), "length")] {
        let request = with(with(chat(mark), json!({"stop": ["DEFGHIJ"]})), fields.clone());
        let (whole, _) = server.both(&request).await;
        assert_eq!(whole["choices"][0]["message"]["content"], "ABCDEFG", "{mark}");
        assert_eq!(whole["choices"][0]["finish_reason"], reason, "{mark}");
        let request = with(with(completion(mark), json!({"stop": ["DEFGHIJ"]})), fields);
        assert_eq!(server.both_texts(&request).await["choices"][0]["text"], "ABCDEFG", "{mark}");
    }
}

/// Usage is null until a last chunk without choices, and absent without the option.
/// <https://github.com/ggml-org/llama.cpp/pull/15444>,
/// <https://github.com/huggingface/text-generation-inference/pull/3003>
#[tokio::test(flavor = "multi_thread")]
async fn t06_usage_comes_in_one_last_chunk_if_asked_for() {
    let server = scripted().await;
    server.script.bytes("mark", "abc");
    for (path, request) in [(CHAT, chat("mark")), (COMPLETIONS, completion("mark"))] {
        let whole = server.post(path, &request).await.ok();
        assert_eq!(whole["usage"]["completion_tokens"], 4);
        let asked = with(request.clone(), json!({"stream_options": {"include_usage": true}}));
        let chunks = server.stream(path, &asked).await.chunks();
        let (last, rest) = chunks.split_last().unwrap();
        assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
        assert!(rest.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
        for options in [json!(null), json!({}), json!({"include_usage": false})] {
            let asked = with(request.clone(), json!({"stream_options": options}));
            let chunks = server.stream(path, &asked).await.chunks();
            assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none() && chunk["choices"] != json!([])));
        }
    }
}

/// An error before the first token is plain HTTP, also for a stream.
/// <https://github.com/ggml-org/llama.cpp/issues/14566>, <https://github.com/vllm-project/vllm/pull/40986>
#[tokio::test(flavor = "multi_thread")]
async fn t07_an_error_before_the_first_token_is_plain_http() {
    let server = scripted().await;
    server.script.wants("broken", vec![Want::Failure]);
    let long = "x".repeat(3000);
    for (path, request, status, code) in [
        (CHAT, chat(&long), 400, json!("context_length_exceeded")),
        (COMPLETIONS, completion(long.as_str()), 400, json!("context_length_exceeded")),
        (CHAT, with(chat("x"), json!({"temperature": 3})), 400, Value::Null),
        (CHAT, with(chat("x"), json!({"messages": []})), 400, Value::Null),
        (CHAT, with(chat("x"), json!({"model": "other"})), 404, json!("model_not_found")),
        (CHAT, chat("broken"), 500, json!("internal_error")),
        (COMPLETIONS, completion("broken"), 500, json!("internal_error")),
    ] {
        assert_eq!(server.stream(path, &request).await.error(status)["code"], code);
        assert_eq!(server.post(path, &request).await.error(status)["code"], code);
    }
}

/// An error after tokens were sent is one event, and the stream closes; `n: 0` is refused.
/// <https://github.com/EricLBuehler/mistral.rs/issues/1874>, <https://github.com/vllm-project/vllm/issues/52852>,
/// <https://github.com/waybarrios/vllm-mlx/issues/101>
#[tokio::test(flavor = "multi_thread")]
async fn t08_an_error_after_tokens_is_one_event_and_the_end() {
    let server = scripted().await;
    let token = |text: &str| Want::Token(server.script.token(text));
    server.script.wants("breaks", vec![token("a"), token("b"), Want::Failure]);
    for (path, request) in [(CHAT, chat("breaks")), (COMPLETIONS, completion("breaks"))] {
        let chunks = server.stream(path, &request).await.chunks();
        let (last, rest) = chunks.split_last().unwrap();
        assert_eq!(last["error"]["type"], "server_error", "{last}");
        assert!(rest.iter().all(|chunk| chunk.get("error").is_none()));
        assert!(rest.iter().any(|chunk| chunk.to_string().contains("\"b\"")));
        server.post(path, &request).await.error(500);
        for n in [0, -1] {
            let error = server.stream(path, &with(request.clone(), json!({"n": n}))).await.error(400);
            assert_eq!(error["param"], "n");
        }
    }
    server.until_idle().await;
}

/// Several choices: each chunk has its index, each choice its own end; the prompt counts once.
/// <https://github.com/BerriAI/litellm/issues/3276>, <https://github.com/InternLM/lmdeploy/pull/4841>,
/// <https://github.com/lvyufeng/PocketLLM/pull/246>
#[tokio::test(flavor = "multi_thread")]
async fn t09_several_choices_interleave_differ_and_count_the_prompt_once() {
    let server = scripted().await;
    let letters = Want::Any((b'a'..=b'z').map(u32::from).collect());
    server.script.wants("letters", vec![letters; 24]);
    let request = with(chat("letters"), json!({"n": 3, "temperature": 1, "seed": 9}));
    let (whole, chunks) = server.both(&request).await;
    let texts: Vec<&Value> = (0..3).map(|index| &whole["choices"][index]["message"]["content"]).collect();
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2], "{texts:?}");
    let order: Vec<u64> = chunks.iter().map(|chunk| chunk["choices"][0]["index"].as_u64().unwrap()).skip(3).collect();
    assert!(order.windows(2).filter(|pair| pair[0] != pair[1]).count() > 20, "{order:?}");
    let one = server.post(CHAT, &with(request, json!({"n": 1}))).await.ok();
    assert_eq!(&one["choices"][0]["message"]["content"], texts[0]);
    assert_eq!(whole["usage"]["prompt_tokens"], one["usage"]["prompt_tokens"]);
    assert_eq!(whole["usage"]["completion_tokens"], 3 * 25);
}
