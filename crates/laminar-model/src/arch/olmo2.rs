//! OLMo 2: norms behind the branches instead of before them, and norms over all queries and over all keys of a row.
//!
//! Chat: `<|user|>`, `<|assistant|>` and `<|system|>`, each on a line before the text; answers end with
//! `<|endoftext|>`. No markers for tools or reasoning.

use laminar_kernels::RopeStyle;

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "olmo2",
    gguf_architecture: "olmo2",
    models: "OLMo 2",
    features: &["norms over all heads", "norms after branches"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["olmo2"],
    read_config,
    layer,
    hf_names: &[("post_attention_norm", "post_attention_layernorm"), ("post_ffw_norm", "post_feedforward_layernorm")],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    if hyper.opt_count("attention.sliding_window", "sliding_window")?.is_some() {
        let key = hyper.key("attention.sliding_window", "sliding_window");
        return Err(ModelError::config(key, "is not supported for this family (OLMo 3 has one)"));
    }
    base::config("olmo2", RopeStyle::Half, hyper, checkpoint)
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    Ok(Layer {
        attention_norm: None,
        attention: weights.attention_with_row_norms(config, index)?,
        post_attention_norm: Some(weights.norm("post_attention_norm", config)?),
        ffn_norm: None,
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: Some(weights.norm("post_ffw_norm", config)?),
    })
}
