//! Taking tensors out of a checkpoint by their canonical (GGUF) names, whatever format it has.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use laminar_kernels::{ExpertSet, KernelError, Matrix, Packer, Pool, RowSource};

use crate::arch::Family;
use crate::checkpoint::{Checkpoint, CheckpointError, Tensor};
use crate::config::{ExpertConfig, ModelConfig};
use crate::error::ModelError;
use crate::layer::{Attention, FeedForward, Projection};
use crate::packed::{PackedCache, PackedTensor};

/// Names outside the layers: GGUF, Hugging Face.
const OUTER_NAMES: &[(&str, &str)] = &[
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Stems inside a layer: GGUF, Hugging Face. A family's own table comes first.
const LAYER_NAMES: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

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
    checkpoint: &'a Checkpoint,
    family: &'static Family,
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
        Self { checkpoint, family, pool, cache, progress, packed, missed }
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
    fn outer_name(&self, name: &str) -> String {
        match self.checkpoint {
            Checkpoint::Gguf(_) => name.to_owned(),
            Checkpoint::HuggingFace(_) => {
                OUTER_NAMES.iter().find(|(gguf, _)| *gguf == name).map_or(name, |(_, hf)| hf).to_owned()
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
        self.pack(self.require(name)?, rows, cols)
    }

    pub(crate) fn norm(&self, name: &str, len: usize, offset: f32) -> Result<Vec<f32>, ModelError> {
        self.vector(&self.require(name)?, len, offset)
    }

    pub(crate) fn layer(&self, index: usize) -> LayerWeights<'_> {
        LayerWeights { weights: self, index }
    }

    fn require_own(&self, name: &str) -> Result<Tensor<'a>, ModelError> {
        self.checkpoint
            .tensor(name)
            .ok_or_else(|| ModelError::MissingTensor { name: name.to_owned(), architecture: self.family.name })
    }

    fn pack(&self, tensor: Tensor<'_>, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        let name = tensor.name.to_owned();
        let missing = ModelError::MissingTensor { name: name.clone(), architecture: self.family.name };
        self.pack_all(&name, &[tensor], rows, cols)?.pop().ok_or(missing)
    }

    /// Packs matrices of one shape side by side; `name` stands for all of them.
    fn pack_all(
        &self,
        name: &str,
        tensors: &[Tensor<'_>],
        rows: usize,
        cols: usize,
    ) -> Result<Vec<Matrix>, ModelError> {
        if let Some(other) = tensors.iter().find(|tensor| tensor.shape != [rows, cols]) {
            return Err(shape_error(other, vec![rows, cols]));
        }
        let Some(first) = tensors.first() else {
            return Ok(Vec::new());
        };
        if tensors.iter().any(|tensor| tensor.ty != first.ty) {
            // Nothing they could share.
            return tensors.iter().map(|tensor| self.pack(tensor.clone(), rows, cols)).collect();
        }
        let found = self.cache.and_then(|cache| cache.tensor(name, first.ty, tensors.len(), rows, cols));
        let matrices = match found {
            Some(matrices) => {
                self.progress.add(tensors.iter().map(|tensor| tensor.data.len()).sum());
                matrices
            }
            None => {
                self.missed.set(true);
                let fault = |source| ModelError::Kernel { name: name.to_owned(), source };
                let packer = Packer::new(first.ty, tensors.len(), rows, cols).map_err(fault)?;
                let source = Rows { tensors, progress: &self.progress };
                packer.pack(self.pool, &source).map_err(|error| match error {
                    Fault::Kernel(source) => fault(source),
                    Fault::Read(error) => error.into(),
                })?
            }
        };
        if self.cache.is_some() {
            let tensor = PackedTensor { name: name.to_owned(), matrices: matrices.clone() };
            self.packed.borrow_mut().push(tensor);
        }
        Ok(matrices)
    }

    fn vector(&self, tensor: &Tensor<'_>, len: usize, offset: f32) -> Result<Vec<f32>, ModelError> {
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

/// The rows of tensors, each a matrix, where they are in the checkpoint.
struct Rows<'a> {
    tensors: &'a [Tensor<'a>],
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
        self.tensors[matrix].read(range, buffer).map_err(Fault::Read)
    }

    fn packed(&self, bytes: usize) {
        self.progress.add(bytes);
    }
}

fn shape_error(tensor: &Tensor<'_>, expected: Vec<usize>) -> ModelError {
    ModelError::Shape { name: tensor.name.to_owned(), expected, found: tensor.shape.clone() }
}

/// The tensors of one layer, by their stems (`attn_q`, `ffn_gate_exps`, ...).
pub(crate) struct LayerWeights<'a> {
    weights: &'a Weights<'a>,
    index: usize,
}

