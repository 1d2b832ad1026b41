//! Real models against llama.cpp under teacher forcing: wherever llama.cpp's first choice leads its second by more than
//! 0.3 (in log-probability), ours must be the same. Smaller gaps are near ties that 8-bit activations may turn.
//!
//! References come from `tools/reference/llama_reference.py`; models from `tools/models/fetch.py`.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{agrees_where_clear, real_model};
use laminar_kernels::Pool;
use laminar_model::checkpoint::Checkpoint;
use laminar_model::{LoadOptions, Model};
use serde::Deserialize;

const GAP: f32 = 0.3;

#[derive(Deserialize)]
struct Reference {
    model: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    prompt_ids: Vec<u32>,
    generated_ids: Vec<u32>,
    gaps: Vec<f32>,
}

fn check(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama_cpp").join(file);
    let reference: Reference = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let Some(model_path) = real_model(&reference.model) else { return };
    let pool = Pool::new(2);
    let model = Model::load(&Checkpoint::open(&model_path).unwrap(), &pool, &LoadOptions::default()).unwrap();
    for case in &reference.cases {
        let Case { name, prompt_ids, generated_ids, gaps } = case;
        let compared = agrees_where_clear(&model, &pool, prompt_ids, generated_ids, gaps, GAP, name);
        assert!(compared * 3 > case.gaps.len(), "{}: too few clear steps", case.name);
    }
}

#[test]
fn smollm2_agrees_with_llama_cpp() {
    check("smollm2.json");
}

#[test]
fn gemma3_270m_agrees_with_llama_cpp() {
    check("gemma3-270m.json");
}

#[test]
fn the_embedded_model_agrees_with_llama_cpp() {
    check("laminar-tiny.json");
}
