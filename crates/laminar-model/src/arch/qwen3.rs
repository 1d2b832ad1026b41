//! Qwen3, dense: Llama's layer with an RMS norm on every query and key head.
//!
//! Chat: Qwen2.5's, with its tool calls. Reasoning is between `<think>` and `</think>`; the template's
//! `enable_thinking` set to false begins the answer with an empty pair.

use laminar_kernels::RopeStyle;

use super::{Family, Hyper, base, qwen2};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "qwen3",
    gguf_architecture: "qwen3",
    models: "Qwen3, dense",
    features: &["head norms"],
    checked_against: &["transformers"],
    hf_model_types: &["qwen3"],
    read_config,
    layer,
    hf_names: &[],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("qwen3", RopeStyle::Half, hyper, checkpoint)?;
    qwen2::qwen_windows(hyper, &mut config)?;
    Ok(config)
}

/// Shared with the mixture-of-experts member, which differs in the feed-forward part alone.
pub(super) fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention: weights.attention_with_head_norms(config, index)?.into(),
        post_attention_norm: None,
        ffn_norm: Some(weights.norm("ffn_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
