//! Granite 3.x, mixture of experts: Granite's factors, and experts whose folders hold gate and up projections in one
//! tensor; some members have an expert for all rows.
//!
//! Chat: that of the dense members.

use super::{Family, Hyper, base, granite, llama};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "granitemoe",
    gguf_architecture: "granitemoe",
    models: "Granite 3.x MoE (1B-A400M, 3B-A800M)",
    features: &["experts", "shared expert", "scales on embeddings, branches, scores and logits"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["granitemoe", "granitemoeshared"],
    read_config,
    layer: llama::layer,
    hf_names: &[
        ("ffn_gate_inp", "block_sparse_moe.router.layer"),
        ("ffn_gate_up_exps", "block_sparse_moe.input_linear"),
        ("ffn_down_exps", "block_sparse_moe.output_linear"),
        ("ffn_up_shexp", "shared_mlp.input_linear"),
        ("ffn_down_shexp", "shared_mlp.output_linear"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    let mut config = granite::scaled("granitemoe", hyper, checkpoint)?;
    // The softmax is over the chosen experts.
    let mut experts = base::require_experts(hyper, config.ffn, true)?;
    experts.shared_ffn = hyper.opt_count("expert_shared_feed_forward_length", "shared_intermediate_size")?;
    config.experts = Some(experts);
    Ok(config)
}
