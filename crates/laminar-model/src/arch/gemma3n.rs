//! Gemma 3n, text: four residual streams, of which each layer computes one; an input of its own for each layer and token;
//! a branch of low rank beside attention; few of the gates in the first layers; and last layers that read the keys and
//! values of earlier ones.
//!
//! Chat: Gemma 3's; a system message goes before the first text of the user. No markers for tools or reasoning.
//!
//! Where llama.cpp computes otherwise than transformers, this follows transformers: gates are measured by the standard
//! deviation of their row, not by an estimate of a larger population's (which matters in narrow networks alone), and the
//! numbers of sharing and sparse layers are those that a file states.

use laminar_kernels::{Gate, RopeStyle, StreamShape};

use super::{Family, Hyper, base};
use crate::checkpoint::Checkpoint;
use crate::config::{ModelConfig, StreamConfig};
use crate::error::ModelError;
use crate::layer::{Attention, Layer};
use crate::layer_weights::LayerWeights;
use crate::rope;

pub(super) const FAMILY: Family = Family {
    name: "gemma3n",
    gguf_architecture: "gemma3n",
    models: "Gemma 3n E2B and E4B, text",
    features: &[
        "four residual streams",
        "inputs for each layer",
        "low-rank branches",
        "sparse gates in the first layers",
        "sliding window in four of five layers",
        "last layers without keys of their own",
        "head norms",
        "norms after branches",
    ],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["gemma3n_text"],
    read_config,
    layer,
    hf_names: &[
        ("per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight"),
        ("per_layer_model_proj.weight", "model.per_layer_model_projection.weight"),
        ("per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight"),
        ("altup_proj.weight", "model.altup_projections.{}.weight"),
        ("altup_unembd_proj.weight", "model.altup_unembed_projections.{}.weight"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
        ("inp_gate", "per_layer_input_gate"),
        ("proj", "per_layer_projection"),
        ("post_norm", "post_per_layer_input_norm"),
        ("altup_correct_coef", "altup.correction_coefs"),
        ("altup_correct_scale", "altup.correct_output_scale"),
        ("altup_predict_coef", "altup.prediction_coefs"),
        ("altup_router", "altup.modality_router"),
        ("altup_router_norm", "altup.router_norm"),
        ("laurel_l", "laurel.linear_left"),
        ("laurel_r", "laurel.linear_right"),
        ("laurel_post_norm", "laurel.post_laurel_norm"),
    ],
};

/// Every fifth layer sees the whole sequence unless the checkpoint says otherwise.
const GLOBAL_EVERY: usize = 5;
/// Rotary base of sliding-window layers.
const LOCAL_THETA: f32 = 10_000.0;
/// What published checkpoints have, for those that leave it out: layers before the first that shares keys and values;
const OWN_KEYS: usize = 20;
/// width of layers' inputs;
const LAYER_INPUT: usize = 256;
/// bound of logits;
const LOGIT_CAP: f32 = 30.0;
/// layers with sparse gates, and the share of gates that these leave out.
const SPARSE_LAYERS: usize = 10;
const SPARSITY: f32 = 0.95;

/// What folders of models for images and text leave out where a member has what the class has.
const DEFAULTS: &[(&str, f64)] = &[
    ("vocab_size", 262_400.0),
    ("hidden_size", 2048.0),
    ("intermediate_size", 16_384.0),
    ("num_hidden_layers", 35.0),
    ("num_attention_heads", 8.0),
    ("num_key_value_heads", 2.0),
    ("head_dim", 256.0),
    ("max_position_embeddings", 32_768.0),
    ("rms_norm_eps", 1e-6),
    ("rope_theta", 1e6),
    ("rope_local_base_freq", 1e4),
    ("sliding_window", 512.0),
    ("hidden_size_per_layer_input", 256.0),
    ("altup_num_inputs", 4.0),
    ("altup_active_idx", 0.0),
    ("num_kv_shared_layers", 15.0),
];

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    match hyper.filled(DEFAULTS) {
        Some(filled) => read_filled(&Hyper::Hf(&filled), checkpoint),
        None => read_filled(hyper, checkpoint),
    }
}

fn read_filled(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_activation", &["gelu_pytorch_tanh"])?;
    let mut config = base::config("gemma3n", RopeStyle::Half, hyper, checkpoint)?;
    config.local_rope = Some(rope::local(hyper, config.head_dim, LOCAL_THETA)?);
    config.gate = Gate::GeluTanh;
    config.embedding_scale = Some((config.hidden as f32).sqrt());
    // Queries and keys are normed.
    config.attention_scale = 1.0;
    let cap = hyper.opt_float("final_logit_softcapping", "final_logit_softcapping")?;
    config.logit_softcap =
        if cap.is_none() && hyper.hf_states("final_logit_softcapping") { None } else { Some(cap.unwrap_or(LOGIT_CAP)) };
    let window = hyper.size("attention.sliding_window", "sliding_window")?;
    base::sliding_windows(hyper, &mut config, window, GLOBAL_EVERY)?;
    config.gate_borders = gate_borders(hyper, config.layers)?;
    config.keys_from = base::keys_from(hyper, &config, shared_layers(hyper, config.layers)?)?;
    config.streams = Some(streams(hyper)?);
    let layer_input = hyper.opt_size("embedding_length_per_layer_input", "hidden_size_per_layer_input")?;
    config.layer_inputs = Some(layer_input.unwrap_or(LAYER_INPUT));
    Ok(config)
}

