//! The rotary embedding that a checkpoint's configuration asks for, from either format.
//!
//! How frequencies are stretched is in `scaling.rs`; here is where the settings come from. Two rules depend on how long a
//! text may become: LongRoPE has other divisors, and dynamic NTK another base, beyond the context a model was trained
//! for. A row's bits must not depend on how long its sequence happens to be, so the choice is made once, by the longest
//! context a model is loaded for ([`RopeConfig::settle`]), as llama.cpp does it.

mod gguf;
mod scaling;

use laminar_kernels::RopeStyle;
use serde_json::Value as Json;

use crate::arch::{Hyper, json_float};
use crate::checkpoint::Checkpoint;
use crate::config::{Longer, RopeConfig};
use crate::error::ModelError;
use scaling::{Llama3, Yarn};

pub(crate) use gguf::{GgufRope, for_gguf};

const DEFAULT_THETA: f32 = 10_000.0;
/// GGUF stores Llama-3 scaling as ready divisors, one a pair, and LongRoPE's two sets of them.
const FACTORS_TENSOR: &str = "rope_freqs.weight";
const LONG_TENSOR: &str = "rope_factors_long.weight";
const SHORT_TENSOR: &str = "rope_factors_short.weight";
/// YaRN's borders, where the configuration has none.
const BETA_FAST: f32 = 32.0;
const BETA_SLOW: f32 = 1.0;

/// The rotary embedding of ordinary layers.
pub(crate) fn read(
    hyper: &Hyper<'_>,
    checkpoint: &Checkpoint,
    style: RopeStyle,
    head_dim: usize,
) -> Result<RopeConfig, ModelError> {
    match hyper {
        Hyper::Gguf { .. } => read_gguf(hyper, checkpoint, style, head_dim),
        Hyper::Hf(json) => read_hf(json, "full_attention", style, head_dim),
    }
}

/// The rotary embedding of sliding-window layers, for families that give them a base of their own.
pub(crate) fn local(hyper: &Hyper<'_>, head_dim: usize, default_theta: f32) -> Result<RopeConfig, ModelError> {
    let style = RopeStyle::Half;
    let plain = |theta: Option<f32>, key: &str| {
        let theta = positive(theta.unwrap_or(default_theta), key)?;
        Ok(RopeConfig::of(style, scaling::plain(theta, head_dim)))
    };
    match hyper {
        Hyper::Gguf { .. } => plain(hyper.opt_float("rope.freq_base_swa", "")?, "rope.freq_base_swa"),
        Hyper::Hf(json) if json.get("rope_parameters").is_some_and(|p| p.get("sliding_attention").is_some()) => {
            read_hf(json, "sliding_attention", style, head_dim)
        }
        Hyper::Hf(json) => plain(json_float(json, "rope_local_base_freq")?, "rope_local_base_freq"),
    }
}

/// The rotary embedding of sliding-window layers that turn at the model's own base, without what stretches the others.
pub(crate) fn unstretched(hyper: &Hyper<'_>, head_dim: usize) -> Result<RopeConfig, ModelError> {
    let theta = match hyper {
        Hyper::Gguf { .. } => hyper.opt_float("rope.freq_base", "")?,
        Hyper::Hf(json) => json_float(json, "rope_theta")?,
    };
    local(hyper, head_dim, theta.unwrap_or(DEFAULT_THETA))
}

/// The factor on scores of models whose rotary embedding is stretched, beside the one on rotated values (DeepSeek): the
/// square of YaRN's with a weight of its own.
pub(crate) fn score_factor(hyper: &Hyper<'_>) -> Result<f32, ModelError> {
    let Some(weight) = score_weight(hyper)? else {
        return Ok(1.0);
    };
    let factor = match hyper {
        Hyper::Gguf { .. } => hyper.opt_float("rope.scaling.factor", "")?,
        Hyper::Hf(json) => HfSettings::of(json, "full_attention").opt("factor")?,
    };
    Ok(scaling::mscale(factor.unwrap_or(1.0), weight).powi(2))
}

