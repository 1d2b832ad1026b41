//! A summary of a checkpoint for people and scripts: what is in it and where its bytes lie.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::checkpoint::{Bytewise, Checkpoint, CheckpointError};

/// What a checkpoint holds. Sizes are bytes as stored in the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The model's name.
    pub name: String,
    /// The architecture: `general.architecture`, or `model_type` of `config.json`.
    pub architecture: Option<String>,
    /// `gguf` or `safetensors`.
    pub format: &'static str,
    /// The version of the GGUF format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format_version: Option<u32>,
    /// The number of files that hold tensors.
    pub files: usize,
    /// The number of parameters.
    pub parameters: u64,
    /// The bytes of all tensors.
    pub total_bytes: u64,
    /// Bytes outside any layer: embeddings, final norm, output.
    pub outside_layers_bytes: u64,
    /// Bytes of all experts of all layers.
    pub expert_bytes: u64,
    /// Tensors and bytes of each type.
    pub by_type: BTreeMap<String, TypeTotal>,
    /// Bytes of each layer, in order.
    pub layers: Vec<LayerSummary>,
    /// The kind of tokenizer: `tokenizer.ggml.model`, or `tokenizer.json`.
    pub tokenizer: Option<String>,
    /// The number of tokens in the vocabulary, if stated.
    pub vocab_size: Option<u64>,
    /// The longest context that the model was trained for.
    pub context_length: Option<u64>,
    /// Whether a chat template is there.
    pub chat_template: bool,
    /// All tensors in file order.
    pub tensors: Vec<TensorSummary>,
}

