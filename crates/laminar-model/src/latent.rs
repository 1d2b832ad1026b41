//! Latent attention: keys and values stay compressed, and queries come to them.
//!
//! A head's key is a matrix times the token's latent, with a rotated part beside it that all heads share. A query's product
//! with it is the product of the latent with that matrix's transpose times the query, so the query is multiplied once and
//! keys are never made; sums of values are matrices times sums of latents in the same way. Prefill and decode do the same
//! arithmetic, so a row has the same bits in both.

use std::ops::Range;

use laminar_kernels::{
    AttentionShape, HeadPart, KvLayer, Matrix, Pool, Span, attention, for_each_row, linear_heads, rms_norm_in_place,
    rope, store_kv,
};

use crate::config::{LatentConfig, ModelConfig};
use crate::error::ModelError;
use crate::layer::{Mixer, Projection};
use crate::layer_weights::LayerWeights;
use crate::scratch::{LatentRows, Scratch};

/// Added to the mean square of compressed rows, whatever the layer's own norms add: families do not state it, and were all
/// trained with this.
const EPS: f32 = 1e-6;

/// Attention over latents.
pub(crate) struct LatentAttention {
    shape: LatentConfig,
    queries: Queries,
    /// Latents, and behind them what is rotated.
    inputs: Projection,
    norm: Vec<f32>,
    /// For each head, the unrotated part of its queries to a row as wide as a latent.
    to_latent: Vec<Matrix>,
    /// For each head, a sum of latents to its output.
    from_latent: Vec<Matrix>,
    o: Projection,
}

/// What queries are made of.
enum Queries {
    Whole(Projection),
    Compressed { down: Projection, norm: Vec<f32>, up: Projection },
}

impl From<LatentAttention> for Mixer {
    fn from(attention: LatentAttention) -> Self {
        Self::Latent(Box::new(attention))
    }
}

impl LatentAttention {
    /// Reads `scratch.norm`, writes `scratch.branch`.
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        kv: &mut KvLayer,
        scratch: &mut Scratch,
        spans: &[Span<'_>],
    ) {
        let s = scratch;
        let &LatentConfig { rank, rotated, plain, value, .. } = &self.shape;
        let (heads, width, rows) = (config.heads, config.head_dim, s.positions.len());
        let LatentRows { compressed, inputs, latents, heads: of_heads } = &mut s.latent;
        match &self.queries {
            Queries::Whole(whole) => {
                s.activations.load_for(pool, &s.norm, config.hidden, [&whole.weight, &self.inputs.weight]);
                Projection::apply_each(pool, &s.activations, [(whole, &mut *of_heads), (&self.inputs, &mut *inputs)]);
            }
            Queries::Compressed { down, norm, up } => {
                s.activations.load_for(pool, &s.norm, config.hidden, [&down.weight, &self.inputs.weight]);
                Projection::apply_each(pool, &s.activations, [(down, &mut *compressed), (&self.inputs, &mut *inputs)]);
                rms_norm_in_place(pool, compressed, norm, EPS);
                s.activations.load_for(pool, compressed, norm.len(), [&up.weight]);
                up.apply(pool, &s.activations, of_heads);
            }
        }

        latents.resize(rows * rank, 0.0);
        for_each_row(pool, latents, rank, &|row, latent| {
            latent.copy_from_slice(&inputs[row * (rank + rotated)..][..rank]);
        });
        rms_norm_in_place(pool, latents, &self.norm, EPS);
        s.k.resize(rows * width, 0.0);
        for_each_row(pool, &mut s.k, width, &|row, key| {
            let (turned, latent) = key.split_at_mut(rotated);
            turned.copy_from_slice(&inputs[row * (rank + rotated) + rank..][..rotated]);
            latent.copy_from_slice(&latents[row * rank..][..rank]);
        });

        let own = plain + rotated;
        s.q.resize(rows * heads * width, 0.0);
        for_each_row(pool, &mut s.q, heads * width, &|row, queries| {
            let from = of_heads[row * heads * own..][..heads * own].chunks_exact(own);
            for (query, from) in queries.chunks_exact_mut(width).zip(from) {
                query[..rotated].copy_from_slice(&from[plain..]);
            }
        });
        let (from, to) = (HeadPart { stride: own, first: 0 }, HeadPart { stride: width, first: rotated });
        linear_heads(pool, &self.to_latent, of_heads, from, &mut s.q, to);

        // `Scratch::begin` made the table; a missing one means no rows to rotate.
        if let Some(table) = &s.rope {
            rope(pool, &mut s.q, heads, width, &s.positions, table, config.rope.style);
            rope(pool, &mut s.k, 1, width, &s.positions, table, config.rope.style);
        }
        let shape = AttentionShape {
            heads,
            kv_heads: 1,
            head_dim: width,
            scale: config.attention_scale,
            window: None,
            softcap: None,
        };
        store_kv(pool, &s.k, &[], spans, kv);
        s.attention.resize(rows * heads * rank, 0.0);
        attention(pool, &s.q, spans, kv, &shape, None, &mut s.attention);

        of_heads.resize(rows * heads * value, 0.0);
        let (from, to) = (HeadPart { stride: rank, first: 0 }, HeadPart { stride: value, first: 0 });
        linear_heads(pool, &self.from_latent, &s.attention, from, of_heads, to);
        s.activations.load_for(pool, of_heads, heads * value, [&self.o.weight]);
        self.o.apply(pool, &s.activations, &mut s.branch);
    }
}

