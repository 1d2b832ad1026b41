//! DeepSeek V2, V3 and R1, and what is built like them (Kimi K2, Moonlight, GLM-4.7-Flash): latent attention, dense layers
//! before the mixtures, experts for all rows, and routing by softmax (V2) or by sigmoid with a correction for the choice,
//! limited to groups of experts in the larger members. The layers for guessing further tokens at once are not run.
//!
//! Chat: DeepSeek has `<｜User｜>` and `<｜Assistant｜>` before texts and `<｜end▁of▁sentence｜>` behind answers; reasoning
//! is between `<think>` and `</think>`, and calls of tools between `<｜tool▁calls▁begin｜>` and `<｜tool▁calls▁end｜>`, each
//! as `<｜tool▁call▁begin｜>function<｜tool▁sep｜>name`, JSON in a code block, and `<｜tool▁call▁end｜>`.
//! GLM-4.7-Flash has GLM-4.5's.

use laminar_kernels::{RopeStyle, Scoring};

use super::base::{self, Heads};
use super::{Family, Hyper};
use crate::checkpoint::Checkpoint;
use crate::config::{ExpertConfig, LatentConfig, ModelConfig};
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;
use crate::rope;

pub(super) const FAMILY: Family = Family {
    name: "deepseek2",
    gguf_architecture: "deepseek2",
    models: "DeepSeek V2, V2-Lite, V3, R1; Kimi K2, Moonlight, GLM-4.7-Flash",
    features: &[
        "latent attention",
        "experts",
        "dense layers before them",
        "shared experts",
        "softmax and sigmoid routing with group limits",
        "YaRN",
    ],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["deepseek_v3", "deepseek_v2", "glm4_moe_lite", "kimi_k2"],
    read_config,
    layer,
    hf_names: &[
        ("attn_q_a", "self_attn.q_a_proj"),
        ("attn_q_a_norm", "self_attn.q_a_layernorm"),
        ("attn_q_b", "self_attn.q_b_proj"),
        ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
        ("attn_kv_a_norm", "self_attn.kv_a_layernorm"),
        ("attn_kv_b", "self_attn.kv_b_proj"),
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

/// GLM-4.7-Flash, whose first GGUF files do not say that its router has sigmoids.
const GLM_FLASH: (usize, usize) = (47, 154_880);

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let latent = latent(hyper)?;
    // Pairs are neighbours unless a folder says otherwise.
    let interleaved = hyper.hf_bool("rope_interleave")?.unwrap_or(true);
    let style = if interleaved { RopeStyle::Interleaved } else { RopeStyle::Half };
    let heads = Heads {
        heads: hyper.size("attention.head_count", "num_attention_heads")?,
        kv_heads: 1,
        head_dim: latent.rotated + latent.rank,
        rotated: latent.rotated,
    };
    let mut config = base::config_of("deepseek2", style, hyper, checkpoint, &heads)?;
    base::leave_guessing_layers(hyper, &mut config)?;
    let width = (latent.plain + latent.rotated) as f32;
    config.attention_scale = rope::score_factor(hyper)? / width.sqrt();
    config.latent = Some(latent);
    config.experts = experts(hyper, &config)?;
    Ok(config)
}

/// How keys and values are compressed. Newer GGUF files state the widths of a head under keys of their own, since
/// the usual ones are about what is kept.
fn latent(hyper: &Hyper<'_>) -> Result<LatentConfig, ModelError> {
    let rank = hyper.size("attention.kv_lora_rank", "kv_lora_rank")?;
    let rotated = hyper.size("rope.dimension_count", "qk_rope_head_dim")?;
    let (plain, value) = if hyper.is_gguf() {
        let of_head = |key: &str, older: &str| match hyper.opt_size(key, "")? {
            Some(width) => Ok(width),
            None => hyper.size(older, ""),
        };
        let key = of_head("attention.key_length_mla", "attention.key_length")?;
        let value = of_head("attention.value_length_mla", "attention.value_length")?;
        let plain = key.checked_sub(rotated).filter(|plain| *plain > 0).ok_or_else(|| {
            let message = format!("is {rotated} of {key} values of a head, and must leave some");
            ModelError::config(hyper.key("rope.dimension_count", ""), message)
        })?;
        (plain, value)
    } else {
        (hyper.size("", "qk_nope_head_dim")?, hyper.size("", "v_head_dim")?)
    };
    if !rotated.is_multiple_of(2) {
        let key = hyper.key("rope.dimension_count", "qk_rope_head_dim");
        return Err(ModelError::config(key, format!("is {rotated}, rotary embedding needs an even number")));
    }
    let query_rank = hyper.opt_count("attention.q_lora_rank", "q_lora_rank")?;
    Ok(LatentConfig { query_rank, rank, rotated, plain, value })
}

fn experts(hyper: &Hyper<'_>, config: &ModelConfig) -> Result<Option<ExpertConfig>, ModelError> {
    if base::experts(hyper, config.ffn, false)?.is_none() {
        return Ok(None);
    }
    if hyper.opt_size("", "moe_layer_freq")?.is_some_and(|every| every != 1) {
        return Err(ModelError::config("moe_layer_freq", "must be 1: all layers behind the dense ones have experts"));
    }
    let scoring = if hyper.is_gguf() {
        let flash = (config.layers, config.vocab_size) == GLM_FLASH;
        base::scoring(hyper)?.unwrap_or(if flash { Scoring::Sigmoid } else { Scoring::Softmax })
    } else if hyper.architecture()? == "deepseek_v2" {
        Scoring::Softmax
    } else {
        Scoring::Sigmoid
    };
    // What stands for a group: its best expert in V2, its two best since.
    let group_best = if scoring == Scoring::Softmax { 1 } else { 2 };
    let mut experts = base::scored_experts(hyper, config.ffn, scoring, group_best)?;
    if hyper.hf_field("topk_method").and_then(|v| v.as_str()) == Some("greedy")
        && let Some(scores) = &mut experts.scores
    {
        (scores.groups, scores.groups_used, scores.group_best) = (1, 1, 1);
    }
    if let Some(dense) = dense_layers(hyper)? {
        experts.dense_layers = dense;
    }
    Ok(Some(experts))
}

/// The leading dense layers where a folder lists its layers' kinds one by one.
fn dense_layers(hyper: &Hyper<'_>) -> Result<Option<usize>, ModelError> {
    let Some(kinds) = hyper.hf_field("mlp_layer_types").and_then(|v| v.as_array()) else {
        return Ok(None);
    };
    let dense = kinds.iter().take_while(|kind| kind.as_str() == Some("dense")).count();
    if kinds.iter().skip(dense).any(|kind| kind.as_str() != Some("sparse")) {
        return Err(ModelError::config("mlp_layer_types", "must have all dense layers before the sparse ones"));
    }
    Ok(Some(dense))
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, _: usize) -> Result<Layer, ModelError> {
    let latent = config.latent.as_ref().ok_or_else(|| ModelError::config("kv_lora_rank", "is missing"))?;
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention: weights.latent_attention(config, latent)?.into(),
        post_attention_norm: None,
        ffn_norm: Some(weights.norm("ffn_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
