//! Gemma 3, text: four norms a layer, normed query and key heads, five sliding-window layers to each global one.
//!
//! Chat: Gemma 2's; a system message goes before the first text of the user. No markers for tools or reasoning.

use laminar_kernels::{Gate, RopeStyle};

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::{Attention, Layer};
use crate::layer_weights::LayerWeights;
use crate::rope;

pub(super) const FAMILY: Family = Family {
    name: "gemma3",
    gguf_architecture: "gemma3",
    models: "Gemma 3, text",
    features: &["sliding window in five of six layers", "head norms", "norms after branches"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["gemma3_text"],
    read_config,
    layer,
    hf_names: &[
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
    ],
};

/// Every sixth layer sees the whole sequence unless the configuration says otherwise.
const GLOBAL_EVERY: usize = 6;
/// Rotary base of sliding-window layers; GGUF files do not carry it.
const LOCAL_THETA: f32 = 10_000.0;
/// Layers of the 27B member, whose attention scale follows hidden / heads instead of the head width.
const LAYERS_27B: usize = 62;

/// What folders of models for images and text leave out where a member has what the class has.
const DEFAULTS: &[(&str, f64)] = &[
    ("vocab_size", 262_208.0),
    ("hidden_size", 2304.0),
    ("intermediate_size", 9216.0),
    ("num_hidden_layers", 26.0),
    ("num_attention_heads", 8.0),
    ("num_key_value_heads", 4.0),
    ("head_dim", 256.0),
    ("max_position_embeddings", 131_072.0),
    ("rms_norm_eps", 1e-6),
    ("rope_theta", 1e6),
    ("rope_local_base_freq", 1e4),
    ("query_pre_attn_scalar", 256.0),
    ("sliding_window", 4096.0),
    ("sliding_window_pattern", 6.0),
];

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    match hyper.filled(DEFAULTS) {
        Some(filled) => read_filled(&Hyper::Hf(&filled), checkpoint),
        None => read_filled(hyper, checkpoint),
    }
}

fn read_filled(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    let mut config = scaled("gemma3", LAYERS_27B, hyper, checkpoint)?;
    config.local_rope = Some(rope::local(hyper, config.head_dim, LOCAL_THETA)?);
    for field in ["final_logit_softcapping", "attn_logit_softcapping"] {
        if hyper.hf_field(field).is_some() {
            return Err(ModelError::config(field, "is not supported for gemma3"));
        }
    }
    let window = hyper.size("attention.sliding_window", "sliding_window")?;
    base::sliding_windows(hyper, &mut config, window, GLOBAL_EVERY)?;
    Ok(config)
}

/// Gemma's factors and activation, shared with Gemma 2. `layers_27b` is how many layers the 27B member has.
pub(super) fn scaled(
    name: &'static str,
    layers_27b: usize,
    hyper: &Hyper<'_>,
    checkpoint: &Checkpoint,
) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_activation", &["gelu_pytorch_tanh"])?;
    let mut config = base::config(name, RopeStyle::Half, hyper, checkpoint)?;
    config.gate = Gate::GeluTanh;
    config.embedding_scale = Some((config.hidden as f32).sqrt());
    // Folders store norm weights minus one; GGUF conversion adds it back.
    config.norm_offset = if hyper.is_gguf() { 0.0 } else { 1.0 };
    config.attention_scale = match hyper.opt_float("", "query_pre_attn_scalar")? {
        Some(scalar) if scalar > 0.0 => 1.0 / scalar.sqrt(),
        Some(scalar) => {
            return Err(ModelError::config("query_pre_attn_scalar", format!("is {scalar}, must be above 0")));
        }
        None if config.layers == layers_27b => 1.0 / ((config.hidden / config.heads) as f32).sqrt(),
        None => config.attention_scale,
    };
    Ok(config)
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    around(weights, config, weights.attention_with_head_norms(config, index)?)
}

/// A layer with four norms around the given attention; shared with Gemma 2.
pub(super) fn around(
    weights: &LayerWeights<'_>,
    config: &ModelConfig,
    attention: Attention,
) -> Result<Layer, ModelError> {
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention: attention.into(),
        post_attention_norm: Some(weights.norm("post_attention_norm", config)?),
        ffn_norm: Some(weights.norm("ffn_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: Some(weights.norm("post_ffw_norm", config)?),
        output_scale: None,
    })
}
