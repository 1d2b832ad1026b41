//! Granite 3.x, dense: Llama's layer with factors on embeddings, branches, attention scores and logits.
//!
//! Chat: `<|start_of_role|>role<|end_of_role|>text<|end_of_text|>`. Tools are listed in a role `tools`
//! (`available_tools` in older members); a call is `<|tool_call|>` before a JSON list. From 3.2 on, with thinking on,
//! the answer is cut by `<think>` and `<response>` with their closing tags, in 3.2 by the words "Here is my thought
//! process:" instead.

use super::{Family, Hyper, base, llama};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "granite",
    gguf_architecture: "granite",
    models: "Granite 3.x, dense",
    features: &["scales on embeddings, branches, scores and logits"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["granite"],
    read_config,
    layer: llama::layer,
    hf_names: &[],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    scaled("granite", hyper, checkpoint)
}

/// Shared with the mixture-of-experts member.
pub(super) fn scaled(
    name: &'static str,
    hyper: &Hyper<'_>,
    checkpoint: &Checkpoint,
) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    if hyper.gguf_bool("rope.scaling.finetuned")? == Some(false) {
        let key = hyper.key("rope.scaling.finetuned", "");
        return Err(ModelError::config(key, "is false: models without positions are not supported"));
    }
    with_factors(hyper, base::config(name, base::llama_style(hyper), hyper, checkpoint)?)
}

/// The configuration with the factors that all members have.
pub(super) fn with_factors(hyper: &Hyper<'_>, mut config: ModelConfig) -> Result<ModelConfig, ModelError> {
    config.embedding_scale = factor(hyper, "embedding_scale", "embedding_multiplier")?;
    config.residual_scale = factor(hyper, "residual_scale", "residual_multiplier")?;
    if let Some(scale) = factor(hyper, "attention.scale", "attention_multiplier")? {
        config.attention_scale = scale;
    }
    config.logit_scale = factor(hyper, "logit_scale", "logits_scaling")?.map(|divisor| 1.0 / divisor);
    Ok(config)
}

/// A factor that may be missing or, in GGUF files, zero.
fn factor(hyper: &Hyper<'_>, gguf: &str, hf: &str) -> Result<Option<f32>, ModelError> {
    Ok(hyper.opt_float(gguf, hf)?.filter(|factor| *factor != 0.0))
}
