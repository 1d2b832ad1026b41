//! The rotary embedding of a `config.json` in the words of GGUF files.

use laminar_kernels::RopeStyle;
use serde_json::Value as Json;

use super::{FACTORS_TENSOR, HfSettings, LONG_TENSOR, SHORT_TENSOR, rotated, scaling};
use crate::arch::json_float;
use crate::checkpoint::Value;
use crate::config::Longer;
use crate::error::ModelError;

/// What a GGUF file says of positions.
pub(crate) struct GgufRope {
    /// Keys without the architecture's name.
    pub keys: Vec<(&'static str, Value)>,
    /// Divisors of frequencies.
    pub tensors: Vec<(&'static str, Vec<f32>)>,
}

/// Keys and tensors for a configuration. `local`: whether some layers have an embedding of their own.
///
/// Dynamic NTK has no words there; within the context that a model was trained for it changes nothing.
///
/// # Errors
/// As reading the configuration.
pub(crate) fn for_gguf(json: &Json, head_dim: usize, local: bool) -> Result<GgufRope, ModelError> {
    let settings = HfSettings::of(json, "full_attention");
    let rope = super::read_hf(json, "full_attention", RopeStyle::Half, head_dim)?;
    let theta = settings.opt("rope_theta")?.unwrap_or(super::DEFAULT_THETA);
    let part = settings.opt("partial_rotary_factor")?.unwrap_or(1.0);
    let dims = rotated((head_dim as f32 * part) as usize, head_dim, "partial_rotary_factor")?;
    let mut keys: Vec<(&'static str, Value)> =
        vec![("rope.freq_base", theta.into()), ("rope.dimension_count", (dims as u32).into())];
    let mut tensors = Vec::new();
    let plain = scaling::plain(theta, dims);
    let divisors = |slowed: &[f32]| plain.iter().zip(slowed).map(|(plain, slow)| plain / slow).collect::<Vec<f32>>();
    let original = |keys: &mut Vec<(&'static str, Value)>| -> Result<f32, ModelError> {
        let original = settings.number("original_max_position_embeddings")?;
        keys.push(("rope.scaling.original_context_length", (original as u32).into()));
        Ok(original)
    };
    match settings.kind {
        "linear" => {
            keys.push(("rope.scaling.type", "linear".into()));
            keys.push(("rope.scaling.factor", settings.number("factor")?.into()));
        }
        "yarn" => {
            let original = original(&mut keys)?;
            let factor = match settings.opt("factor")? {
                Some(factor) => factor,
                None => settings.number("max_position_embeddings")? / original,
            };
            keys.push(("rope.scaling.type", "yarn".into()));
            keys.push(("rope.scaling.factor", factor.into()));
            let borders = [("beta_fast", "rope.scaling.yarn_beta_fast"), ("beta_slow", "rope.scaling.yarn_beta_slow")];
            for (field, key) in borders {
                if let Some(border) = settings.opt(field)? {
                    keys.push((key, border.into()));
                }
            }
            // What readers multiply with the factor that follows from the rest.
            let rest = rope.attention_factor / scaling::mscale(factor, 1.0);
            if (rest - 1.0).abs() > 1e-6 {
                keys.push(("rope.scaling.attn_factor", rest.into()));
            }
        }
        "longrope" => {
            original(&mut keys)?;
            keys.push(("rope.scaling.attn_factor", rope.attention_factor.into()));
            if let Some(Longer::Frequencies { inv_freq, .. }) = &rope.longer {
                tensors.push((LONG_TENSOR, divisors(inv_freq)));
                tensors.push((SHORT_TENSOR, divisors(&rope.inv_freq)));
            }
        }
        "llama3" => tensors.push((FACTORS_TENSOR, divisors(&rope.inv_freq))),
        _ => {}
    }
    if local {
        let own = json.get("rope_parameters").and_then(|rope| rope.get("sliding_attention"));
        let theta = match own {
            Some(own) => json_float(own, "rope_theta")?,
            None => json_float(json, "rope_local_base_freq")?,
        };
        if let Some(theta) = theta {
            keys.push(("rope.freq_base_swa", theta.into()));
        }
    }
    Ok(GgufRope { keys, tensors })
}
