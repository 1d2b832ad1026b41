//! Rows that are wider than one residual stream: several streams (`streams.rs`), and the token's id, from which the layers'
//! own inputs follow (`layer_inputs.rs`).
//!
//! Such a row is [`ModelConfig::row_width`] values: the stream, or the streams with a place behind them for what a layer's
//! first branch leaves for its second; and last the id. All that a layer needs of a row travels with it, so that a prompt
//! may stop anywhere, as with rows of one stream.

use laminar_kernels::{Pool, Span, add, for_each_row, scale};

use crate::config::ModelConfig;
use crate::embedding::Embedding;
use crate::error::ModelError;
use crate::kv::LayerMemory;
use crate::layer::Layer;
use crate::layer_inputs::LayerInputs;
use crate::layer_weights::LayerWeights;
use crate::loads::ExpertLoads;
use crate::scratch::Scratch;
use crate::streams::Streams;
use crate::weights::Weights;

/// Token ids travel as floats, which hold whole numbers up to here.
const MOST_TOKENS: usize = 1 << 24;

/// What such rows pass beside the layers.
pub(crate) struct WideRows {
    width: usize,
    hidden: usize,
    streams: Option<Streams>,
    inputs: Option<LayerInputs>,
}

impl WideRows {
    /// All but what belongs to the layers, which [`WideRows::add`] adds one by one; `None` for other models.
    ///
    /// # Errors
    /// Tensors are missing or misshapen, or there are more tokens than can travel with rows.
    pub(crate) fn load(weights: &Weights<'_>, config: &ModelConfig) -> Result<Option<Self>, ModelError> {
        let (width, hidden) = (config.row_width(), config.hidden);
        if width == hidden {
            return Ok(None);
        }
        if config.vocab_size > MOST_TOKENS {
            let message = format!("is {}, at most {MOST_TOKENS} tokens are accepted", config.vocab_size);
            return Err(ModelError::config("vocab_size", message));
        }
        let streams = match &config.streams {
            Some(of) => Some(Streams::load(weights, config, of)?),
            None => None,
        };
        let inputs = match config.layer_inputs {
            Some(width) => Some(LayerInputs::load(weights, config, width)?),
            None => None,
        };
        Ok(Some(Self { width, hidden, streams, inputs }))
    }

    /// Bytes of tables that are not packed.
    pub(crate) fn table_bytes(&self) -> usize {
        self.inputs.as_ref().map_or(0, LayerInputs::table_bytes)
    }

    /// The next layer.
    pub(crate) fn add(&mut self, weights: &LayerWeights<'_>, config: &ModelConfig) -> Result<(), ModelError> {
        if let (Some(streams), Some(of)) = (&mut self.streams, &config.streams) {
            streams.add(weights, config, of)?;
        }
        match &mut self.inputs {
            Some(inputs) => inputs.add(weights, config),
            None => Ok(()),
        }
    }

    /// Puts the ids of their tokens behind rows that begin with an embedding.
    pub(crate) fn mark(&self, tokens: &[u32], rows: &mut [f32]) {
        if self.inputs.is_some() {
            for (row, id) in rows.chunks_exact_mut(self.width).zip(tokens) {
                row[self.width - 1] = *id as f32;
            }
        }
    }

    /// The attention branch of a layer.
    #[allow(clippy::too_many_arguments)] // Each is a separate borrow, as in `Layer::attend`.
    pub(crate) fn attend(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        index: usize,
        layer: &Layer,
        memory: &mut LayerMemory,
        scratch: &mut Scratch,
        spans: &[Span<'_>],
        rows: &mut [f32],
    ) {
        let mut own = std::mem::take(&mut scratch.own);
        match &self.streams {
            Some(streams) => streams.attend(pool, config, index, layer, memory, scratch, spans, rows, &mut own),
            None => {
                read_part(pool, rows, self.width, 0, self.hidden, &mut own);
                layer.attend(pool, config, memory, scratch, spans, &mut own);
                write_part(pool, &own, self.hidden, rows, self.width, 0);
            }
        }
        scratch.own = own;
    }

    /// The feed-forward branch of a layer, and the layer's own input.
    #[allow(clippy::too_many_arguments)] // Each is a separate borrow, as in `Layer::feed_forward`.
    pub(crate) fn feed_forward(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        embedding: &Embedding,
        index: usize,
        layer: &Layer,
        scratch: &mut Scratch,
        rows: &mut [f32],
        loads: &mut ExpertLoads,
    ) {
        let mut own = std::mem::take(&mut scratch.own);
        match &self.streams {
            Some(streams) => streams.feed_forward(pool, config, index, layer, scratch, rows, &mut own, loads),
            None => {
                read_part(pool, rows, self.width, 0, self.hidden, &mut own);
                layer.feed_forward(pool, config, scratch, &mut own, loads);
            }
        }
        if let Some(inputs) = &self.inputs {
            scratch.tokens.clear();
            scratch.tokens.extend(rows.chunks_exact(self.width).map(|row| row[self.width - 1] as u32));
            inputs.forward(pool, config, embedding, index, &own, scratch);
            match &self.streams {
                Some(streams) => streams.add_inputs(pool, rows, &scratch.branch),
                None => add(pool, &mut own, &scratch.branch),
            }
        }
        if self.streams.is_none() {
            if let Some(factor) = self.inputs.as_ref().and_then(|inputs| inputs.output_scale(index)) {
                scale(pool, &mut own, factor);
            }
            write_part(pool, &own, self.hidden, rows, self.width, 0);
        }
        scratch.own = own;
    }

    /// What the final norm reads of rows behind the last layer, `hidden` values each, in place of what `out` held.
    pub(crate) fn leave(&self, pool: &Pool, rows: &[f32], out: &mut Vec<f32>, scratch: &mut Scratch) {
        match &self.streams {
            Some(streams) => streams.leave(pool, rows, out, scratch),
            None => read_part(pool, rows, self.width, 0, self.hidden, out),
        }
    }
}

/// `len` values from `first` on of all rows of `width` values, side by side in place of what `out` held.
pub(crate) fn read_part(pool: &Pool, rows: &[f32], width: usize, first: usize, len: usize, out: &mut Vec<f32>) {
    out.resize(rows.len() / width * len, 0.0);
    for_each_row(pool, out, len, &|row, out| out.copy_from_slice(&rows[row * width + first..][..len]));
}

/// The other way round.
pub(crate) fn write_part(pool: &Pool, from: &[f32], len: usize, rows: &mut [f32], width: usize, first: usize) {
    for_each_row(pool, rows, width, &|row, values| {
        values[first..first + len].copy_from_slice(&from[row * len..][..len]);
    });
}
