//! gpt-oss (20B, 120B): biased projections, sinks in the softmax, a window in every other layer, experts in MXFP4 with
//! biases and a bounded gate, YaRN.
//!
//! Chat: the harmony format. `<|start|>role<|channel|>channel<|message|>text<|end|>`; the assistant writes its
//! reasoning in channel `analysis`, its answer in `final`, and calls of tools in `commentary` with the receiver in the
//! header (`to=functions.name`, then `<|constrain|>json`). `<|end|>` closes one message of several, `<|return|>` the
//! answer, and `<|call|>` a call. Words are cut by the rule `gpt-4o`.

use laminar_kernels::{Gate, RopeStyle};

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::{Attention, Layer};
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "gpt-oss",
    gguf_architecture: "gpt-oss",
    models: "gpt-oss-20b, gpt-oss-120b",
    features: &["experts with biases", "MXFP4", "attention sinks", "sliding window in every other layer", "YaRN"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["gpt_oss"],
    read_config,
    layer,
    hf_names: &[
        ("attn_sinks", "self_attn.sinks"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_gate_inp", "mlp.router"),
        ("ffn_gate_up_exps", "mlp.experts.gate_up_proj"),
        ("ffn_down_exps", "mlp.experts.down_proj"),
    ],
};

/// Every other layer sees the whole sequence, beginning with the second.
const PERIOD: usize = 2;

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    for (field, expected) in [("swiglu_alpha", Gate::CLAMPED_ALPHA), ("swiglu_limit", Gate::CLAMPED_LIMIT)] {
        if let Some(found) = hyper.opt_float("", field)?
            && found != expected
        {
            return Err(ModelError::config(field, format!("is {found}, supported: {expected}")));
        }
    }
    let mut config = base::config("gpt-oss", RopeStyle::Half, hyper, checkpoint)?;
    config.gate = Gate::ClampedSwiglu;
    // The softmax is over the chosen experts.
    config.experts = Some(base::require_experts(hyper, config.ffn, true)?);
    let window = hyper.size("attention.sliding_window", "sliding_window")?;
    base::sliding_windows(hyper, &mut config, window, PERIOD)?;
    Ok(config)
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    let sinks = weights.bare("attn_sinks", ".weight", config.heads)?;
    let experts = config.experts.as_ref().ok_or_else(|| ModelError::config("expert_count", "is missing"))?;
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention: Attention { sinks: Some(sinks), ..weights.attention(config, index)? }.into(),
        post_attention_norm: None,
        // Its name in GGUF files notwithstanding.
        ffn_norm: Some(weights.norm("post_attention_norm", config)?),
        ffn: weights.biased_experts(config, experts)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
