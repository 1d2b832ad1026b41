//! Llama, Mistral and SmolLM2: RMS norms, grouped heads, gated feed-forward, no biases unless the checkpoint has them.
//!
//! GGUF files of this architecture may carry experts in place of the dense feed-forward layer (Mixtral's layout:
//! softmax over all experts, the chosen weights scaled to sum to one).
//!
//! Chat, by member. Llama 2 and Mistral: `[INST] text [/INST]`, answers end with `</s>`; Mistral calls tools with
//! `[TOOL_CALLS]` before a JSON list. Llama 3: `<|start_header_id|>role<|end_header_id|>`, an empty line, text,
//! `<|eot_id|>`; a call is a JSON object as the whole answer, or follows `<|python_tag|>`, and ends with `<|eom_id|>`;
//! results come in role `ipython`. SmolLM2: ChatML. No reasoning markers but those of distilled members (`<think>`,
//! `</think>`).

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "llama",
    gguf_architecture: "llama",
    models: "Llama 2 and 3, Mistral 7B, SmolLM2, and others of that shape",
    features: &["grouped heads", "Llama 3 rope scaling", "sliding window (Mistral)", "experts (GGUF)"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["llama", "mistral"],
    read_config,
    layer,
    hf_names: &[],
};

pub(super) fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("llama", base::llama_style(hyper), hyper, checkpoint)?;
    if hyper.is_gguf() {
        config.experts = base::experts(hyper, config.ffn, true)?;
    }
    // Only Mistral folders have this field; every layer then slides.
    if hyper.hf_field("sliding_window").is_some() {
        let window = hyper.size("", "sliding_window")?;
        config.windows.fill(Some(window));
    }
    Ok(config)
}

/// Shared with families whose layer has the same parts.
pub(super) fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
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
