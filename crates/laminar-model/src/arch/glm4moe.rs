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
use crate::config::ModelConfig;
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

/// Best experts of a group that stand for it.
const GROUP_BEST: usize = 2;

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("glm4moe", RopeStyle::Half, hyper, checkpoint)?;
    base::leave_guessing_layers(hyper, &mut config)?;
    let scoring = base::scoring(hyper)?.unwrap_or(Scoring::Sigmoid);
    config.experts = Some(base::scored_experts(hyper, config.ffn, scoring, GROUP_BEST)?);
    Ok(config)
}

/// Shared with Seed-OSS, whose norms have the same names.
pub(super) fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    // The largest member norms heads, the others do not.
    let attention = match weights.find("attn_q_norm", ".weight") {
        Some(_) => weights.attention_with_head_norms(config, index)?,
        None => weights.attention(config, index)?,
    };
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention: attention.into(),
        post_attention_norm: None,
        // Its name in GGUF files notwithstanding.
        ffn_norm: Some(weights.norm("post_attention_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
