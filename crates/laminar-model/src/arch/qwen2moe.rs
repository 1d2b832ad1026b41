//! Qwen1.5-MoE and Qwen2-57B-A14B: Qwen2's attention, routed experts, and an expert for all rows behind a gate of its
//! own.
//!
//! Chat: ChatML, `<|im_start|>role` on a line, text, `<|im_end|>`. Tools by the template's own wording; no reasoning
//! markers.

use laminar_kernels::RopeStyle;

use super::{Family, Hyper, base, qwen2};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "qwen2moe",
    gguf_architecture: "qwen2moe",
    models: "Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B",
    features: &["experts", "shared expert", "query, key and value biases"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["qwen2_moe"],
    read_config,
    layer: qwen2::layer,
    hf_names: &[
        ("ffn_gate_inp", "mlp.gate"),
        ("ffn_gate_exps", "mlp.experts.{}.gate_proj"),
        ("ffn_up_exps", "mlp.experts.{}.up_proj"),
        ("ffn_down_exps", "mlp.experts.{}.down_proj"),
        ("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
        ("ffn_up_shexp", "mlp.shared_expert.up_proj"),
        ("ffn_down_shexp", "mlp.shared_expert.down_proj"),
        ("ffn_gate_inp_shexp", "mlp.shared_expert_gate"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("qwen2moe", RopeStyle::Half, hyper, checkpoint)?;
    qwen2::qwen_windows(hyper, &mut config)?;
    base::refuse_dense_layers(hyper)?;
    // GGUF files carry no flag: every published checkpoint takes the weights as they are.
    let normalise = hyper.hf_bool("norm_topk_prob")?.unwrap_or(false);
    let mut experts = base::require_experts(hyper, config.ffn, normalise)?;
    let shared = hyper.opt_size("expert_shared_feed_forward_length", "shared_expert_intermediate_size")?;
    experts.shared_ffn = Some(shared.unwrap_or(config.ffn));
    config.experts = Some(experts);
    Ok(config)
}