/// What `mscale_all_dim` says; GGUF files have a tenth of it.
fn score_weight(hyper: &Hyper<'_>) -> Result<Option<f32>, ModelError> {
    match hyper {
        Hyper::Gguf { .. } => {
            let weight = hyper.opt_float("rope.scaling.yarn_log_multiplier", "")?;
            Ok(weight.filter(|weight| *weight != 0.0).map(|weight| weight / 0.1))
        }
        Hyper::Hf(json) => {
            let settings = HfSettings::of(json, "full_attention");
            if settings.kind == "default" { Ok(None) } else { settings.weight("mscale_all_dim") }
        }
    }
}

impl RopeConfig {
    fn of(style: RopeStyle, inv_freq: Vec<f32>) -> Self {
        Self { style, inv_freq, attention_factor: 1.0, longer: None }
    }

    /// Chooses the frequencies for texts of up to `context` tokens.
    pub(crate) fn settle(&mut self, context: usize) {
        match self.longer.take() {
            Some(Longer::Frequencies { beyond, inv_freq }) if context > beyond => self.inv_freq = inv_freq,
            Some(Longer::Ntk { beyond, theta, factor }) if context > beyond => {
                let rotated = 2 * self.inv_freq.len();
                let theta = scaling::ntk_theta(theta, rotated, factor, context, beyond);
                self.inv_freq = scaling::plain(theta, rotated);
            }
            _ => {}
        }
    }
}

fn positive(value: f32, key: &str) -> Result<f32, ModelError> {
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(ModelError::config(key, format!("is {value}, must be a positive number")))
    }
}

/// How many values of a head are rotated: an even number, and no more than there are.
fn rotated(count: usize, head_dim: usize, key: &str) -> Result<usize, ModelError> {
    if count >= 2 && count.is_multiple_of(2) && count <= head_dim {
        Ok(count)
    } else {
        Err(ModelError::config(key, format!("rotates {count} of {head_dim} values of a head, must be an even part")))
    }
}

fn read_gguf(
    hyper: &Hyper<'_>,
    checkpoint: &Checkpoint,
    style: RopeStyle,
    head_dim: usize,
) -> Result<RopeConfig, ModelError> {
    let number = |key: &str, default: f32| positive(hyper.opt_float(key, "")?.unwrap_or(default), &hyper.key(key, ""));
    let dims = hyper.opt_size("rope.dimension_count", "")?.unwrap_or(head_dim);
    let dims = rotated(dims, head_dim, &hyper.key("rope.dimension_count", ""))?;
    let theta = number("rope.freq_base", DEFAULT_THETA)?;
    let mut rope = RopeConfig::of(style, scaling::plain(theta, dims));
    let original = hyper.opt_size("rope.scaling.original_context_length", "")?;
    match hyper.gguf_str("rope.scaling.type")?.unwrap_or("none") {
        // The divisors of LongRoPE are tensors.
        "none" | "" | "longrope" => {}
        "linear" => scaling::linear(&mut rope.inv_freq, number("rope.scaling.factor", 1.0)?),
        "yarn" => {
            let original = match original {
                Some(original) => original,
                None => hyper.size("context_length", "")?,
            };
            let yarn = Yarn {
                factor: number("rope.scaling.factor", 1.0)?,
                original_context: original as f32,
                beta_fast: number("rope.scaling.yarn_beta_fast", BETA_FAST)?,
                beta_slow: number("rope.scaling.yarn_beta_slow", BETA_SLOW)?,
                // No key says so, but gpt-oss was trained without.
                truncate: hyper.architecture()? != "gpt-oss",
            };
            rope.inv_freq = yarn.frequencies(theta, dims);
            // Where scores have a factor of their own, rotated values have none.
            rope.attention_factor = if score_weight(hyper)?.is_some() { 1.0 } else { yarn.attention_factor() };
        }
        other => {
            let key = hyper.key("rope.scaling.type", "");
            return Err(ModelError::config(key, format!("is \"{other}\", supported: none, linear, yarn, longrope")));
        }
    }
    rope.attention_factor *= number("rope.scaling.attn_factor", 1.0)?;
    if let Some(divisors) = divisors(checkpoint, FACTORS_TENSOR, dims / 2)? {
        rope.inv_freq = scaling::divided(&rope.inv_freq, &divisors);
    } else if let (Some(long), Some(short)) =
        (divisors(checkpoint, LONG_TENSOR, dims / 2)?, divisors(checkpoint, SHORT_TENSOR, dims / 2)?)
    {
        let beyond = match original {
            Some(original) => original,
            None => hyper.size("context_length", "")?,
        };
        let inv_freq = scaling::divided(&rope.inv_freq, &long);
        rope.longer = Some(Longer::Frequencies { beyond, inv_freq });
        rope.inv_freq = scaling::divided(&rope.inv_freq, &short);
    }
    Ok(rope)
}

