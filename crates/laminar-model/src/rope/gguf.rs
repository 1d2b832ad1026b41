//! The rotary embedding of a `config.json` in the words of GGUF files.

use laminar_kernels::RopeStyle;
use serde_json::Value as Json;

use super::{FACTORS_TENSOR, HfSettings, LONG_TENSOR, SHORT_TENSOR, scaling};
use crate::arch::json_float;
use crate::checkpoint::Value;
use crate::config::{Longer, ModelConfig};
use crate::error::ModelError;

/// The divisor of a pair that does not turn.
const STILL: f32 = 1e30;
/// Dimensions that GGUF files have for positions in images and films; texts need none.
const SECTIONS: usize = 4;

/// What a GGUF file says of positions.
pub(crate) struct GgufRope {
    /// Keys without the architecture's name.
    pub keys: Vec<(&'static str, Value)>,
    /// Divisors of frequencies.
    pub tensors: Vec<(&'static str, Vec<f32>)>,
}

/// Keys and tensors for the configuration `json` that `config` was read from.
///
/// Dynamic NTK has no words there; within the context that a model was trained for it changes nothing.
///
/// # Errors
/// As reading the configuration.
pub(crate) fn for_gguf(json: &Json, config: &ModelConfig) -> Result<GgufRope, ModelError> {
    let width = match (&config.latent, &config.global_heads) {
        (Some(latent), _) => latent.rotated,
        (None, Some(global)) => global.head_dim,
        (None, None) => config.head_dim,
    };
    let settings = HfSettings::of(json, "full_attention");
    let rope = super::read_hf(json, "full_attention", RopeStyle::Half, width)?;
    let theta = settings.opt("rope_theta")?.unwrap_or(super::DEFAULT_THETA);
    // All pairs of a head are counted where some of them stand still.
    let dims = if settings.kind == "proportional" { width } else { settings.rotated(width)? };
    let mut keys: Vec<(&'static str, Value)> =
        vec![("rope.freq_base", theta.into()), ("rope.dimension_count", (dims as u32).into())];
    let mut tensors = Vec::new();
    let plain = scaling::plain(theta, dims);
    let divisor = |(plain, slow): (&f32, &f32)| if *slow == 0.0 { STILL } else { plain / slow };
    let divisors = |slowed: &[f32]| plain.iter().zip(slowed).map(divisor).collect::<Vec<f32>>();
    match settings.kind {
        "linear" => {
            keys.push(("rope.scaling.type", "linear".into()));
            keys.push(("rope.scaling.factor", settings.number("factor")?.into()));
        }
        "yarn" => keys.extend(yarn(&settings, rope.attention_factor, config.latent.is_some())?),
        "longrope" => {
            let original = settings.number("original_max_position_embeddings")?;
            keys.push(("rope.scaling.original_context_length", (original as u32).into()));
            keys.push(("rope.scaling.attn_factor", rope.attention_factor.into()));
            if let Some(Longer::Frequencies { inv_freq, .. }) = &rope.longer {
                tensors.push((LONG_TENSOR, divisors(inv_freq)));
                tensors.push((SHORT_TENSOR, divisors(&rope.inv_freq)));
            }
        }
        "llama3" | "proportional" => tensors.push((FACTORS_TENSOR, divisors(&rope.inv_freq))),
        _ => {}
    }
    if config.local_rope.is_some() {
        let own = json.get("rope_parameters").and_then(|rope| rope.get("sliding_attention"));
        let theta = match own {
            Some(own) => json_float(own, "rope_theta")?,
            None => json_float(json, "rope_local_base_freq")?,
        };
        if let Some(theta) = theta {
            keys.push(("rope.freq_base_swa", theta.into()));
        }
    }
    if let Some(sections) = settings.own.get("mrope_section").and_then(Json::as_array) {
        let mut sections: Vec<u32> = sections.iter().filter_map(|size| size.as_u64()?.try_into().ok()).collect();
        sections.resize(SECTIONS, 0);
        keys.push(("rope.dimension_sections", sections.into()));
    }
    Ok(GgufRope { keys, tensors })
}

/// YaRN's settings. `attention_factor` is the one on rotated values; `scores`: whether scores have a factor of their own.
fn yarn(
    settings: &HfSettings<'_>,
    attention_factor: f32,
    scores: bool,
) -> Result<Vec<(&'static str, Value)>, ModelError> {
    let original = settings.number("original_max_position_embeddings")?;
    let factor = match settings.opt("factor")? {
        Some(factor) => factor,
        None => settings.number("max_position_embeddings")? / original,
    };
    let mut keys: Vec<(&'static str, Value)> = vec![
        ("rope.scaling.original_context_length", (original as u32).into()),
        ("rope.scaling.type", "yarn".into()),
        ("rope.scaling.factor", factor.into()),
    ];
    for (field, key) in [("beta_fast", "rope.scaling.yarn_beta_fast"), ("beta_slow", "rope.scaling.yarn_beta_slow")] {
        if let Some(border) = settings.opt(field)? {
            keys.push((key, border.into()));
        }
    }
    if scores && let Some(weight) = settings.weight("mscale_all_dim")? {
        // What readers take for the factor on scores; there is no word for one on rotated values beside it.
        keys.push(("rope.scaling.yarn_log_multiplier", (0.1 * weight).into()));
        return Ok(keys);
    }
    // What readers multiply with the factor that follows from the rest.
    let rest = attention_factor / scaling::mscale(factor, 1.0);
    if (rest - 1.0).abs() > 1e-6 {
        keys.push(("rope.scaling.attn_factor", rest.into()));
    }
    Ok(keys)
}
