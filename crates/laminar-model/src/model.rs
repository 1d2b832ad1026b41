//! A loaded model: some rows over a range of layers.

use std::ops::Range;
use std::path::Path;

use laminar_kernels::{Matrix, Pool, Span, WeightType, linear, scale, softcap};

use crate::arch::{self, Family};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::embedding::Embedding;
use crate::error::ModelError;
use crate::kv::{KvCache, KvType, LayerMemory};
use crate::layer::{Layer, RowSpan, read_rows};
use crate::loads::ExpertLoads;
use crate::packed::PackedCache;
use crate::scratch::Scratch;
use crate::weights::{Progress, Weights};
use crate::wide::WideRows;

/// How to load a model.
#[derive(Default)]
pub struct LoadOptions<'a> {
    /// Element type the KV cache of this model is meant to have.
    pub kv: KvType,
    /// Longest sequence that will be run, in tokens; without it, the checkpoint's own. A few models rotate positions
    /// otherwise when they are loaded for more than they were trained for.
    pub context: Option<usize>,
    /// Called with bytes packed so far and bytes in total, from several threads.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
    /// Folder where packed weights are kept, so that the next load maps them and packs nothing; see [`Model::load`].
    pub packed_cache: Option<&'a Path>,
    /// Called with bytes written so far and bytes in total, while packed weights are written to `packed_cache`.
    pub cache_progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}

/// Weights and shape of one model. Immutable after loading and shared freely between threads.
pub struct Model {
    pub(crate) config: ModelConfig,
    kv_type: KvType,
    embedding: Embedding,
    pub(crate) layers: Vec<Layer>,
    /// What rows that are wider than one residual stream pass beside the layers.
    wide: Option<Box<WideRows>>,
    output_norm: Vec<f32>,
    output: Matrix,
}

impl Model {
    /// Reads configuration and weights of `checkpoint` and packs the weights for the kernels.
    ///
    /// Weights are read once and not left in memory beside their packed form, but for the token embedding, whose rows are
    /// read from the file when they are needed: the file must neither change nor shrink while the model is in use.
    ///
    /// With a [`LoadOptions::packed_cache`] the packed weights of a checkpoint that is made of files are kept on disk, one
    /// file a model, and later loads map that file, which must not change either. A file that is damaged, or of another
    /// state of the model, or that cannot be read or written is told about in the log and is no reason to fail.
    ///
    /// # Errors
    /// An unknown architecture, a missing or misshapen tensor, hyper-parameters that contradict each other, or heads that
    /// the KV type cannot hold.
    pub fn load(checkpoint: &Checkpoint, pool: &Pool, options: &LoadOptions<'_>) -> Result<Self, ModelError> {
        let family: &Family = arch::family_of(checkpoint)?;
        let config = family.config(checkpoint)?;
        let global = config.global_heads.as_ref().map(|global| global.head_dim);
        std::iter::once(config.head_dim).chain(global).try_for_each(|head_dim| check_kv(options.kv, head_dim))?;
        let cache = options.packed_cache.and_then(|folder| open_cache(folder, checkpoint));
        let progress = Progress::new(checkpoint.total_bytes(), options.progress);
        let mut weights = Weights::new(checkpoint, family, pool, cache.as_ref(), progress);
        let embedding = Embedding::load(&weights, &config)?;
        let mut config = ModelConfig { vocab_size: embedding.rows(), ..config };
        let context = options.context.unwrap_or(config.context_length).min(config.longest_context());
        config.context_length = config.context_length.max(context);
        config.rope.settle(context);
        let config = config;
        let tied = !weights.contains("output.weight");
        if !tied {
            weights.leave(embedding.bytes());
        }
        let mut wide = WideRows::load(&weights, &config)?.map(Box::new);
        if let Some(wide) = &wide {
            weights.leave(wide.table_bytes());
        }
        // One after the other, each tensor with all threads: the file is read from one end to the other, and few layers
        // or a large output matrix keep all threads busy as well.
        let mut layers = Vec::new();
        for index in 0..config.layers {
            layers.push((family.layer)(&weights.layer(index), &config, index)?);
            if let Some(wide) = &mut wide {
                wide.add(&weights.layer(index), &config)?;
            }
        }
        let output_norm = weights.norm("output_norm.weight", config.hidden, config.norm_offset)?;
        let output = if tied { "token_embd.weight" } else { "output.weight" };
        let output = weights.matrix(output, config.vocab_size, config.hidden)?;
        weights.finish();
        if let (Some(cache), Some(packed)) = (&cache, weights.into_new_packed())
            && let Err(error) = cache.write(&packed, options.cache_progress)
        {
            tracing::warn!("packed weights are not kept for the next start: {error}");
        }
        Ok(Self { config, kv_type: options.kv, embedding, layers, wide, output_norm, output })
    }

