//! `laminar quantize` writes files that the other commands open, and `laminar perplexity` judges them.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{Folder, finish, laminar};

const TEXT: &str = "The river rises in the mountains and flows through three countries before it reaches the sea. ";

/// A tiny model in full precision.
fn original(folder: &Folder) -> String {
    let path = folder.join("original.gguf").to_str().unwrap().to_owned();
    let written =
        finish(laminar().args(["synth", "--preset", "tiny-dense", "--quant", "f32", "--seed", "3", "--out", &path]));
    assert_eq!(written.code, 0, "{}", written.stderr);
    path
}

#[test]
fn a_file_gets_another_type_and_still_answers() {
    let folder = Folder::new();
    let original = original(&folder);
    let out = folder.join("small.gguf").to_str().unwrap().to_owned();
    let report = finish(laminar().args(["quantize", &original, &out, "--type", "q8_0", "--json"])).json();
    assert_eq!((report["type"].as_str(), report["architecture"].as_str()), (Some("q8_0"), Some("llama")));
    assert_eq!(report["bytes"].as_u64(), Some(std::fs::metadata(&out).unwrap().len()));
    assert!(std::fs::metadata(&original).unwrap().len() > 3 * std::fs::metadata(&out).unwrap().len());
    let types = finish(laminar().args(["inspect", &out, "--json"])).json();
    assert!(types["by_type"]["Q8_0"]["tensors"].as_u64().unwrap() > 0, "{types}");
    let answer = |model: &str| {
        let run = ["run", "--model", model, "--json", "--max-tokens", "4", "--ignore-eos", "--raw", "The river"];
        finish(laminar().args(run)).json()["token_ids"].as_array().unwrap().len()
    };
    assert_eq!((answer(&original), answer(&out)), (4, 4));
    // The last file was complete before it got its name.
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_hugging_face_folder_becomes_a_file_that_can_be_run() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../laminar-model/tests/fixtures/qwen3_moe_bf16");
    let folder = Folder::new();
    let out = folder.join("folder.gguf").to_str().unwrap().to_owned();
    let made = finish(laminar().args(["quantize", fixture.to_str().unwrap(), &out, "-t", "F32"]));
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stderr.contains("qwen3moe") && made.stdout.is_empty(), "{}", made.stderr);
    let answer = |model: &str| {
        let run = ["run", "--model", model, "--json", "--max-tokens", "8", "--ignore-eos", "the layers"];
        finish(laminar().args(run)).json()
    };
    let (from_folder, from_file) = (answer(fixture.to_str().unwrap()), answer(&out));
    // The chat template went along: the prompts are the same tokens.
    assert_eq!(from_folder["prompt_token_ids"], from_file["prompt_token_ids"]);
    assert_eq!(from_folder["token_ids"], from_file["token_ids"]);
}

#[test]
fn what_is_there_is_only_replaced_when_asked() {
    let folder = Folder::new();
    let original = original(&folder);
    let out = folder.write("there.gguf", "something else");
    let quantize = |more: &[&str]| finish(laminar().args(["quantize", &original, &out, "--type", "q4_0"]).args(more));
    quantize(&[]).refused(&["there.gguf", "--force"]);
    assert_eq!(std::fs::read(&out).unwrap(), b"something else");
    let done = quantize(&["--force"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(finish(laminar().args(["inspect", &out, "--json"])).json()["architecture"], "llama");
}

#[test]
fn bad_flags_are_refused_before_any_work() {
    let folder = Folder::new();
    let original = original(&folder);
    let out = folder.join("new.gguf").to_str().unwrap().to_owned();
    finish(laminar().args(["quantize", &original, &out, "--type", "q3_k"])).refused(&["q3_k", "q4_k_m"]);
    let nowhere = folder.join("no/such/new.gguf").to_str().unwrap().to_owned();
    finish(laminar().args(["quantize", &original, &nowhere, "--type", "q8_0"])).refused(&["no folder"]);
    finish(laminar().args(["quantize", "./no-such-model.gguf", &out, "--type", "q8_0"])).refused(&["no-such-model"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn perplexity_scores_the_second_half_of_each_chunk() {
    let folder = Folder::new();
    let original = original(&folder);
    let text = folder.write("text.txt", TEXT.repeat(12));
    let score = |more: &[&str]| {
        let run = ["perplexity", "--model", &original, "--file", &text, "--json", "--context", "64"];
        finish(laminar().args(run).args(more)).json()
    };
    let all = score(&[]);
    let (tokens, chunks) = (all["tokens"].as_u64().unwrap(), all["chunks"].as_u64().unwrap());
    assert_eq!(chunks, tokens / 64);
    // Of 64 tokens the first 32 and what the last one predicts are not scored.
    assert_eq!(all["scored_tokens"].as_u64(), Some(chunks * 31));
    let perplexity = all["perplexity"].as_f64().unwrap();
    assert!((all["mean_nll"].as_f64().unwrap().exp() / perplexity - 1.0).abs() < 1e-9);
    assert!(perplexity > 1.0 && all["perplexity_error"].as_f64().unwrap() > 0.0);
    assert_eq!(score(&["--chunks", "1"])["scored_tokens"], 31);
    // The number of threads changes no bit of a logit.
    assert_eq!(score(&["--threads", "1"])["perplexity"], all["perplexity"]);

    let refuse =
        |more: &[&str]| finish(laminar().args(["perplexity", "--model", &original, "--file", &text]).args(more));
    refuse(&["--context", "2"]).refused(&["--context 2"]);
    refuse(&["--context", "4000"]).refused(&["do not fill a chunk"]);
    finish(laminar().args(["perplexity", "--file", "./no-such-text"])).refused(&["no-such-text"]);
    let bytes = folder.write("bytes", [0xff, 0xfe]);
    finish(laminar().args(["perplexity", "--file", &bytes])).refused(&["UTF-8"]);
}
