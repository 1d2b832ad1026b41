//! GGUF checkpoints, in one file or several.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use laminar_kernels::WeightType;

use super::bytes::Bytes;
use super::error::CheckpointError;
use super::header::{Header, parse};
use super::metadata::Metadata;
use super::split;
use super::tensor::{Place, Tensor};

/// An opened GGUF checkpoint, version 2 or 3, little-endian.
///
/// Tensor data stays where it is (in the mapped file, for instance); [`Gguf::tensor`] hands out views.
#[derive(Debug)]
pub struct Gguf {
    name: String,
    version: u32,
    metadata: Metadata,
    parts: Vec<Arc<Bytes>>,
    tensors: Vec<Entry>,
    index: HashMap<String, usize>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    ty: WeightType,
    shape: Vec<usize>,
    part: usize,
    range: Range<usize>,
}

impl Gguf {
    /// Opens a file. Any part of a split checkpoint (`NAME-00001-of-00003.gguf`) opens all of them.
    ///
    /// # Errors
    /// A [`CheckpointError`] that names the file and the key or tensor when a file is missing, damaged or of an
    /// unsupported kind.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let parts = split::open_all(path)?;
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
        Self::assemble(parts, split::base_name(&stem.unwrap_or_default()))
    }

    /// Reads a checkpoint that is compiled into the program.
    pub fn from_static(bytes: &'static [u8]) -> Result<Self, CheckpointError> {
        Self::from_bytes(Bytes::Static(bytes))
    }

    /// Reads a checkpoint from memory.
    pub fn from_vec(bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        Self::from_bytes(Bytes::Owned(bytes))
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, CheckpointError> {
        let header = parse("memory", &bytes)?;
        if header.split_count()? > 1 {
            return Err(CheckpointError::malformed(
                "memory",
                "key \"split.count\"",
                "this is one part of a split checkpoint, which cannot be read from memory; merge the parts first",
            ));
        }
        Self::assemble(vec![(header, bytes)], "unnamed")
    }

    fn assemble(parts: Vec<(Header, Bytes)>, fallback: &str) -> Result<Self, CheckpointError> {
        let mut gguf = Gguf {
            name: fallback.to_string(),
            version: 0,
            metadata: Metadata::default(),
            parts: Vec::new(),
            tensors: Vec::new(),
            index: HashMap::new(),
        };
        for (part, (header, bytes)) in parts.into_iter().enumerate() {
            for info in header.tensors {
                let at = gguf.tensors.len();
                if gguf.index.insert(info.name.clone(), at).is_some() {
                    return Err(CheckpointError::malformed(
                        header.metadata.file(),
                        format!("tensor {:?}", info.name),
                        "an earlier part holds a tensor of the same name; the parts do not belong together",
                    ));
                }
                let (name, ty, shape, range) = (info.name, info.ty, info.shape, info.range);
                gguf.tensors.push(Entry { name, ty, shape, part, range });
            }
            if part == 0 {
                gguf.version = header.version;
                gguf.metadata = header.metadata;
            }
            gguf.parts.push(Arc::new(bytes));
        }
        if let Some(expected) = gguf.metadata.u64("split.tensors.count")?
            && gguf.parts.len() > 1
            && expected != gguf.tensors.len() as u64
        {
            return Err(CheckpointError::malformed(
                gguf.metadata.file(),
                "key \"split.tensors.count\"",
                format!(
                    "{expected} tensors are announced, but the {} parts hold {}; fetch the parts again",
                    gguf.parts.len(),
                    gguf.tensors.len()
                ),
            ));
        }
        if let Some(name) = gguf.metadata.str("general.name")?.filter(|n| !n.trim().is_empty()) {
            gguf.name = name.trim().to_string();
        }
        Ok(gguf)
    }

    /// The metadata; of the first part when the checkpoint is split.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// `general.name`, or else the file's name without its ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the GGUF format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The number of files that make up the checkpoint.
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    pub(super) fn parts(&self) -> &[Arc<Bytes>] {
        &self.parts
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.index.get(name).and_then(|&at| self.tensors.get(at)).and_then(|e| self.view(e))
    }

    /// All tensors in file order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.tensors.iter().filter_map(|entry| self.view(entry))
    }

    /// The number of tensors.
    pub fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    /// Every range was checked against its part when the header was parsed, so this is always `Some`.
    fn view<'a>(&'a self, entry: &'a Entry) -> Option<Tensor<'a>> {
        let bytes = self.parts.get(entry.part)?;
        let data = bytes.get(entry.range.clone())?;
        let place = Place { bytes, at: entry.range.start };
        Some(Tensor { name: &entry.name, ty: entry.ty, shape: entry.shape.clone(), data, place })
    }
}
