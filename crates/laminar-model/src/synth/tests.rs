//! Synthetic models read back as what was asked for.

use std::collections::HashSet;

use laminar_kernels::WeightType;

use super::{Preset, SynthOptions, byte_tokenizer, to_vec};
use crate::checkpoint::{Gguf, Metadata};

fn tiny(options: &SynthOptions) -> Gguf {
    Gguf::from_vec(to_vec(options, &byte_tokenizer()).unwrap()).unwrap()
}

#[test]
fn a_tiny_model_has_the_tensors_and_keys_of_its_architecture() {
    let gguf = tiny(&SynthOptions::new(Preset::Tiny));
    let metadata = gguf.metadata();
    assert_eq!(metadata.require_str("general.architecture").unwrap(), "qwen3moe");
    assert_eq!(metadata.require_u32("qwen3moe.block_count").unwrap(), 4);
    assert_eq!(metadata.require_u32("qwen3moe.expert_used_count").unwrap(), 2);
    let vocab = metadata.require_strings("tokenizer.ggml.tokens").unwrap().len();
    assert_eq!(gguf.tensor("token_embd.weight").unwrap().shape, [vocab, 64]);
    let experts = gguf.tensor("blk.3.ffn_down_exps.weight").unwrap();
    assert_eq!((experts.shape.as_slice(), experts.ty), ([8, 64, 32].as_slice(), WeightType::Q8_0));
    let second = experts.expert(1).unwrap();
    assert_eq!(second.shape, [64, 32]);
    assert_eq!(second.to_f32().unwrap(), experts.to_f32().unwrap()[64 * 32..2 * 64 * 32]);
    assert!(experts.expert(8).is_none());
    assert_eq!(gguf.tensor("blk.0.ffn_gate_inp.weight").unwrap().ty, WeightType::F32);
    assert!(gguf.tensor("blk.4.attn_norm.weight").is_none());
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let mut options = SynthOptions::new(Preset::Tiny);
    let donor = byte_tokenizer();
    let first = to_vec(&options, &donor).unwrap();
    assert_eq!(first, to_vec(&options, &donor).unwrap());
    options.seed = 1;
    assert_ne!(first, to_vec(&options, &donor).unwrap());
}

#[test]
fn a_layer_has_the_same_weights_however_many_layers_there_are() {
    let long = tiny(&SynthOptions::new(Preset::Tiny));
    let short = tiny(&SynthOptions { layers: Some(2), ..SynthOptions::new(Preset::Tiny) });
    for tensor in short.tensors() {
        assert_eq!(tensor.data, long.tensor(tensor.name).unwrap().data, "{}", tensor.name);
    }
    let [first, second] = ["blk.0.attn_q.weight", "blk.1.attn_q.weight"].map(|name| long.tensor(name).unwrap().data);
    assert_ne!(first, second);
}

#[test]
fn weights_have_the_spread_that_was_asked_for() {
    let options = SynthOptions { layers: Some(1), experts: Some(8), ..SynthOptions::new(Preset::MoeDeep) };
    let gguf = tiny(&SynthOptions { vocab: Some(2048), ..options });
    // Drawn by value the router, from pools the others.
    for (name, std) in [
        ("token_embd.weight", 1.0),
        ("output.weight", 0.02),
        ("blk.0.ffn_down_exps.weight", 0.02),
        ("blk.0.ffn_gate_inp.weight", 0.02),
    ] {
        let tensor = gguf.tensor(name).unwrap();
        let values = tensor.to_f32().unwrap();
        let count = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let var = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.05 * std, "{name}: mean {mean}");
        assert!((var.sqrt() / std - 1.0).abs() < 0.05, "{name}: standard deviation {}", var.sqrt());
        let rows: HashSet<&[u8]> = tensor.data.chunks(tensor.ty.row_bytes(tensor.cols()).unwrap()).collect();
        assert_eq!(rows.len(), tensor.rows() * tensor.matrices(), "no two rows of {name} are equal");
    }
}

#[test]
fn rows_that_do_not_fit_the_blocks_fall_back_to_q8_0() {
    let gguf = tiny(&SynthOptions { quant: WeightType::Q4K, ..SynthOptions::new(Preset::TinyDense) });
    assert_eq!(gguf.tensor("blk.0.attn_q.weight").unwrap().ty, WeightType::Q8_0);
    for quant in WeightType::ALL {
        let gguf = tiny(&SynthOptions { quant, ..SynthOptions::new(Preset::Tiny) });
        let down = gguf.tensor("blk.0.ffn_down_exps.weight").unwrap();
        assert_eq!(down.ty, if quant.block_len() == 256 { WeightType::Q8_0 } else { quant });
        assert!(down.to_f32().unwrap().iter().any(|&x| x != 0.0));
        let query = gguf.tensor("blk.0.attn_q.weight").unwrap();
        let expected = if quant == WeightType::Mxfp4 { WeightType::Q8_0 } else { down.ty };
        assert_eq!(query.ty, expected);
    }
}

#[test]
fn a_larger_vocabulary_is_filled_up_and_a_smaller_one_keeps_its_control_tokens() {
    let donor = byte_tokenizer();
    let size = donor.require_strings("tokenizer.ggml.tokens").unwrap().len();
    let check = |vocab: usize| -> Metadata {
        let gguf = tiny(&SynthOptions { vocab: Some(vocab), ..SynthOptions::new(Preset::Tiny) });
        let metadata = gguf.metadata().clone();
        let tokens = metadata.require_strings("tokenizer.ggml.tokens").unwrap();
        assert_eq!(tokens.len(), vocab);
        assert_eq!(metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap().len(), vocab);
        let eos = metadata.require_u32("tokenizer.ggml.eos_token_id").unwrap();
        assert_eq!(tokens[eos as usize], "<|im_end|>");
        metadata
    };
    check(size + 100);
    let small = check(size - 5);
    let tokens = small.require_strings("tokenizer.ggml.tokens").unwrap();
    assert!(!tokens.contains(&"or".to_string()));
    let merges = small.require_strings("tokenizer.ggml.merges").unwrap();
    assert!(!merges.contains(&"o r".to_string()) && merges.contains(&"Ġ t".to_string()));
    let error = to_vec(&SynthOptions { vocab: Some(3), ..SynthOptions::new(Preset::Tiny) }, &donor).unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
}

#[test]
fn impossible_wishes_are_refused_with_a_reason() {
    let donor = byte_tokenizer();
    let say = |options: SynthOptions| to_vec(&options, &donor).unwrap_err().to_string();
    let tiny = SynthOptions::new(Preset::Tiny);
    assert!(say(SynthOptions { layers: Some(0), ..tiny.clone() }).contains("0 layers"));
    assert!(say(SynthOptions { experts: Some(1), ..tiny }).contains("choose 2 to"));
    assert!(say(SynthOptions { experts: Some(4), ..SynthOptions::new(Preset::TinyDense) }).contains("dense"));
    assert!("huge".parse::<Preset>().unwrap_err().to_string().contains("qwen3-30b-a3b"));
}

#[test]
fn every_preset_can_be_planned() {
    for preset in Preset::ALL {
        let plan = super::build::Plan::new(&SynthOptions::new(preset), &byte_tokenizer()).unwrap();
        assert!(plan.writer.tensor_bytes() > 0, "{preset}");
        assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
    }
}
