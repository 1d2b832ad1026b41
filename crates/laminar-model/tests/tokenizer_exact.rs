//! Ids against llama.cpp on a page of hard text (`tools/reference/tokenizer_fixtures.py` records them).
//!
//! The vocabularies are inside real models, which `tools/models` fetches into `target/models`
//! (or `$LAMINAR_TEST_MODELS`); without them these tests say so and pass.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use laminar_model::checkpoint::Gguf;
use laminar_model::tokenizer::{EncodeOptions, StreamDecoder, Tokenizer};
use serde_json::Value;

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };
const PARSED: EncodeOptions = EncodeOptions { add_special: false, parse_special: true };

fn model(file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("LAMINAR_TEST_MODELS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models"), PathBuf::from);
    let path = folder.join(file);
    if path.is_file() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// What of a text can come back: a SentencePiece vocabulary cannot tell its space mark from a space.
fn returning(name: &str, text: &str) -> String {
    match name {
        "gemma3" => text.replace('\u{2581}', " "),
        _ => text.to_owned(),
    }
}

/// Texts whose ids differ from llama.cpp on purpose, with the reason at the caller.
fn check(name: &str, on_purpose: &[&str]) -> Option<(Tokenizer, Value)> {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/tokenizer_ids.json")).unwrap();
    let expected = &fixture[name];
    let path = model(expected["file"].as_str().unwrap())?;
    let file = Gguf::open(&path).unwrap();
    let tokenizer = Tokenizer::from_gguf(file.metadata()).unwrap();
    assert_eq!(tokenizer.vocab_size() as u64, expected["vocab_size"]);
    assert_eq!(tokenizer.bos().map(u64::from), expected["bos"].as_u64());
    assert_eq!(tokenizer.eos().map(u64::from), expected["eos"].as_u64());
    tokenizer.check_vocab(tokenizer.vocab_size()).unwrap();
    tokenizer.check_vocab(tokenizer.vocab_size() + 1).unwrap_err();
    let with_special = EncodeOptions { add_special: true, parse_special: true };
    assert_eq!(tokenizer.encode("Hello world", with_special).unwrap(), ids(&expected["with_special"]));
    let mut wrong = Vec::new();
    for (index, text) in fixture["texts"].as_array().unwrap().iter().enumerate() {
        let text = text.as_str().unwrap();
        for (kind, options) in [("plain", PLAIN), ("parsed", PARSED)] {
            let ours = tokenizer.encode(text, options).unwrap();
            let theirs = ids(&expected[kind][index]);
            if ours != theirs && !on_purpose.contains(&text) {
                wrong.push(format!("{kind} {text:?}\n  ours   {ours:?}\n  theirs {theirs:?}"));
            }
            if kind == "plain" {
                assert_eq!(tokenizer.decode(&ours, true), returning(name, text));
                assert!(!ours.iter().any(|&id| tokenizer.is_control(id)), "{text:?}");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Some((tokenizer, expected.clone()))
}

/// Whole text and streamed text are the same, and no delta cuts a character.
fn check_stream(name: &str, tokenizer: Tokenizer) {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/tokenizer_ids.json")).unwrap();
    let tokenizer = Arc::new(tokenizer);
    for text in fixture["texts"].as_array().unwrap() {
        let text = text.as_str().unwrap();
        let ids = tokenizer.encode(text, PLAIN).unwrap();
        let mut stream = StreamDecoder::new(Arc::clone(&tokenizer));
        let mut streamed = String::new();
        for id in ids {
            let delta = stream.push(id);
            assert!(!delta.contains(char::REPLACEMENT_CHARACTER));
            streamed.push_str(&delta);
        }
        assert_eq!(stream.finish(), "");
        assert_eq!(streamed, returning(name, text));
    }
}

#[test]
fn smollm2_ids_are_those_of_llama_cpp() {
    let Some((tokenizer, expected)) = check("smollm2", &[]) else {
        return;
    };
    assert_eq!(tokenizer.stop_ids(), ids(&expected["stop_ids"]));
    assert!(tokenizer.chat_template().unwrap().contains("<|im_start|>"));
    check_stream("smollm2", tokenizer);
}

#[test]
fn gemma3_ids_are_those_of_llama_cpp() {
    // llama.cpp takes `</s>` for an end marker of any vocabulary; in this one it is an HTML tag (struck-out text) that
    // SentencePiece always makes one token.
    let tags = "<bos><eos><pad><unk> <s> </s> <mask> [INST] <|im_end <|im_end|";
    let Some((tokenizer, expected)) = check("gemma3", &[tags]) else {
        return;
    };
    let mut theirs = ids(&expected["stop_ids"]);
    theirs.retain(|&id| tokenizer.token_text(id) != "</s>");
    assert_eq!(tokenizer.stop_ids(), theirs);
    check_stream("gemma3", tokenizer);
}

/// llama.cpp's own test vocabularies: `ggml-vocab-X.gguf` with texts in `.inp` and ids in `.out`. Set
/// `LAMINAR_LLAMA_CPP_VOCABS` to the folder `models` of its sources to run this.
#[test]
fn vocabularies_of_llama_cpp_give_their_recorded_ids() {
    let Some(folder) = std::env::var_os("LAMINAR_LLAMA_CPP_VOCABS") else {
        println!("skipped: LAMINAR_LLAMA_CPP_VOCABS is not set");
        return;
    };
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let with = |extra: &str| std::fs::read_to_string(format!("{}{extra}", path.display()));
        let (Ok(texts), Ok(expected)) = (with(".inp"), with(".out")) else {
            continue;
        };
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file = Gguf::open(&path).unwrap();
        let tokenizer = match Tokenizer::from_gguf(file.metadata()) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                println!("{name}: {error}");
                continue;
            }
        };
        let (mut right, mut count) = (0, 0);
        let texts = texts.split("\n__ggml_vocab_test__\n");
        for (text, line) in texts.zip(expected.lines()) {
            let theirs: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
            count += 1;
            match tokenizer.encode(text, PLAIN) {
                Ok(ours) if ours == theirs => right += 1,
                ours => wrong.push(format!("{name} {text:?}\n  ours   {ours:?}\n  theirs {theirs:?}")),
            }
        }
        println!("{name}: {right} of {count}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
