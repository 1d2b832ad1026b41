//! The parts a decoder layer is made of, and how rows pass through them.

use laminar_kernels::{
    Activations, AttentionShape, ExpertSet, KvLayer, Matrix, Pool, Span, WeightType, add, add_bias, attention,
    gate_mul, linear, linear_each, moe_ffn, rms_norm, rms_norm_in_place, rope, route_top_k, store_kv,
};

use crate::config::{ExpertConfig, ModelConfig};
use crate::loads::ExpertLoads;
use crate::scratch::Scratch;

/// Consecutive rows of one sequence in a forward call.
#[derive(Debug, Clone, Copy)]
pub struct RowSpan<'a> {
    /// First row in the call's hidden rows.
    pub first_row: usize,
    /// Number of rows.
    pub rows: usize,
    /// Position of the first row in its sequence.
    pub first_pos: usize,
    /// The sequence's KV blocks, in order of position.
    pub blocks: &'a [u32],
    /// Whether these rows belong to a prompt (counted apart in [`ExpertLoads`]).
    pub prefill: bool,
}

/// A weight matrix with an optional bias.
pub(crate) struct Projection {
    pub(crate) weight: Matrix,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Projection {
    pub(crate) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    fn apply(&self, pool: &Pool, x: &Activations, out: &mut Vec<f32>) {
        Self::apply_each(pool, x, [(self, out)]);
    }

    /// Several projections of the same rows, shared out among the threads together.
    fn apply_each<const N: usize>(pool: &Pool, x: &Activations, mut each: [(&Projection, &mut Vec<f32>); N]) {
        for (projection, out) in &mut each {
            out.resize(x.rows() * projection.weight.rows(), 0.0);
        }
        let mut products = each.each_mut().map(|(projection, out)| (&projection.weight, out.as_mut_slice()));
        linear_each(pool, &mut products, x);
        for (projection, out) in &mut each {
            if let Some(bias) = &projection.bias {
                add_bias(pool, out, bias);
            }
        }
    }
}

/// Grouped-query attention with rotary positions.
pub(crate) struct Attention {
    pub(crate) q: Projection,
    pub(crate) k: Projection,
    pub(crate) v: Projection,
    pub(crate) o: Projection,
    /// Norm weights of each query and key head.
    pub(crate) head_norms: Option<(Vec<f32>, Vec<f32>)>,
    pub(crate) window: Option<usize>,
    /// Whether this layer uses the local rotary table.
    pub(crate) local_rope: bool,
}

/// What follows attention: one gated network, or many of which a router picks a few for each row.
pub(crate) enum FeedForward {
    Dense { gate: Projection, up: Projection, down: Projection },
    Experts { router: Matrix, experts: ExpertSet, expert_bytes: Vec<u64>, config: ExpertConfig },
}

/// One decoder layer: two branches that add to the residual rows.
pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) attention: Attention,
    pub(crate) post_attention_norm: Option<Vec<f32>>,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) ffn: FeedForward,
    pub(crate) post_ffn_norm: Option<Vec<f32>>,
}

impl Layer {
    #[allow(clippy::too_many_arguments)] // One private call site, each argument a separate borrow.
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        kv: &mut KvLayer,
        scratch: &mut Scratch,
        spans: &[Span<'_>],
        hidden: &mut [f32],
        loads: &mut ExpertLoads,
    ) {
        self.attend(pool, config, kv, scratch, spans, hidden);
        self.feed_forward(pool, config, scratch, hidden, loads);
    }