    /// Hyper-parameters.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Number of decoder layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Rows of the output matrix: logits per position.
    pub fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    /// How the feed-forward weights are stored, which are most of a model.
    pub fn weight_type(&self) -> WeightType {
        self.layers.first().map_or(WeightType::F32, |layer| layer.ffn.weight_type())
    }

    /// Longest sequence the checkpoint was made for, in tokens.
    pub fn context_length(&self) -> usize {
        self.config.context_length
    }

    /// KV element type chosen at load.
    pub fn kv_type(&self) -> KvType {
        self.kv_type
    }

    /// Appends a row for each token to `hidden`: its embedding, in [`ModelConfig::row_width`] values.
    ///
    /// # Errors
    /// A token id outside the vocabulary; `hidden` is then as before.
    pub fn embed(&self, tokens: &[u32], hidden: &mut Vec<f32>) -> Result<(), ModelError> {
        let before = hidden.len();
        self.embedding.append(tokens, self.config.embedding_scale, self.config.row_width(), hidden)?;
        if let Some(wide) = &self.wide {
            wide.mark(tokens, &mut hidden[before..]);
        }
        Ok(())
    }

    /// Runs the rows of `spans` through `layers`, in place.
    ///
    /// `hidden` holds [`ModelConfig::row_width`] values a row; spans cover its rows without gaps. A row's result depends on
    /// its own sequence only, so callers may mix decode and prefill rows, and may stop after any layer, keep the rows, and
    /// go on later: the bits stay the same. Keys and values are written to `kv` under each span's blocks, states under its
    /// slots.
    ///
    /// # Errors
    /// Spans, layers, blocks or slots outside what exists, or rows of a recurrent layer that do not follow those before them.
    #[allow(clippy::too_many_arguments)] // Each is one thing the caller owns; a struct would only rename them.
    pub fn forward(
        &self,
        pool: &Pool,
        kv: &mut KvCache,
        scratch: &mut Scratch,
        layers: Range<usize>,
        spans: &[RowSpan<'_>],
        hidden: &mut [f32],
        loads: &mut ExpertLoads,
    ) -> Result<(), ModelError> {
        let rows = self.check_call(kv, &layers, spans, hidden)?;
        if rows == 0 {
            return Ok(());
        }
        kv.check_states(layers.clone(), spans)?;
        scratch.begin(&self.config, spans);
        let kernel_spans: Vec<Span<'_>> = spans
            .iter()
            .map(|s| Span { first_row: s.first_row, rows: s.rows, first_pos: s.first_pos, blocks: s.blocks })
            .collect();
        for index in layers {
            let memory = kv.enter(index, spans);
            self.attend_layer(pool, memory, scratch, index, &kernel_spans, hidden);
            self.feed_forward_layer(pool, scratch, index, hidden, loads);
        }
        Ok(())
    }

    /// The attention branch of a layer, in place.
    pub(crate) fn attend_layer(
        &self,
        pool: &Pool,
        memory: &mut LayerMemory,
        scratch: &mut Scratch,
        index: usize,
        spans: &[Span<'_>],
        hidden: &mut [f32],
    ) {
        let (config, layer) = (&self.config, &self.layers[index]);
        match &self.wide {
            Some(wide) => wide.attend(pool, config, index, layer, memory, scratch, spans, hidden),
            None => layer.attend(pool, config, memory, scratch, spans, hidden),
        }
    }

    /// The feed-forward branch of a layer, in place.
    pub(crate) fn feed_forward_layer(
        &self,
        pool: &Pool,
        scratch: &mut Scratch,
        index: usize,
        hidden: &mut [f32],
        loads: &mut ExpertLoads,
    ) {
        let (config, layer) = (&self.config, &self.layers[index]);
        match &self.wide {
            Some(wide) => {
                wide.feed_forward(pool, config, &self.embedding, index, layer, scratch, hidden, loads);
            }
            None => layer.feed_forward(pool, config, scratch, hidden, loads),
        }
    }

    /// The final norm of each row of `hidden`, `config.hidden` values each, replacing `out`: what the output matrix sees,
    /// and what embeddings are made of.
    ///
    /// # Errors
    /// `hidden` is not a whole number of rows.
    pub fn final_norm(
        &self,
        pool: &Pool,
        scratch: &mut Scratch,
        hidden: &[f32],
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let width = self.config.row_width();
        if !hidden.len().is_multiple_of(width) {
            return Err(ModelError::Call(format!("{} hidden values are not rows of {width}", hidden.len())));
        }
        if hidden.is_empty() {
            out.clear();
            return Ok(());
        }
        let (norm, eps) = (Some(self.output_norm.as_slice()), self.config.rms_eps);
        match &self.wide {
            Some(wide) => {
                let mut merged = std::mem::take(&mut scratch.own);
                wide.leave(pool, hidden, &mut merged, scratch);
                read_rows(pool, norm, eps, &merged, out);
                scratch.own = merged;
            }
            None => read_rows(pool, norm, eps, hidden, out),
        }
        Ok(())
    }

    /// Final norm and output matrix: `vocab_size` logits for each row of `hidden`, replacing `out`.
    ///
    /// # Errors
    /// `hidden` is not a whole number of rows.
    pub fn logits(
        &self,
        pool: &Pool,
        scratch: &mut Scratch,
        hidden: &[f32],
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let mut normed = std::mem::take(&mut scratch.norm);
        let found = self.final_norm(pool, scratch, hidden, &mut normed);
        scratch.norm = normed;
        found?;
        let rows = scratch.norm.len() / self.config.hidden;
        out.resize(rows * self.config.vocab_size, 0.0);
        if rows > 0 {
            scratch.activations.load_for(pool, &scratch.norm, self.config.hidden, [&self.output]);
            linear(pool, &self.output, &scratch.activations, out);
            if let Some(factor) = self.config.logit_scale {
                scale(pool, out, factor);
            }
            if let Some(cap) = self.config.logit_softcap {
                softcap(pool, out, cap);
            }
        }
        Ok(())
    }

    fn check_call(
        &self,
        kv: &KvCache,
        layers: &Range<usize>,
        spans: &[RowSpan<'_>],
        hidden: &[f32],
    ) -> Result<usize, ModelError> {
        if layers.start > layers.end || layers.end > self.layers.len() {
            return Err(ModelError::Call(format!("layers {layers:?} of {}", self.layers.len())));
        }
        let mut rows = 0;
        for span in spans {
            if span.first_row != rows {
                return Err(ModelError::Call(format!("span starts at row {}, expected {rows}", span.first_row)));
            }
            rows += span.rows;
            check_span(kv, span)?;
        }
        if rows * self.config.row_width() != hidden.len() {
            return Err(ModelError::Call(format!("{rows} rows in spans, {} hidden values", hidden.len())));
        }
        Ok(rows)
    }
}

/// That the span's positions have KV blocks, and that these exist.
pub(crate) fn check_span(kv: &KvCache, span: &RowSpan<'_>) -> Result<(), ModelError> {
    let end = span.first_pos + span.rows;
    if span.blocks.len() * kv.block_len < end || span.blocks.iter().any(|&b| b as usize >= kv.blocks()) {
        return Err(ModelError::Call(format!("KV blocks do not cover positions up to {end}")));
    }
    Ok(())
}

/// The packed weights of a checkpoint, as far as there can be any.
fn open_cache(folder: &Path, checkpoint: &Checkpoint) -> Option<PackedCache> {
    match PackedCache::open(folder, checkpoint) {
        Ok(cache) => cache,
        Err(error) => {
            tracing::warn!("packed weights cannot be kept: {error}");
            None
        }
    }
}

/// That heads of this size can be stored.
fn check_kv(ty: KvType, head_dim: usize) -> Result<(), ModelError> {
    if ty.fits(head_dim) { Ok(()) } else { Err(ModelError::KvType { ty: ty.name(), head_dim }) }
}
