//! Mixtral from Hugging Face folders: Mistral's layer with experts. GGUF files of it call themselves `llama`, and that
//! family opens them.
//!
//! Chat: `[INST] text [/INST]`, answers end with `</s>`. Later members call tools with `[TOOL_CALLS]` before a JSON
//! list and read `[AVAILABLE_TOOLS]` and `[TOOL_RESULTS]`. No reasoning markers.

use super::{Family, Hyper, base, llama};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "mixtral",
    gguf_architecture: "llama",
    models: "Mixtral 8x7B, Mixtral 8x22B",
    features: &["experts"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["mixtral"],
    read_config,
    layer: llama::layer,
    hf_names: &[
        ("ffn_gate_inp", "block_sparse_moe.gate"),
        ("ffn_gate_exps", "block_sparse_moe.experts.{}.w1"),
        ("ffn_up_exps", "block_sparse_moe.experts.{}.w3"),
        ("ffn_down_exps", "block_sparse_moe.experts.{}.w2"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    let mut config = llama::read_config(hyper, checkpoint)?;
    config.architecture = "mixtral";
    // The softmax is over the chosen experts.
    config.experts = Some(base::require_experts(hyper, config.ffn, true)?);
    Ok(config)
}
