//! Seed-OSS: Qwen2's layer with heads whose width is stated.
//!
//! Chat: `<seed:bos>role` on a line, text, `<seed:eos>`. Reasoning is between `<seed:think>` and `</seed:think>`, with its
//! budget in the system message and `<seed:cot_budget_reflect>` on the way; calls are XML between `<seed:tool_call>` and
//! `</seed:tool_call>`: `<function=name>`, `<parameter=name>` pairs.

use laminar_kernels::RopeStyle;

use super::{Family, Hyper, base, glm4moe};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "seed_oss",
    gguf_architecture: "seed_oss",
    models: "Seed-OSS 36B",
    features: &["query, key and value biases"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["seed_oss"],
    read_config,
    layer: glm4moe::layer,
    hf_names: &[("post_attention_norm", "post_attention_layernorm")],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    base::config("seed_oss", RopeStyle::Half, hyper, checkpoint)
}