/// A tensor of divisors, one for each of `pairs`.
fn divisors(checkpoint: &Checkpoint, name: &str, pairs: usize) -> Result<Option<Vec<f32>>, ModelError> {
    let Some(tensor) = checkpoint.tensor(name) else {
        return Ok(None);
    };
    if tensor.shape != [pairs] {
        let found = tensor.shape.clone();
        return Err(ModelError::Shape { name: name.to_owned(), expected: vec![pairs], found });
    }
    let values = tensor.to_f32()?;
    values.iter().try_for_each(|value| positive(*value, name).map(|_| ()))?;
    Ok(Some(values))
}

/// Reads `rope_parameters` (one object, or one a layer type), or the older `rope_theta` beside `rope_scaling`.
fn read_hf(json: &Json, layer_type: &str, style: RopeStyle, head_dim: usize) -> Result<RopeConfig, ModelError> {
    let settings = HfSettings::of(json, layer_type);
    let dims = settings.rotated(head_dim)?;
    let theta = settings.opt("rope_theta")?.unwrap_or(DEFAULT_THETA);
    if settings.kind == "proportional" {
        let mut inv_freq = scaling::part_of(theta, head_dim, dims);
        scaling::linear(&mut inv_freq, settings.opt("factor")?.unwrap_or(1.0));
        return Ok(RopeConfig::of(style, inv_freq));
    }
    let mut rope = RopeConfig::of(style, scaling::plain(theta, dims));
    match settings.kind {
        // Positions in three dimensions are three times the same in a text.
        "default" | "mrope" => {}
        "linear" => scaling::linear(&mut rope.inv_freq, settings.number("factor")?),
        "dynamic" => {
            let beyond = settings.number("max_position_embeddings")? as usize;
            rope.longer = Some(Longer::Ntk { beyond, theta, factor: settings.number("factor")? });
        }
        "yarn" => {
            let original_context = settings.number("original_max_position_embeddings")?;
            let factor = match settings.opt("factor")? {
                Some(factor) => factor,
                None => settings.number("max_position_embeddings")? / original_context,
            };
            let yarn = Yarn {
                factor,
                original_context,
                beta_fast: settings.opt("beta_fast")?.unwrap_or(BETA_FAST),
                beta_slow: settings.opt("beta_slow")?.unwrap_or(BETA_SLOW),
                truncate: settings.own.get("truncate").and_then(Json::as_bool).unwrap_or(true),
            };
            rope.inv_freq = yarn.frequencies(theta, dims);
            rope.attention_factor = match settings.opt("attention_factor")? {
                Some(factor) => factor,
                None => match (settings.weight("mscale")?, settings.weight("mscale_all_dim")?) {
                    (Some(own), Some(all)) => scaling::mscale(factor, own) / scaling::mscale(factor, all),
                    _ => yarn.attention_factor(),
                },
            };
        }
        "longrope" => {
            let original = settings.number("original_max_position_embeddings")?;
            let factor = match settings.opt("factor")? {
                Some(factor) => factor,
                None => settings.number("max_position_embeddings")? / original,
            };
            rope.attention_factor = match settings.opt("attention_factor")? {
                Some(factor) => factor,
                None => scaling::long_attention_factor(factor, original),
            };
            let inv_freq = scaling::divided(&rope.inv_freq, &settings.list("long_factor", dims / 2)?);
            rope.longer = Some(Longer::Frequencies { beyond: original as usize, inv_freq });
            rope.inv_freq = scaling::divided(&rope.inv_freq, &settings.list("short_factor", dims / 2)?);
        }
        "llama3" => {
            let rule = Llama3 {
                factor: settings.number("factor")?,
                low: settings.number("low_freq_factor")?,
                high: settings.number("high_freq_factor")?,
                original_context: settings.number("original_max_position_embeddings")?,
            };
            if rule.high <= rule.low {
                let message = format!("is {}, must be above {}", rule.high, rule.low);
                return Err(ModelError::config("high_freq_factor", message));
            }
            rule.apply(&mut rope.inv_freq);
        }
        other => {
            let message = format!("is \"{other}\", supported: default, linear, dynamic, yarn, longrope, llama3");
            return Err(ModelError::config("rope_type", message));
        }
    }
    Ok(rope)
}

