//! Ernie 4.5 mixtures (21B-A3B, 300B-A47B): leading dense layers, experts chosen by softmax with a correction for the choice,
//! and experts for all rows.
//!
//! Chat: Ernie 4.5's.

use laminar_kernels::{RopeStyle, Scoring};

use super::{Family, Hyper, base, llama};
use crate::checkpoint::Checkpoint;
use crate::config::{ExpertConfig, ModelConfig, ScoreConfig};
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "ernie4_5-moe",
    gguf_architecture: "ernie4_5-moe",
    models: "Ernie 4.5 21B-A3B, 300B-A47B",
    features: &["experts", "dense layers before them", "shared experts", "corrected softmax routing"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["ernie4_5_moe"],
    read_config,
    layer: llama::layer,
    hf_names: &[
        ("ffn_gate_inp", "mlp.gate"),
        ("exp_probs_b", "mlp.moe_statics.e_score_correction_bias"),
        ("ffn_gate_exps", "mlp.experts.{}.gate_proj"),
        ("ffn_up_exps", "mlp.experts.{}.up_proj"),
        ("ffn_down_exps", "mlp.experts.{}.down_proj"),
        ("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
        ("ffn_up_shexp", "mlp.shared_experts.up_proj"),
        ("ffn_down_shexp", "mlp.shared_experts.down_proj"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("ernie4_5-moe", RopeStyle::Interleaved, hyper, checkpoint)?;
    config.experts = Some(experts(hyper, &config)?);
    Ok(config)
}

fn experts(hyper: &Hyper<'_>, config: &ModelConfig) -> Result<ExpertConfig, ModelError> {
    let every = ("interleave_moe_layer_step", "moe_layer_interval");
    let last = hyper.hf_field("moe_layer_end_index").and_then(|v| v.as_i64()).filter(|index| *index >= 0);
    if hyper.opt_size(every.0, every.1)?.is_some_and(|every| every != 1)
        || last.is_some_and(|last| last + 1 != config.layers as i64)
    {
        return Err(ModelError::config(
            hyper.key(every.0, every.1),
            "must leave no dense layers behind the first experts",
        ));
    }
    let count = hyper.size("expert_count", "moe_num_experts")?;
    let top_k = hyper.size("expert_used_count", "moe_k")?;
    if top_k > count {
        let message = format!("is {top_k}, more than the {count} experts");
        return Err(ModelError::config(hyper.key("expert_used_count", "moe_k"), message));
    }
    let ffn = hyper.size("expert_feed_forward_length", "moe_intermediate_size")?;
    let shared_ffn = match hyper.opt_count("expert_shared_feed_forward_length", "")? {
        Some(width) => Some(width),
        None => hyper.opt_count("expert_shared_count", "moe_num_shared_experts")?.map(|count| count * ffn),
    };
    let dense_layers = hyper.opt_count("leading_dense_block_count", "moe_layer_start_index")?.unwrap_or(0);
    let scores = ScoreConfig { scoring: Scoring::Softmax, groups: 1, groups_used: 1, group_best: 1, scale: 1.0 };
    Ok(ExpertConfig { count, top_k, ffn, normalise: true, shared_ffn, scores: Some(scores), dense_layers })
}
