//! Taking tensors out of a checkpoint by their canonical (GGUF) names, whatever format it has.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use laminar_kernels::{KernelError, Matrix, Packer, Pool, RowSource};

use crate::arch::Family;
use crate::checkpoint::{Checkpoint, CheckpointError, QuantisedWeight, Tensor};
use crate::error::ModelError;
use crate::layer_weights::LayerWeights;
use crate::packed::{PackedCache, PackedTensor};
use crate::stored::Stored;

/// Names outside the layers: GGUF, Hugging Face. A family's own table comes first.
pub(crate) const OUTER_NAMES: &[(&str, &str)] = &[
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// What names in folders begin with: of the layers and what is beside them, and of the output matrix.
pub(crate) type Prefix = (&'static str, &'static str);
pub(crate) const USUAL: Prefix = ("model.", "");
/// Where a model for images and text holds the one for text, it is one of the others.
const PREFIXES: [Prefix; 3] = [USUAL, ("model.language_model.", ""), ("language_model.model.", "language_model.")];

/// What the names of a folder begin with.
pub(crate) fn prefix_of(checkpoint: &Checkpoint) -> Prefix {
    let embedding = |prefix: &str| checkpoint.tensor(&format!("{prefix}embed_tokens.weight")).is_some();
    PREFIXES.into_iter().find(|(prefix, _)| embedding(prefix)).unwrap_or(USUAL)
}

/// Other names that GGUF files have for some of them: LFM2's last norm.
const OTHER_NAMES: &[(&str, &str)] = &[("output_norm.weight", "token_embd_norm.weight")];

/// Reports packed bytes.
pub(crate) struct Progress<'a> {
    done: AtomicU64,
    total: u64,
    report: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(total: u64, report: Option<&'a (dyn Fn(u64, u64) + Sync)>) -> Self {
        Self { done: AtomicU64::new(0), total, report }
    }

    fn add(&self, bytes: usize) {
        if let Some(report) = self.report {
            let done = self.done.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
            report(done.min(self.total), self.total);
        }
    }
}

