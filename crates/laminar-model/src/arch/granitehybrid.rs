//! Granite 4.0 H: most layers are selective state spaces (Mamba 2), some have attention without positions; dense networks, or
//! experts beside one for all rows. Members without such layers have the same name in folders.
//!
//! Chat: `<|start_of_role|>role<|end_of_role|>text<|end_of_text|>`. Tools are called as Hermes' models do, as JSON between
//! `<tool_call>` and `</tool_call>`. No markers for reasoning.

use laminar_kernels::{RecurrentRule, RecurrentShape};

use super::base::{self, Heads};
use super::{Family, Hyper, granite};
use crate::checkpoint::Checkpoint;
use crate::config::{ModelConfig, RecurrentConfig};
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "granitehybrid",
    gguf_architecture: "granitehybrid",
    models: "Granite 4.0 (H-350M to H-Small, and Micro)",
    features: &[
        "selective state spaces",
        "experts",
        "shared expert",
        "scales on embeddings, branches, scores and logits",
    ],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["granitemoehybrid"],
    read_config,
    layer,
    hf_names: &[
        ("ssm_in", "mamba.in_proj"),
        ("ssm_conv1d", "mamba.conv1d"),
        ("ssm_a", "mamba.A_log"),
        ("ssm_d", "mamba.D"),
        ("ssm_dt", "mamba.dt_bias"),
        ("ssm_norm", "mamba.norm"),
        ("ssm_out", "mamba.out_proj"),
        ("ffn_up", "shared_mlp.input_linear"),
        ("ffn_down", "shared_mlp.output_linear"),
        ("ffn_gate_inp", "block_sparse_moe.router.layer"),
        ("ffn_gate_up_exps", "block_sparse_moe.input_linear"),
        ("ffn_down_exps", "block_sparse_moe.output_linear"),
        ("ffn_up_shexp", "shared_mlp.input_linear"),
        ("ffn_down_shexp", "shared_mlp.output_linear"),
    ],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let heads = hyper.size("attention.head_count", "num_attention_heads")?;
    let hidden = hyper.size("embedding_length", "hidden_size")?;
    // GGUF files list a layer's key/value heads, none for recurrent ones.
    let listed = hyper.gguf_sizes("attention.head_count_kv")?;
    let kv_heads = match &listed {
        Some(listed) => listed.iter().copied().max().filter(|kv_heads| *kv_heads > 0).unwrap_or(heads),
        None => hyper.opt_size("attention.head_count_kv", "num_key_value_heads")?.unwrap_or(heads),
    };
    let head_dim = hyper.opt_size("attention.key_length", "head_dim")?.unwrap_or(hidden / heads);
    if !head_dim.is_multiple_of(2) || head_dim == 0 || !heads.is_multiple_of(kv_heads) {
        let message = format!("is {heads}, with {kv_heads} key/value heads and {hidden} values");
        return Err(ModelError::config(hyper.key("attention.head_count", "num_attention_heads"), message));
    }
    let heads = Heads { heads, kv_heads, head_dim, rotated: head_dim };
    let config = base::config_of("granitehybrid", base::llama_style(hyper), hyper, checkpoint, &heads)?;
    let mut config = granite::with_factors(hyper, config)?;
    let has_positions = match hyper.is_gguf() {
        true => hyper.gguf_bool("rope.scaling.finetuned")? != Some(false),
        false => hyper.hf_field("position_embedding_type").and_then(|kind| kind.as_str()) == Some("rope"),
    };
    config.unrotated = vec![!has_positions; config.layers];

    let shared = hyper.opt_count("expert_shared_feed_forward_length", "shared_intermediate_size")?;
    if hyper.opt_count("expert_count", "num_local_experts")?.is_some() {
        // The softmax is over the chosen experts.
        let mut experts = base::require_experts(hyper, config.ffn, true)?;
        experts.shared_ffn = shared;
        config.experts = Some(experts);
    } else if !hyper.is_gguf() {
        // The network for all rows is the only one.
        config.ffn = shared.unwrap_or(0);
    }

    let layers = match listed {
        Some(listed) => listed.into_iter().map(|kv_heads| kv_heads == 0).collect(),
        None => kinds(hyper, config.layers)?,
    };
    if layers.len() != config.layers {
        let message = format!("lists {} of {} layers", layers.len(), config.layers);
        return Err(ModelError::config(hyper.key("attention.head_count_kv", "layer_types"), message));
    }
    if layers.contains(&true) {
        config.recurrent = Some(recurrent(hyper, hidden, layers)?);
    }
    Ok(config)
}

fn recurrent(hyper: &Hyper<'_>, hidden: usize, layers: Vec<bool>) -> Result<RecurrentConfig, ModelError> {
    let key = |gguf: &str, hf: &str| hyper.key(gguf, hf);
    let groups = hyper.size("ssm.group_count", "mamba_n_groups")?;
    if groups != 1 {
        let message = format!("is {groups}, supported: 1");
        return Err(ModelError::config(key("ssm.group_count", "mamba_n_groups"), message));
    }
    let value_heads = hyper.size("ssm.time_step_rank", "mamba_n_heads")?;
    let inner = match hyper.is_gguf() {
        true => hyper.size("ssm.inner_size", "")?,
        false => hidden * hyper.size("", "mamba_expand")?,
    };
    let key_dim = hyper.size("ssm.state_size", "mamba_d_state")?;
    let numbers = inner.checked_mul(key_dim);
    if !inner.is_multiple_of(value_heads) || numbers.is_none_or(|numbers| numbers > base::MOST_STATE_NUMBERS) {
        let message = format!("is {value_heads}, with {inner} x {key_dim} numbers");
        return Err(ModelError::config(key("ssm.time_step_rank", "mamba_n_heads"), message));
    }
    let taps = base::state_taps(hyper, "ssm.conv_kernel", "mamba_d_conv")?;
    let (rule, value_dim) = (RecurrentRule::Sum, inner / value_heads);
    let shape = RecurrentShape { rule, key_heads: 1, value_heads, key_dim, value_dim, in_turns: false };
    Ok(RecurrentConfig { shape, taps, layers })
}

/// Which layers are recurrent, by `config.json`.
fn kinds(hyper: &Hyper<'_>, layers: usize) -> Result<Vec<bool>, ModelError> {
    let Some(kinds) = hyper.hf_field("layer_types").and_then(|kinds| kinds.as_array()) else {
        return Ok(vec![true; layers]);
    };
    let kind = |kind: &serde_json::Value| match kind.as_str() {
        Some("mamba" | "linear_attention") => Ok(true),
        Some("attention" | "full_attention") => Ok(false),
        _ => Err(ModelError::config("layer_types", "must be \"mamba\" or \"attention\"")),
    };
    kinds.iter().map(kind).collect()
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    let attention = match config.recurrent_of(index) {
        Some(recurrent) => weights.selective(config, recurrent)?.into(),
        None => weights.attention(config, index)?.into(),
    };
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention,
        post_attention_norm: None,
        ffn_norm: Some(weights.norm("ffn_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
