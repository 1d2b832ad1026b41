//! Rotary frequencies from a checkpoint's configuration: plain, linear and Llama-3 scaling.

use std::f32::consts::TAU;

use laminar_kernels::RopeStyle;
use serde_json::Value as Json;

use crate::arch::{Hyper, json_float};
use crate::checkpoint::Checkpoint;
use crate::config::RopeConfig;
use crate::error::ModelError;

const DEFAULT_THETA: f32 = 10_000.0;
/// GGUF stores Llama-3 scaling as ready divisors, one a pair.
const FACTORS_TENSOR: &str = "rope_freqs.weight";

/// The rotary embedding of ordinary layers.
pub(crate) fn read(
    hyper: &Hyper<'_>,
    checkpoint: &Checkpoint,
    style: RopeStyle,
    head_dim: usize,
) -> Result<RopeConfig, ModelError> {
    let whole = match hyper {
        Hyper::Gguf { .. } => hyper.opt_size("rope.dimension_count", "")?.is_none_or(|dims| dims == head_dim),
        Hyper::Hf(_) => hyper.opt_float("", "partial_rotary_factor")?.is_none_or(|factor| factor == 1.0),
    };
    if !whole {
        let key = hyper.key("rope.dimension_count", "partial_rotary_factor");
        return Err(ModelError::config(key, "asks for a partly rotated head, which is not supported"));
    }
    let inv_freq = match hyper {
        Hyper::Gguf { .. } => gguf_frequencies(hyper, checkpoint, head_dim)?,
        Hyper::Hf(json) => hf_frequencies(json, "full_attention", head_dim)?,
    };
    Ok(RopeConfig { style, inv_freq })
}

/// The rotary embedding of sliding-window layers, for families that give them a base of their own.
pub(crate) fn local(hyper: &Hyper<'_>, head_dim: usize, default_theta: f32) -> Result<RopeConfig, ModelError> {
    let inv_freq = match hyper {
        Hyper::Gguf { .. } => {
            let theta = hyper.opt_float("rope.freq_base_swa", "")?.unwrap_or(default_theta);
            plain(checked_theta(theta, "rope.freq_base_swa")?, head_dim)
        }
        Hyper::Hf(json) if json.get("rope_parameters").is_some_and(|p| p.get("sliding_attention").is_some()) => {
            hf_frequencies(json, "sliding_attention", head_dim)?
        }
        Hyper::Hf(json) => {
            let theta = json_float(json, "rope_local_base_freq")?.unwrap_or(default_theta);
            plain(checked_theta(theta, "rope_local_base_freq")?, head_dim)
        }
    };
    Ok(RopeConfig { style: RopeStyle::Half, inv_freq })
}

/// One turn rate a pair: `theta^(-2i/d)`.
fn plain(theta: f32, head_dim: usize) -> Vec<f32> {
    (0..head_dim / 2).map(|i| (1.0 / f64::from(theta).powf(2.0 * i as f64 / head_dim as f64)) as f32).collect()
}

fn checked_theta(theta: f32, key: &str) -> Result<f32, ModelError> {
    if theta > 0.0 && theta.is_finite() {
        Ok(theta)
    } else {
        Err(ModelError::config(key, format!("is {theta}, must be a positive number")))
    }
}

fn gguf_frequencies(hyper: &Hyper<'_>, checkpoint: &Checkpoint, head_dim: usize) -> Result<Vec<f32>, ModelError> {
    let key = hyper.key("rope.freq_base", "");
    let theta = checked_theta(hyper.opt_float("rope.freq_base", "")?.unwrap_or(DEFAULT_THETA), &key)?;
    let mut inv_freq = plain(theta, head_dim);
    let scaling = hyper.gguf_str("rope.scaling.type")?.unwrap_or("none").to_owned();
    match scaling.as_str() {
        "none" | "" => {}
        "linear" => {
            let key = hyper.key("rope.scaling.factor", "");
            let factor = checked_theta(hyper.opt_float("rope.scaling.factor", "")?.unwrap_or(1.0), &key)?;
            inv_freq.iter_mut().for_each(|f| *f /= factor);
        }
        other => {
            let key = hyper.key("rope.scaling.type", "");
            return Err(ModelError::config(key, format!("is \"{other}\", supported: none, linear")));
        }
    }
    if let Some(tensor) = checkpoint.tensor(FACTORS_TENSOR) {
        let factors = tensor.to_f32()?;
        if factors.len() != inv_freq.len() {
            return Err(ModelError::Shape {
                name: FACTORS_TENSOR.to_owned(),
                expected: vec![inv_freq.len()],
                found: tensor.shape.clone(),
            });
        }
        for (f, factor) in inv_freq.iter_mut().zip(factors) {
            *f /= checked_theta(factor, FACTORS_TENSOR)?;
        }
    }
    Ok(inv_freq)
}

