//! Phi-3, Phi-3.5 and Phi-4: Llama's layer with queries, keys and values in one matrix, gate and up projections in
//! another, and LongRoPE in the members for long contexts. Phi-4 mini rotates a part of each head.
//!
//! Chat: `<|role|>` on a line (Phi-4 mini: without the line), text, `<|end|>`; the 14B Phi-4 has
//! `<|im_start|>role<|im_sep|>text<|im_end|>`. Phi-4 mini lists tools between `<|tool|>` and `<|/tool|>` in the system
//! message and calls them with `<|tool_call|>`; its reasoning members write `<think>` and `</think>`.

use laminar_kernels::RopeStyle;

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "phi3",
    gguf_architecture: "phi3",
    models: "Phi-3 mini and medium, Phi-3.5 mini, Phi-4, Phi-4 mini",
    features: &["fused projections", "LongRoPE", "partly rotated heads"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["phi3"],
    read_config,
    layer,
    hf_names: &[("attn_qkv", "self_attn.qkv_proj"), ("ffn_up", "mlp.gate_up_proj")],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("phi3", RopeStyle::Half, hyper, checkpoint)?;
    if let Some(window) = hyper.opt_count("attention.sliding_window", "sliding_window")? {
        config.windows.fill(Some(window));
    }
    Ok(config)
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention: weights.attention(config, index)?.into(),
        post_attention_norm: None,
        ffn_norm: Some(weights.norm("ffn_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
