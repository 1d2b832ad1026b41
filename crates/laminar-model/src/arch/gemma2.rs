//! Gemma 2: four norms a layer, soft bounds on attention scores and logits, a window in every other layer.
//!
//! Chat: `<start_of_turn>user` on a line, text, `<end_of_turn>`, then `<start_of_turn>model`. No system role, and no
//! markers for tools or reasoning.

use super::{Family, Hyper, base, gemma3};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "gemma2",
    gguf_architecture: "gemma2",
    models: "Gemma 2",
    features: &["bounded scores and logits", "sliding window in every other layer", "norms after branches"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["gemma2"],
    read_config,
    layer,
    hf_names: &[
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
    ],
};

/// Every other layer sees the whole sequence, beginning with the second.
const PERIOD: usize = 2;
/// What checkpoints that leave them out mean.
const WINDOW: usize = 4096;
const SCORE_CAP: f32 = 50.0;
const LOGIT_CAP: f32 = 30.0;
/// Layers of the 27B member, whose attention scale follows hidden / heads instead of the head width.
const LAYERS_27B: usize = 46;

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    let mut config = gemma3::scaled("gemma2", LAYERS_27B, hyper, checkpoint)?;
    config.attention_softcap = cap(hyper, "attn_logit_softcapping", SCORE_CAP)?;
    config.logit_softcap = cap(hyper, "final_logit_softcapping", LOGIT_CAP)?;
    let window = hyper.opt_size("attention.sliding_window", "sliding_window")?.unwrap_or(WINDOW);
    base::sliding_windows(hyper, &mut config, window, PERIOD)?;
    Ok(config)
}

/// A bound, which folders can turn off by a null.
fn cap(hyper: &Hyper<'_>, key: &str, default: f32) -> Result<Option<f32>, ModelError> {
    match hyper.opt_float(key, key)? {
        Some(cap) if cap > 0.0 => Ok(Some(cap)),
        Some(cap) => Err(ModelError::config(hyper.key(key, key), format!("is {cap}, must be above 0"))),
        None if hyper.hf_states(key) => Ok(None),
        None => Ok(Some(default)),
    }
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    gemma3::around(weights, config, weights.attention(config, index)?)
}
