//! Endpoints beside completions.

use serde_json::{Value, json};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn text_becomes_tokens_and_tokens_text() {
    let server = scripted().await;
    let text = "The née 🙂<|im_end|>";
    for (special, last) in [(json!(null), "<|im_end|>"), (json!(false), ">")] {
        let request = json!({"model": "tiny", "content": text, "parse_special": special, "with_pieces": true});
        let answer = server.post("/tokenize", &request).await.ok();
        let tokens = answer["tokens"].as_array().unwrap();
        assert_eq!(answer["count"], tokens.len());
        assert_eq!(answer["max_model_len"], 2048);
        assert_eq!(answer["token_strs"].as_array().unwrap().last().unwrap(), last);
        let back = server.post("/detokenize", &json!({"tokens": tokens})).await.ok();
        assert_eq!(back, json!({"prompt": text, "content": text}));
    }
    let by_other_name = server.post("/tokenize", &json!({"prompt": "abc"})).await.ok();
    assert_eq!(by_other_name["tokens"], json!([97, 98, 99]));
    let chat_tokens = server.post("/tokenize", &chat("abc")).await.ok();
    let usage = server.post(CHAT, &chat("abc")).await.ok()["usage"]["prompt_tokens"].clone();
    assert_eq!(chat_tokens["count"], usage);
    for (path, body, param) in [
        ("/tokenize", json!({}), "content"),
        ("/tokenize", json!({"content": 5}), "content"),
        ("/detokenize", json!({}), "tokens"),
        ("/detokenize", json!({"tokens": [1_000_000]}), "tokens"),
        ("/detokenize", json!({"tokens": "x"}), "tokens"),
    ] {
        assert_eq!(server.post(path, &body).await.error(400)["param"], param, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_shows_its_prompt() {
    let server = start(Setup::template(QWEN)).await;
    let request = with(chat("a<|im_end|>b"), json!({"enable_thinking": false}));
    let answer = server.post("/apply-template", &request).await.ok();
    let expected = "<|im_start|>user\na<|im_end|>b<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
    assert_eq!(answer, json!({"prompt": expected}));
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let answer = server.post("/apply-template", &with(request, json!({"tools": tools}))).await.ok();
    assert!(answer["prompt"].as_str().unwrap().contains("{\"type\": \"function\", \"function\": {\"name\": \"f\"}}"));
    assert_eq!(server.post("/apply-template", &json!({"messages": []})).await.error(400)["param"], "messages");
    assert_eq!(server.post("/apply-template", &json!({"prompt": "x"})).await.error(400)["param"], Value::Null);
}
