//! LFM2, dense: short convolutions in most layers, attention with normed heads in the others.
//!
//! Chat: ChatML behind `<|startoftext|>`. Tools are listed in the system message between `<|tool_list_start|>` and
//! `<|tool_list_end|>`, called as a Python list of calls between `<|tool_call_start|>` and `<|tool_call_end|>`, and answered
//! between `<|tool_response_start|>` and `<|tool_response_end|>`. No markers for reasoning.

use laminar_kernels::RopeStyle;

use super::base::{self, Heads};
use super::{Family, Hyper};
use crate::checkpoint::Checkpoint;
use crate::config::{ConvConfig, ModelConfig};
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "lfm2",
    gguf_architecture: "lfm2",
    models: "LFM2 350M to 2.6B",
    features: &["short convolutions", "head norms"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["lfm2"],
    read_config,
    layer,
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
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    let mut config = convolutional("lfm2", hyper, checkpoint)?;
    if let Some(width) = hyper.opt_size("", "block_ff_dim")? {
        config.ffn = width;
    }
    // Folders state a width from which the real one follows.
    if !hyper.is_gguf() && hyper.hf_bool("block_auto_adjust_ff_dim")?.unwrap_or(true) {
        let multiplier = hyper.opt_float("", "block_ffn_dim_multiplier")?.unwrap_or(1.0);
        let multiple = hyper.opt_size("", "block_multiple_of")?.unwrap_or(256);
        config.ffn = ((2 * config.ffn / 3) as f32 * multiplier) as usize;
        config.ffn = config.ffn.div_ceil(multiple) * multiple;
    }
    Ok(config)
}

/// What the members have in common.
pub(super) fn convolutional(
    name: &'static str,
    hyper: &Hyper<'_>,
    checkpoint: &Checkpoint,
) -> Result<ModelConfig, ModelError> {
    let heads = hyper.size("attention.head_count", "num_attention_heads")?;
    let hidden = hyper.size("embedding_length", "hidden_size")?;
    // GGUF files list a layer's key/value heads, none for those with convolutions.
    let listed = hyper.gguf_sizes("attention.head_count_kv")?;
    let kv_heads = match &listed {
        Some(listed) => listed.iter().copied().max().filter(|kv_heads| *kv_heads > 0).unwrap_or(heads),
        None => hyper.opt_size("attention.head_count_kv", "num_key_value_heads")?.unwrap_or(heads),
    };
    let head_dim = hidden / heads;
    if !hidden.is_multiple_of(2 * heads) || !heads.is_multiple_of(kv_heads) {
        let message = format!("is {heads}, with {kv_heads} key/value heads and {hidden} values");
        return Err(ModelError::config(hyper.key("attention.head_count", "num_attention_heads"), message));
    }
    let heads = Heads { heads, kv_heads, head_dim, rotated: head_dim };
    let mut config = base::config_of(name, RopeStyle::Half, hyper, checkpoint, &heads)?;
    let layers = match listed {
        Some(listed) => listed.into_iter().map(|kv_heads| kv_heads == 0).collect(),
        None => kinds(hyper, config.layers)?,
    };
    if layers.len() != config.layers {
        let message = format!("lists {} of {} layers", layers.len(), config.layers);
        return Err(ModelError::config(hyper.key("attention.head_count_kv", "layer_types"), message));
    }
    let taps = hyper.size("shortconv.l_cache", "conv_L_cache")?;
    if taps > MOST_TAPS {
        let message = format!("is {taps}, at most {MOST_TAPS} are accepted");
        return Err(ModelError::config(hyper.key("shortconv.l_cache", "conv_L_cache"), message));
    }
    config.convolution = Some(ConvConfig { taps, layers });
    Ok(config)
}

/// A block of the shortest length has to hold the inputs of an output.
const MOST_TAPS: usize = 16;

/// Which layers have convolutions, by `config.json`.
fn kinds(hyper: &Hyper<'_>, layers: usize) -> Result<Vec<bool>, ModelError> {
    if let Some(kinds) = hyper.hf_field("layer_types").and_then(|v| v.as_array()) {
        let kind = |kind: &serde_json::Value| match kind.as_str() {
            Some("conv") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(ModelError::config("layer_types", "must be \"conv\" or \"full_attention\"")),
        };
        return kinds.iter().map(kind).collect();
    }
    let Some(attention) = hyper.hf_field("full_attn_idxs").and_then(|v| v.as_array()) else {
        return Ok(vec![false; layers]);
    };
    Ok((0..layers).map(|layer| !attention.iter().any(|index| index.as_u64() == Some(layer as u64))).collect())
}

pub(super) fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    let attention = match &config.convolution {
        Some(convolution) if config.is_convolution(index) => weights.convolution(config, convolution.taps)?.into(),
        _ => weights.attention_with_head_norms(config, index)?.into(),
    };
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention,
        post_attention_norm: None,
        ffn_norm: Some(weights.norm("ffn_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
