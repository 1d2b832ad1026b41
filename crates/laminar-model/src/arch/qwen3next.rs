//! Qwen3-Next: three of four layers keep a state by a gated delta rule, the fourth has attention whose heads are gated and
//! rotated in part; every feed-forward layer is routed, with an expert for all rows behind a gate of its own.
//!
//! Chat: Qwen3's ChatML; the instruct members do not reason, the thinking ones begin with `<think>`. Qwen3-Coder-Next calls
//! tools in XML as Qwen3-Coder does.

use laminar_kernels::{RecurrentRule, RecurrentShape, RopeStyle};

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::{ExpertConfig, ModelConfig, RecurrentConfig};
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

pub(super) const FAMILY: Family = Family {
    name: "qwen3next",
    gguf_architecture: "qwen3next",
    models: "Qwen3-Next-80B-A3B, Qwen3-Coder-Next",
    features: &[
        "gated delta rule",
        "gated attention",
        "partly rotated heads",
        "head norms",
        "experts",
        "shared expert",
    ],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["qwen3_next"],
    read_config,
    layer,
    hf_names: NAMES,
};

/// Of all members: dense ones have no use for some.
pub(super) const NAMES: &[(&str, &str)] = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ssm_in", "linear_attn.in_proj_qkvz"),
    ("ssm_ba", "linear_attn.in_proj_ba"),
    ("attn_qkv", "linear_attn.in_proj_qkv"),
    ("attn_gate", "linear_attn.in_proj_z"),
    ("ssm_alpha", "linear_attn.in_proj_a"),
    ("ssm_beta", "linear_attn.in_proj_b"),
    ("ssm_conv1d", "linear_attn.conv1d"),
    ("ssm_a", "linear_attn.A_log"),
    ("ssm_dt", "linear_attn.dt_bias"),
    ("ssm_norm", "linear_attn.norm"),
    ("ssm_out", "linear_attn.out_proj"),
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_up_exps", "mlp.experts.gate_up_proj"),
    ("ffn_gate_exps", "mlp.experts.{}.gate_proj"),
    ("ffn_up_exps", "mlp.experts.{}.up_proj"),
    ("ffn_down_exps", "mlp.experts.{}.down_proj"),
    ("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    ("ffn_down_shexp", "mlp.shared_expert.down_proj"),
    ("ffn_gate_inp_shexp", "mlp.shared_expert_gate"),
];

/// Layers of which the last has attention, where a checkpoint does not say.
const INTERVAL: usize = 4;

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    // GGUF files have values in the order of the keys that they belong to.
    let mut config = hybrid("qwen3next", hyper, checkpoint, false)?;
    base::refuse_dense_layers(hyper)?;
    let normalise = hyper.hf_bool("norm_topk_prob")?.unwrap_or(true);
    config.experts = Some(experts(hyper, &config, normalise)?);
    Ok(config)
}

/// The experts of all mixtures among the members.
pub(super) fn experts(hyper: &Hyper<'_>, config: &ModelConfig, normalise: bool) -> Result<ExpertConfig, ModelError> {
    let mut experts = base::require_experts(hyper, config.ffn, normalise)?;
    let shared = hyper.opt_size("expert_shared_feed_forward_length", "shared_expert_intermediate_size")?;
    experts.shared_ffn = Some(shared.unwrap_or(experts.ffn));
    Ok(experts)
}

/// What the members have in common. `in_turns`: how GGUF files order value heads; see [`RecurrentShape::in_turns`].
pub(super) fn hybrid(
    name: &'static str,
    hyper: &Hyper<'_>,
    checkpoint: &Checkpoint,
    in_turns: bool,
) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let filled = hyper.filled(&[("partial_rotary_factor", 0.25)]);
    let filled = filled.as_ref().map(Hyper::Hf);
    let hyper = filled.as_ref().unwrap_or(hyper);
    let mut config = base::config(name, RopeStyle::Half, hyper, checkpoint)?;
    base::leave_guessing_layers(hyper, &mut config)?;
    config.norm_offset = if hyper.is_gguf() { 0.0 } else { 1.0 };
    config.gated_queries = true;

    let key_heads = hyper.size("ssm.group_count", "linear_num_key_heads")?;
    let value_heads = hyper.size("ssm.time_step_rank", "linear_num_value_heads")?;
    let key_dim = hyper.size("ssm.state_size", "linear_key_head_dim")?;
    // GGUF files state the width of all heads together.
    let stated = hyper.size("ssm.inner_size", "linear_value_head_dim")?;
    let value_dim = if hyper.is_gguf() { stated / value_heads } else { stated };
    let whole = value_heads.is_multiple_of(key_heads) && (!hyper.is_gguf() || stated == value_dim * value_heads);
    let numbers = [value_dim, key_dim].into_iter().try_fold(value_heads, usize::checked_mul);
    if !whole || value_dim == 0 || numbers.is_none_or(|numbers| numbers > base::MOST_STATE_NUMBERS) {
        let message =
            format!("is {value_heads}, with {key_heads} key heads and {value_dim} x {key_dim} numbers a head");
        return Err(ModelError::config(hyper.key("ssm.time_step_rank", "linear_num_value_heads"), message));
    }
    let taps = base::state_taps(hyper, "ssm.conv_kernel", "linear_conv_kernel_dim")?;
    let in_turns = in_turns && hyper.is_gguf();
    let rule = RecurrentRule::Delta;
    let shape = RecurrentShape { rule, key_heads, value_heads, key_dim, value_dim, in_turns };
    let layers = kinds(hyper, config.layers)?;
    config.recurrent = Some(RecurrentConfig { shape, taps, layers });
    Ok(config)
}

/// Which layers are recurrent.
fn kinds(hyper: &Hyper<'_>, layers: usize) -> Result<Vec<bool>, ModelError> {
    let listed = match hyper.hf_field("layer_types").and_then(|kinds| kinds.as_array()) {
        None => hyper.gguf_flags("attention.recurrent_layers"),
        Some(kinds) => {
            let kind = |kind: &serde_json::Value| match kind.as_str() {
                Some("linear_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                _ => Err(ModelError::config("layer_types", "must be \"linear_attention\" or \"full_attention\"")),
            };
            Some(kinds.iter().map(kind).collect::<Result<_, _>>()?)
        }
    };
    let Some(mut listed) = listed else {
        let interval = hyper.opt_size("full_attention_interval", "full_attention_interval")?.unwrap_or(INTERVAL);
        return Ok((1..=layers).map(|number| !number.is_multiple_of(interval)).collect());
    };
    // Behind them may be layers for guessing.
    if listed.len() < layers {
        let message = format!("lists {} of {layers} layers", listed.len());
        return Err(ModelError::config(hyper.key("attention.recurrent_layers", "layer_types"), message));
    }
    listed.truncate(layers);
    Ok(listed)
}

pub(super) fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    let attention = match config.recurrent_of(index) {
        Some(recurrent) => weights.delta_net(config, recurrent)?.into(),
        None => weights.attention_with_head_norms(config, index)?.into(),
    };
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention,
        post_attention_norm: None,
        ffn_norm: Some(weights.norm("post_attention_norm", config)?),
        ffn: weights.feed_forward(config)?,
        post_ffn_norm: None,
        output_scale: None,
    })
}
