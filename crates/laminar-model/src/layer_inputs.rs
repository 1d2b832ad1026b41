//! Inputs that each layer has of its own for every token (the per-layer embeddings of Gemma 3n and Gemma 4): a piece of the
//! token's row in a second table, and a product of its embedding. Both follow from the token alone, so they are made where
//! they are needed and need not travel with the row.

use std::f32::consts::FRAC_1_SQRT_2;

use laminar_kernels::{Pool, add, for_each_row, gate_mul, rms_norm_in_place, scale};

use crate::config::ModelConfig;
use crate::embedding::Embedding;
use crate::error::ModelError;
use crate::layer::Projection;
use crate::layer_weights::LayerWeights;
use crate::scratch::Scratch;
use crate::weights::Weights;

/// The inputs of all layers, and what becomes of them.
pub(crate) struct LayerInputs {
    /// Each row has the pieces of all layers one after the other.
    table: Embedding,
    norm: Vec<f32>,
    width: usize,
    layers: Vec<LayerInput>,
}

/// What one layer does with its input.
struct LayerInput {
    /// Makes its part of the input of the token's embedding.
    of_embedding: Projection,
    /// Makes the gate that the input passes of the layer's rows.
    gate: Projection,
    output: Projection,
    output_norm: Vec<f32>,
    /// Factor on the rows behind it.
    output_scale: Option<f32>,
}

impl LayerInputs {
    /// The table, for layers with inputs of `width` values that [`LayerInputs::add`] adds.
    ///
    /// # Errors
    /// Tensors are missing or misshapen, or blocks of the table cross from one layer's piece to the next.
    pub(crate) fn load(weights: &Weights<'_>, config: &ModelConfig, width: usize) -> Result<Self, ModelError> {
        let name = "per_layer_token_embd.weight";
        let table = Embedding::table(weights, name, config.vocab_size, config.layers * width)?;
        if !width.is_multiple_of(table.block_len()) {
            let message = format!("is {width}, which blocks of {} values in {name} do not divide", table.block_len());
            return Err(ModelError::config("embedding_length_per_layer_input", message));
        }
        let norm = weights.norm("per_layer_proj_norm.weight", width, config.norm_offset)?;
        Ok(Self { table, norm, width, layers: Vec::new() })
    }

    /// Bytes of the table, which are not packed.
    pub(crate) fn table_bytes(&self) -> usize {
        self.table.bytes()
    }

    /// The next layer.
    pub(crate) fn add(&mut self, weights: &LayerWeights<'_>, config: &ModelConfig) -> Result<(), ModelError> {
        let (first, width) = (self.layers.len() * self.width, self.width);
        let all = config.layers * width;
        let of_embedding =
            weights.weights.part("per_layer_model_proj.weight", first..first + width, all, config.hidden)?;
        let output_scale = weights.output_scale()?;
        self.layers.push(LayerInput {
            of_embedding: Projection { weight: of_embedding, bias: None },
            gate: weights.projection("inp_gate", width, config.hidden)?,
            output: weights.projection("proj", config.hidden, width)?,
            output_norm: weights.norm("post_norm", config)?,
            output_scale,
        });
        Ok(())
    }

    /// The factor on rows behind a layer's input.
    pub(crate) fn output_scale(&self, layer: usize) -> Option<f32> {
        self.layers[layer].output_scale
    }

    /// What the layer adds for `rows` and the tokens in `scratch.tokens`: writes `scratch.branch`.
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        embedding: &Embedding,
        layer: usize,
        rows: &[f32],
        s: &mut Scratch,
    ) {
        let (parts, width, hidden) = (&self.layers[layer], self.width, config.hidden);
        s.norm.resize(rows.len(), 0.0);
        read(pool, embedding, &s.tokens, 0, hidden, config.embedding_scale, &mut s.norm);
        s.activations.load_for(pool, &s.norm, hidden, [&parts.of_embedding.weight]);
        parts.of_embedding.apply(pool, &s.activations, &mut s.up);
        scale(pool, &mut s.up, 1.0 / (hidden as f32).sqrt());
        rms_norm_in_place(pool, &mut s.up, &self.norm, config.rms_eps);
        s.inputs.resize(s.up.len(), 0.0);
        let factor = (width as f32).sqrt();
        read(pool, &self.table, &s.tokens, layer * width, width, Some(factor), &mut s.inputs);
        add(pool, &mut s.up, &s.inputs);
        scale(pool, &mut s.up, FRAC_1_SQRT_2);

        s.activations.load_for(pool, rows, hidden, [&parts.gate.weight]);
        parts.gate.apply(pool, &s.activations, &mut s.gate);
        gate_mul(pool, config.gate, &mut s.gate, &s.up, width);
        s.activations.load_for(pool, &s.gate, width, [&parts.output.weight]);
        parts.output.apply(pool, &s.activations, &mut s.branch);
        rms_norm_in_place(pool, &mut s.branch, &parts.output_norm, config.rms_eps);
    }
}

/// `len` values from `first` on of the tokens' rows. A token that the table has no row for has that of the first one: images
/// and sounds have tokens of their own, behind those of texts.
fn read(
    pool: &Pool,
    table: &Embedding,
    tokens: &[u32],
    first: usize,
    len: usize,
    factor: Option<f32>,
    out: &mut [f32],
) {
    for_each_row(pool, out, len, &|row, out| {
        let id = tokens.get(row).map_or(0, |id| *id as usize);
        let id = if id < table.rows() { id } else { 0 };
        let read = table.read(id, first..first + len, factor, out);
        debug_assert!(read.is_ok(), "pieces begin and end where blocks do");
    });
}