/// The rope settings of a `config.json`: an object of their own, and the fields around it.
struct HfSettings<'a> {
    all: &'a Json,
    own: &'a Json,
    kind: &'a str,
}

impl<'a> HfSettings<'a> {
    fn of(json: &'a Json, layer_type: &str) -> Self {
        let own = match json.get("rope_parameters") {
            Some(p) => p.get(layer_type).or(Some(p)),
            None => json.get("rope_scaling"),
        };
        let own = own.filter(|p| p.is_object()).unwrap_or(&Json::Null);
        let kind = own.get("rope_type").or_else(|| own.get("type")).and_then(Json::as_str).unwrap_or("default");
        // What Phi-3's first checkpoints call it.
        let kind = if kind == "su" || own.get("long_factor").is_some() { "longrope" } else { kind };
        Self { all: json, own, kind }
    }

    /// How many values of a head are rotated.
    fn rotated(&self, head_dim: usize) -> Result<usize, ModelError> {
        let part = self.opt("partial_rotary_factor")?;
        // What MiniMax-M2 states instead.
        match (part, self.all.get("rotary_dim").and_then(Json::as_u64)) {
            (None, Some(dims)) => rotated(usize::try_from(dims).unwrap_or(0), head_dim, "rotary_dim"),
            _ => rotated((head_dim as f32 * part.unwrap_or(1.0)) as usize, head_dim, "partial_rotary_factor"),
        }
    }

    /// A positive number, from the settings or from beside them.
    fn opt(&self, field: &str) -> Result<Option<f32>, ModelError> {
        let found = match json_float(self.own, field)? {
            Some(number) => Some(number),
            None => json_float(self.all, field)?,
        };
        found.map(|number| positive(number, field)).transpose()
    }

    fn number(&self, field: &str) -> Result<f32, ModelError> {
        self.opt(field)?
            .ok_or_else(|| ModelError::config(field, format!("is missing from the \"{}\" rope scaling", self.kind)))
    }

    /// A number of the settings where zero means that there is none.
    fn weight(&self, field: &str) -> Result<Option<f32>, ModelError> {
        Ok(json_float(self.own, field)?.filter(|number| *number != 0.0))
    }

