//! Well-formed files that do not make a model: each is one clear error that names the key or the tensor.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;

use laminar_kernels::{Pool, WeightType};
use laminar_model::checkpoint::{Checkpoint, Gguf, GgufWriter, Value};
use laminar_model::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};
use laminar_model::{KvType, LoadOptions, Model};

/// What to change in a tiny synthetic model before it is loaded.
#[derive(Default)]
struct Damage<'a> {
    /// `None`: the first of all.
    preset: Option<Preset>,
    set: Vec<(&'a str, Value)>,
    drop_key: &'a str,
    drop_tensor: &'a str,
    reshape: Option<(&'a str, Vec<usize>)>,
}

fn load(damage: &Damage<'_>) -> Result<Model, String> {
    let bytes = to_vec(&SynthOptions::new(damage.preset.unwrap_or(Preset::Tiny)), &byte_tokenizer()).unwrap();
    let good = Gguf::from_vec(bytes).unwrap();
    let mut writer = GgufWriter::new("qwen3moe");
    for (key, value) in good.metadata().iter() {
        if key != damage.drop_key {
            writer.set(key, value.clone());
        }
    }
    for (key, value) in &damage.set {
        writer.set(*key, value.clone());
    }
    let mut data: HashMap<String, Vec<u8>> = HashMap::new();
    for tensor in good.tensors().filter(|t| t.name != damage.drop_tensor) {
        match &damage.reshape {
            Some((name, shape)) if *name == tensor.name => {
                writer.add_tensor(tensor.name, WeightType::F32, shape).unwrap();
                let elements: usize = shape.iter().product();
                data.insert(tensor.name.to_owned(), vec![0; elements * 4]);
            }
            _ => {
                writer.add_tensor(tensor.name, tensor.ty, &tensor.shape).unwrap();
                data.insert(tensor.name.to_owned(), tensor.data.to_vec());
            }
        }
    }
    let mut bytes = Vec::new();
    writer
        .write(&mut bytes, &mut |tensor, out| {
            out.write_all(&data[&tensor.name]).unwrap();
            Ok(())
        })
        .unwrap();
    let checkpoint = Checkpoint::Gguf(Gguf::from_vec(bytes).unwrap());
    Model::load(&checkpoint, &Pool::new(1), &LoadOptions::default()).map_err(|e| e.to_string())
}

#[test]
fn the_undamaged_model_loads() {
    let model = load(&Damage::default()).unwrap();
    assert_eq!(model.config().architecture, "qwen3moe");
}

#[test]
fn a_gguf_vocabulary_is_as_large_as_its_embedding_whatever_the_key_says() {
    let rows = load(&Damage::default()).unwrap().vocab_size();
    let keyless = load(&Damage { drop_key: "qwen3moe.vocab_size", ..Damage::default() }).unwrap();
    assert_eq!(keyless.vocab_size(), rows);
    let wrong = ("qwen3moe.vocab_size", Value::U32(7));
    assert_eq!(load(&Damage { set: vec![wrong], ..Damage::default() }).unwrap().vocab_size(), rows);
}

#[test]
fn every_fault_is_one_line_that_names_its_place() {
    let set = |key, value| Damage { set: vec![(key, value)], ..Damage::default() };
    let without = |drop_key| Damage { drop_key, ..Damage::default() };
    let table: Vec<(Damage<'_>, &[&str])> = vec![
        (set("general.architecture", Value::String("mamba9".into())), &["mamba9", "supported", "qwen3moe"]),
        (set("general.architecture", Value::String("qwen37moe".into())), &["qwen37moe", "nearest is \"qwen3moe\""]),
        (set("qwen3moe.block_count", Value::U32(0)), &["qwen3moe.block_count"]),
        (set("qwen3moe.block_count", Value::U32(u32::MAX)), &["qwen3moe.block_count"]),
        (set("qwen3moe.block_count", Value::U32(4000)), &["blk.", "missing"]),
        (set("qwen3moe.embedding_length", Value::U32(96)), &["token_embd.weight", "shape"]),
        (set("qwen3moe.attention.head_count_kv", Value::U32(3)), &["head_count_kv", "3"]),
        (set("qwen3moe.attention.key_length", Value::U32(31)), &["value_length", "31"]),
        (set("qwen3moe.expert_used_count", Value::U32(99)), &["expert_used_count", "99"]),
        (set("qwen3moe.expert_count", Value::U32(16)), &["_exps.weight", "shape"]),
        (set("qwen3moe.rope.freq_base", Value::F32(f32::NAN)), &["rope.freq_base"]),
        (set("qwen3moe.rope.scaling.type", Value::String("spiral".into())), &["rope.scaling.type", "spiral", "yarn"]),
        (set("qwen3moe.attention.layer_norm_rms_epsilon", Value::String("x".into())), &["layer_norm_rms_epsilon"]),
        (without("qwen3moe.context_length"), &["qwen3moe.context_length", "missing"]),
        (without("qwen3moe.expert_count"), &["qwen3moe.expert_count", "missing"]),
        (Damage { drop_tensor: "blk.1.attn_q.weight", ..Damage::default() }, &["blk.1.attn_q.weight", "missing"]),
        (Damage { drop_tensor: "token_embd.weight", ..Damage::default() }, &["token_embd.weight", "missing"]),
        (
            Damage { reshape: Some(("blk.0.attn_norm.weight", vec![63])), ..Damage::default() },
            &["blk.0.attn_norm.weight", "63"],
        ),
        (
            Damage { reshape: Some(("blk.2.attn_k.weight", vec![64, 128])), ..Damage::default() },
            &["blk.2.attn_k.weight", "128"],
        ),
    ];
    check(&table);
}

#[test]
fn faults_of_latents_routers_and_convolutions_name_their_place() {
    let damage = |preset| Damage { preset: Some(preset), ..Damage::default() };
    let latents = |key, value| Damage { set: vec![(key, value)], ..damage(Preset::TinyDeepSeek2) };
    let convolutions = |key, value| Damage { set: vec![(key, value)], ..damage(Preset::TinyLfm2Moe) };
    check(&[
        (latents("deepseek2.rope.dimension_count", Value::U32(64)), &["rope.dimension_count", "64"]),
        (latents("deepseek2.rope.dimension_count", Value::U32(31)), &["rope.dimension_count", "31"]),
        (latents("deepseek2.attention.kv_lora_rank", Value::U32(0)), &["kv_lora_rank"]),
        (latents("deepseek2.attention.kv_lora_rank", Value::U32(48)), &["attn_", "shape"]),
        (latents("deepseek2.attention.q_lora_rank", Value::U32(33)), &["attn_q_a", "33"]),
        (latents("deepseek2.expert_gating_func", Value::U32(7)), &["expert_gating_func", "7", "sigmoid"]),
        (latents("deepseek2.expert_group_count", Value::U32(3)), &["expert_group_count", "3"]),
        (latents("deepseek2.expert_group_used_count", Value::U32(5)), &["expert_group_count", "5"]),
        (
            Damage { drop_tensor: "blk.1.attn_v_b.weight", ..damage(Preset::TinyDeepSeek2) },
            &["blk.1.attn_v_b.weight", "missing"],
        ),
        (convolutions("lfm2moe.shortconv.l_cache", Value::U32(40)), &["shortconv.l_cache", "40"]),
        (convolutions("lfm2moe.attention.head_count_kv", vec![2u32, 0].into()), &["head_count_kv", "2 of 4"]),
        (convolutions("lfm2moe.attention.head_count_kv", vec![3u32; 4].into()), &["head_count", "3 key/value heads"]),
        (
            Damage { reshape: Some(("blk.0.shortconv.conv.weight", vec![128, 4])), ..damage(Preset::TinyLfm2Moe) },
            &["blk.0.shortconv.conv.weight", "4"],
        ),
    ]);
}

fn check(table: &[(Damage<'_>, &[&str])]) {
    for (damage, words) in table {
        let Err(error) = load(damage) else { panic!("loaded despite {words:?}") };
        for word in *words {
            assert!(error.contains(word), "\"{error}\" does not mention {word}");
        }
        assert!(!error.contains('\n'), "more than one line: {error}");
    }
}

#[test]
fn heads_that_the_kv_type_cannot_hold_are_refused() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mistral");
    let checkpoint = Checkpoint::open(std::path::Path::new(folder)).unwrap();
    let load = |kv| Model::load(&checkpoint, &Pool::new(1), &LoadOptions { kv, ..LoadOptions::default() });
    let error = load(KvType::Q8_0).err().unwrap().to_string();
    assert!(error.contains("--kv-type q8_0") && error.contains("have 16"), "{error}");
    assert!(load(KvType::F16).is_ok());
}
