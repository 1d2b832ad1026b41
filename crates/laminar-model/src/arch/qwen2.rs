//! Qwen2 and Qwen2.5: Llama's layer with biases on queries, keys and values.
//!
//! Chat: ChatML, `<|im_start|>role` on a line, text, `<|im_end|>`. Tools are listed between `<tools>` and `</tools>` in
//! the system message, a call is a JSON object between `<tool_call>` and `</tool_call>`, results come between
//! `<tool_response>` and `</tool_response>` in role `user`. No reasoning markers but those of distilled members
//! (`<think>`, `</think>`).

use laminar_kernels::RopeStyle;

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::{Layer, Projection};
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "qwen2",
    gguf_architecture: "qwen2",
    models: "Qwen2, Qwen2.5",
    features: &["query, key and value biases"],
    checked_against: &["transformers"],
    hf_model_types: &["qwen2"],
    read_config,
    layer,
    hf_names: &[],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("qwen2", RopeStyle::Half, hyper, checkpoint)?;
    qwen_windows(hyper, &mut config)?;
    Ok(config)
}

/// `use_sliding_window` turns the window on for layers from `max_window_layers` up.
pub(super) fn qwen_windows(hyper: &Hyper<'_>, config: &mut ModelConfig) -> Result<(), ModelError> {
    if hyper.hf_bool("use_sliding_window")?.unwrap_or(false) && hyper.hf_field("sliding_window").is_some() {
        let window = hyper.size("", "sliding_window")?;
        let first = hyper.hf_field("max_window_layers").and_then(|v| v.as_u64()).unwrap_or(0);
        for (index, slot) in config.windows.iter_mut().enumerate() {
            if index as u64 >= first {
                *slot = Some(window);
            }
        }
    }
    Ok(())
}

/// Shared with the mixture-of-experts member, which differs in the feed-forward part alone.
pub(super) fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    let attention = weights.attention(config, index)?;
    let of = |projection: Option<&Projection>| projection.is_some_and(Projection::has_bias);
    let each = [("attn_q", Some(&attention.q)), ("attn_k", attention.k.as_ref()), ("attn_v", attention.v.as_ref())];
    for (stem, projection) in each {
        if !of(projection) {
            return Err(weights.missing(&format!("{stem}.bias")));
        }
    }
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention: attention.into(),
        post_attention_norm: None,
        ffn_norm: Some(weights.norm("ffn_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
