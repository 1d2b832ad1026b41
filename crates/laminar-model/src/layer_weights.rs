//! The tensors of one layer, by their stems (`attn_q`, `ffn_down`, ...), as the layer parts want them.

use std::ops::Range;

use laminar_kernels::Matrix;

use crate::checkpoint::{Checkpoint, Tensor};
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::{Attention, FeedForward, Projection, Rotary};
use crate::weights::{Weights, shape_error};

/// Stems inside a layer: GGUF, Hugging Face. A family's own table comes first.
pub(crate) const LAYER_NAMES: &[(&str, &str)] = &[
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

/// The tensors of one layer.
pub(crate) struct LayerWeights<'a> {
    pub(crate) weights: &'a Weights<'a>,
    index: usize,
}

impl<'a> LayerWeights<'a> {
    pub(crate) fn new(weights: &'a Weights<'a>, index: usize) -> Self {
        Self { weights, index }
    }

    /// The checkpoint's own name of `stem` followed by `suffix` (`.weight`, `.bias`).
    pub(crate) fn name(&self, stem: &str, suffix: &str) -> String {
        match self.weights.checkpoint {
            Checkpoint::Gguf(_) => format!("blk.{}.{stem}{suffix}", self.index),
            Checkpoint::HuggingFace(_) => {
                let tables = [self.weights.family.hf_names, LAYER_NAMES];
                let hf = tables.iter().copied().flatten().find(|(gguf, _)| *gguf == stem).map_or(stem, |(_, hf)| hf);
                format!("{}layers.{}.{hf}{suffix}", self.weights.prefix.0, self.index)
            }
        }
    }

    /// The error for a tensor this layer lacks; `name` is a stem with its suffix.
    pub(crate) fn missing(&self, name: &str) -> ModelError {
        let (stem, suffix) = name.split_at(name.find('.').unwrap_or(name.len()));
        ModelError::MissingTensor { name: self.name(stem, suffix), architecture: self.weights.family.name }
    }

