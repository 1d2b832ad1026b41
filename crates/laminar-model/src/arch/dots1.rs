//! dots.llm1: Qwen3's attention and DeepSeek-V3's mixtures, behind leading dense layers.
//!
//! Chat: `<|system|>`, `<|userprompt|>` and `<|response|>` before texts, and behind them `<|endofsystem|>`,
//! `<|endofuserprompt|>` and `<|endofresponse|>`. No markers for tools or reasoning.

use laminar_kernels::{RopeStyle, Scoring};

use super::{Family, Hyper, base, qwen3};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "dots1",
    gguf_architecture: "dots1",
    models: "dots.llm1",
    features: &["experts", "dense layers before them", "shared experts", "sigmoid routing", "head norms"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["dots1"],
    read_config,
    layer: qwen3::layer,
    hf_names: &[
        ("ffn_gate_inp", "mlp.gate"),
        ("exp_probs_b", "mlp.gate.e_score_correction_bias"),
        ("ffn_gate_exps", "mlp.experts.{}.gate_proj"),
        ("ffn_up_exps", "mlp.experts.{}.up_proj"),
        ("ffn_down_exps", "mlp.experts.{}.down_proj"),
        ("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
        ("ffn_up_shexp", "mlp.shared_experts.up_proj"),
        ("ffn_down_shexp", "mlp.shared_experts.down_proj"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("dots1", RopeStyle::Half, hyper, checkpoint)?;
    // No published member's window reaches a layer.
    let reached = hyper.opt_size("", "max_window_layers")?.is_none_or(|first| first < config.layers);
    if hyper.hf_field("sliding_window").is_some() && reached {
        return Err(ModelError::config("sliding_window", "is not supported for this family"));
    }
    let scoring = base::scoring(hyper)?.unwrap_or(Scoring::Sigmoid);
    config.experts = Some(base::scored_experts(hyper, config.ffn, scoring, 2)?);
    Ok(config)
}