/// Reads `rope_parameters` (one object, or one a layer type), or the older `rope_theta` beside `rope_scaling`.
fn hf_frequencies(json: &Json, layer_type: &str, head_dim: usize) -> Result<Vec<f32>, ModelError> {
    let parameters = match json.get("rope_parameters") {
        Some(p) => p.get(layer_type).or(Some(p)),
        None => json.get("rope_scaling"),
    }
    .filter(|p| p.is_object());
    let empty = Json::Null;
    let parameters = parameters.unwrap_or(&empty);
    let theta = match json_float(parameters, "rope_theta")? {
        Some(theta) => theta,
        None => json_float(json, "rope_theta")?.unwrap_or(DEFAULT_THETA),
    };
    let mut inv_freq = plain(checked_theta(theta, "rope_theta")?, head_dim);
    let kind =
        parameters.get("rope_type").or_else(|| parameters.get("type")).and_then(Json::as_str).unwrap_or("default");
    let number = |field: &str| -> Result<f32, ModelError> {
        let found = json_float(parameters, field)?
            .ok_or_else(|| ModelError::config(field, format!("is missing from the \"{kind}\" rope scaling")))?;
        checked_theta(found, field)
    };
    match kind {
        "default" => {}
        "linear" => {
            let factor = number("factor")?;
            inv_freq.iter_mut().for_each(|f| *f /= factor);
        }
        "llama3" => {
            let factor = number("factor")?;
            let low = number("low_freq_factor")?;
            let high = number("high_freq_factor")?;
            let original = number("original_max_position_embeddings")?;
            if high <= low {
                return Err(ModelError::config("high_freq_factor", format!("is {high}, must be above {low}")));
            }
            inv_freq.iter_mut().for_each(|f| *f = llama3(*f, factor, low, high, original));
        }
        other => {
            return Err(ModelError::config("rope_type", format!("is \"{other}\", supported: default, linear, llama3")));
        }
    }
    Ok(inv_freq)
}

/// Llama 3.1's rule: slow pairs turn `factor` times slower, fast ones as before, with a linear blend between.
fn llama3(freq: f32, factor: f32, low: f32, high: f32, original_context: f32) -> f32 {
    let wavelength = TAU / freq;
    if wavelength < original_context / high {
        freq
    } else if wavelength > original_context / low {
        freq / factor
    } else {
        let blend = (original_context / wavelength - low) / (high - low);
        (1.0 - blend) * freq / factor + blend * freq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_frequencies_fall_from_one() {
        let f = plain(10_000.0, 8);
        assert_eq!(f.len(), 4);
        assert!((f[0] - 1.0).abs() < 1e-7 && (f[1] - 0.1).abs() < 1e-7 && (f[3] - 0.001).abs() < 1e-8);
    }

    #[test]
    fn llama3_keeps_fast_pairs_and_slows_the_others() {
        assert_eq!(llama3(1.0, 8.0, 1.0, 4.0, 8192.0), 1.0);
        assert_eq!(llama3(1e-5, 8.0, 1.0, 4.0, 8192.0), 1e-5 / 8.0);
        let between = llama3(TAU / 4096.0, 8.0, 1.0, 4.0, 8192.0);
        assert!(between < TAU / 4096.0 && between > TAU / 4096.0 / 8.0);
    }

    #[test]
    fn an_unknown_scaling_is_named() {
        let json = serde_json::json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}});
        let error = hf_frequencies(&json, "full_attention", 8).unwrap_err().to_string();
        assert!(error.contains("yarn"), "{error}");
    }
}
