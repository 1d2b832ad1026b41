//! GLM-4.5 and its line (GLM-4.5-Air, GLM-4.6): partly rotated heads, a dense layer or more before the mixtures,
//! sigmoid routing with a correction for the choice, and an expert for all rows. The layers for guessing further tokens
//! at once, which checkpoints carry at their end, are not run.
//!
//! Chat: `[gMASK]<sop>` begins a text; `<|system|>`, `<|user|>`, `<|assistant|>` and `<|observation|>` begin messages
//! and end answers. Reasoning is between `<think>` and `</think>` (`/nothink` behind the user's text turns it off). A
//! call is `<tool_call>name`, then `<arg_key>` and `<arg_value>` pairs, then `</tool_call>`; results come as
//! `<tool_response>`.

use laminar_kernels::{RopeStyle, Scoring};

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::{ExpertConfig, ModelConfig, ScoreConfig};
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "glm4moe",
    gguf_architecture: "glm4moe",
    models: "GLM-4.5, GLM-4.5-Air, GLM-4.6",
    features: &["experts", "dense layers before them", "shared expert", "sigmoid routing", "partly rotated heads"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["glm4_moe"],
    read_config,
    layer,
    hf_names: &[
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_gate_inp", "mlp.gate"),
        ("exp_probs_b", "mlp.gate.e_score_correction_bias"),
        ("ffn_gate_exps", "mlp.experts.{}.gate_proj"),
        ("ffn_up_exps", "mlp.experts.{}.up_proj"),
        ("ffn_down_exps", "mlp.experts.{}.down_proj"),
        ("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
        ("ffn_up_shexp", "mlp.shared_experts.up_proj"),
        ("ffn_down_shexp", "mlp.shared_experts.down_proj"),
    ],
};

/// GGUF's number for scores by sigmoid.
const SIGMOID: usize = 2;

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("glm4moe", RopeStyle::Half, hyper, checkpoint)?;
    // GGUF counts the layers for guessing among the others.
    let guessing = hyper.opt_count("nextn_predict_layers", "")?.unwrap_or(0);
    if guessing >= config.layers {
        let message = format!("is {guessing} of {} layers", config.layers);
        return Err(ModelError::config(hyper.key("nextn_predict_layers", ""), message));
    }
    config.layers -= guessing;
    config.windows.truncate(config.layers);
    config.experts = Some(experts(hyper, &config)?);
    Ok(config)
}

fn experts(hyper: &Hyper<'_>, config: &ModelConfig) -> Result<ExpertConfig, ModelError> {
    if let Some(function) = hyper.opt_count("expert_gating_func", "")?
        && function != SIGMOID
    {
        let message = format!("is {function}, supported: {SIGMOID} (sigmoid)");
        return Err(ModelError::config(hyper.key("expert_gating_func", ""), message));
    }
    let normalise = hyper.opt_bool("expert_weights_norm", "norm_topk_prob")?.unwrap_or(!hyper.is_gguf());
    let mut experts = base::require_experts(hyper, config.ffn, normalise)?;
    let shared = hyper.opt_count("expert_shared_count", "n_shared_experts")?;
    experts.shared_ffn = shared.map(|count| count * experts.ffn);
    experts.dense_layers = hyper.opt_count("leading_dense_block_count", "first_k_dense_replace")?.unwrap_or(0);
    let groups = hyper.opt_count("expert_group_count", "n_group")?.unwrap_or(1);
    let groups_used = hyper.opt_count("expert_group_used_count", "topk_group")?.unwrap_or(1);
    let fits = experts.count.is_multiple_of(groups)
        && groups_used <= groups
        && experts.top_k <= experts.count / groups * groups_used
        // Two experts of a group stand for it.
        && (groups == 1 || experts.count / groups >= 2);
    if !fits {
        let message =
            format!("is {groups}: {groups_used} groups, {} experts, {} of them chosen", experts.count, experts.top_k);
        return Err(ModelError::config(hyper.key("expert_group_count", "n_group"), message));
    }
    let scale = hyper.opt_float("expert_weights_scale", "routed_scaling_factor")?.filter(|scale| *scale != 0.0);
    experts.scores = Some(ScoreConfig {
        scoring: Scoring::Sigmoid,
        groups,
        groups_used,
        group_best: if groups == 1 { 1 } else { 2 },
        scale: scale.unwrap_or(1.0),
    });
    Ok(experts)
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    // The largest member norms heads, the others do not.
    let attention = match weights.find("attn_q_norm", ".weight") {
        Some(_) => weights.attention_with_head_norms(config, index)?,
        None => weights.attention(config, index)?,
    };
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention,
        post_attention_norm: None,
        // Its name in GGUF files notwithstanding.
        ffn_norm: Some(weights.norm("post_attention_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
    })
}
