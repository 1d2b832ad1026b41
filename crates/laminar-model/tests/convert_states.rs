//! Folders of models with recurrent layers in the forms that the tiny checkpoints do not have: experts in one tensor, layers
//! for guessing, quantised matrices, and Granite's members without states. Each must give the file that the usual form gives;
//! `convert.rs` compares those with the folders' own logits and with llama.cpp.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use laminar_kernels::Pool;
use laminar_model::checkpoint::{Checkpoint, Gguf, HfFolder};
use laminar_model::convert::{Conversion, Recipe};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// A fixture in memory.
struct Folder {
    config: Value,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Folder {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let config = serde_json::from_slice(&std::fs::read(path.join("config.json")).unwrap()).unwrap();
        let bytes = std::fs::read(path.join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let owned = |view: TensorView<'_>| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        let tensors = file.tensors().into_iter().map(|(name, view)| (name, owned(view))).collect();
        Self { config, tensors }
    }

    fn set(&mut self, fields: &Value) {
        let fields = fields.as_object().unwrap().clone();
        self.config.as_object_mut().unwrap().extend(fields);
    }

    /// Takes the tensors of those names away and puts one of them all in their place, which has `shape`.
    fn join(&mut self, parts: &[String], name: String, shape: Vec<usize>) {
        let taken: Vec<_> = parts.iter().map(|part| self.tensors.remove(part).unwrap()).collect();
        let data: Vec<u8> = taken.iter().flat_map(|(.., data)| data.clone()).collect();
        assert_eq!(data.len(), 4 * shape.iter().product::<usize>());
        self.tensors.insert(name, (Dtype::F32, shape, data));
    }

    fn open(&self) -> Checkpoint {
        let tensors = self.tensors.iter();
        let views = tensors.map(|(name, (ty, shape, data))| (name, TensorView::new(*ty, shape.clone(), data).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        Checkpoint::HuggingFace(HfFolder::from_memory(self.config.clone(), bytes).unwrap())
    }
}

fn convert(folder: &Checkpoint) -> Gguf {
    let conversion = Conversion::plan(folder, Recipe::named("f32").unwrap()).unwrap();
    Gguf::from_vec(conversion.to_vec(&Pool::new(1)).unwrap()).unwrap()
}

fn refusal(folder: &Folder) -> String {
    Conversion::plan(&folder.open(), Recipe::named("f32").unwrap()).err().unwrap().to_string()
}

/// Keys and tensors are the same, but for those keys and the order.
fn assert_same(found: &Gguf, expected: &Gguf, but: &[&str]) {
    assert_eq!(found.tensors().count(), expected.tensors().count());
    for expected in expected.tensors() {
        let found = found.tensor(expected.name).unwrap_or_else(|| panic!("{} is missing", expected.name));
        assert_eq!(found.shape, expected.shape, "{}", found.name);
        assert!(found.data == expected.data, "{}", found.name);
    }
    let keys = |file: &Gguf| {
        let keys = file.metadata().iter().filter(|(key, _)| !but.contains(key));
        keys.map(|(key, value)| (key.to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(keys(found), keys(expected));
}

/// What `tools/reference/hybrid_checkpoints.py` makes of the same folders, from the same rules but with other code.
#[test]
fn files_hold_what_the_reference_writes() {
    for name in ["qwen3_next", "qwen3_5", "qwen3_5_moe", "granite_hybrid"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hybrids").join(format!("{name}.gguf"));
        let (found, expected) = (convert(&Folder::read(name).open()), Gguf::open(&path).unwrap());
        assert_eq!(found.tensors().count(), expected.tensors().count(), "{name}");
        for expected in expected.tensors() {
            let found = found.tensor(expected.name).unwrap_or_else(|| panic!("{name}: {} is missing", expected.name));
            assert_eq!(found.shape, expected.shape, "{name}: {}", found.name);
            let rotated = expected.name.ends_with("attn_q.weight") || expected.name.ends_with("attn_k.weight");
            if name == "granite_hybrid" && rotated {
                // Where nothing is rotated either order does.
                continue;
            }
            for (a, b) in found.to_f32().unwrap().into_iter().zip(expected.to_f32().unwrap()) {
                // Exponentials may differ in their last bit.
                assert!((a - b).abs() <= 2.0 * f32::EPSILON * b.abs(), "{name}: {}: {a} and {b}", found.name);
            }
        }
        let architecture = expected.metadata().require_str("general.architecture").unwrap();
        for (key, value) in
            expected.metadata().iter().filter(|(key, _)| key.starts_with(&format!("{architecture}.ssm.")))
        {
            assert_eq!(found.metadata().get(key), Some(value), "{name}: {key}");
        }
    }
}

#[test]
fn experts_in_one_tensor_and_layers_for_guessing_change_nothing() {
    for name in ["qwen3_next", "qwen3_5_moe"] {
        let mut folder = Folder::read(name);
        let expected = convert(&folder.open());
        let layers = folder.config["num_hidden_layers"].as_u64().unwrap();
        for layer in 0..layers {
            let own =
                |expert: usize, part: &str| format!("model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight");
            let both: Vec<String> = (0..8).flat_map(|e| [own(e, "gate"), own(e, "up")]).collect();
            folder.join(&both, format!("model.layers.{layer}.mlp.experts.gate_up_proj"), vec![8, 32, 32]);
            let down: Vec<String> = (0..8).map(|e| own(e, "down")).collect();
            folder.join(&down, format!("model.layers.{layer}.mlp.experts.down_proj"), vec![8, 32, 16]);
        }
        for guess in ["mtp.fc.weight", "mtp.layers.0.mlp.gate.weight"] {
            folder.tensors.insert(guess.to_owned(), (Dtype::F32, vec![1, 2], vec![0; 8]));
        }
        assert_same(&convert(&folder.open()), &expected, &[]);
    }
}

#[test]
fn quantised_matrices_are_cut_and_ordered_like_others() {
    for (name, bases) in [
        ("qwen3_next", ["linear_attn.in_proj_qkvz", "linear_attn.out_proj"].as_slice()),
        ("qwen3_5", ["linear_attn.in_proj_qkv", "linear_attn.in_proj_z", "linear_attn.out_proj"].as_slice()),
        ("granite_hybrid", ["mamba.in_proj", "mamba.out_proj", "shared_mlp.input_linear"].as_slice()),
    ] {
        let mut folder = Folder::read(name);
        let prefix = if name == "qwen3_5" { "model.language_model." } else { "model." };
        let bases: Vec<String> = bases.iter().map(|base| format!("{prefix}layers.0.{base}")).collect();
        folder.set(&json!({ "quantization_config": { "quant_method": "fp8", "weight_block_size": [128, 128] } }));
        for (number, base) in bases.iter().enumerate() {
            let (_, shape, _) = folder.tensors.remove(&format!("{base}.weight")).unwrap();
            // Any codes but those of no numbers, and a scale for every block.
            let codes = (0..shape[0] * shape[1]).map(|i| (i * 37 + number) as u8 % 127 + 128 * (i % 2) as u8).collect();
            let blocks: Vec<usize> = shape.iter().map(|size| size.div_ceil(128)).collect();
            let scales = (0..blocks[0] * blocks[1]).flat_map(|i| (0.01 + i as f32 / 64.0).to_le_bytes()).collect();
            folder.tensors.insert(format!("{base}.weight"), (Dtype::F8_E4M3, shape, codes));
            folder.tensors.insert(format!("{base}.weight_scale_inv"), (Dtype::F32, blocks, scales));
        }
        let quantised = folder.open();
        let found = convert(&quantised);
        // What the codes mean, as floats in their place.
        let Checkpoint::HuggingFace(weights) = &quantised else { panic!("{name} is a folder") };
        for base in &bases {
            let weight = weights.quantised_weight(base).unwrap().unwrap();
            let mut values = Vec::new();
            weight.values(0..weight.rows(), &mut values);
            let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            folder.tensors.insert(format!("{base}.weight"), (Dtype::F32, vec![weight.rows(), weight.cols()], data));
            folder.tensors.remove(&format!("{base}.weight_scale_inv"));
        }
        folder.config.as_object_mut().unwrap().remove("quantization_config");
        assert_same(&convert(&folder.open()), &found, &[]);
    }
}

/// What says the same of attention without states.
const FINETUNED: [&str; 2] = ["granite.rope.scaling.finetuned", "granitemoe.rope.scaling.finetuned"];

#[test]
fn granites_without_states_are_files_of_their_older_families() {
    let changes = json!({
        "model_type": "granitemoehybrid",
        "layer_types": ["full_attention", "full_attention"],
        "position_embedding_type": "rope",
    });
    let mut folder = Folder::read("granite_moe_shared");
    let expected = convert(&folder.open());
    folder.set(&changes);
    assert_same(&convert(&folder.open()), &expected, &FINETUNED);

    let mut folder = Folder::read("granite");
    let expected = convert(&folder.open());
    folder.set(&changes);
    folder.set(&json!({ "num_local_experts": 0, "shared_intermediate_size": 64 }));
    for layer in ["model.layers.0", "model.layers.1"] {
        let both = ["gate", "up"].map(|part| format!("{layer}.mlp.{part}_proj.weight"));
        folder.join(&both, format!("{layer}.shared_mlp.input_linear.weight"), vec![128, 32]);
        let down = [format!("{layer}.mlp.down_proj.weight")];
        folder.join(&down, format!("{layer}.shared_mlp.output_linear.weight"), vec![32, 64]);
    }
    assert_same(&convert(&folder.open()), &expected, &FINETUNED);
}

#[test]
fn what_files_have_no_words_for_is_refused() {
    // llama.cpp takes values to be as wide as keys.
    let mut folder = Folder::read("qwen3_next");
    folder.set(&json!({ "linear_value_head_dim": 32, "linear_num_value_heads": 2 }));
    assert!(refusal(&folder).contains("the width of values in states"), "{}", refusal(&folder));

    let mut folder = Folder::read("qwen3_next");
    folder.set(&json!({ "norm_topk_prob": false }));
    assert!(refusal(&folder).contains("the routing of experts"), "{}", refusal(&folder));

    let mut folder = Folder::read("granite_hybrid");
    let bias = (Dtype::F32, vec![32], vec![0; 128]);
    folder.tensors.insert("model.layers.0.mamba.out_proj.bias".to_owned(), bias);
    assert!(refusal(&folder).contains("biases of projections"), "{}", refusal(&folder));

    // A tensor of another shape than config.json says.
    let mut folder = Folder::read("qwen3_5_moe");
    folder.tensors.insert("model.layers.0.linear_attn.A_log".to_owned(), (Dtype::F32, vec![5], vec![0; 20]));
    assert!(refusal(&folder).contains("A_log"), "{}", refusal(&folder));
    let mut folder = Folder::read("qwen3_5_moe");
    folder
        .tensors
        .insert("model.layers.0.linear_attn.in_proj_qkv.weight".to_owned(), (Dtype::F32, vec![5, 32], vec![0; 640]));
    assert!(refusal(&folder).contains("in_proj_qkv"), "{}", refusal(&folder));
}
