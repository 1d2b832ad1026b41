//! Hyper-parameters by name, from GGUF metadata or from a Hugging Face `config.json`.

use serde_json::Value as Json;

use crate::checkpoint::{Array, Checkpoint, Metadata, Value};
use crate::error::ModelError;

/// No real model comes near these; larger numbers mean a corrupt or hostile file.
const MAX_DIMENSION: usize = 1 << 24;

/// One lookup interface over both configuration formats. Every getter takes the GGUF key without its architecture prefix
/// and the `config.json` field.
pub(crate) enum Hyper<'a> {
    /// Keys are `<architecture>.<key>`.
    Gguf { metadata: &'a Metadata, architecture: String },
    /// A flat JSON object.
    Hf(&'a Json),
}

impl<'a> Hyper<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint) -> Result<Self, ModelError> {
        Ok(match checkpoint {
            Checkpoint::Gguf(gguf) => Self::Gguf {
                metadata: gguf.metadata(),
                architecture: gguf.metadata().require_str("general.architecture")?.to_owned(),
            },
            Checkpoint::HuggingFace(folder) => Self::Hf(folder.text_config()),
        })
    }

    /// A folder's settings with those that it leaves out, for families whose folders do.
    pub(crate) fn filled(&self, defaults: &[(&str, f64)]) -> Option<Json> {
        let Self::Hf(json) = self else {
            return None;
        };
        let mut filled = (*json).clone();
        if let Some(fields) = filled.as_object_mut() {
            for (field, value) in defaults {
                let whole = value.fract() == 0.0;
                let value = if whole { Json::from(*value as u64) } else { Json::from(*value) };
                fields.entry(*field).or_insert(value);
            }
        }
        Some(filled)
    }

    /// The architecture's name as the checkpoint spells it.
    pub(crate) fn architecture(&self) -> Result<String, ModelError> {
        match self {
            Self::Gguf { architecture, .. } => Ok(architecture.clone()),
            Self::Hf(json) => json
                .get("model_type")
                .and_then(Json::as_str)
                .map(str::to_owned)
                .ok_or_else(|| ModelError::config("model_type", "is missing from config.json")),
        }
    }

    pub(crate) fn is_gguf(&self) -> bool {
        matches!(self, Self::Gguf { .. })
    }

    /// The name an error message should use.
    pub(crate) fn key(&self, gguf: &str, hf: &str) -> String {
        match self {
            Self::Gguf { architecture, .. } => format!("{architecture}.{gguf}"),
            Self::Hf(_) => hf.to_owned(),
        }
    }

    /// A positive size below a sane bound.
    pub(crate) fn size(&self, gguf: &str, hf: &str) -> Result<usize, ModelError> {
        self.opt_size(gguf, hf)?.ok_or_else(|| ModelError::config(self.key(gguf, hf), "is missing"))
    }

    pub(crate) fn opt_size(&self, gguf: &str, hf: &str) -> Result<Option<usize>, ModelError> {
        let found = match self {
            Self::Gguf { metadata, .. } => metadata.u64(&self.key(gguf, hf))?,
            Self::Hf(json) => match json.get(hf) {
                None | Some(Json::Null) => None,
                Some(value) => Some(value.as_u64().ok_or_else(|| {
                    ModelError::config(hf, format!("must be a whole number, found {}", short(value)))
                })?),
            },
        };
        match found {
            None => Ok(None),
            Some(n) => match usize::try_from(n) {
                Ok(n) if (1..=MAX_DIMENSION).contains(&n) => Ok(Some(n)),
                _ => Err(ModelError::config(self.key(gguf, hf), format!("is {n}, expected 1 to {MAX_DIMENSION}"))),
            },
        }
    }

    /// A size where zero means that there is none.
    pub(crate) fn opt_count(&self, gguf: &str, hf: &str) -> Result<Option<usize>, ModelError> {
        let zero = match self {
            Self::Gguf { metadata, .. } => metadata.u64(&self.key(gguf, hf))? == Some(0),
            Self::Hf(json) => json.get(hf).and_then(Json::as_u64) == Some(0),
        };
        if zero { Ok(None) } else { self.opt_size(gguf, hf) }
    }

    /// Which layers slide, if the checkpoint lists them: `layer_types`, or an array of GGUF's pattern key.
    pub(crate) fn sliding_layers(&self) -> Result<Option<Vec<bool>>, ModelError> {
        match self {
            Self::Gguf { .. } => Ok(self.gguf_flags("attention.sliding_window_pattern")),
            Self::Hf(json) => {
                let Some(kinds) = json.get("layer_types").and_then(Json::as_array) else {
                    return Ok(None);
                };
                let slides = |kind: &Json| match kind.as_str() {
                    Some("sliding_attention") => Ok(true),
                    Some("full_attention") => Ok(false),
                    _ => Err(ModelError::config("layer_types", format!("has unknown entry {}", short(kind)))),
                };
                kinds.iter().map(slides).collect::<Result<_, _>>().map(Some)
            }
        }
    }

    /// A flag for every layer, where a GGUF file lists them.
    pub(crate) fn gguf_flags(&self, gguf: &str) -> Option<Vec<bool>> {
        let Self::Gguf { metadata, .. } = self else {
            return None;
        };
        match metadata.get(&self.key(gguf, "")) {
            Some(Value::Array(Array::Bool(flags))) => Some(flags.clone()),
            Some(Value::Array(array)) => {
                array.integers().map(|flags| flags.into_iter().map(|flag| flag != 0).collect())
            }
            _ => None,
        }
    }

    /// A size for every layer, 0 included, where the checkpoint lists them.
    pub(crate) fn sizes(&self, gguf: &str, hf: &str) -> Result<Option<Vec<usize>>, ModelError> {
        let Some(listed) = self.hf_field(hf).and_then(Json::as_array) else {
            return self.gguf_sizes(gguf);
        };
        let fault = || ModelError::config(hf, "must list sizes");
        let size = |n: &Json| usize::try_from(n.as_u64()?).ok().filter(|n| *n <= MAX_DIMENSION);
        listed.iter().map(|n| size(n).ok_or_else(fault)).collect::<Result<_, _>>().map(Some)
    }

    /// A number for every layer, where the checkpoint lists them.
    pub(crate) fn floats(&self, gguf: &str, hf: &str) -> Result<Option<Vec<f32>>, ModelError> {
        let fault = || ModelError::config(self.key(gguf, hf), "must list numbers");
        match self {
            Self::Gguf { metadata, .. } => match metadata.get(&self.key(gguf, hf)) {
                None => Ok(None),
                Some(Value::Array(Array::F32(values))) => Ok(Some(values.clone())),
                Some(_) => Err(fault()),
            },
            Self::Hf(_) => match self.hf_field(hf).map(Json::as_array) {
                None => Ok(None),
                Some(None) => Err(fault()),
                Some(Some(values)) => {
                    let value = |x: &Json| x.as_f64().map(|x| x as f32).ok_or_else(fault);
                    values.iter().map(value).collect::<Result<_, _>>().map(Some)
                }
            },
        }
    }

    /// [`Hyper::sizes`] of GGUF files alone.
    pub(crate) fn gguf_sizes(&self, gguf: &str) -> Result<Option<Vec<usize>>, ModelError> {
        let Self::Gguf { metadata, .. } = self else {
            return Ok(None);
        };
        let key = self.key(gguf, "");
        let Some(Value::Array(array)) = metadata.get(&key) else {
            return Ok(None);
        };
        let fault = || ModelError::config(&key, "must list sizes");
        let size = |n: i128| usize::try_from(n).ok().filter(|n| *n <= MAX_DIMENSION).ok_or_else(fault);
        array.integers().ok_or_else(fault)?.into_iter().map(size).collect::<Result<_, _>>().map(Some)
    }

    pub(crate) fn float(&self, gguf: &str, hf: &str) -> Result<f32, ModelError> {
        self.opt_float(gguf, hf)?.ok_or_else(|| ModelError::config(self.key(gguf, hf), "is missing"))
    }

    pub(crate) fn opt_float(&self, gguf: &str, hf: &str) -> Result<Option<f32>, ModelError> {
        let found = match self {
            Self::Gguf { metadata, .. } => metadata.f32(&self.key(gguf, hf))?,
            Self::Hf(json) => json_float(json, hf)?,
        };
        match found {
            Some(x) if !x.is_finite() => Err(ModelError::config(self.key(gguf, hf), "is not a finite number")),
            other => Ok(other),
        }
    }

    /// A string that only GGUF files carry.
    pub(crate) fn gguf_str(&self, gguf: &str) -> Result<Option<&str>, ModelError> {
        match self {
            Self::Gguf { metadata, .. } => Ok(metadata.str(&self.key(gguf, ""))?),
            Self::Hf(_) => Ok(None),
        }
    }

    /// A flag.
    pub(crate) fn opt_bool(&self, gguf: &str, hf: &str) -> Result<Option<bool>, ModelError> {
        if self.is_gguf() { self.gguf_bool(gguf) } else { self.hf_bool(hf) }
    }

    /// A flag that only GGUF files carry.
    pub(crate) fn gguf_bool(&self, gguf: &str) -> Result<Option<bool>, ModelError> {
        match self {
            Self::Gguf { metadata, .. } => Ok(metadata.bool(&self.key(gguf, ""))?),
            Self::Hf(_) => Ok(None),
        }
    }

    /// Whether the checkpoint has a key or field, be it zero or null.
    pub(crate) fn states(&self, gguf: &str, hf: &str) -> bool {
        match self {
            Self::Gguf { metadata, .. } => metadata.get(&self.key(gguf, hf)).is_some(),
            Self::Hf(_) => self.hf_states(hf),
        }
    }

    /// Whether `config.json` has a field, be it null.
    pub(crate) fn hf_states(&self, field: &str) -> bool {
        matches!(self, Self::Hf(json) if json.get(field).is_some())
    }

    /// A field that only `config.json` carries.
    pub(crate) fn hf_field(&self, field: &str) -> Option<&'a Json> {
        match self {
            Self::Gguf { .. } => None,
            Self::Hf(json) => json.get(field).filter(|v| !v.is_null()),
        }
    }

    pub(crate) fn hf_bool(&self, field: &str) -> Result<Option<bool>, ModelError> {
        self.hf_field(field)
            .map(|v| {
                v.as_bool()
                    .ok_or_else(|| ModelError::config(field, format!("must be true or false, found {}", short(v))))
            })
            .transpose()
    }
}

/// A finite or infinite number of `object`, if the field is there.
pub(crate) fn json_float(object: &Json, field: &str) -> Result<Option<f32>, ModelError> {
    match object.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .map(|x| Some(x as f32))
            .ok_or_else(|| ModelError::config(field, format!("must be a number, found {}", short(value)))),
    }
}

fn short(value: &Json) -> String {
    value.to_string().chars().take(40).collect()
}
