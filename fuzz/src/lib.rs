//! What is done with the bytes that a fuzzer makes up: shared by the targets for `cargo fuzz` and by `headers`, which needs no
//! nightly compiler.

use laminar_model::checkpoint::{Checkpoint, Gguf, HfFolder};
use laminar_model::inspect::inspect;
use laminar_model::tokenizer::Tokenizer;

/// Opens bytes as a GGUF file and looks at everything in it. Returns whether it was accepted.
pub fn gguf(data: &[u8]) -> bool {
    open_gguf(data.to_vec()).is_some_and(|checkpoint| {
        look(&checkpoint);
        true
    })
}

/// The header alone.
pub fn open_gguf(data: Vec<u8>) -> Option<Checkpoint> {
    Gguf::from_vec(data).ok().map(Checkpoint::Gguf)
}

/// Opens bytes as a safetensors file, once in a plain folder and once in one of quantised weights. Returns whether it was
/// accepted.
pub fn safetensors(data: &[u8]) -> bool {
    let mut accepted = false;
    for quantised in SCHEMES {
        if let Some(checkpoint) = open_safetensors(data.to_vec(), quantised) {
            look(&checkpoint);
            accepted = true;
        }
    }
    accepted
}

/// `quantization_config` of the folders that files are put into.
pub const SCHEMES: [&str; 5] = [
    "null",
    r#"{"quant_method":"fp8","weight_block_size":[128,128]}"#,
    r#"{"quant_method":"awq","bits":4,"group_size":32}"#,
    r#"{"quant_method":"gptq","bits":4,"group_size":32}"#,
    r#"{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"g":{"weights":{"num_bits":4}}}}"#,
];

/// The header alone.
pub fn open_safetensors(data: Vec<u8>, quantised: &str) -> Option<Checkpoint> {
    let config = format!(r#"{{"model_type":"llama","quantization_config":{quantised}}}"#);
    let config = serde_json::from_str(&config).expect("it is written here");
    HfFolder::from_memory(config, data).ok().map(Checkpoint::HuggingFace)
}

/// Everything that can be asked of a checkpoint without a model.
pub fn look(checkpoint: &Checkpoint) {
    for tensor in checkpoint.tensors() {
        let values = tensor.to_f32().expect("a tensor that was accepted has the bytes its shape needs");
        assert_eq!(values.len(), tensor.elements());
    }
    if let Checkpoint::HuggingFace(folder) = checkpoint {
        for part in checkpoint.byte_tensors() {
            let base = [".qweight", ".weight_packed", ".weight"].iter().find_map(|end| part.name.strip_suffix(end));
            if let Some(Ok(Some(weight))) = base.map(|base| folder.quantised_weight(base)) {
                let mut values = Vec::new();
                let rows = weight.rows().min(64);
                weight.values(0..rows, &mut values);
                assert_eq!(values.len(), rows * weight.cols());
            }
        }
    }
    let _ = inspect(checkpoint);
    if let Ok(tokenizer) = Tokenizer::from_checkpoint(checkpoint) {
        let _ = tokenizer.chat_template();
    }
}
