//! OLMoE: 64 small experts, and norms over all queries and over all keys of a row.
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
    name: "olmoe",
    gguf_architecture: "olmoe",
    models: "OLMoE-1B-7B",
    features: &["experts", "norms over all heads"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["olmoe"],
    read_config,
    layer,
    hf_names: &[
        ("ffn_gate_inp", "mlp.gate"),
        ("ffn_gate_exps", "mlp.experts.{}.gate_proj"),
        ("ffn_up_exps", "mlp.experts.{}.up_proj"),
        ("ffn_down_exps", "mlp.experts.{}.down_proj"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    base::refuse_clipping(hyper)?;
    let mut config = base::config("olmoe", RopeStyle::Half, hyper, checkpoint)?;
    let normalise = hyper.hf_bool("norm_topk_prob")?.unwrap_or(false);
    config.experts = Some(base::require_experts(hyper, config.ffn, normalise)?);
    Ok(config)
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention: weights.attention_with_row_norms(config, index)?.into(),
        post_attention_norm: None,
        ffn_norm: Some(weights.norm("ffn_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
