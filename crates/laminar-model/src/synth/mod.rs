//! Models with random weights: published shapes for measurements, tiny ones for tests.
//!
//! [`write()`] makes a GGUF file that other engines load too; [`to_vec`] makes one in memory. The weights depend on the
//! seed alone: every tensor draws from ChaCha8 with the seed as key and a stream number from the tensor's name, so a
//! layer has the same weights however many layers there are.

mod build;
mod byte_tokenizer;
mod donor;
mod family;
mod preset;
mod weights;

#[cfg(test)]
mod tests;

use std::path::Path;

use laminar_kernels::WeightType;

use crate::checkpoint::{CheckpointError, Metadata};

pub use byte_tokenizer::byte_tokenizer;
pub use preset::Preset;

/// What to make.
#[derive(Debug, Clone)]
pub struct SynthOptions {
    /// The shape.
    pub preset: Preset,
    /// The number of layers, if not the preset's own.
    pub layers: Option<usize>,
    /// The type of the weight matrices. Rows that it does not divide into whole blocks (Q4_K, Q5_K and Q6_K have blocks
    /// of 256) and the embedding are stored as Q8_0; norms, biases and routers are always F32. With F32, F16 or BF16 the
    /// embedding is stored in that type too. With MXFP4 attention and output are stored as Q8_0: published files have
    /// it for the feed-forward weights alone.
    pub quant: WeightType,
    /// The seed of all weights.
    pub seed: u64,
    /// The number of experts, if not the preset's own.
    pub experts: Option<usize>,
    /// The size of the vocabulary, if not the preset's own.
    pub vocab: Option<usize>,
}

impl SynthOptions {
    /// A preset as it is, in Q8_0, with seed 0.
    pub fn new(preset: Preset) -> Self {
        Self { preset, layers: None, quant: WeightType::Q8_0, seed: 0, experts: None, vocab: None }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// The architecture, as `general.architecture` names it.
    pub architecture: &'static str,
    /// The number of layers.
    pub layers: usize,
    /// The number of tensors.
    pub tensors: usize,
    /// The number of parameters.
    pub parameters: u64,
    /// The size of the vocabulary.
    pub vocab: usize,
    /// The length of the file.
    pub bytes: u64,
}

/// Writes a model to a GGUF file.
///
/// `donor` is the metadata of any GGUF model: its `tokenizer.*` keys are copied, and its vocabulary is padded with unused
/// tokens, or shortened, to the size of the model's. [`byte_tokenizer`] is one that is always there. `progress` is
/// called with the bytes of tensor data written so far and in all.
///
/// # Errors
/// When the options contradict each other, the donor has no usable tokenizer, or the file cannot be written.
pub fn write(
    path: &Path,
    options: &SynthOptions,
    donor: &Metadata,
    progress: &dyn Fn(u64, u64),
) -> Result<Summary, CheckpointError> {
    let plan = build::Plan::new(options, donor)?;
    let mut source = weights::Source::new(&plan, options.seed)?;
    let total = plan.writer.tensor_bytes();
    let mut done = 0;
    progress(done, total);
    let bytes = plan.writer.write_file(path, &mut |tensor, out| {
        source.fill(tensor, out)?;
        done += tensor.bytes as u64;
        progress(done, total);
        Ok(())
    })?;
    Ok(plan.summary(bytes))
}

/// Makes a model in memory, for [`crate::checkpoint::Gguf::from_vec`].
///
/// # Errors
/// As [`write()`].
pub fn to_vec(options: &SynthOptions, donor: &Metadata) -> Result<Vec<u8>, CheckpointError> {
    let plan = build::Plan::new(options, donor)?;
    let mut source = weights::Source::new(&plan, options.seed)?;
    let mut bytes = Vec::new();
    plan.writer.write(&mut bytes, &mut |tensor, out| source.fill(tensor, out))?;
    Ok(bytes)
}
