//! Models into GGUF files: from a GGUF file with other types, or from a Hugging Face folder.
//!
//! A [`Conversion`] is planned first, which finds all that can be wrong with the model without looking at weights; then
//! the file is written tensor by tensor, some rows at a time, so that a model larger than memory can be converted.
//!
//! What a folder says is carried over under llama.cpp's names. That nothing gets lost on the way is checked by reading
//! the new file's keys back: a hyper-parameter for which GGUF files of the family have no key is an error, not a file
//! that answers differently.

mod error;
mod folder;
mod keys;
mod names;
mod planned;
mod recipe;
mod states;
mod streams;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use laminar_kernels::{Pool, WeightType};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, CheckpointError, Gguf, GgufWriter, TensorSpec};
use planned::Planned;
use recipe::Facts;

pub use error::ConvertError;
pub use recipe::Recipe;
pub(crate) use states::keys as state_keys;

/// A GGUF file that can be written.
pub struct Conversion<'a> {
    writer: GgufWriter,
    /// In the order of the writer's tensors.
    tensors: Vec<Planned<'a>>,
    summary: Summary,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// `general.architecture`.
    pub architecture: String,
    /// Tensors.
    pub tensors: usize,
    /// Parameters.
    pub parameters: u64,
    /// Tensors of each type.
    pub by_type: BTreeMap<&'static str, usize>,
    /// Tensors that were quantised already and are now in another type: their values have been rounded twice.
    pub requantised: usize,
    /// Whether the folder had no tokenizer, so that the file has none.
    pub without_tokenizer: bool,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
}

impl<'a> Conversion<'a> {
    /// Decides names, keys and types of a file with the weights of `checkpoint`.
    ///
    /// # Errors
    /// A folder of a family or with hyper-parameters or a tokenizer that GGUF files have no form for, tensors without a
    /// known name, or a checkpoint that is damaged.
    pub fn plan(checkpoint: &'a Checkpoint, recipe: Recipe) -> Result<Self, ConvertError> {
        match checkpoint {
            Checkpoint::Gguf(file) => Self::of_gguf(file, recipe),
            Checkpoint::HuggingFace(folder) => {
                let (keys, tensors) = folder::plan(checkpoint, folder)?;
                Self::new(keys, tensors, recipe, true)
            }
        }
    }

    fn of_gguf(file: &'a Gguf, recipe: Recipe) -> Result<Self, ConvertError> {
        let metadata = file.metadata();
        let mut writer = GgufWriter::new(metadata.require_str("general.architecture")?);
        for (key, value) in metadata.iter() {
            // The new file is one, with the usual alignment.
            if !key.starts_with("split.") && key != "general.alignment" {
                writer.set(key, value.clone());
            }
        }
        let tensors = file.tensors().map(|tensor| Planned::of(tensor.name, tensor.clone())).collect();
        Self::new(writer, tensors, recipe, false)
    }

    /// `floats`: whether what is not quantised is stored as F32, or as it was.
    fn new(
        mut writer: GgufWriter,
        tensors: Vec<Planned<'a>>,
        recipe: Recipe,
        floats: bool,
    ) -> Result<Self, ConvertError> {
        let architecture = writer.metadata().require_str("general.architecture")?.to_owned();
        let size = |key: &str| writer.metadata().u64(&format!("{architecture}.{key}"));
        let facts = Facts {
            layers: size("block_count")?.map_or(0, |layers| layers as usize),
            experts: size("expert_count")?.map_or(0, |experts| experts as usize),
            tied: !tensors.iter().any(|tensor| tensor.name == "output.weight"),
            attention_layers: tensors.iter().filter(|tensor| recipe::is_value_projection(&tensor.name)).count(),
        };
        writer.set("general.file_type", recipe.file_type());
        writer.set("general.quantization_version", 2u32);
        let places = places(&tensors);
        let mut requantised = 0;
        let mut by_type = BTreeMap::new();
        for tensor in &tensors {
            tensor.check()?;
            let place = recipe::layer_of(&tensor.name).and_then(|layer| places.get(&layer)).copied().unwrap_or(0);
            let kept = if floats { WeightType::F32 } else { tensor.ty() };
            let ty = recipe.choose(&tensor.name, &tensor.shape, place, &facts).unwrap_or(kept);
            requantised += usize::from(!tensor.ty().is_float() && tensor.ty() != ty && !ty.is_float());
            *by_type.entry(ty.name()).or_default() += 1;
            writer.add_tensor(&tensor.name, ty, &tensor.shape)?;
        }
        let summary = Summary {
            architecture,
            tensors: tensors.len(),
            parameters: tensors.iter().map(|tensor| tensor.elements() as u64).sum(),
            by_type,
            requantised,
            without_tokenizer: writer.metadata().str("tokenizer.ggml.model")? == Some("none"),
            tensor_bytes: writer.tensor_bytes(),
        };
        Ok(Self { writer, tensors, summary })
    }

    /// What the file will hold.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Name, type and shape of each tensor, in the order of the file.
    pub fn tensors(&self) -> &[TensorSpec] {
        self.writer.tensors()
    }

    /// Writes the file under a name of its own, and gives it the right one when it is complete. `progress` is told the
    /// bytes of tensors written so far and in all. Returns the length of the file.
    ///
    /// # Errors
    /// From the file system; a half-written file is removed.
    pub fn write(&self, path: &Path, pool: &Pool, progress: &dyn Fn(u64, u64)) -> Result<u64, ConvertError> {
        let mut fill = self.filler(pool, progress);
        Ok(self.writer.write_file(path, &mut fill)?)
    }

    /// The file in memory, for [`Gguf::from_vec`].
    ///
    /// # Errors
    /// From the checkpoint's files.
    pub fn to_vec(&self, pool: &Pool) -> Result<Vec<u8>, ConvertError> {
        let mut bytes = Vec::new();
        let mut fill = self.filler(pool, &|_, _| {});
        self.writer.write(&mut bytes, &mut fill)?;
        Ok(bytes)
    }

    fn filler<'b>(
        &'b self,
        pool: &'b Pool,
        progress: &'b dyn Fn(u64, u64),
    ) -> impl FnMut(&TensorSpec, &mut dyn std::io::Write) -> Result<(), CheckpointError> + 'b {
        let total = self.summary.tensor_bytes;
        let mut tensors = self.tensors.iter();
        let mut before = 0;
        progress(0, total);
        move |spec, out| {
            // The writer asks for its tensors in order, and there are as many.
            let Some(planned) = tensors.next() else { return Ok(()) };
            write::write(planned, spec, pool, out, &mut |written| progress(before + written, total))?;
            before += spec.bytes as u64;
            Ok(())
        }
    }
}

/// For each layer with a value projection, its number among those layers.
fn places(tensors: &[Planned<'_>]) -> BTreeMap<usize, usize> {
    let names = tensors.iter().map(|tensor| &tensor.name).filter(|name| recipe::is_value_projection(name));
    let mut layers: Vec<usize> = names.filter_map(|name| recipe::layer_of(name)).collect();
    layers.sort_unstable();
    layers.into_iter().enumerate().map(|(place, layer)| (layer, place)).collect()
}
