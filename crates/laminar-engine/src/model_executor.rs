//! Executes steps with a model on the CPU.
//!
//! A step without a tile is one call of [`Model::forward`] over all layers. A tile cuts the stack in up to three segments:
//! below it and above it the decode rows run alone, inside it they share one call with the tile's rows, so the weights of
//! those layers are read once for both.
//!
//! ```text
//! layers   0 ......... a ============ b ......... L
//! decode     alone       with the tile   alone      -> logits
//! tile       parked      runs            parked again, or, when b = L, the last rows of ended prompts -> logits
//! ```

use crate::executor::{Batch, ExecuteError, Executor, TileInput};
use crate::parked::Parked;
use laminar_kernels::Pool;
use laminar_model::{BLOCK_LEN, ExpertLoads, KvCache, KvType, Model, RowSpan, Scratch};
use laminar_schedule::{Experts, Part, SequenceId};
use std::ops::Range;
use std::sync::Arc;

/// A model with its KV memory, threads and buffers.
pub struct ModelExecutor {
    model: Arc<Model>,
    pool: Pool,
    kv: KvCache,
    scratch: Scratch,
    parked: Parked,
    /// Rows of the running step: the decode rows, and behind them those of the tile.
    hidden: Vec<f32>,
    /// Rows that logits are wanted of.
    last: Vec<f32>,
}

impl ModelExecutor {
    /// An executor with `kv_blocks` empty KV blocks.
    pub fn new(model: Arc<Model>, pool: Pool, kv_blocks: usize, kv_type: KvType) -> Self {
        let kv = KvCache::new(model.config(), kv_blocks, BLOCK_LEN, kv_type);
        let scratch = Scratch::default();
        Self { model, pool, kv, scratch, parked: Parked::default(), hidden: Vec::new(), last: Vec::new() }
    }

    /// Runs the decode rows, and those of the tile if there is one, through some layers.
    fn forward(
        &mut self,
        batch: &Batch<'_>,
        tile: Option<&TileInput<'_>>,
        layers: Range<usize>,
        loads: &mut ExpertLoads,
    ) -> Result<(), ExecuteError> {
        let spans = spans(batch, tile);
        if spans.is_empty() || layers.is_empty() {
            return Ok(());
        }
        let Self { model, pool, kv, scratch, hidden, .. } = self;
        Ok(model.forward(pool, kv, scratch, layers, &spans, hidden, loads)?)
    }

    /// Puts the tile's rows behind the decode rows: from the embedding, or from where they were parked.
    fn unpark(&mut self, tile: &TileInput<'_>, layer: usize) -> Result<(), ExecuteError> {
        let width = self.model.config().hidden;
        for member in &tile.members {
            if layer == 0 {
                self.model.embed(member.tokens, &mut self.hidden)?;
            } else {
                let values = self.parked.restore(member.sequence, &mut self.hidden);
                if values != Some(member.tokens.len() * width) {
                    let rows = member.tokens.len();
                    return Err(format!("the {rows} rows of a prompt were not kept at layer {layer}").into());
                }
            }
        }
        Ok(())
    }

    /// Takes the tile's rows from behind the decode rows: parked, or, at the top of the stack, reduced to the last rows
    /// of prompts that end here.
    fn park(&mut self, tile: &TileInput<'_>, layer: usize, decode_rows: usize) {
        let width = self.model.config().hidden;
        let at_top = layer == self.model.layers();
        let mut start = decode_rows * width;
        for member in &tile.members {
            let end = start + member.tokens.len() * width;
            if !at_top {
                self.parked.park(member.sequence, &self.hidden[start..end]);
            } else if member.ends_prompt {
                self.last.extend_from_slice(&self.hidden[end - width..end]);
            }
            start = end;
        }
        self.hidden.truncate(decode_rows * width);
    }
}

impl Executor for ModelExecutor {
    fn layers(&self) -> usize {
        self.model.layers()
    }

    fn experts(&self) -> Option<Experts> {
        let experts = self.model.config().experts.as_ref()?;
        Some(Experts { count: experts.count, top_k: experts.top_k })
    }

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn kv_blocks(&self) -> usize {
        self.kv.blocks()
    }

    fn execute(&mut self, batch: &Batch<'_>, logits: &mut Vec<f32>) -> Result<ExpertLoads, ExecuteError> {
        let mut loads = ExpertLoads::default();
        self.hidden.clear();
        self.last.clear();
        let tokens: Vec<u32> = batch.decode.iter().map(|row| row.token).collect();
        self.model.embed(&tokens, &mut self.hidden)?;

        let mut below = 0;
        for tile in &batch.tiles {
            let [Part::Layers(layers)] = &tile.parts[..] else {
                return Err("a tile ends inside a layer, which this executor does not run".into());
            };
            if layers.start < below {
                return Err("two tiles of one step share layers, which this executor does not run".into());
            }
            self.forward(batch, None, below..layers.start, &mut loads)?;
            self.unpark(tile, layers.start)?;
            self.forward(batch, Some(tile), layers.clone(), &mut loads)?;
            self.park(tile, layers.end, tokens.len());
            below = layers.end;
        }
        self.forward(batch, None, below..self.model.layers(), &mut loads)?;

        self.hidden.extend_from_slice(&self.last);
        self.model.logits(&self.pool, &mut self.scratch, &self.hidden, logits)?;
        Ok(loads)
    }

    fn forget(&mut self, sequence: SequenceId) {
        self.parked.forget(sequence);
    }
}

/// The rows of a call: each decode row on its own, then the tile's members.
fn spans<'a>(batch: &Batch<'a>, tile: Option<&TileInput<'a>>) -> Vec<RowSpan<'a>> {
    let mut first_row = 0;
    let mut span = |rows: usize, first_pos: usize, blocks: &'a [u32], prefill: bool| {
        let span = RowSpan { first_row, rows, first_pos, blocks, prefill };
        first_row += rows;
        span
    };
    let mut spans: Vec<RowSpan<'a>> = batch.decode.iter().map(|row| span(1, row.position, row.blocks, false)).collect();
    for member in tile.into_iter().flat_map(|tile| &tile.members) {
        spans.push(span(member.tokens.len(), member.start, member.blocks, true));
    }
    spans
}
