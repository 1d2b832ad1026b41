//! MiniMax-M2: norms over all queries and over all keys of a row, partly rotated heads, experts in every layer chosen by
//! sigmoids with a correction for the choice.
//!
//! Chat: `]~!b[` and `]~b]role` on a line before texts, `[e~[` behind them. Reasoning is between `<think>` and `</think>`;
//! calls are XML between `<minimax:tool_call>` and `</minimax:tool_call>`: `<invoke name="...">`, `<parameter name="...">`.

use laminar_kernels::{RopeStyle, Scoring};

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "minimax-m2",
    gguf_architecture: "minimax-m2",
    models: "MiniMax-M2, M2.1",
    features: &["experts", "norms over all heads", "sigmoid routing", "partly rotated heads"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["minimax_m2"],
    read_config,
    layer,
    hf_names: &[
        ("ffn_gate_inp", "block_sparse_moe.gate"),
        ("exp_probs_b", "block_sparse_moe.e_score_correction_bias"),
        ("ffn_gate_exps", "block_sparse_moe.experts.{}.w1"),
        ("ffn_up_exps", "block_sparse_moe.experts.{}.w3"),
        ("ffn_down_exps", "block_sparse_moe.experts.{}.w2"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("minimax-m2", RopeStyle::Half, hyper, checkpoint)?;
    let scoring = base::scoring(hyper)?.unwrap_or(Scoring::Sigmoid);
    let mut experts = base::scored_experts(hyper, config.ffn, scoring, 1)?;
    experts.normalise = true;
    config.experts = Some(experts);
    Ok(config)
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention: weights.attention_with_row_norms(config, index)?.into(),
        post_attention_norm: None,
        ffn_norm: Some(weights.norm("ffn_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
