//! GLM-4-0414 and GLM-Z1, dense: four norms a layer, half of each head rotated in neighbouring pairs, gate and up projections
//! in one matrix.
//!
//! Chat: `[gMASK]<sop>` begins a text; `<|system|>`, `<|user|>`, `<|assistant|>` and `<|observation|>` begin messages and end
//! answers. A call is the tool's name on a line, then JSON; GLM-Z1 writes its reasoning between `<think>` and `</think>`.

use laminar_kernels::RopeStyle;

use super::{Family, Hyper, base, gemma3};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "glm4",
    gguf_architecture: "glm4",
    models: "GLM-4-0414 9B and 32B, GLM-Z1",
    features: &["partly rotated heads", "norms after branches", "query, key and value biases"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["glm4"],
    read_config,
    layer,
    hf_names: &[
        ("post_attention_norm", "post_self_attn_layernorm"),
        ("ffn_up", "mlp.gate_up_proj"),
        ("post_ffw_norm", "post_mlp_layernorm"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("glm4", RopeStyle::Interleaved, hyper, checkpoint)?;
    base::leave_guessing_layers(hyper, &mut config)?;
    Ok(config)
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    gemma3::around(weights, config, weights.attention(config, index)?)
}