fn streams(hyper: &Hyper<'_>) -> Result<StreamConfig, ModelError> {
    let count = hyper.opt_size("altup.num_inputs", "altup_num_inputs")?.unwrap_or(4);
    let active = hyper.opt_count("altup.active_idx", "altup_active_idx")?.unwrap_or(0);
    if !(2..=StreamShape::MOST).contains(&count) || active >= count {
        let message =
            format!("is {count}, with stream {active} for the layers; 2 to {} are accepted", StreamShape::MOST);
        return Err(ModelError::config(hyper.key("altup.num_inputs", "altup_num_inputs"), message));
    }
    Ok(StreamConfig { count, active, scaled: hyper.hf_bool("altup_correct_scale")?.unwrap_or(true) })
}

/// How many of the last layers read the keys and values of others.
fn shared_layers(hyper: &Hyper<'_>, layers: usize) -> Result<usize, ModelError> {
    let (gguf, hf) = ("attention.shared_kv_layers", "num_kv_shared_layers");
    Ok(match hyper.opt_count(gguf, hf)? {
        None if hyper.states(gguf, hf) => 0,
        None => layers.saturating_sub(OWN_KEYS),
        Some(shared) => shared,
    })
}

/// GGUF files state the borders themselves, minus infinity for none; folders the shares that lie below.
fn gate_borders(hyper: &Hyper<'_>, layers: usize) -> Result<Vec<Option<f32>>, ModelError> {
    let (gguf, hf) = ("activation_sparsity_scale", "activation_sparsity_pattern");
    let Some(listed) = hyper.floats(gguf, hf)? else {
        let sparse = if layers > SPARSE_LAYERS { SPARSE_LAYERS } else { 0 };
        return Ok((0..layers).map(|layer| (layer < sparse).then(|| deviations(SPARSITY))).collect());
    };
    let fault = |what: String| ModelError::config(hyper.key(gguf, hf), what);
    if listed.len() != layers {
        return Err(fault(format!("lists {} of {layers} layers", listed.len())));
    }
    let border = |value: f32| match hyper.is_gguf() {
        true if value == f32::NEG_INFINITY => Ok(None),
        true if value.is_finite() => Ok(Some(value)),
        false if value <= 0.0 => Ok(None),
        false if value < 1.0 => Ok(Some(deviations(value))),
        _ => Err(fault(format!("has the entry {value}"))),
    };
    listed.into_iter().map(border).collect()
}

/// How many standard deviations above the mean of a normal distribution the share `below` of it ends.
fn deviations(below: f32) -> f32 {
    let below = f64::from(below);
    if below < 0.5 {
        return -above_mean(1.0 - below) as f32;
    }
    above_mean(below) as f32
}

/// For shares of one half and more, by Newton's method: from the mean on it nears the border from below.
fn above_mean(below: f64) -> f64 {
    const STEPS: usize = 100;
    let mut x = 0.0f64;
    for _ in 0..STEPS {
        let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        // The distribution is one half and the density times x + x^3 / 3 + x^5 / (3 * 5) + ...
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while term > sum * f64::EPSILON {
            n += 2.0;
            term *= x * x / n;
            sum += term;
        }
        let step = (below - 0.5 - density * sum) / density;
        if step <= x * f64::EPSILON {
            break;
        }
        x += step;
    }
    x
}

fn layer(weights: &LayerWeights<'_>, config: &ModelConfig, index: usize) -> Result<Layer, ModelError> {
    let q_norm = weights.norm_of("attn_q_norm", config.head_dim, 0.0)?;
    let k_norm = weights.key_norm(config, index)?;
    let attention = Attention {
        head_norms: Some((q_norm, k_norm)),
        value_norm: Some(vec![1.0; config.head_dim]),
        ..weights.attention(config, index)?
    };
    super::gemma3::around(weights, config, attention)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_normal_distribution_end_where_tables_say() {
        for (below, expected) in [
            (0.5, 0.0),
            (0.75, 0.674_489_75),
            (0.95, 1.644_853_6),
            (0.99, 2.326_347_9),
            (0.999, 3.090_232_3),
            (0.05, -1.644_853_6),
            (0.25, -0.674_489_75),
        ] {
            let found = deviations(below);
            assert!((found - expected).abs() < 1e-5, "{below}: {found}");
        }
        // As near to one as a float comes.
        assert!((deviations(1.0 - f32::EPSILON) - 5.17).abs() < 0.02, "{}", deviations(1.0 - f32::EPSILON));
    }
}