    /// The attention branch.
    pub(crate) fn attend(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        kv: &mut KvLayer,
        scratch: &mut Scratch,
        spans: &[Span<'_>],
        hidden: &mut [f32],
    ) {
        scratch.norm.resize(hidden.len(), 0.0);
        rms_norm(pool, hidden, &self.attention_norm, config.rms_eps, &mut scratch.norm);
        self.attention.forward(pool, config, kv, scratch, spans);
        if let Some(norm) = &self.post_attention_norm {
            rms_norm_in_place(pool, &mut scratch.branch, norm, config.rms_eps);
        }
        add(pool, hidden, &scratch.branch);
    }

    /// The feed-forward branch.
    pub(crate) fn feed_forward(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        scratch: &mut Scratch,
        hidden: &mut [f32],
        loads: &mut ExpertLoads,
    ) {
        scratch.norm.resize(hidden.len(), 0.0);
        rms_norm(pool, hidden, &self.ffn_norm, config.rms_eps, &mut scratch.norm);
        self.ffn.forward(pool, config, scratch, loads);
        self.add_network(pool, config, &mut scratch.branch, hidden);
    }

    /// Ends the feed-forward branch: adds the network's outputs.
    pub(crate) fn add_network(&self, pool: &Pool, config: &ModelConfig, outputs: &mut [f32], hidden: &mut [f32]) {
        if let Some(norm) = &self.post_ffn_norm {
            rms_norm_in_place(pool, outputs, norm, config.rms_eps);
        }
        add(pool, hidden, outputs);
    }
}

impl Attention {
    /// Reads `scratch.norm`, writes `scratch.branch`.
    fn forward(&self, pool: &Pool, config: &ModelConfig, kv: &mut KvLayer, scratch: &mut Scratch, spans: &[Span<'_>]) {
        let s = scratch;
        s.activations.load_for(pool, &s.norm, config.hidden, [&self.q.weight, &self.k.weight, &self.v.weight]);
        let each = [(&self.q, &mut s.q), (&self.k, &mut s.k), (&self.v, &mut s.v)];
        Projection::apply_each(pool, &s.activations, each);
        if let Some((q_norm, k_norm)) = &self.head_norms {
            rms_norm_in_place(pool, &mut s.q, q_norm, config.rms_eps);
            rms_norm_in_place(pool, &mut s.k, k_norm, config.rms_eps);
        }
        let (table, style) = match (&config.local_rope, self.local_rope) {
            (Some(local), true) => (&s.local_rope, local.style),
            _ => (&s.rope, config.rope.style),
        };
        // `Scratch::begin` made the tables; a missing one means no rows to rotate.
        if let Some(table) = table {
            rope(pool, &mut s.q, config.heads, config.head_dim, &s.positions, table, style);
            rope(pool, &mut s.k, config.kv_heads, config.head_dim, &s.positions, table, style);
        }
        s.attention.resize(s.positions.len() * config.q_width(), 0.0);
        let shape = AttentionShape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            scale: config.attention_scale,
            window: self.window,
            softcap: None,
        };
        store_kv(pool, &s.k, &s.v, spans, kv);
        attention(pool, &s.q, spans, kv, &shape, None, &mut s.attention);
        s.activations.load_for(pool, &s.attention, config.q_width(), [&self.o.weight]);
        self.o.apply(pool, &s.activations, &mut s.branch);
    }
}

impl FeedForward {
    /// How its weights are stored.
    pub(crate) fn weight_type(&self) -> WeightType {
        match self {
            Self::Dense { down, .. } => down.weight.weight_type(),
            Self::Experts { experts, .. } => experts.down.first().map_or(WeightType::F32, Matrix::weight_type),
        }
    }

    /// Reads `scratch.norm`, writes `scratch.branch`.
    fn forward(&self, pool: &Pool, config: &ModelConfig, s: &mut Scratch, loads: &mut ExpertLoads) {
        match self {
            Self::Dense { gate, up, down } => {
                s.activations.load_for(pool, &s.norm, config.hidden, [&gate.weight, &up.weight]);
                Projection::apply_each(pool, &s.activations, [(gate, &mut s.gate), (up, &mut s.up)]);
                gate_mul(pool, config.gate, &mut s.gate, &s.up, gate.weight.rows());
                s.activations.load_for(pool, &s.gate, gate.weight.rows(), [&down.weight]);
                down.apply(pool, &s.activations, &mut s.branch);
            }
            Self::Experts { router, experts, expert_bytes, config: shape } => {
                let readers = std::iter::once(router).chain(&experts.gate).chain(&experts.up);
                s.activations.load_for(pool, &s.norm, config.hidden, readers);
                s.router.resize(s.activations.rows() * shape.count, 0.0);
                linear(pool, router, &s.activations, &mut s.router);
                route_top_k(pool, &s.router, shape.count, shape.top_k, shape.normalise, &mut s.routing);
                let prefill = &s.prefill_rows;
                loads.count(&s.routing, expert_bytes, 0..shape.count, |row| prefill[row], &mut s.seen);
                s.branch.resize(s.norm.len(), 0.0);
                moe_ffn(pool, experts, config.gate, &s.activations, &s.routing, &mut s.branch, &mut s.moe);
            }
        }
    }
}