    /// A tensor, if it is there.
    pub(crate) fn find(&self, stem: &str, suffix: &str) -> Option<Tensor<'a>> {
        self.weights.checkpoint.tensor(&self.name(stem, suffix))
    }

    pub(crate) fn norm(&self, stem: &str, config: &ModelConfig) -> Result<Vec<f32>, ModelError> {
        self.norm_of(stem, config.hidden, config.norm_offset)
    }

    pub(crate) fn norm_of(&self, stem: &str, len: usize, offset: f32) -> Result<Vec<f32>, ModelError> {
        let tensor = self.weights.require_own(&self.name(stem, ".weight"))?;
        self.weights.vector(&tensor, len, offset)
    }

    /// Numbers whose GGUF name ends in `suffix` and whose name in folders is that of the stem alone.
    pub(crate) fn bare(&self, stem: &str, suffix: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let mut tensor = self.weights.require_own(&self.bare_name(stem, suffix))?;
        // A row of a matrix of one, as Ernie's folders have it, or a column, as GGUF files have it.
        if tensor.shape == [1, len] || tensor.shape == [len, 1] {
            tensor.shape = vec![len];
        }
        self.weights.vector(&tensor, len, 0.0)
    }

    /// The tensor of [`LayerWeights::bare`], if it is there.
    pub(crate) fn find_bare(&self, stem: &str, suffix: &str) -> Option<Tensor<'a>> {
        self.weights.checkpoint.tensor(&self.bare_name(stem, suffix))
    }

    fn bare_name(&self, stem: &str, suffix: &str) -> String {
        let suffix = if matches!(self.weights.checkpoint, Checkpoint::Gguf(_)) { suffix } else { "" };
        self.name(stem, suffix)
    }

    fn matrix(&self, stem: &str, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        let name = self.name(stem, ".weight");
        self.weights.pack_one(&name, self.weights.stored(&name, rows, cols)?)
    }

    /// Rows of a matrix, if it is there.
    pub(crate) fn rows_of(&self, stem: &str) -> Result<Option<usize>, ModelError> {
        match self.find(stem, ".weight") {
            Some(tensor) => Ok(Some(tensor.rows())),
            None => Ok(self.weights.quantised(&self.name(stem, ".weight"))?.map(|weight| weight.rows())),
        }
    }

    /// A matrix and, where the checkpoint has one, its bias.
    pub(crate) fn projection(&self, stem: &str, rows: usize, cols: usize) -> Result<Projection, ModelError> {
        let weight = self.matrix(stem, rows, cols)?;
        let bias = match self.find(stem, ".bias") {
            Some(tensor) => Some(self.weights.vector(&tensor, rows, 0.0)?),
            None => None,
        };
        Ok(Projection { weight, bias })
    }

    /// The factor on rows behind the layer, if it has one.
    pub(crate) fn output_scale(&self) -> Result<Option<f32>, ModelError> {
        match self.find_bare("layer_output_scale", ".weight") {
            Some(_) => Ok(self.bare("layer_output_scale", ".weight", 1)?.first().copied()),
            None => Ok(None),
        }
    }

    /// The norm of key heads; of a layer that reads another's keys, one that changes nothing.
    pub(crate) fn key_norm(&self, config: &ModelConfig, index: usize) -> Result<Vec<f32>, ModelError> {
        let (_, head_dim) = config.heads_of(index);
        match config.keys_of(index) {
            Some(_) => Ok(vec![1.0; head_dim]),
            None => self.norm_of("attn_k_norm", head_dim, config.norm_offset),
        }
    }

    /// The values of a small matrix, row by row.
    pub(crate) fn values(&self, stem: &str, rows: usize, cols: usize) -> Result<Vec<f32>, ModelError> {
        let mut tensor = self.weights.require_own(&self.name(stem, ".weight"))?;
        if tensor.shape != [rows, cols] {
            return Err(shape_error(&tensor, vec![rows, cols]));
        }
        tensor.shape = vec![rows * cols];
        self.weights.vector(&tensor, rows * cols, 0.0)
    }

    /// One output a row; its weights may be stored as a vector.
    pub(crate) fn single(&self, stem: &str, cols: usize) -> Result<Projection, ModelError> {
        let mut tensor = self.weights.require_own(&self.name(stem, ".weight"))?;
        if tensor.shape == [cols] {
            tensor.shape = vec![1, cols];
        }
        Ok(Projection { weight: self.weights.pack(tensor, 1, cols)?, bias: None })
    }

    /// Some rows of a matrix of `all` rows that several projections are stored in.
    pub(crate) fn part(
        &self,
        stem: &str,
        rows: Range<usize>,
        all: usize,
        cols: usize,
    ) -> Result<Projection, ModelError> {
        let name = self.name(stem, ".weight");
        let weight = self.weights.part_of_own(&name, rows.clone(), all, cols)?;
        let bias = match self.find(stem, ".bias") {
            Some(tensor) => self.weights.vector(&tensor, all, 0.0)?.get(rows).map(<[f32]>::to_vec),
            None => None,
        };
        Ok(Projection { weight, bias })
    }

    /// Queries, keys and values from three matrices or from one (`attn_qkv`).
    pub(crate) fn attention(&self, config: &ModelConfig, index: usize) -> Result<Attention, ModelError> {
        self.attention_of(config, index, true)
    }

    /// [`LayerWeights::attention`], without values of their own if so. A layer that reads another's keys and values has
    /// neither, whatever the checkpoint holds.
    pub(crate) fn attention_of(
        &self,
        config: &ModelConfig,
        index: usize,
        with_values: bool,
    ) -> Result<Attention, ModelError> {
        let (kv_heads, head_dim) = config.heads_of(index);
        let (q_width, kv_width) = (config.heads * head_dim, kv_heads * head_dim);
        let gates = usize::from(config.gated_queries) + 1;
        let v;
        let (q, k) = if config.keys_of(index).is_some() {
            v = None;
            (self.projection("attn_q", gates * q_width, config.hidden)?, None)
        } else if self.rows_of("attn_qkv")?.is_some() {
            let all = q_width + 2 * kv_width;
            let part = |from: usize, rows: usize| self.part("attn_qkv", from..from + rows, all, config.hidden);
            v = Some(part(q_width + kv_width, kv_width)?);
            (part(0, q_width)?, Some(part(q_width, kv_width)?))
        } else {
            v = if with_values { Some(self.projection("attn_v", kv_width, config.hidden)?) } else { None };
            let q = self.projection("attn_q", gates * q_width, config.hidden)?;
            (q, Some(self.projection("attn_k", kv_width, config.hidden)?))
        };
        let window = config.windows[index];
        let rotary = match (config.unrotated.get(index), &config.local_rope, window) {
            (Some(true), ..) => Rotary::Absent,
            (_, Some(_), Some(_)) => Rotary::Local,
            _ => Rotary::Global,
        };
        Ok(Attention {
            q,
            k,
            v,
            o: self.projection("attn_output", config.hidden, q_width)?,
            kv_heads,
            head_dim,
            value_norm: None,
            head_norms: None,
            window,
            rotary,
            sinks: None,
        })
    }

    /// [`LayerWeights::attention`] with a norm on every query and key head.
    pub(crate) fn attention_with_head_norms(
        &self,
        config: &ModelConfig,
        index: usize,
    ) -> Result<Attention, ModelError> {
        self.attention_with_norms(config, index, config.head_dim, config.head_dim)
    }

    /// [`LayerWeights::attention`] with a norm on all queries and one on all keys of a row.
    pub(crate) fn attention_with_row_norms(&self, config: &ModelConfig, index: usize) -> Result<Attention, ModelError> {
        self.attention_with_norms(config, index, config.q_width(), config.kv_width())
    }

    fn attention_with_norms(
        &self,
        config: &ModelConfig,
        index: usize,
        q_len: usize,
        k_len: usize,
    ) -> Result<Attention, ModelError> {
        let q_norm = self.norm_of("attn_q_norm", q_len, config.norm_offset)?;
        let k_norm = self.norm_of("attn_k_norm", k_len, config.norm_offset)?;
        Ok(Attention { head_norms: Some((q_norm, k_norm)), ..self.attention(config, index)? })
    }

    /// Experts if the model has some in this layer, otherwise one network.
    pub(crate) fn feed_forward(&self, config: &ModelConfig) -> Result<FeedForward, ModelError> {
        match &config.experts {
            Some(experts) if self.index >= experts.dense_layers => self.experts(config, experts),
            _ => self.dense(config),
        }
    }

    /// One gated network.
    pub(crate) fn dense(&self, config: &ModelConfig) -> Result<FeedForward, ModelError> {
        let ffn = config.ffn_of(self.index);
        if ffn == 0 {
            return Err(ModelError::config("feed_forward_length", "is missing"));
        }
        let (gate, up) = self.gate_and_up("ffn_gate", "ffn_up", ffn, config.hidden)?;
        let down = self.projection("ffn_down", config.hidden, ffn)?;
        let border = config.gate_borders.get(self.index).copied().flatten();
        Ok(FeedForward::Dense { gate, up, down, border })
    }

    /// Gate and up projections from two matrices or, where there is none for the gate, from the halves of one.
    pub(crate) fn gate_and_up(
        &self,
        gate: &str,
        up: &str,
        rows: usize,
        cols: usize,
    ) -> Result<(Projection, Projection), ModelError> {
        let fused = self.rows_of(gate)?.is_none() && self.rows_of(up)? == Some(2 * rows);
        if fused {
            let half = |rows: Range<usize>, all| self.part(up, rows, all, cols);
            return Ok((half(0..rows, 2 * rows)?, half(rows..2 * rows, 2 * rows)?));
        }
        Ok((self.projection(gate, rows, cols)?, self.projection(up, rows, cols)?))
    }
}