/// The tensors of a checkpoint, as a family reads them.
pub(crate) struct Weights<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) family: &'static Family,
    /// What a folder's names begin with.
    pub(crate) prefix: Prefix,
    pool: &'a Pool,
    cache: Option<&'a PackedCache>,
    progress: Progress<'a>,
    /// With a cache: all that was packed or found there, and whether anything was not found.
    packed: RefCell<Vec<PackedTensor>>,
    missed: Cell<bool>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        family: &'static Family,
        pool: &'a Pool,
        cache: Option<&'a PackedCache>,
        progress: Progress<'a>,
    ) -> Self {
        let (packed, missed) = (RefCell::default(), Cell::new(false));
        let prefix = prefix_of(checkpoint);
        Self { checkpoint, family, prefix, pool, cache, progress, packed, missed }
    }

    /// So many bytes are not packed.
    pub(crate) fn leave(&mut self, bytes: usize) {
        self.progress.total = self.progress.total.saturating_sub(bytes as u64);
    }

    /// All packed tensors, if some of them are not in the cache.
    pub(crate) fn into_new_packed(self) -> Option<Vec<PackedTensor>> {
        self.missed.get().then(|| self.packed.into_inner())
    }

    /// Tells the progress callback that nothing is left to do.
    pub(crate) fn finish(&self) {
        if let Some(report) = self.progress.report {
            report(self.progress.total, self.progress.total);
        }
    }

    /// The checkpoint's own spelling of a tensor outside the layers.
    pub(crate) fn outer_name(&self, name: &str) -> String {
        match self.checkpoint {
            Checkpoint::Gguf(_) => {
                let others = OTHER_NAMES.iter().filter(|(usual, _)| *usual == name).map(|(_, other)| *other);
                let mut names = std::iter::once(name).chain(others);
                names.find(|name| self.checkpoint.tensor(name).is_some()).unwrap_or(name).to_owned()
            }
            Checkpoint::HuggingFace(_) => {
                let mut tables = self.family.hf_names.iter().chain(OUTER_NAMES);
                let usual = tables.find(|(gguf, _)| *gguf == name).map_or(name, |(_, hf)| hf);
                let (prefix, head) = self.prefix;
                match usual.strip_prefix(USUAL.0) {
                    Some(rest) => format!("{prefix}{rest}"),
                    None => format!("{head}{usual}"),
                }
            }
        }
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.checkpoint.tensor(&self.outer_name(name)).is_some()
    }

    pub(crate) fn require(&self, name: &str) -> Result<Tensor<'a>, ModelError> {
        self.require_own(&self.outer_name(name))
    }

    pub(crate) fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        let name = self.outer_name(name);
        self.pack_one(&name, self.stored(&name, rows, cols)?)
    }

    /// Some rows of a matrix of `all` rows.
    pub(crate) fn part(&self, name: &str, rows: Range<usize>, all: usize, cols: usize) -> Result<Matrix, ModelError> {
        self.part_of_own(&self.outer_name(name), rows, all, cols)
    }

    /// [`Weights::part`] by the checkpoint's own name.
    pub(crate) fn part_of_own(
        &self,
        name: &str,
        rows: Range<usize>,
        all: usize,
        cols: usize,
    ) -> Result<Matrix, ModelError> {
        let found =
            || ModelError::Shape { name: name.to_owned(), expected: vec![all, cols], found: vec![rows.end, cols] };
        let part = self.stored(name, all, cols)?.part(rows.clone()).ok_or_else(found)?;
        self.pack_one(&format!("{name}[{rows:?}]"), part)
    }

    pub(crate) fn norm(&self, name: &str, len: usize, offset: f32) -> Result<Vec<f32>, ModelError> {
        self.vector(&self.require(name)?, len, offset)
    }

    pub(crate) fn layer(&self, index: usize) -> LayerWeights<'_> {
        LayerWeights::new(self, index)
    }

    /// A tensor by the checkpoint's own name.
    pub(crate) fn require_own(&self, name: &str) -> Result<Tensor<'a>, ModelError> {
        self.checkpoint
            .tensor(name)
            .ok_or_else(|| ModelError::MissingTensor { name: name.to_owned(), architecture: self.family.name })
    }

    /// A matrix by the checkpoint's own name, values or quantised.
    pub(crate) fn stored(&self, name: &str, rows: usize, cols: usize) -> Result<Stored<'a>, ModelError> {
        match self.quantised(name)? {
            Some(weight) => Stored::quantised(weight, rows, cols),
            None => Stored::rows(self.require_own(name)?, rows, cols),
        }
    }

    /// A weight that another program quantised, by the name that it would have as values.
    pub(crate) fn quantised(&self, name: &str) -> Result<Option<QuantisedWeight<'a>>, ModelError> {
        match (self.checkpoint, name.strip_suffix(".weight")) {
            (Checkpoint::HuggingFace(folder), Some(base)) => Ok(folder.quantised_weight(base)?),
            _ => Ok(None),
        }
    }

    pub(crate) fn pack(&self, tensor: Tensor<'_>, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        let name = tensor.name.to_owned();
        self.pack_one(&name, Stored::rows(tensor, rows, cols)?)
    }

    pub(crate) fn pack_one(&self, name: &str, matrix: Stored<'_>) -> Result<Matrix, ModelError> {
        let missing = || ModelError::MissingTensor { name: name.to_owned(), architecture: self.family.name };
        self.pack_all(name, vec![matrix])?.pop().ok_or_else(missing)
    }

    /// Packs matrices of one shape side by side; `name` stands for all of them.
    pub(crate) fn pack_all(&self, name: &str, matrices: Vec<Stored<'_>>) -> Result<Vec<Matrix>, ModelError> {
        let Some(first) = matrices.first() else {
            return Ok(Vec::new());
        };
        let (ty, rows, cols) = (first.ty(), first.shape().0, first.shape().1);
        if matrices.iter().any(|matrix| matrix.ty() != ty) {
            // Nothing they could share.
            let alone = |(i, matrix)| self.pack_one(&format!("{name}[{i}]"), matrix);
            return matrices.into_iter().enumerate().map(alone).collect();
        }
        let found = self.cache.and_then(|cache| cache.tensor(name, ty, matrices.len(), rows, cols));
        let packed = match found {
            Some(packed) => {
                self.progress.add(packed.iter().map(Matrix::source_bytes).sum());
                packed
            }
            None => {
                self.missed.set(true);
                let fault = |source| ModelError::Kernel { name: name.to_owned(), source };
                let packer = Packer::new(ty, matrices.len(), rows, cols).map_err(fault)?;
                let source = Rows { matrices: &matrices, progress: &self.progress };
                packer.pack(self.pool, &source).map_err(|error| match error {
                    Fault::Kernel(source) => fault(source),
                    Fault::Read(error) => error.into(),
                })?
            }
        };
        if self.cache.is_some() {
            self.packed.borrow_mut().push(PackedTensor { name: name.to_owned(), matrices: packed.clone() });
        }
        Ok(packed)
    }

    pub(crate) fn vector(&self, tensor: &Tensor<'_>, len: usize, offset: f32) -> Result<Vec<f32>, ModelError> {
        if tensor.shape != [len] {
            return Err(shape_error(tensor, vec![len]));
        }
        let mut values = tensor.to_f32()?;
        if offset != 0.0 {
            values.iter_mut().for_each(|x| *x += offset);
        }
        self.progress.add(tensor.data.len());
        Ok(values)
    }
}

/// The rows of matrices, where they are in the checkpoint.
struct Rows<'a> {
    matrices: &'a [Stored<'a>],
    progress: &'a Progress<'a>,
}

/// Why rows could not be packed.
enum Fault {
    Kernel(KernelError),
    Read(CheckpointError),
}

impl From<KernelError> for Fault {
    fn from(error: KernelError) -> Self {
        Fault::Kernel(error)
    }
}

impl RowSource for Rows<'_> {
    type Error = Fault;

    fn read<'a>(&'a self, matrix: usize, range: Range<usize>, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], Fault> {
        self.matrices[matrix].read(range, buffer).map_err(Fault::Read)
    }

    fn packed(&self, bytes: usize) {
        self.progress.add(bytes);
    }
}

pub(crate) fn shape_error(tensor: &Tensor<'_>, expected: Vec<usize>) -> ModelError {
    ModelError::Shape { name: tensor.name.to_owned(), expected, found: tensor.shape.clone() }
}