impl LayerWeights<'_> {
    /// Latent attention. The heads' matrices are in two tensors (`attn_k_b`, already turned, and `attn_v_b`) or, in folders
    /// and in older GGUF files, in one (`attn_kv_b`), each head's keys before its values.
    pub(crate) fn latent_attention(
        &self,
        config: &ModelConfig,
        shape: &LatentConfig,
    ) -> Result<LatentAttention, ModelError> {
        let &LatentConfig { query_rank, rank, rotated, plain, value } = shape;
        let (heads, hidden) = (config.heads, config.hidden);
        let q_rows = heads * (plain + rotated);
        let queries = match query_rank {
            None => Queries::Whole(self.projection("attn_q", q_rows, hidden)?),
            Some(compressed) => Queries::Compressed {
                down: self.projection("attn_q_a", compressed, hidden)?,
                norm: self.norm_of("attn_q_a_norm", compressed, 0.0)?,
                up: self.projection("attn_q_b", q_rows, compressed)?,
            },
        };
        let (to_latent, from_latent) = if self.rows_of("attn_kv_b")?.is_some() {
            self.both(heads, shape)?
        } else {
            (
                self.expert_matrices("attn_k_b", heads, rank, plain)?,
                self.expert_matrices("attn_v_b", heads, value, rank)?,
            )
        };
        Ok(LatentAttention {
            shape: *shape,
            queries,
            inputs: self.projection("attn_kv_a_mqa", rank + rotated, hidden)?,
            norm: self.norm_of("attn_kv_a_norm", rank, 0.0)?,
            to_latent,
            from_latent,
            o: self.projection("attn_output", hidden, heads * value)?,
        })
    }

    /// The heads' matrices of keys, turned, and of values.
    fn both(&self, heads: usize, shape: &LatentConfig) -> Result<(Vec<Matrix>, Vec<Matrix>), ModelError> {
        let &LatentConfig { rank, plain, value, .. } = shape;
        let (name, all) = (self.name("attn_kv_b", ".weight"), heads * (plain + value));
        let part = |rows: Range<usize>| {
            let fault =
                || ModelError::Shape { name: name.clone(), expected: vec![all, rank], found: vec![rows.end, rank] };
            self.weights.stored(&name, all, rank)?.part(rows.clone()).ok_or_else(fault)
        };
        let first = |head: usize| head * (plain + value);
        let keys = |head: usize| part(first(head)..first(head) + plain)?.turned();
        let values = |head: usize| part(first(head) + plain..first(head + 1));
        let keys = (0..heads).map(keys).collect::<Result<Vec<_>, _>>()?;
        let values = (0..heads).map(values).collect::<Result<Vec<_>, _>>()?;
        let pack = |what: &str, matrices| self.weights.pack_all(&format!("{name}[{what}]"), matrices);
        Ok((pack("keys", keys)?, pack("values", values)?))
    }
}
