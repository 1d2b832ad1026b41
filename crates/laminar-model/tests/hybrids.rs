//! Models with recurrent layers as GGUF files: they answer as the folders they were made of, and as llama.cpp does.
//!
//! Files and references come from `tools/reference/hybrid_checkpoints.py`. llama.cpp keeps keys and values in half precision,
//! so steps at which its first two choices are near to each other are fed, but not compared.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::{Sequence, agrees_where_clear};
use laminar_kernels::Pool;
use laminar_model::checkpoint::Checkpoint;
use laminar_model::{
    BLOCK_LEN, ExpertLoads, KvCache, KvType, LoadOptions, Model, RowSpan, Scratch, Snapshot, StateSlots,
};
use serde::Deserialize;

const TOLERANCE: f32 = 1e-4;
const GAP: f32 = 0.02;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    prompt_ids: Vec<u32>,
    generated_ids: Vec<u32>,
    gaps: Vec<f32>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn reference() -> Vec<Case> {
    let text = std::fs::read(fixtures().join("hybrids/llama_cpp.json")).unwrap();
    serde_json::from_slice::<Reference>(&text).unwrap().cases
}

fn load(path: &Path, pool: &Pool) -> Model {
    let options = LoadOptions { kv: KvType::F32, ..LoadOptions::default() };
    Model::load(&Checkpoint::open(path).unwrap(), pool, &options).unwrap()
}

#[test]
fn files_answer_as_their_folders_and_as_llama_cpp() {
    let pool = Pool::new(2);
    let cases = reference();
    assert_eq!(cases.len(), 4);
    for Case { name, prompt_ids, generated_ids, gaps } in &cases {
        let folder = load(&fixtures().join(name), &pool);
        let file = load(&fixtures().join("hybrids").join(format!("{name}.gguf")), &pool);
        let logits = |model: &Model| Sequence::new(model, &pool, prompt_ids.len(), KvType::F32).feed(prompt_ids);
        let (before, after) = (logits(&folder).concat(), logits(&file).concat());
        let worst = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name}: {worst:.2e}");
        assert!(worst <= TOLERANCE, "{name}: {worst}");
        let compared = agrees_where_clear(&file, &pool, prompt_ids, generated_ids, gaps, GAP, name);
        assert!(compared * 2 > gaps.len(), "{name}: too few clear steps");
    }
}

#[test]
fn a_sequence_goes_on_from_the_state_that_another_left() {
    let pool = Pool::new(2);
    for name in ["qwen3_next", "granite_hybrid"] {
        goes_on_from_a_state(&load(&fixtures().join(name), &pool), &pool, &reference()[0].prompt_ids);
    }
}

fn goes_on_from_a_state(model: &Model, pool: &Pool, ids: &[u32]) {
    let whole = Sequence::new(model, pool, ids.len(), KvType::F32).feed(ids);
    let blocks: Vec<u32> = (0..ids.len().div_ceil(BLOCK_LEN) as u32).collect();
    for position in [1, 3, 32, 50, 79] {
        let mut kv = KvCache::with_states(model.config(), blocks.len(), BLOCK_LEN, KvType::F32, 3);
        let mut scratch = Scratch::default();
        let mut run = |first_pos: usize, tokens: &[u32], state: StateSlots| {
            let mut hidden = Vec::new();
            model.embed(tokens, &mut hidden).unwrap();
            let span = RowSpan { first_row: 0, rows: tokens.len(), first_pos, blocks: &blocks, state, prefill: true };
            let (layers, loads) = (0..model.layers(), &mut ExpertLoads::default());
            model.forward(pool, &mut kv, &mut scratch, layers, &[span], &mut hidden, loads)?;
            let mut logits = Vec::new();
            model.logits(pool, &mut scratch, &hidden, &mut logits)?;
            Ok::<_, laminar_model::ModelError>(logits)
        };
        let left = Some(Snapshot { slot: 2, position });
        let keeps = StateSlots { keep: left, ..StateSlots::own(0) };
        let first = run(0, &ids[..40], keeps).unwrap();
        run(40, &ids[40..], keeps).unwrap();
        assert_eq!(first, whole[..40].concat(), "leaving a state changes nothing");
        // Its blocks are shared, and its own state is long past that position.
        let goes_on = StateSlots { begin: left, ..StateSlots::own(1) };
        assert!(run(position, &ids[position..], StateSlots::own(1)).is_err(), "it has no state yet");
        assert!(run(position, &ids[position..], StateSlots::own(0)).is_err(), "rows do not run twice");
        let rest = run(position, &ids[position..], goes_on).unwrap();
        assert_eq!(rest, whole[position..].concat(), "behind {position}");
        assert!(run(0, &ids[..1], StateSlots::own(3)).unwrap_err().to_string().contains("no slots of 3"));
    }
}
