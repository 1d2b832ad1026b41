//! Embeddings.

use laminar_model::StatedPooling;
use serde_json::{Value, json};

use crate::support::*;

const EMBEDDINGS: &str = "/v1/embeddings";

fn decode(text: &str) -> Vec<f32> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for c in text.bytes().filter(|c| *c != b'=') {
        bits = bits << 6 | u32::from(digit(c));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 255) as u8);
        }
    }
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

/// The official clients ask for base64 of little-endian 32-bit floats.
/// <https://github.com/sgl-project/sglang/pull/28803>, <https://github.com/openai/openai-node/pull/2150>,
/// <https://github.com/huggingface/text-embeddings-inference/issues/288>
#[tokio::test(flavor = "multi_thread")]
async fn t40_base64_holds_the_same_vectors_as_floats() {
    let server = tiny(Setup::default()).await;
    let request = json!({"model": "tiny", "input": ["Hello", "world", "Hello"]});
    let whole = server.post(EMBEDDINGS, &request).await.ok();
    assert_eq!(whole["object"], "list");
    assert_eq!(whole["usage"], json!({"prompt_tokens": 12, "total_tokens": 12}));
    let encoded = server.post(EMBEDDINGS, &with(request, json!({"encoding_format": "base64"}))).await.ok();
    for index in 0..3 {
        let (plain, coded) = (&whole["data"][index], &encoded["data"][index]);
        assert_eq!((&plain["object"], &plain["index"]), (&json!("embedding"), &json!(index)));
        let vector = floats(&plain["embedding"]);
        assert_eq!(decode(coded["embedding"].as_str().unwrap()), vector);
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    assert_eq!(whole["data"][0]["embedding"], whole["data"][2]["embedding"]);
    assert_ne!(whole["data"][0]["embedding"], whole["data"][1]["embedding"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_have_options_and_refuse_what_is_wrong() {
    let server = tiny(Setup::default()).await;
    let vector = async |fields: Value| {
        let answer = server.post(EMBEDDINGS, &with(json!({"input": "Hello"}), fields)).await.ok();
        floats(&answer["data"][0]["embedding"])
    };
    let plain = vector(json!({})).await;
    assert_eq!(vector(json!({"input": [72, 101, 108, 108, 111]})).await.len(), plain.len());
    assert_eq!(vector(json!({"dimensions": 8})).await.len(), 8);
    assert_ne!(vector(json!({"pooling": "mean"})).await, plain);
    assert_eq!(vector(json!({"pooling": "last"})).await, plain);
    let ggem = vector(json!({"pooling": "ggem"})).await;
    assert_eq!(vector(json!({"pooling": "ggem", "powers": [3.0]})).await, ggem);
    assert_ne!(vector(json!({"pooling": "ggem", "powers": [3.0, 1.0]})).await, ggem);
    for (fields, param) in [
        (json!({"input": ""}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": [1, "a"]}), "input[1]"),
        (json!({"input": vec!["a"; 1000]}), "input"),
        (json!({"input": "x".repeat(3000)}), "input"),
        (json!({"dimensions": 100_000}), "dimensions"),
        (json!({"encoding_format": "hex"}), "encoding_format"),
        (json!({"pooling": "sum"}), "pooling"),
        (json!({"powers": [1.0]}), "powers"),
        (json!({"pooling": "ggem", "powers": []}), "powers"),
        (json!({"pooling": "ggem", "powers": [0.0]}), "powers"),
        (json!({"pooling": "ggem", "powers": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]}), "powers"),
        (json!({"model": "other"}), "model"),
    ] {
        let answer = server.post(EMBEDDINGS, &with(json!({"input": "Hello"}), fields)).await;
        assert_eq!(answer.error(if param == "model" { 404 } else { 400 })["param"], param);
    }
}

/// The model's own pooling holds unless a request names another; one that is not computed is no silent `last`.
#[tokio::test(flavor = "multi_thread")]
async fn the_model_says_how_its_vectors_are_pooled() {
    let vector = async |server: &Server, fields: Value| {
        let answer = server.post(EMBEDDINGS, &with(json!({"input": "Hello"}), fields)).await.ok();
        floats(&answer["data"][0]["embedding"])
    };
    let stating = async |pooling| {
        let mut setup = Setup::default();
        setup.server.pooling = pooling;
        tiny(setup).await
    };
    let unstated = stating(None).await;
    for (stated, name) in [(StatedPooling::Last, "last"), (StatedPooling::Mean, "mean"), (StatedPooling::Cls, "cls")] {
        let server = stating(Some(stated)).await;
        assert_eq!(vector(&server, json!({})).await, vector(&unstated, json!({"pooling": name})).await, "{name}");
        assert_eq!(
            vector(&server, json!({"pooling": "mean"})).await,
            vector(&unstated, json!({"pooling": "mean"})).await
        );
    }
    let other = stating(Some(StatedPooling::Unsupported("pools by magic".to_owned()))).await;
    let error = other.post(EMBEDDINGS, &json!({"input": "Hello"})).await.error(400);
    assert_eq!(error["param"], "pooling");
    assert!(error["message"].as_str().unwrap().contains("magic"), "{error}");
    vector(&other, json!({"pooling": "last"})).await;
}
