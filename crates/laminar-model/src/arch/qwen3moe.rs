//! Qwen3 mixture of experts (Qwen3-30B-A3B, Qwen3-235B-A22B): Qwen3's attention, every feed-forward layer routed.
//!
//! Chat: the dense members'. Qwen3-Coder calls tools in XML instead: `<function=name>` and `<parameter=name>` elements
//! between `<tool_call>` and `</tool_call>`.

use laminar_kernels::RopeStyle;

use super::{Family, Hyper, base, qwen2, qwen3};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "qwen3moe",
    gguf_architecture: "qwen3moe",
    models: "Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder",
    features: &["experts", "head norms"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["qwen3_moe"],
    read_config,
    layer: qwen3::layer,
    hf_names: &[
        ("ffn_gate_inp", "mlp.gate"),
        ("ffn_gate_exps", "mlp.experts.{}.gate_proj"),
        ("ffn_up_exps", "mlp.experts.{}.up_proj"),
        ("ffn_down_exps", "mlp.experts.{}.down_proj"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("qwen3moe", RopeStyle::Half, hyper, checkpoint)?;
    qwen2::qwen_windows(hyper, &mut config)?;
    // GGUF files carry no flag: every published checkpoint normalises.
    let normalise = hyper.is_gguf() || hyper.hf_bool("norm_topk_prob")?.unwrap_or(false);
    config.experts = Some(base::require_experts(hyper, config.ffn, normalise)?);
    base::refuse_dense_layers(hyper)?;
    Ok(config)
}
