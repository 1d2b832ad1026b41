//! Gemma 4, text: wider heads in layers that see the whole sequence, whose values may be their keys, normed values, rotation
//! of a part of their pairs, in the mixture a dense network beside the experts, and in the small members (E2B, E4B) inputs
//! for each layer and last layers that read the keys and values of earlier ones.
//!
//! Chat: `<|turn>role` on a line, text, `<turn|>`. Reasoning is a channel, `<|channel>thought`, closed by `<channel|>`; tools
//! are declared between `<|tool>` and `<tool|>`, called between `<|tool_call>` and `<tool_call|>` as `call:name{...}` with
//! strings between `<|"|>`, and answered between `<|tool_response>` and `<tool_response|>`.

use laminar_kernels::{Gate, RopeStyle};

use super::base::{self, Heads};
use super::{Family, Hyper};
use crate::checkpoint::Checkpoint;
use crate::config::{ExpertConfig, GlobalHeads, ModelConfig};
use crate::error::ModelError;
use crate::layer::{Attention, Layer};
use crate::layer_weights::LayerWeights;
use crate::rope;

pub(super) const FAMILY: Family = Family {
    name: "gemma4",
    gguf_architecture: "gemma4",
    models: "Gemma 4 E2B, E4B, 31B and 26B-A4B, text",
    features: &[
        "sliding window in five of six layers",
        "wider heads in the others",
        "values from keys",
        "experts beside a dense network",
        "inputs for each layer",
        "last layers without keys of their own",
        "norms after branches",
    ],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["gemma4_text"],
    read_config,
    layer,
    hf_names: &[
        ("per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight"),
        ("per_layer_model_proj.weight", "model.per_layer_model_projection.weight"),
        ("per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight"),
        ("inp_gate", "per_layer_input_gate"),
        ("proj", "per_layer_projection"),
        ("post_norm", "post_per_layer_input_norm"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
        ("pre_ffw_norm_2", "pre_feedforward_layernorm_2"),
        ("post_ffw_norm_1", "post_feedforward_layernorm_1"),
        ("post_ffw_norm_2", "post_feedforward_layernorm_2"),
        ("layer_output_scale", "layer_scalar"),
        ("ffn_gate_inp", "router.proj"),
        ("ffn_gate_inp.scale", "router.scale"),
        ("ffn_gate_up_exps", "experts.gate_up_proj"),
        ("ffn_down_exps", "experts.down_proj"),
        ("ffn_down_exps.scale", "router.per_expert_scale"),
    ],
};

/// Every sixth layer sees the whole sequence unless the configuration says otherwise.
const GLOBAL_EVERY: usize = 6;
/// Rotary base of sliding-window layers.
const LOCAL_THETA: f32 = 10_000.0;
/// Width of heads that see the whole sequence, where folders leave it out.
const GLOBAL_HEAD_DIM: usize = 512;

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_activation", &["gelu_pytorch_tanh"])?;
    let (local, global) = heads(hyper)?;
    let mut config = base::config_of("gemma4", RopeStyle::Half, hyper, checkpoint, &local)?;
    config.local_rope = Some(rope::local(hyper, config.head_dim, LOCAL_THETA)?);
    config.global_heads = Some(global);
    config.gate = Gate::GeluTanh;
    config.embedding_scale = Some((config.hidden as f32).sqrt());
    // Queries and keys are normed.
    config.attention_scale = 1.0;
    config.logit_softcap = hyper.opt_float("final_logit_softcapping", "final_logit_softcapping")?;
    let window = hyper.size("attention.sliding_window", "sliding_window")?;
    base::sliding_windows(hyper, &mut config, window, GLOBAL_EVERY)?;
    config.experts = experts(hyper)?;
    config.layer_inputs = hyper.opt_count("embedding_length_per_layer_input", "hidden_size_per_layer_input")?;
    let shared = hyper.opt_count("attention.shared_kv_layers", "num_kv_shared_layers")?.unwrap_or(0);
    config.keys_from = base::keys_from(hyper, &config, shared)?;
    // Files list the widths.
    if hyper.hf_bool("use_double_wide_mlp")?.unwrap_or(false) && shared > 0 {
        let width = |layer: usize| if config.keys_of(layer).is_some() { 2 * config.ffn } else { config.ffn };
        config.ffn_by_layer = (0..config.layers).map(width).collect();
        config.ffn *= 2;
    }
    if config.layer_inputs.is_some() && config.experts.is_some() {
        let key = hyper.key("embedding_length_per_layer_input", "hidden_size_per_layer_input");
        return Err(ModelError::config(key, "is not supported beside experts"));
    }
    Ok(config)
}

