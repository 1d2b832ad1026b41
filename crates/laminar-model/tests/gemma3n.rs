//! Gemma 3n and the small members of Gemma 4 beside what all families are tested for: memory of layers that read the keys
//! of others, rows that are wider than what embeddings are made of, the form of files, and settings that make no sense.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::Sequence;
use laminar_kernels::Pool;
use laminar_model::arch::read_config;
use laminar_model::checkpoint::{Checkpoint, Gguf, HfFolder};
use laminar_model::convert::{Conversion, Recipe};
use laminar_model::{BLOCK_LEN, KvCache, KvType, LoadOptions, Model};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The model for text in the fixture of a model for images, with other settings.
fn small(edit: impl Fn(&mut Value)) -> Checkpoint {
    let folder = fixture("gemma3n_small");
    let mut config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    edit(&mut config["text_config"]);
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    Checkpoint::HuggingFace(HfFolder::from_memory(config, weights).unwrap())
}

fn load(checkpoint: &Checkpoint, pool: &Pool) -> Model {
    Model::load(checkpoint, pool, &LoadOptions { kv: KvType::F32, ..LoadOptions::default() }).unwrap()
}

fn logits(model: &Model, ids: &[u32], pool: &Pool) -> Vec<Vec<f32>> {
    Sequence::new(model, pool, ids.len(), KvType::F32).feed(ids)
}

#[test]
fn layers_that_read_the_keys_of_others_have_no_memory() {
    let config = read_config(&Checkpoint::open(&fixture("gemma3n")).unwrap()).unwrap();
    let from: Vec<_> = (19..24).map(|layer| config.keys_of(layer)).collect();
    assert_eq!(from, [None, Some(18), Some(19), Some(18), Some(19)]);
    // Keys and values of two heads of 16 values in half precision, in 20 of 24 layers.
    let bytes = 20 * 2 * BLOCK_LEN * 2 * 16 * 2;
    assert_eq!(KvCache::bytes_per_block(&config, BLOCK_LEN, KvType::F16), bytes);
    assert_eq!(KvCache::new(&config, 1, BLOCK_LEN, KvType::F16).block_bytes(), bytes);
}

#[test]
fn networks_of_layers_that_read_the_keys_of_others_may_be_wider() {
    let config = read_config(&Checkpoint::open(&fixture("gemma4_small")).unwrap()).unwrap();
    let found: Vec<_> = (4..9).map(|layer| (config.keys_of(layer), config.ffn_of(layer))).collect();
    assert_eq!(found, [(None, 64), (Some(3), 128), (Some(4), 128), (Some(3), 128), (Some(4), 128)]);
}

#[test]
fn what_embeddings_are_made_of_is_as_wide_as_one_stream() {
    let pool = Pool::new(2);
    let ids: Vec<u32> = (0..40).map(|i| (i * 29 + 3) % 279).collect();
    for name in ["gemma3n_small", "gemma4_small"] {
        let model = load(&Checkpoint::open(&fixture(name)).unwrap(), &pool);
        assert!(model.config().row_width() > model.config().hidden);
        let normed = |groups: usize| {
            let mut sequence = Sequence::new(&model, &pool, ids.len(), KvType::F32);
            let rows = sequence.feed_grouped(&ids, groups);
            let mut out = Vec::new();
            model.final_norm(&pool, &mut sequence.scratch, &rows, &mut out).unwrap();
            out
        };
        let whole = normed(1);
        assert_eq!(whole.len(), ids.len() * model.config().hidden, "{name}");
        assert_eq!(whole, normed(3), "{name}");
        let mut scratch = laminar_model::Scratch::default();
        assert!(model.final_norm(&pool, &mut scratch, &[0.0; 7], &mut Vec::new()).is_err(), "{name}");
    }
}

#[test]
fn a_file_keeps_other_numbers_than_the_published_ones() {
    let pool = Pool::new(2);
    let ids: Vec<u32> = (0..40).map(|i| (i * 29 + 3) % 279).collect();
    // Files cannot say that there are no scales.
    let folder = small(|config| config["altup_correct_scale"] = true.into());
    let conversion = Conversion::plan(&folder, Recipe::named("f32").unwrap()).unwrap();
    let file = Checkpoint::Gguf(Gguf::from_vec(conversion.to_vec(&pool).unwrap()).unwrap());
    let (before, after) = (load(&folder, &pool), load(&file, &pool));
    assert_eq!(before.config().ffn_by_layer, [64, 48, 64, 48, 64, 48, 64, 48]);
    assert_eq!(after.config().ffn_by_layer, before.config().ffn_by_layer);
    let (before, after) = (logits(&before, &ids, &pool), logits(&after, &ids, &pool));
    assert_eq!(before, after, "nothing is computed in another order");
    let without = logits(&load(&small(|_| {}), &pool), &ids, &pool);
    assert_ne!(before, without, "the scales count");
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    for (field, value, expected) in [
        ("num_kv_shared_layers", json!(8), "layer 0 has none before it"),
        ("num_kv_shared_layers", json!(7), "layer 1 has none before it"),
        ("activation_sparsity_pattern", json!([0.9]), "lists 1 of 8 layers"),
        ("activation_sparsity_pattern", json!([0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]), "has the entry 1"),
        ("activation_sparsity_pattern", json!("all"), "must list numbers"),
        ("altup_num_inputs", json!(9), "2 to 8 are accepted"),
        ("altup_active_idx", json!(3), "2 to 8 are accepted"),
        ("intermediate_size", json!([64, 48]), "lists 2 of 8 layers"),
        ("intermediate_size", json!([64, "48"]), "must list sizes"),
    ] {
        let found = read_config(&small(|config| config[field] = value.clone()));
        let error = found.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{field} {value}: {error}");
    }
}
