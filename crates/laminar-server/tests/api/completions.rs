//! Plain completions.

use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_has_the_documented_shape() {
    let server = server();
    let answer = server.post(COMPLETIONS, &completion("Once")).await.ok();
    assert_eq!(answer["object"], "text_completion");
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    let choice = &answer["choices"][0];
    assert!(choice["text"].is_string());
    assert!(choice["logprobs"].is_null());
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(answer["usage"]["prompt_tokens"], 4);
    assert_eq!(answer["usage"]["completion_tokens"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn t25_each_prompt_of_a_list_has_its_own_choices() {
    let server = server();
    let text = |prompt: serde_json::Value| {
        let server = &server;
        async move {
            let answer = server.post(COMPLETIONS, &completion(prompt)).await.ok();
            answer["choices"][0]["text"].clone()
        }
    };
    let (first, second) = (text(json!("abc")).await, text(json!("xyz")).await);
    for prompts in [json!(["abc", "xyz"]), json!([[97, 98, 99], [120, 121, 122]])] {
        let request = with(completion(prompts), json!({"n": 2}));
        let answer = server.post(COMPLETIONS, &request).await.ok();
        let choices = answer["choices"].as_array().unwrap();
        let texts: Vec<_> = choices.iter().map(|choice| &choice["text"]).collect();
        assert_eq!(texts, [&first, &first, &second, &second]);
        for (index, choice) in choices.iter().enumerate() {
            assert_eq!(choice["index"], index);
        }
        // Each prompt counts once, whatever `n`.
        assert_eq!(answer["usage"]["prompt_tokens"], 6);
        assert_eq!(answer["usage"]["completion_tokens"], 32);
        let chunks = server.stream(COMPLETIONS, &request).await.chunks();
        assert_eq!(json!(completion_text(&chunks, 1)), first);
        assert_eq!(json!(completion_text(&chunks, 2)), second);
    }
    assert_eq!(text(json!([97, 98, 99])).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_puts_the_prompt_in_front() {
    let server = server();
    let plain = server.post(COMPLETIONS, &completion("Once")).await.ok();
    let expected = format!("Once{}", plain["choices"][0]["text"].as_str().unwrap());
    for prompt in [json!("Once"), json!([79, 110, 99, 101])] {
        let request = with(completion(prompt), json!({"echo": true}));
        let answer = server.post(COMPLETIONS, &request).await.ok();
        assert_eq!(answer["choices"][0]["text"], expected);
        let chunks = server.stream(COMPLETIONS, &request).await.chunks();
        assert_eq!(completion_text(&chunks, 0), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t28_legacy_logprobs_are_filled() {
    let server = server();
    for asked in [0, 1, 3] {
        let request = with(completion("Once"), json!({"logprobs": asked}));
        let answer = server.post(COMPLETIONS, &request).await.ok();
        let scores = &answer["choices"][0]["logprobs"];
        for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(scores[key].as_array().map(Vec::len), Some(8), "{key} in {scores}");
        }
        assert_eq!(scores["text_offset"][0], 0);
        for place in 0..8 {
            let top = scores["top_logprobs"][place].as_object().unwrap();
            let token = scores["tokens"][place].as_str().unwrap();
            assert_eq!(top[token], scores["token_logprobs"][place]);
            assert!(top.len() <= asked.max(1));
        }
        let chunks = server.stream(COMPLETIONS, &request).await.chunks();
        let offsets: Vec<_> = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["logprobs"]["text_offset"].as_array())
            .flatten()
            .cloned()
            .collect();
        assert_eq!(json!(offsets), scores["text_offset"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t29_no_tokens_with_echo_is_the_prompt_alone() {
    let server = server();
    let request = with(completion("Once"), json!({"max_tokens": 0, "echo": true}));
    let answer = server.post(COMPLETIONS, &request).await.ok();
    assert_eq!(answer["choices"][0]["text"], "Once");
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    assert_eq!(answer["usage"]["prompt_tokens"], 4);
    let chunks = server.stream(COMPLETIONS, &request).await.chunks();
    assert_eq!(completion_text(&chunks, 0), "Once");
    assert_eq!(finishes(&chunks, 0), ["length"]);
    // With the scores of its tokens, if they are asked for.
    let scored = server.post(COMPLETIONS, &with(request, json!({"logprobs": 1}))).await.ok();
    let choice = &scored["choices"][0];
    assert_eq!((&choice["text"], &scored["usage"]), (&json!("Once"), &answer["usage"]));
    assert_eq!(choice["logprobs"]["tokens"], json!(["O", "n", "c", "e"]));
    assert_eq!(choice["logprobs"]["text_offset"], json!([0, 1, 2, 3]));
}
