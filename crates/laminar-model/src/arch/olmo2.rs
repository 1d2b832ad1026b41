//! OLMo 2 and 3: norms behind the branches instead of before them, and norms over all queries and over all keys of a row.
//! In three of four layers of OLMo 3 a window slides, and YaRN stretches the others alone.
//!
//! Chat: OLMo 2 has `<|user|>`, `<|assistant|>` and `<|system|>`, each on a line before the text; answers end with
//! `<|endoftext|>`, and there are no markers for tools or reasoning. OLMo 3 has ChatML; it lists tools in the system message
//! between `<functions>` and `</functions>`, calls them between `<function_calls>` and `</function_calls>` as Python calls,
//! one a line, and its reasoning members write `<think>` and `</think>`.

use laminar_kernels::RopeStyle;

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;
use crate::rope;

pub(super) const FAMILY: Family = Family {
    name: "olmo2",
    gguf_architecture: "olmo2",
    models: "OLMo 2, OLMo 3",
    features: &["norms over all heads", "norms after branches", "sliding window in three of four layers (OLMo 3)"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["olmo2", "olmo3"],
    read_config,
    layer,
    hf_names: &[("post_attention_norm", "post_attention_layernorm"), ("post_ffw_norm", "post_feedforward_layernorm")],
};

/// Every fourth layer sees the whole sequence unless the configuration says otherwise.
const GLOBAL_EVERY: usize = 4;

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("olmo2", RopeStyle::Half, hyper, checkpoint)?;
    if let Some(window) = hyper.opt_count("attention.sliding_window", "sliding_window")? {
        config.local_rope = Some(rope::unstretched(hyper, config.head_dim)?);
        base::sliding_windows(hyper, &mut config, window, GLOBAL_EVERY)?;
    }
    Ok(config)
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    Ok(Layer {
        attention_norm: None,
        attention: weights.attention_with_row_norms(config, index)?.into(),
        post_attention_norm: Some(weights.norm("post_attention_norm", config)?),
        ffn_norm: None,
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: Some(weights.norm("post_ffw_norm", config)?),
        output_scale: None,
    })
}
