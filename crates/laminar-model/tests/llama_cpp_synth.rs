//! Tiny synthetic models of every architecture against llama.cpp, whose greedy tokens were recorded on the same files.
//!
//! References come from `tools/reference/synth_reference.py`, which has llama.cpp load what `laminar synth` writes: so
//! the names and keys of the files are checked as well as the results. Steps at which llama.cpp's first two choices are
//! nearer to each other than its own half-precision cache is exact are fed, but not compared.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{agrees_where_clear, real_model};
use laminar_kernels::{Pool, WeightType};
use laminar_model::arch::FAMILIES;
use laminar_model::checkpoint::{Checkpoint, Gguf};
use laminar_model::synth::{Preset, SynthOptions, to_vec};
use laminar_model::{LoadOptions, Model};
use serde::Deserialize;

const GAP: f32 = 0.02;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    preset: String,
    context: usize,
    prompt_ids: Vec<u32>,
    generated_ids: Vec<u32>,
    gaps: Vec<f32>,
}

#[test]
fn synthetic_models_agree_with_llama_cpp() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama_cpp_synth.json");
    let reference: Reference = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    // The program takes the tokenizer of the model that it embeds, so the vocabularies are of its size.
    let Some(donor) = real_model("laminar-tiny.gguf") else { return };
    let donor = Gguf::open(&donor).unwrap();
    let pool = Pool::new(2);
    // A real model stands for the first, in `llama_cpp_parity.rs`, and folders for the others, in `convert.rs`.
    let elsewhere = ["gemma3", "gemma3n", "gemma4", "qwen2vl", "qwen3vl"];
    let mut architectures = elsewhere.map(str::to_owned).to_vec();
    for case in &reference.cases {
        let preset: Preset = case.preset.parse().unwrap();
        let options = SynthOptions { quant: WeightType::F32, ..SynthOptions::new(preset) };
        let file = Gguf::from_vec(to_vec(&options, donor.metadata()).unwrap()).unwrap();
        let name = file.metadata().require_str("general.architecture").unwrap().to_owned();
        let load = LoadOptions { context: Some(case.context), ..LoadOptions::default() };
        let model = Model::load(&Checkpoint::Gguf(file), &pool, &load).unwrap();
        let label = format!("{} ({})", case.preset, case.context);
        let Case { prompt_ids, generated_ids, gaps, .. } = case;
        let compared = agrees_where_clear(&model, &pool, prompt_ids, generated_ids, gaps, GAP, &label);
        assert!(compared * 2 > case.gaps.len(), "{}: too few clear steps", case.preset);
        architectures.push(name);
    }
    for family in FAMILIES.iter().filter(|family| family.checked_against.contains(&"llama.cpp")) {
        let architecture = family.gguf_architecture;
        assert!(architectures.iter().any(|name| name == architecture), "no reference for {architecture}");
    }
}