    /// As many positive numbers as there are pairs.
    fn list(&self, field: &str, pairs: usize) -> Result<Vec<f32>, ModelError> {
        let values = self.own.get(field).and_then(Json::as_array);
        let numbers = values.into_iter().flatten().filter_map(Json::as_f64);
        let numbers: Vec<f32> = numbers.map(|x| positive(x as f32, field)).collect::<Result<_, _>>()?;
        if numbers.len() != pairs {
            let message = format!("has {} numbers, the \"{}\" rope scaling needs {pairs}", numbers.len(), self.kind);
            return Err(ModelError::config(field, message));
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hf(json: &Json) -> Result<RopeConfig, ModelError> {
        read_hf(json, "full_attention", RopeStyle::Half, 8)
    }

    #[test]
    fn an_unknown_scaling_is_named() {
        let error = hf(&json!({"rope_scaling": {"rope_type": "spiral", "factor": 4.0}})).unwrap_err().to_string();
        assert!(error.contains("spiral"), "{error}");
        let error = hf(&json!({"rope_scaling": {"rope_type": "linear"}})).unwrap_err().to_string();
        assert!(error.contains("factor") && error.contains("missing"), "{error}");
    }

    #[test]
    fn settings_are_read_from_both_places() {
        for json in [
            json!({"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}}),
            json!({"rope_parameters": {"rope_theta": 500.0, "rope_type": "linear", "factor": 2.0}}),
            json!({"rope_parameters": {"full_attention": {"rope_theta": 500.0, "rope_type": "linear", "factor": 2.0}}}),
        ] {
            let rope = hf(&json).unwrap();
            assert_eq!((rope.inv_freq[0], rope.inv_freq.len(), rope.attention_factor), (0.5, 4, 1.0));
        }
    }

    #[test]
    fn a_part_of_a_head_may_turn() {
        let rope = hf(&json!({"partial_rotary_factor": 0.5})).unwrap();
        assert_eq!(rope.inv_freq, scaling::plain(DEFAULT_THETA, 4));
        for part in [0.0, 0.4, 2.0] {
            let error = hf(&json!({ "partial_rotary_factor": part })).unwrap_err().to_string();
            assert!(error.contains("partial_rotary_factor"), "{error}");
        }
    }

    #[test]
    fn yarn_takes_the_factor_that_is_given_or_follows_from_the_rest() {
        let yarn = |extra: Json| {
            let mut own = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
            for (key, value) in extra.as_object().unwrap() {
                own[key] = value.clone();
            }
            hf(&json!({ "rope_scaling": own })).unwrap().attention_factor
        };
        let usual = 1.0 + 0.1 * 4f32.ln();
        assert!((yarn(json!({})) - usual).abs() < 1e-6);
        assert_eq!(yarn(json!({"attention_factor": 0.5})), 0.5);
        assert_eq!(yarn(json!({"mscale": 0.7, "mscale_all_dim": 0.7})), 1.0);
        assert!((yarn(json!({"mscale": 1.0, "mscale_all_dim": 0.0})) - usual).abs() < 1e-6);
    }

    #[test]
    fn the_context_decides_between_short_and_long() {
        let json = json!({"max_position_embeddings": 128, "original_max_position_embeddings": 32, "rope_scaling":
            {"type": "su", "short_factor": [1.0, 1.0, 1.0, 2.0], "long_factor": [1.0, 2.0, 4.0, 8.0]}});
        let read = |context| {
            let mut rope = hf(&json).unwrap();
            rope.settle(context);
            assert!((rope.attention_factor - (1.0 + 4f32.ln() / 32f32.ln()).sqrt()).abs() < 1e-6);
            rope.inv_freq
        };
        let plain = scaling::plain(DEFAULT_THETA, 8);
        assert_eq!(read(32), [plain[0], plain[1], plain[2], plain[3] / 2.0]);
        assert_eq!(read(33), [plain[0], plain[1] / 2.0, plain[2] / 4.0, plain[3] / 8.0]);
        let mut short = json.clone();
        short["rope_scaling"]["long_factor"] = json!([1.0]);
        assert!(hf(&short).unwrap_err().to_string().contains("long_factor"));

        let mut ntk =
            hf(&json!({"max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "factor": 2.0}})).unwrap();
        let mut longer = ntk.clone();
        ntk.settle(64);
        longer.settle(128);
        assert_eq!(ntk.inv_freq, plain);
        assert!(longer.inv_freq[3] < plain[3] && longer.inv_freq[0] == 1.0);
    }
}
