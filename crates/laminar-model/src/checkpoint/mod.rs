//! Reading and writing checkpoints: GGUF files and Hugging Face folders.
//!
//! [`Checkpoint::open`] takes a path and decides what it is. Both formats give out [`Tensor`]s: views of the file's
//! bytes, mapped into memory and never copied here. [`GgufWriter`] writes GGUF files.
//!
//! Files are untrusted. No count, offset or length from a file is used before it is checked against the bytes that are
//! there, and every fault is a [`CheckpointError`] of one line.

mod bounds;
pub(crate) mod bytes;
mod error;
mod gguf;
mod header;
mod hf;
mod metadata;
mod quantised;
pub(crate) mod reader;
mod safetensors;
mod split;
mod tensor;
mod value;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use error::CheckpointError;
pub use gguf::Gguf;
pub use hf::HfFolder;
pub use metadata::Metadata;
pub use quantised::QuantisedWeight;
pub use safetensors::Bytewise;
pub use tensor::{ByteTensor, Tensor};
pub use value::{Array, Value};
pub use writer::{GgufWriter, TensorSpec};

/// A model on disk or in memory, in one of the formats that Laminar reads.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // There is one for a model.
pub enum Checkpoint {
    /// A GGUF file, or all parts of a split one.
    Gguf(Gguf),
    /// A folder as `transformers` saves it.
    HuggingFace(HfFolder),
}

impl Checkpoint {
    /// Opens a `.gguf` file (any part of a split one opens all) or a Hugging Face folder.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let info = std::fs::metadata(path).map_err(|e| CheckpointError::io("open", path, e))?;
        if info.is_dir() {
            HfFolder::open(path).map(Checkpoint::HuggingFace)
        } else {
            Gguf::open(path).map(Checkpoint::Gguf)
        }
    }

    /// The tensor of that name. GGUF and Hugging Face checkpoints name the same weights differently.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        match self {
            Checkpoint::Gguf(file) => file.tensor(name),
            Checkpoint::HuggingFace(folder) => folder.tensor(name),
        }
    }

    /// All tensors, in file order.
    pub fn tensors(&self) -> Box<dyn Iterator<Item = Tensor<'_>> + '_> {
        match self {
            Checkpoint::Gguf(file) => Box::new(file.tensors()),
            Checkpoint::HuggingFace(folder) => Box::new(folder.tensors()),
        }
    }

    /// The number of tensors.
    pub fn tensor_count(&self) -> usize {
        match self {
            Checkpoint::Gguf(file) => file.tensor_count(),
            Checkpoint::HuggingFace(folder) => folder.tensor_count(),
        }
    }

    /// All tensors of plain bytes, which [`Checkpoint::tensors`] leaves out: the parts of quantised weights in a folder.
    pub fn byte_tensors(&self) -> Box<dyn Iterator<Item = ByteTensor<'_>> + '_> {
        match self {
            Checkpoint::Gguf(_) => Box::new(std::iter::empty()),
            Checkpoint::HuggingFace(folder) => Box::new(folder.byte_tensors()),
        }
    }

    /// The bytes of all tensors together.
    pub fn total_bytes(&self) -> u64 {
        let values: u64 = self.tensors().map(|tensor| tensor.data.len() as u64).sum();
        values + self.byte_tensors().map(|tensor| tensor.data.len() as u64).sum::<u64>()
    }

    /// The files, and how many bytes of each come before its first tensor.
    pub(crate) fn files(&self) -> Vec<(&Bytes, usize)> {
        let files = match self {
            Checkpoint::Gguf(file) => file.parts(),
            Checkpoint::HuggingFace(folder) => folder.shards(),
        };
        let mut files: Vec<_> = files.iter().map(|bytes| (bytes, bytes.len())).collect();
        let places =
            self.tensors().map(|tensor| tensor.place()).chain(self.byte_tensors().map(|tensor| tensor.place()));
        for (bytes, at) in places {
            if let Some((_, head)) = files.iter_mut().find(|(file, _)| Arc::ptr_eq(file, bytes)) {
                *head = at.min(*head);
            }
        }
        files.into_iter().map(|(bytes, head)| (&**bytes, head)).collect()
    }

    /// A name for people: the model's own name if it carries one, otherwise that of its file or folder.
    pub fn name(&self) -> &str {
        match self {
            Checkpoint::Gguf(file) => file.name(),
            Checkpoint::HuggingFace(folder) => folder.name(),
        }
    }
}