impl LayerWeights<'_> {
    /// The checkpoint's own name of `stem` followed by `suffix` (`.weight`, `.bias`).
    fn name(&self, stem: &str, suffix: &str) -> String {
        match self.weights.checkpoint {
            Checkpoint::Gguf(_) => format!("blk.{}.{stem}{suffix}", self.index),
            Checkpoint::HuggingFace(_) => {
                let tables = [self.weights.family.hf_names, LAYER_NAMES];
                let hf = tables.iter().copied().flatten().find(|(gguf, _)| *gguf == stem).map_or(stem, |(_, hf)| hf);
                format!("model.layers.{}.{hf}{suffix}", self.index)
            }
        }
    }

    /// The error for a tensor this layer lacks; `name` is a stem with its suffix.
    pub(crate) fn missing(&self, name: &str) -> ModelError {
        let (stem, suffix) = name.split_at(name.find('.').unwrap_or(name.len()));
        ModelError::MissingTensor { name: self.name(stem, suffix), architecture: self.weights.family.name }
    }

    pub(crate) fn norm(&self, stem: &str, config: &ModelConfig) -> Result<Vec<f32>, ModelError> {
        self.norm_of(stem, config.hidden, config.norm_offset)
    }

    fn norm_of(&self, stem: &str, len: usize, offset: f32) -> Result<Vec<f32>, ModelError> {
        let tensor = self.weights.require_own(&self.name(stem, ".weight"))?;
        self.weights.vector(&tensor, len, offset)
    }

    fn matrix(&self, stem: &str, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        let tensor = self.weights.require_own(&self.name(stem, ".weight"))?;
        self.weights.pack(tensor, rows, cols)
    }

    /// A matrix and, where the checkpoint has one, its bias.
    fn projection(&self, stem: &str, rows: usize, cols: usize) -> Result<Projection, ModelError> {
        let weight = self.matrix(stem, rows, cols)?;
        let bias = match self.weights.checkpoint.tensor(&self.name(stem, ".bias")) {
            Some(tensor) => Some(self.weights.vector(&tensor, rows, 0.0)?),
            None => None,
        };
        Ok(Projection { weight, bias })
    }

    pub(crate) fn attention(&self, config: &ModelConfig, index: usize) -> Result<Attention, ModelError> {
        let (q_width, kv_width) = (config.q_width(), config.kv_width());
        let window = config.windows[index];
        Ok(Attention {
            q: self.projection("attn_q", q_width, config.hidden)?,
            k: self.projection("attn_k", kv_width, config.hidden)?,
            v: self.projection("attn_v", kv_width, config.hidden)?,
            o: self.projection("attn_output", config.hidden, q_width)?,
            head_norms: None,
            window,
            local_rope: config.local_rope.is_some() && window.is_some(),
        })
    }

    pub(crate) fn attention_with_head_norms(
        &self,
        config: &ModelConfig,
        index: usize,
    ) -> Result<Attention, ModelError> {
        let q_norm = self.norm_of("attn_q_norm", config.head_dim, config.norm_offset)?;
        let k_norm = self.norm_of("attn_k_norm", config.head_dim, config.norm_offset)?;
        Ok(Attention { head_norms: Some((q_norm, k_norm)), ..self.attention(config, index)? })
    }

    pub(crate) fn feed_forward(&self, config: &ModelConfig) -> Result<FeedForward, ModelError> {
        match &config.experts {
            Some(experts) => self.experts(config, experts),
            None => {
                if config.ffn == 0 {
                    return Err(ModelError::config("feed_forward_length", "is missing"));
                }
                Ok(FeedForward::Dense {
                    gate: self.projection("ffn_gate", config.ffn, config.hidden)?,
                    up: self.projection("ffn_up", config.ffn, config.hidden)?,
                    down: self.projection("ffn_down", config.hidden, config.ffn)?,
                })
            }
        }
    }

    fn experts(&self, config: &ModelConfig, shape: &ExpertConfig) -> Result<FeedForward, ModelError> {
        let experts = ExpertSet {
            gate: self.expert_matrices("ffn_gate_exps", shape.count, shape.ffn, config.hidden)?,
            up: self.expert_matrices("ffn_up_exps", shape.count, shape.ffn, config.hidden)?,
            down: self.expert_matrices("ffn_down_exps", shape.count, config.hidden, shape.ffn)?,
            biases: None,
        };
        let bytes = |m: &Matrix| m.source_bytes() as u64;
        let expert_bytes = (0..shape.count)
            .map(|e| bytes(&experts.gate[e]) + bytes(&experts.up[e]) + bytes(&experts.down[e]))
            .collect();
        let router = self.matrix("ffn_gate_inp", shape.count, config.hidden)?;
        Ok(FeedForward::Experts { router, experts, expert_bytes, config: shape.clone() })
    }

    /// One matrix an expert: slices of a three-dimensional GGUF tensor, or one tensor each in a folder.
    fn expert_matrices(&self, stem: &str, count: usize, rows: usize, cols: usize) -> Result<Vec<Matrix>, ModelError> {
        let name = self.name(stem, ".weight");
        if name.contains("{}") {
            let own = |e: usize| self.weights.require_own(&name.replace("{}", &e.to_string()));
            let tensors = (0..count).map(own).collect::<Result<Vec<_>, _>>()?;
            return self.weights.pack_all(&name, &tensors, rows, cols);
        }
        let all = self.weights.require_own(&name)?;
        let shape = vec![count, rows, cols];
        if all.shape != shape {
            return Err(shape_error(&all, shape));
        }
        let expert = |e| all.expert(e).ok_or_else(|| shape_error(&all, shape.clone()));
        let tensors = (0..count).map(expert).collect::<Result<Vec<_>, _>>()?;
        self.weights.pack_all(&name, &tensors, rows, cols)
    }
}
