//! The architectures, one file each, over shared layer parts.
//!
//! A family file says how to read its hyper-parameters and which tensors make a layer; everything that computes lives
//! in the shared layer parts of this crate. To add a family, write its file and list it in [`FAMILIES`].

mod base;
mod deepseek2;
mod dots1;
mod ernie45;
mod ernie45moe;
mod gemma2;
mod gemma3;
mod gemma3n;
mod gemma4;
mod glm4;
mod glm4moe;
mod gptoss;
mod granite;
mod granitehybrid;
mod granitemoe;
mod hyper;
mod lfm2;
mod lfm2moe;
mod llama;
mod minimaxm2;
mod mixtral;
mod nearest;
mod olmo2;
mod olmoe;
mod phi3;
mod qwen2;
mod qwen2moe;
mod qwen3;
mod qwen35;
mod qwen3moe;
mod qwen3next;
mod qwenvl;
mod seedoss;
mod smollm3;

pub(crate) use hyper::{Hyper, json_float};

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::Layer;
use crate::layer_weights::LayerWeights;

/// One model family: its names and how to read it.
pub struct Family {
    /// Name in this project.
    pub name: &'static str,
    /// `general.architecture` of its GGUF files. Where two families have the same one, the first opens them.
    pub gguf_architecture: &'static str,
    /// Published models of the family, for people.
    pub models: &'static str,
    /// What its layers have beyond a plain Llama's, for people.
    pub features: &'static [&'static str],
    /// The programs whose results its own are compared with in this crate's tests.
    pub checked_against: &'static [&'static str],
    /// `model_type` values of Hugging Face folders that this family opens.
    pub hf_model_types: &'static [&'static str],
    read_config: fn(&Hyper<'_>, &Checkpoint) -> Result<ModelConfig, ModelError>,
    pub(crate) layer: fn(&LayerWeights<'_>, &ModelConfig, usize) -> Result<Layer, ModelError>,
    /// Per layer: GGUF tensor stem and the Hugging Face one, where it differs from the common table; outside the layers:
    /// whole names.
    pub(crate) hf_names: &'static [(&'static str, &'static str)],
}

/// Every family this build can run.
pub const FAMILIES: &[&Family] = &[
    &llama::FAMILY,
    &mixtral::FAMILY,
    &gptoss::FAMILY,
    &qwen2::FAMILY,
    &qwen2moe::FAMILY,
    &qwen3::FAMILY,
    &qwen3moe::FAMILY,
    &qwen3next::FAMILY,
    &qwen35::DENSE,
    &qwen35::MIXTURE,
    &qwenvl::QWEN2,
    &qwenvl::QWEN3,
    &deepseek2::FAMILY,
    &dots1::FAMILY,
    &ernie45::FAMILY,
    &ernie45moe::FAMILY,
    &gemma2::FAMILY,
    &gemma3::FAMILY,
    &gemma3n::FAMILY,
    &gemma4::FAMILY,
    &glm4::FAMILY,
    &glm4moe::FAMILY,
    &granite::FAMILY,
    &granitemoe::FAMILY,
    &granitehybrid::FAMILY,
    &lfm2::FAMILY,
    &lfm2moe::FAMILY,
    &minimaxm2::FAMILY,
    &olmo2::FAMILY,
    &olmoe::FAMILY,
    &phi3::FAMILY,
    &seedoss::FAMILY,
    &smollm3::FAMILY,
];

impl Family {
    pub(crate) fn config(&self, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
        (self.read_config)(&Hyper::new(checkpoint)?, checkpoint)
    }
}

/// The family that `checkpoint` belongs to.
///
/// # Errors
/// The architecture's name is missing or not one of [`FAMILIES`].
pub fn family_of(checkpoint: &Checkpoint) -> Result<&'static Family, ModelError> {
    let hyper = Hyper::new(checkpoint)?;
    let found = hyper.architecture()?;
    FAMILIES
        .iter()
        .copied()
        .find(|family| match checkpoint {
            Checkpoint::Gguf(_) => family.gguf_architecture == found,
            Checkpoint::HuggingFace(_) => family.hf_model_types.contains(&found.as_str()),
        })
        .ok_or_else(|| {
            let mut names: Vec<&str> = match checkpoint {
                Checkpoint::Gguf(_) => FAMILIES.iter().map(|f| f.gguf_architecture).collect(),
                Checkpoint::HuggingFace(_) => FAMILIES.iter().flat_map(|f| f.hf_model_types).copied().collect(),
            };
            names.dedup();
            let nearest = nearest::to(&found, &names).unwrap_or_default();
            ModelError::UnsupportedArchitecture { found, nearest, supported: names.join(", ") }
        })
}

/// Reads the configuration of `checkpoint` without touching its weights.
///
/// # Errors
/// As [`crate::Model::load`], for the configuration alone. `vocab_size` is taken from the embedding tensor.
pub fn read_config(checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    family_of(checkpoint)?.config(checkpoint)
}
