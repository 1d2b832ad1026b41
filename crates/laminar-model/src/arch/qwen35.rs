//! Qwen3.5 and Qwen3.6, dense and mixtures, text: Qwen3-Next's layers. Positions have three dimensions there, which are the
//! same number in a text, so the usual rotary embedding is what they come to. Images are not read, and the layer for guessing
//! a further token is left out.
//!
//! Chat: ChatML; reasoning between `<think>` and `</think>`, which the template may open or leave empty. Tools are called in
//! XML: `<function=name>` and `<parameter=name>` elements between `<tool_call>` and `</tool_call>`.

use super::{Family, Hyper, base, qwen3next};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const DENSE: Family = Family {
    name: "qwen35",
    gguf_architecture: "qwen35",
    models: "Qwen3.5 and Qwen3.6, dense, text",
    features: &["gated delta rule", "gated attention", "partly rotated heads", "head norms", "text alone"],
    hf_model_types: &["qwen3_5_text", "qwen3_5"],
    read_config: dense,
    ..qwen3next::FAMILY
};

pub(super) const MIXTURE: Family = Family {
    name: "qwen35moe",
    gguf_architecture: "qwen35moe",
    models: "Qwen3.5-35B-A3B to 397B-A17B, Qwen3.6-35B-A3B, text",
    features: &[
        "gated delta rule",
        "gated attention",
        "partly rotated heads",
        "head norms",
        "experts",
        "shared expert",
        "text alone",
    ],
    hf_model_types: &["qwen3_5_moe_text", "qwen3_5_moe"],
    read_config: mixture,
    ..qwen3next::FAMILY
};

fn dense(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    qwen3next::hybrid("qwen35", hyper, checkpoint, true)
}

fn mixture(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    let mut config = qwen3next::hybrid("qwen35moe", hyper, checkpoint, true)?;
    base::refuse_dense_layers(hyper)?;
    config.experts = Some(qwen3next::experts(hyper, &config, true)?);
    Ok(config)
}
