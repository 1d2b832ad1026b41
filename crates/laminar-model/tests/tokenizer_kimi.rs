//! Kimi's folders: ids against tiktoken's on a page of hard text (`tools/reference/tiktoken_fixtures.py` records them).

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use laminar_kernels::Pool;
use laminar_model::checkpoint::Checkpoint;
use laminar_model::tokenizer::{EncodeOptions, Tokenizer};
use laminar_model::{KvType, LoadOptions, Model};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// DeepSeek V3's weights under the name that Kimi's folders have for the same layers, with this `tokenizer_config.json`.
fn folder(name: &str, config: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kimi-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    let json = std::fs::read_to_string(fixture("deepseek_v3/config.json")).unwrap();
    std::fs::write(path.join("config.json"), json.replace("\"deepseek_v3\"", "\"kimi_k2\"")).unwrap();
    for file in ["deepseek_v3/model.safetensors", "kimi_tokenizer/tiktoken.model"] {
        std::fs::copy(fixture(file), path.join(file.split_once('/').unwrap().1)).unwrap();
    }
    std::fs::write(path.join("tokenizer_config.json"), config).unwrap();
    std::fs::write(path.join("generation_config.json"), "{\"eos_token_id\": 658}").unwrap();
    path
}

fn config() -> String {
    std::fs::read_to_string(fixture("kimi_tokenizer/tokenizer_config.json")).unwrap()
}

#[test]
fn ids_are_those_of_tiktoken() {
    let expected: Value = serde_json::from_slice(&std::fs::read(fixture("kimi_tokenizer/ids.json")).unwrap()).unwrap();
    let path = folder("ids", &config());
    let tokenizer = Tokenizer::from_checkpoint(&Checkpoint::open(&path).unwrap()).unwrap();
    std::fs::remove_dir_all(path).unwrap();
    assert_eq!(tokenizer.vocab_size(), 256 + 400 + 256);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(656), Some(657), false));
    // What `config.json`, `tokenizer_config.json` and `generation_config.json` (`<|im_end|>`) name.
    assert_eq!(tokenizer.stop_ids(), [2, 657, 658]);
    assert!(tokenizer.is_control(658) && !tokenizer.is_control(661));
    let texts = expected["texts"].as_array().unwrap();
    assert!(texts.len() > 40);
    for (index, text) in texts.iter().enumerate() {
        let text = text.as_str().unwrap();
        for (kind, parse_special) in [("plain", false), ("parsed", true)] {
            let theirs: Vec<u32> = serde_json::from_value(expected[kind][index].clone()).unwrap();
            let ours = tokenizer.encode(text, EncodeOptions { add_special: true, parse_special }).unwrap();
            assert_eq!(ours, theirs, "{kind} {text:?}");
            assert_eq!(tokenizer.decode(&ours, false), text, "{kind} {text:?}");
        }
    }
}

#[test]
fn words_of_other_programs_are_not_guessed() {
    let path = folder("other", &config().replace("tokenization_kimi", "tokenization_other"));
    let error = Tokenizer::from_checkpoint(&Checkpoint::open(&path).unwrap()).unwrap_err().to_string();
    std::fs::remove_dir_all(path).unwrap();
    assert!(error.contains("tiktoken.model") && error.contains("Kimi"), "{error}");
}

#[test]
fn kimi_has_the_layers_of_deepseek_v3() {
    let pool = Pool::new(1);
    let path = folder("layers", &config());
    let logits = |path: &Path| {
        let options = LoadOptions { kv: KvType::F32, context: Some(32), ..LoadOptions::default() };
        let model = Model::load(&Checkpoint::open(path).unwrap(), &pool, &options).unwrap();
        common::Sequence::new(&model, &pool, 32, KvType::F32).feed(&[5, 17, 80, 3, 9])
    };
    let (kimi, deepseek) = (logits(&path), logits(&fixture("deepseek_v3")));
    std::fs::remove_dir_all(path).unwrap();
    assert!(kimi == deepseek);
}
