//! Weights that other programs have quantised: values as their formats define them, and what is left of these once they are
//! packed.
//!
//! Fixtures and reference values come from `tools/reference/quantised_checkpoints.py`; `transformers_parity.rs` compares the
//! logits of the same folders.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use laminar_kernels::{Pool, WeightType, dequantize};
use laminar_model::checkpoint::{Checkpoint, Gguf, HfFolder};
use laminar_model::convert::{Conversion, Recipe};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// What each folder is packed as, and the largest error of a value, as a part of its block's largest.
const PACKED: [(&str, WeightType, f32); 8] = [
    ("llama_awq", WeightType::Q4_1, 0.001),
    ("llama_gptq", WeightType::Q4_0, 0.0),
    ("llama_gptq_act_order", WeightType::Q8_0, 0.005),
    ("llama_gptq_8bit", WeightType::Q8_0, 0.0),
    ("llama_fp8", WeightType::Q8_0, 0.005),
    ("llama_w4a16", WeightType::Q4_0, 0.0),
    ("llama_w8a8", WeightType::Q8_0, 0.0),
    ("llama_fp8_channel", WeightType::Q8_0, 0.005),
];

/// The reference's values of some weights.
fn expected(name: &str) -> Vec<(String, Vec<f32>)> {
    let bytes = std::fs::read(fixture(name).join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |view: &TensorView<'_>| {
        view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let weights = file
        .tensors()
        .into_iter()
        .filter_map(|(name, view)| Some((name.strip_prefix("weight.")?.to_owned(), floats(&view))));
    weights.collect()
}

#[test]
fn values_are_those_of_the_reference_bit_by_bit() {
    for (name, ..) in PACKED {
        let folder = HfFolder::open(&fixture(name)).unwrap();
        let expected = expected(name);
        assert_eq!(expected.len(), 2, "{name}");
        for (base, expected) in expected {
            let weight = folder.quantised_weight(&base).unwrap().unwrap();
            let mut values = Vec::new();
            weight.values(0..weight.rows(), &mut values);
            assert_eq!(values.len(), expected.len(), "{name} {base}");
            for (i, (found, expected)) in values.iter().zip(&expected).enumerate() {
                assert!(found == expected, "{name} {base} value {i}: {found} instead of {expected}");
            }
            // A part of the rows, from the middle of a word on.
            let mut part = Vec::new();
            weight.values(3..13, &mut part);
            assert_eq!(part, values[3 * weight.cols()..13 * weight.cols()], "{name} {base}");
        }
    }
}

#[test]
fn packed_weights_keep_what_the_table_promises() {
    for (name, ty, bound) in PACKED {
        let folder = HfFolder::open(&fixture(name)).unwrap();
        for (base, expected) in expected(name) {
            let weight = folder.quantised_weight(&base).unwrap().unwrap();
            assert_eq!(weight.ty(), ty, "{name}");
            let (mut bytes, mut values) = (Vec::new(), vec![0.0; expected.len()]);
            weight.read(0..weight.rows(), &mut bytes).unwrap();
            dequantize(ty, &bytes, &mut values).unwrap();
            let mut worst = 0f32;
            for (found, expected) in values.chunks_exact(32).zip(expected.chunks_exact(32)) {
                let most = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
                let wrong = found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                worst = worst.max(wrong / most.max(f32::MIN_POSITIVE));
            }
            println!("{name} {base}: {} {worst:.6}", ty.name());
            assert!(worst <= bound, "{name} {base}: {worst}");
        }
    }
}

#[test]
fn files_made_of_them_have_the_same_values() {
    let pool = Pool::new(2);
    for (name, ..) in PACKED {
        let folder = Checkpoint::open(&fixture(name)).unwrap();
        let conversion = Conversion::plan(&folder, Recipe::named("f32").unwrap()).unwrap();
        let file = Gguf::from_vec(conversion.to_vec(&pool).unwrap()).unwrap();
        let (_, expected) = expected(name).into_iter().find(|(base, _)| base.ends_with("down_proj")).unwrap();
        let found = file.tensor("blk.1.ffn_down.weight").unwrap().to_f32().unwrap();
        assert!(found == expected, "{name}");
    }
}

#[test]
fn parts_that_do_not_fit_are_errors_that_name_them() {
    let bytes = std::fs::read(fixture("llama_gptq").join("model.safetensors")).unwrap();
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("llama_gptq").join("config.json")).unwrap()).unwrap();
    let base = "model.layers.0.self_attn.k_proj";
    let error = |from: &str, to: &str| {
        // Names of the same length, so that the file stays whole.
        let (from, to) = (format!("{base}.{from}"), format!("{base}.{to}"));
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut renamed = bytes.clone();
        renamed[at..at + from.len()].copy_from_slice(to.as_bytes());
        let folder = HfFolder::from_memory(config.clone(), renamed).unwrap();
        folder.quantised_weight(base).err().map(|error| error.to_string())
    };
    assert!(error("scales", "scalex").unwrap().contains("k_proj.scales"));
    assert!(error("qzeros", "qzerox").unwrap().contains("k_proj.qzeros"));
    // Without a list of groups columns are in order, which is what this one says.
    assert_eq!(error("g_idx", "g_idy"), None);
    let folder = HfFolder::from_memory(config, bytes.clone()).unwrap();
    assert!(folder.quantised_weight("model.layers.9.self_attn.k_proj").unwrap().is_none());
}