/// The tensors of one type.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TypeTotal {
    /// How many tensors.
    pub tensors: usize,
    /// Their parameters.
    pub parameters: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LayerSummary {
    /// The layer's number from 0.
    pub layer: usize,
    /// All its bytes.
    pub bytes: u64,
    /// The bytes of its experts together.
    pub expert_bytes: u64,
    /// The number of experts; 0 in a dense layer.
    pub experts: usize,
    /// The bytes of one expert; 0 in a dense layer.
    pub bytes_per_expert: u64,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorSummary {
    /// Its name in the file.
    pub name: String,
    /// The name of its type.
    #[serde(rename = "type")]
    pub ty: &'static str,
    /// Its shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub bytes: u64,
}

/// Summarises a checkpoint.
///
/// # Errors
/// When a metadata key that the summary shows holds a value of the wrong kind.
pub fn inspect(checkpoint: &Checkpoint) -> Result<Summary, CheckpointError> {
    let mut summary = match checkpoint {
        Checkpoint::Gguf(file) => {
            let metadata = file.metadata();
            let architecture = metadata.str("general.architecture")?.map(str::to_string);
            let context_length = match &architecture {
                Some(name) => metadata.u64(&format!("{name}.context_length"))?,
                None => None,
            };
            Summary {
                architecture,
                format_version: Some(file.version()),
                files: file.part_count(),
                tokenizer: metadata.str("tokenizer.ggml.model")?.map(str::to_string),
                vocab_size: metadata.strings("tokenizer.ggml.tokens")?.map(|tokens| tokens.len() as u64),
                context_length,
                chat_template: metadata.str("tokenizer.chat_template")?.is_some(),
                ..Summary::empty(checkpoint.name(), "gguf")
            }
        }
        Checkpoint::HuggingFace(folder) => {
            // Multimodal models keep the language model's values in a section of their own.
            let value = |key: &str| {
                folder.config.get(key).or_else(|| folder.config.get("text_config").and_then(|t| t.get(key)))
            };
            Summary {
                architecture: value("model_type").and_then(|v| v.as_str()).map(str::to_string),
                files: folder.file_count(),
                tokenizer: match (&folder.tokenizer_json, &folder.tiktoken) {
                    (Some(_), _) => Some("tokenizer.json".to_string()),
                    (None, Some(_)) => Some("tiktoken.model".to_string()),
                    (None, None) => None,
                },
                vocab_size: value("vocab_size").and_then(|v| v.as_u64()),
                context_length: value("max_position_embeddings").and_then(|v| v.as_u64()),
                chat_template: folder.chat_template.is_some(),
                ..Summary::empty(checkpoint.name(), "safetensors")
            }
        }
    };
    summary.add_tensors(checkpoint);
    Ok(summary)
}

impl Summary {
    fn empty(name: &str, format: &'static str) -> Self {
        Summary {
            name: name.to_string(),
            architecture: None,
            format,
            format_version: None,
            files: 0,
            parameters: 0,
            total_bytes: 0,
            outside_layers_bytes: 0,
            expert_bytes: 0,
            by_type: BTreeMap::new(),
            layers: Vec::new(),
            tokenizer: None,
            vocab_size: None,
            context_length: None,
            chat_template: false,
            tensors: Vec::new(),
        }
    }

    fn add_tensors(&mut self, checkpoint: &Checkpoint) {
        let mut layers: BTreeMap<usize, LayerSummary> = BTreeMap::new();
        for tensor in checkpoint.tensors() {
            let parameters = tensor.elements() as u64;
            let (name, ty, bytes) = (tensor.name.to_string(), tensor.ty.name(), tensor.data.len() as u64);
            self.add_tensor(TensorSummary { name, ty, shape: tensor.shape, bytes }, parameters, &mut layers);
        }
        for tensor in checkpoint.byte_tensors() {
            let bytes = tensor.data.len() as u64;
            let parameters = match checkpoint {
                Checkpoint::HuggingFace(folder) => folder.parameters_of(&tensor),
                Checkpoint::Gguf(_) => 0,
            };
            let ty = match tensor.kind {
                Bytewise::U8 => laminar_kernels::WeightType::Mxfp4.name(),
                kind => kind.name(),
            };
            let name = tensor.name.to_string();
            self.add_tensor(TensorSummary { name, ty, shape: tensor.shape, bytes }, parameters, &mut layers);
        }
        for layer in layers.values_mut().filter(|layer| layer.experts > 0) {
            layer.bytes_per_expert = layer.expert_bytes / layer.experts as u64;
        }
        self.layers = layers.into_values().collect();
    }

    fn add_tensor(&mut self, tensor: TensorSummary, parameters: u64, layers: &mut BTreeMap<usize, LayerSummary>) {
        let bytes = tensor.bytes;
        self.parameters += parameters;
        self.total_bytes += bytes;
        let total = self.by_type.entry(tensor.ty.to_string()).or_default();
        total.tensors += 1;
        total.parameters += parameters;
        total.bytes += bytes;
        match layer_of(&tensor.name) {
            None => self.outside_layers_bytes += bytes,
            Some(layer) => {
                let entry = layers.entry(layer).or_default();
                entry.layer = layer;
                entry.bytes += bytes;
                if let Some(experts) = experts_in(&tensor.name, &tensor.shape) {
                    self.expert_bytes += bytes;
                    entry.expert_bytes += bytes;
                    entry.experts = entry.experts.max(experts);
                }
            }
        }
        self.tensors.push(tensor);
    }
}

/// The number in `blk.7.attn_q.weight` or `model.layers.7.mlp...`.
fn layer_of(name: &str) -> Option<usize> {
    let rest = match name.strip_prefix("blk.") {
        Some(rest) => rest,
        None => name.split_once("layers.").map(|(_, rest)| rest)?,
    };
    rest.split('.').next()?.parse().ok()
}

/// How many experts a tensor tells of: all of them where they are stacked (`blk.7.ffn_up_exps.weight`,
/// `mlp.experts.gate_up_proj`), at least the one it belongs to where each has its own (`mlp.experts.3.up_proj.weight`).
fn experts_in(name: &str, shape: &[usize]) -> Option<usize> {
    if name.contains("_exps.") {
        return shape.first().copied();
    }
    let (_, rest) = name.split_once(".experts.")?;
    match rest.split('.').next()?.parse::<usize>() {
        Ok(number) => Some(number.saturating_add(1)),
        Err(_) => shape.first().copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Gguf;
    use crate::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};

    fn summary(preset: Preset) -> Summary {
        let bytes = to_vec(&SynthOptions::new(preset), &byte_tokenizer()).unwrap();
        inspect(&Checkpoint::Gguf(Gguf::from_vec(bytes).unwrap())).unwrap()
    }

    #[test]
    fn bytes_are_counted_by_layer_and_expert() {
        let tiny = summary(Preset::Tiny);
        // Three matrices of 64 x 32 values in Q8_0, 34 bytes for 32 values.
        let expert = 3 * 64 * 32 / 32 * 34;
        assert_eq!(tiny.layers.len(), 4);
        for (number, layer) in tiny.layers.iter().enumerate() {
            assert_eq!((layer.layer, layer.experts, layer.bytes_per_expert), (number, 8, expert));
            assert_eq!(layer.expert_bytes, 8 * expert);
        }
        assert_eq!(tiny.expert_bytes, 4 * 8 * expert);
        let by_layer: u64 = tiny.layers.iter().map(|layer| layer.bytes).sum();
        assert_eq!(tiny.total_bytes, by_layer + tiny.outside_layers_bytes);
        assert_eq!(tiny.total_bytes, tiny.by_type.values().map(|total| total.bytes).sum::<u64>());
        assert_eq!(tiny.parameters, tiny.by_type.values().map(|total| total.parameters).sum::<u64>());
        let dense = summary(Preset::TinyDense);
        assert_eq!((dense.expert_bytes, dense.layers[0].experts), (0, 0));
    }

    #[test]
    fn the_summary_names_what_people_ask_for() {
        let tiny = summary(Preset::Tiny);
        assert_eq!(tiny.name, "synthetic-tiny");
        assert_eq!(tiny.architecture.as_deref(), Some("qwen3moe"));
        assert_eq!((tiny.format, tiny.format_version, tiny.files), ("gguf", Some(3), 1));
        assert_eq!((tiny.context_length, tiny.tokenizer.as_deref()), (Some(4096), Some("gpt2")));
        assert!(tiny.chat_template);
        let json = serde_json::to_value(&tiny).unwrap();
        assert_eq!(json["tensors"][0]["type"], "Q8_0");
        assert_eq!(json["tensors"][0]["shape"], serde_json::json!([tiny.vocab_size, 64]));
    }

    #[test]
    fn names_tell_layers_and_experts() {
        for (name, layer, experts) in [
            ("blk.7.ffn_up_exps.weight", Some(7), Some(16)),
            ("blk.7.ffn_up.weight", Some(7), None),
            ("model.layers.3.mlp.experts.5.up_proj.weight", Some(3), Some(6)),
            ("model.layers.3.mlp.experts.gate_up_proj", Some(3), Some(16)),
            ("model.embed_tokens.weight", None, None),
            ("output.weight", None, None),
        ] {
            assert_eq!((layer_of(name), experts_in(name, &[16, 2, 2])), (layer, experts), "{name}");
        }
    }
}