/// The heads of layers with a window, and of those without.
fn heads(hyper: &Hyper<'_>) -> Result<(Heads, GlobalHeads), ModelError> {
    let heads = hyper.size("attention.head_count", "num_attention_heads")?;
    let head_dim = hyper.size("attention.key_length_swa", "head_dim")?;
    let (kv_heads, global) = if hyper.is_gguf() {
        let listed = hyper.gguf_sizes("attention.head_count_kv")?;
        let slides = hyper.sliding_layers()?.unwrap_or_default();
        // The first of each kind speaks for all.
        let of = |kind: bool| {
            let listed = listed.as_ref()?;
            listed.iter().zip(&slides).find(|(_, slides)| **slides == kind).map(|(kv_heads, _)| *kv_heads)
        };
        let all =
            if listed.is_none() { hyper.opt_size("attention.head_count_kv", "")?.unwrap_or(heads) } else { heads };
        let global_dim = hyper.size("attention.key_length", "")?;
        (of(true).unwrap_or(all), GlobalHeads { kv_heads: of(false).unwrap_or(all), head_dim: global_dim })
    } else {
        let kv_heads = hyper.opt_size("", "num_key_value_heads")?.unwrap_or(heads);
        // Newer folders state what differs from layer to layer.
        let layers = hyper.hf_field("per_layer_config").and_then(|v| v.as_object());
        let differs = layers.and_then(|layers| layers.values().find(|layer| layer.get("head_dim").is_some()));
        let stated = |field: &str| differs.and_then(|layer| layer.get(field)).and_then(|v| v.as_u64());
        let stated = |field: &str| stated(field).and_then(|size| usize::try_from(size).ok());
        let shared = hyper.hf_bool("attention_k_eq_v")?.unwrap_or(false);
        let global_heads = hyper.opt_size("", "num_global_key_value_heads")?.filter(|_| shared);
        let global_dim = hyper.opt_size("", "global_head_dim")?;
        let global = GlobalHeads {
            kv_heads: stated("num_key_value_heads").or(global_heads).unwrap_or(kv_heads),
            head_dim: stated("head_dim").or(global_dim).unwrap_or(GLOBAL_HEAD_DIM),
        };
        (kv_heads, global)
    };
    let fits = |kv_heads: usize, head_dim: usize| {
        kv_heads > 0 && heads.is_multiple_of(kv_heads) && head_dim > 0 && head_dim.is_multiple_of(2)
    };
    if !fits(kv_heads, head_dim) || !fits(global.kv_heads, global.head_dim) {
        let message = format!("is {heads}, over {kv_heads} and {} key/value heads", global.kv_heads);
        return Err(ModelError::config(hyper.key("attention.head_count", "num_attention_heads"), message));
    }
    Ok((Heads { heads, kv_heads, head_dim, rotated: global.head_dim }, global))
}

fn experts(hyper: &Hyper<'_>) -> Result<Option<ExpertConfig>, ModelError> {
    if !hyper.is_gguf() && !hyper.hf_bool("enable_moe_block")?.unwrap_or(false) {
        return Ok(None);
    }
    let Some(count) = hyper.opt_count("expert_count", "num_experts")? else {
        return Ok(None);
    };
    let top_k = hyper.size("expert_used_count", "top_k_experts")?;
    if top_k > count {
        let message = format!("is {top_k}, more than the {count} experts");
        return Err(ModelError::config(hyper.key("expert_used_count", "top_k_experts"), message));
    }
    let ffn = hyper.size("expert_feed_forward_length", "moe_intermediate_size")?;
    Ok(Some(ExpertConfig { count, top_k, ffn, normalise: true, shared_ffn: None, scores: None, dense_layers: 0 }))
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    let (_, head_dim) = config.heads_of(index);
    let own_values = weights.find("attn_v", ".weight").is_some() || config.windows[index].is_some();
    let norms = (weights.norm_of("attn_q_norm", head_dim, 0.0)?, weights.key_norm(config, index)?);
    let attention = Attention {
        head_norms: Some(norms),
        value_norm: Some(vec![1.0; head_dim]),
        ..weights.attention_of(config, index, own_values)?
    };
    Ok(Layer {
        attention_norm: Some(weights.norm("attn_norm", config)?),
        attention: attention.into(),
        post_attention_norm: Some(weights.norm("post_attention_norm", config)?),
        ffn_norm: Some(weights.norm("ffn_norm", config)?),
        ffn: match &config.experts {
            Some(experts) => weights.normed_experts(config, experts)?,
            None => weights.dense(config)?,
        },
        post_ffn_norm: Some(weights.norm("post_ffw_norm", config)?),
        // Layers' inputs come before it.
        output_scale: if config.layer_inputs.is_some() { None } else { weights.output_scale()? },
    })
}
