//! LFM2 mixtures (LFM2-8B-A1B): LFM2's layers, the first ones dense, then experts chosen by sigmoids with a correction for the
//! choice.
//!
//! Chat: LFM2's.

use laminar_kernels::Scoring;

use super::{Family, Hyper, base, lfm2};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "lfm2moe",
    gguf_architecture: "lfm2moe",
    models: "LFM2-8B-A1B, LFM2-24B-A2B",
    features: &["short convolutions", "head norms", "experts", "dense layers before them", "sigmoid routing"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["lfm2_moe"],
    read_config,
    layer: lfm2::layer,
    hf_names: &[
        ("output_norm.weight", "model.embedding_norm.weight"),
        ("attn_norm", "operator_norm"),
        ("attn_output", "self_attn.out_proj"),
        ("attn_q_norm", "self_attn.q_layernorm"),
        ("attn_k_norm", "self_attn.k_layernorm"),
        ("shortconv.in_proj", "conv.in_proj"),
        ("shortconv.conv", "conv.conv"),
        ("shortconv.out_proj", "conv.out_proj"),
        ("ffn_norm", "ffn_norm"),
        ("ffn_gate", "feed_forward.w1"),
        ("ffn_up", "feed_forward.w3"),
        ("ffn_down", "feed_forward.w2"),
        ("ffn_gate_inp", "feed_forward.gate"),
        ("exp_probs_b", "feed_forward.expert_bias"),
        ("ffn_gate_exps", "feed_forward.experts.{}.w1"),
        ("ffn_up_exps", "feed_forward.experts.{}.w3"),
        ("ffn_down_exps", "feed_forward.experts.{}.w2"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    let mut config = lfm2::convolutional("lfm2moe", hyper, checkpoint)?;
    let scoring = base::scoring(hyper)?.unwrap_or(Scoring::Sigmoid);
    let mut experts = base::scored_experts(hyper, config.ffn, scoring, 1)?;
    // GGUF files do not say so: every published model does.
    experts.normalise = hyper.hf_bool("norm_topk_prob")?.unwrap_or(true);
    experts.dense_layers = hyper.opt_count("leading_dense_block_count", "num_dense_layers")?.unwrap_or(0);
    config.experts = Some(experts);
    Ok(config)
}
