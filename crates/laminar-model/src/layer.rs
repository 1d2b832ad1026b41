//! The parts a decoder layer is made of, and how rows pass through them.

use laminar_kernels::{
    Activations, AttentionShape, ExpertSet, KvLayer, Matrix, Pool, Routing, ScoredRule, Span, WeightType, add,
    add_bias, add_gated, append_scored, append_top_k, attention, for_each_row, gate_mul, keep_largest, linear_each,
    moe_ffn, mul_sigmoid, rms_norm, rms_norm_in_place, rope, scale, store_kv,
};

use crate::config::{ExpertConfig, ModelConfig};
use crate::convolution::Convolution;
use crate::delta::DeltaNet;
use crate::kv::LayerMemory;
use crate::latent::LatentAttention;
use crate::loads::ExpertLoads;
use crate::scratch::Scratch;
use crate::selective::Selective;
use crate::states::StateSlots;

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
    /// Its slots in recurrent layers.
    pub state: StateSlots,
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

    pub(crate) fn apply(&self, pool: &Pool, x: &Activations, out: &mut Vec<f32>) {
        Self::apply_each(pool, x, [(self, out)]);
    }

    /// Several projections of the same rows, shared out among the threads together.
    pub(crate) fn apply_each<const N: usize>(
        pool: &Pool,
        x: &Activations,
        mut each: [(&Projection, &mut Vec<f32>); N],
    ) {
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

/// How a layer's rows see earlier ones.
pub(crate) enum Mixer {
    Attention(Box<Attention>),
    Latent(Box<LatentAttention>),
    Convolution(Box<Convolution>),
    Delta(Box<DeltaNet>),
    Selective(Box<Selective>),
}

impl From<Attention> for Mixer {
    fn from(attention: Attention) -> Self {
        Self::Attention(Box::new(attention))
    }
}

impl Mixer {
    /// Reads `scratch.norm`, writes `scratch.branch`. `memory` is what [`KvCache`](crate::KvCache) has for such a layer.
    fn forward(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        memory: &mut LayerMemory,
        scratch: &mut Scratch,
        spans: &[Span<'_>],
    ) {
        match (self, memory) {
            (Self::Attention(attention), LayerMemory::Keys(kv)) => attention.forward(pool, config, kv, scratch, spans),
            (Self::Latent(attention), LayerMemory::Keys(kv)) => attention.forward(pool, config, kv, scratch, spans),
            (Self::Convolution(convolution), LayerMemory::Inputs(inputs)) => {
                convolution.forward(pool, config, inputs, scratch, spans);
            }
            (Self::Delta(net), LayerMemory::States(states)) => net.forward(pool, config, states, scratch),
            (Self::Selective(selective), LayerMemory::States(states)) => {
                selective.forward(pool, config, states, scratch);
            }
            // Another model's memory, as its shape would be.
            _ => debug_assert!(false, "memory of another kind of layer"),
        }
    }
}

/// Grouped-query attention with rotary positions.
pub(crate) struct Attention {
    /// With [`ModelConfig::gated_queries`], each query's gate follows it.
    pub(crate) q: Projection,
    /// `None`: keys and values are those of another layer, whose memory this one is given.
    pub(crate) k: Option<Projection>,
    /// `None`: values are what keys are before their norm.
    pub(crate) v: Option<Projection>,
    pub(crate) o: Projection,
    /// Key/value heads, and the width of all heads.
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Norm weights of each value head.
    pub(crate) value_norm: Option<Vec<f32>>,
    /// Norm weights of each query and key head, or of all heads of a row together: whichever they are as long as.
    pub(crate) head_norms: Option<(Vec<f32>, Vec<f32>)>,
    pub(crate) window: Option<usize>,
    pub(crate) rotary: Rotary,
    /// A logit for each head, which takes part in the softmax as a position without a value would.
    pub(crate) sinks: Option<Vec<f32>>,
}

/// By which table a layer rotates queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotary {
    Global,
    Local,
    /// They stay as they are.
    Absent,
}

/// What follows attention: one gated network, or many of which a router picks a few for each row.
pub(crate) enum FeedForward {
    Dense {
        gate: Projection,
        up: Projection,
        down: Projection,
        /// How many standard deviations above the mean of its row a gate has to be to count.
        border: Option<f32>,
    },
    Experts {
        router: Router,
        experts: ExpertSet,
        expert_bytes: Vec<u64>,
        shared: Option<Box<SharedExpert>>,
        norms: Option<Box<MixtureNorms>>,
        config: ExpertConfig,
    },
}

/// Norms inside a mixture whose parts each have their own (Gemma 4): of the residual rows for the router and for the chosen
/// experts, and of what the expert for all rows and the chosen ones come to.
pub(crate) struct MixtureNorms {
    pub(crate) router: Vec<f32>,
    pub(crate) experts: Vec<f32>,
    pub(crate) shared_output: Vec<f32>,
    pub(crate) experts_output: Vec<f32>,
}

/// What sends rows to experts.
pub(crate) struct Router {
    pub(crate) projection: Projection,
    /// Factors on the weights of the experts.
    pub(crate) scales: Option<Vec<f32>>,
    /// Added to scores for the choice alone.
    pub(crate) correction: Option<Vec<f32>>,
}

/// A gated network that every row goes through beside its chosen experts.
pub(crate) struct SharedExpert {
    pub(crate) gate: Projection,
    pub(crate) up: Projection,
    pub(crate) down: Projection,
    /// One output a row, whose sigmoid weighs the network's; 1 without it.
    pub(crate) weight: Option<Projection>,
}

/// One decoder layer: two branches that add to the residual rows.
pub(crate) struct Layer {
    /// `None`: the branch reads the residual rows as they are.
    pub(crate) attention_norm: Option<Vec<f32>>,
    pub(crate) attention: Mixer,
    pub(crate) post_attention_norm: Option<Vec<f32>>,
    pub(crate) ffn_norm: Option<Vec<f32>>,
    pub(crate) ffn: FeedForward,
    pub(crate) post_ffn_norm: Option<Vec<f32>>,
    /// Factor on the residual rows behind the layer.
    pub(crate) output_scale: Option<f32>,
}

impl Layer {
    /// The attention branch. With attention as its mixer, `scratch.norm` is afterwards what the branch has read.
    pub(crate) fn attend(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        memory: &mut LayerMemory,
        scratch: &mut Scratch,
        spans: &[Span<'_>],
        hidden: &mut [f32],
    ) {
        read_rows(pool, self.attention_norm.as_deref(), config.rms_eps, hidden, &mut scratch.norm);
        self.attention.forward(pool, config, memory, scratch, spans);
        add_branch(pool, config, self.post_attention_norm.as_deref(), &mut scratch.branch, hidden);
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
        read_rows(pool, self.ffn_norm.as_deref(), config.rms_eps, hidden, &mut scratch.norm);
        self.ffn.forward(pool, config, scratch, hidden, loads);
        self.add_network(pool, config, &mut scratch.branch, hidden);
    }

    /// Ends the feed-forward branch, and so the layer: adds the network's outputs.
    pub(crate) fn add_network(&self, pool: &Pool, config: &ModelConfig, outputs: &mut [f32], hidden: &mut [f32]) {
        add_branch(pool, config, self.post_ffn_norm.as_deref(), outputs, hidden);
        if let Some(factor) = self.output_scale {
            scale(pool, hidden, factor);
        }
    }
}

/// What a branch reads: the residual rows, normed if it has a norm.
pub(crate) fn read_rows(pool: &Pool, norm: Option<&[f32]>, eps: f32, hidden: &[f32], out: &mut Vec<f32>) {
    match norm {
        Some(norm) => {
            out.resize(hidden.len(), 0.0);
            rms_norm(pool, hidden, norm, eps, out);
        }
        None => {
            out.clear();
            out.extend_from_slice(hidden);
        }
    }
}

/// Adds what a branch came to, normed and scaled if the model does so.
fn add_branch(pool: &Pool, config: &ModelConfig, norm: Option<&[f32]>, outputs: &mut [f32], hidden: &mut [f32]) {
    if let Some(norm) = norm {
        rms_norm_in_place(pool, outputs, norm, config.rms_eps);
    }
    if let Some(factor) = config.residual_scale {
        scale(pool, outputs, factor);
    }
    add(pool, hidden, outputs);
}

impl Attention {
    /// Reads `scratch.norm`, writes `scratch.branch`.
    fn forward(&self, pool: &Pool, config: &ModelConfig, kv: &mut KvLayer, scratch: &mut Scratch, spans: &[Span<'_>]) {
        let s = scratch;
        let (head_dim, q_width) = (self.head_dim, config.heads * self.head_dim);
        let q = if config.gated_queries { &mut s.convolved } else { &mut s.q };
        let own = self.k.is_some();
        match (&self.k, &self.v) {
            (Some(k), Some(v)) => {
                s.activations.load_for(pool, &s.norm, config.hidden, [&self.q.weight, &k.weight, &v.weight]);
                let each = [(&self.q, q), (k, &mut s.k), (v, &mut s.v)];
                Projection::apply_each(pool, &s.activations, each);
            }
            (Some(k), None) => {
                s.activations.load_for(pool, &s.norm, config.hidden, [&self.q.weight, &k.weight]);
                Projection::apply_each(pool, &s.activations, [(&self.q, q), (k, &mut s.k)]);
                s.v.clone_from(&s.k);
            }
            (None, _) => {
                s.activations.load_for(pool, &s.norm, config.hidden, [&self.q.weight]);
                self.q.apply(pool, &s.activations, q);
            }
        }
        if config.gated_queries {
            take_gates(pool, &s.convolved, head_dim, q_width, &mut s.q, &mut s.gate);
        }
        if let Some(norm) = self.value_norm.as_ref().filter(|_| own) {
            rms_norm_in_place(pool, &mut s.v, norm, config.rms_eps);
        }
        if let Some((q_norm, k_norm)) = &self.head_norms {
            rms_norm_in_place(pool, &mut s.q, q_norm, config.rms_eps);
            if own {
                rms_norm_in_place(pool, &mut s.k, k_norm, config.rms_eps);
            }
        }
        let (table, style) = match (self.rotary, &config.local_rope) {
            (Rotary::Local, Some(local)) => (&s.local_rope, local.style),
            (Rotary::Absent, _) => (&None, config.rope.style),
            _ => (&s.rope, config.rope.style),
        };
        // `Scratch::begin` made the tables; a missing one means that nothing is to be rotated.
        if let Some(table) = table {
            rope(pool, &mut s.q, config.heads, head_dim, &s.positions, table, style);
            if own {
                rope(pool, &mut s.k, self.kv_heads, head_dim, &s.positions, table, style);
            }
        }
        s.attention.resize(s.positions.len() * q_width, 0.0);
        let shape = AttentionShape {
            heads: config.heads,
            kv_heads: self.kv_heads,
            head_dim,
            scale: config.attention_scale,
            window: self.window,
            softcap: config.attention_softcap,
        };
        if own {
            store_kv(pool, &s.k, &s.v, spans, kv);
        }
        attention(pool, &s.q, spans, kv, &shape, self.sinks.as_deref(), &mut s.attention);
        if config.gated_queries {
            mul_sigmoid(pool, &mut s.attention, &s.gate);
        }
        s.activations.load_for(pool, &s.attention, q_width, [&self.o.weight]);
        self.o.apply(pool, &s.activations, &mut s.branch);
    }
}

/// Takes queries and the gate behind each apart, in rows of `width` values of each.
fn take_gates(pool: &Pool, both: &[f32], head_dim: usize, width: usize, queries: &mut Vec<f32>, gates: &mut Vec<f32>) {
    for (out, first) in [(queries, 0), (gates, head_dim)] {
        out.resize(both.len() / 2, 0.0);
        for_each_row(pool, out, width, &|row, out| {
            let from = both[row * 2 * width..][..2 * width].chunks_exact(2 * head_dim);
            for (out, from) in out.chunks_exact_mut(head_dim).zip(from) {
                out.copy_from_slice(&from[first..first + head_dim]);
            }
        });
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

    /// Reads `scratch.norm` (the residual rows `hidden`, normed), writes `scratch.branch`.
    fn forward(&self, pool: &Pool, config: &ModelConfig, s: &mut Scratch, hidden: &[f32], loads: &mut ExpertLoads) {
        match self {
            Self::Dense { gate, up, down, border } => {
                s.activations.load_for(pool, &s.norm, config.hidden, [&gate.weight, &up.weight]);
                Projection::apply_each(pool, &s.activations, [(gate, &mut s.gate), (up, &mut s.up)]);
                if let Some(deviations) = *border {
                    keep_largest(pool, &mut s.gate, gate.weight.rows(), deviations);
                }
                gate_mul(pool, config.gate, &mut s.gate, &s.up, gate.weight.rows());
                s.activations.load_for(pool, &s.gate, gate.weight.rows(), [&down.weight]);
                down.apply(pool, &s.activations, &mut s.branch);
            }
            Self::Experts { router, experts, expert_bytes, shared, norms, config: shape } => {
                let readers = experts.gate.iter().chain(&experts.up);
                s.routing.clear();
                if let Some(norms) = norms {
                    if let Some(shared) = shared {
                        s.activations.load_for(pool, &s.norm, config.hidden, shared.readers());
                        shared.forward(pool, config, s);
                        rms_norm_in_place(pool, &mut s.shared, &norms.shared_output, config.rms_eps);
                    }
                    read_rows(pool, Some(&norms.router), config.rms_eps, hidden, &mut s.norm);
                    s.activations.load_for(pool, &s.norm, config.hidden, [router.weight()]);
                    router.append(pool, shape, &s.activations, &mut s.router, &mut s.routing);
                    read_rows(pool, Some(&norms.experts), config.rms_eps, hidden, &mut s.norm);
                    s.activations.load_for(pool, &s.norm, config.hidden, readers);
                } else {
                    let readers = readers.chain(shared.iter().flat_map(|shared| shared.readers()));
                    let readers = readers.chain(std::iter::once(router.weight()));
                    s.activations.load_for(pool, &s.norm, config.hidden, readers);
                    router.append(pool, shape, &s.activations, &mut s.router, &mut s.routing);
                }
                let prefill = &s.prefill_rows;
                loads.count(&s.routing, expert_bytes, 0..shape.count, |row| prefill[row], &mut s.seen);
                s.branch.resize(s.norm.len(), 0.0);
                moe_ffn(pool, experts, config.gate, &s.activations, &s.routing, &mut s.branch, &mut s.moe);
                if let Some(norms) = norms {
                    rms_norm_in_place(pool, &mut s.branch, &norms.experts_output, config.rms_eps);
                }
                if let Some(shared) = shared {
                    if norms.is_none() {
                        shared.forward(pool, config, s);
                    }
                    shared.add(pool, &s.shared, &s.shared_gate, &mut s.branch);
                }
            }
        }
    }
}

impl Router {
    pub(crate) fn weight(&self) -> &Matrix {
        &self.projection.weight
    }

    /// Routes the rows of `x` and adds them behind those that `routing` holds. `logits` is memory to work in.
    pub(crate) fn append(
        &self,
        pool: &Pool,
        shape: &ExpertConfig,
        x: &Activations,
        logits: &mut Vec<f32>,
        routing: &mut Routing,
    ) {
        self.projection.apply(pool, x, logits);
        let before = routing.ids.len();
        let &ExpertConfig { count, top_k, normalise, .. } = shape;
        match &shape.scores {
            None => append_top_k(pool, logits, count, top_k, normalise, routing),
            Some(scores) => {
                let rule = ScoredRule {
                    top_k,
                    scoring: scores.scoring,
                    correction: self.correction.as_deref(),
                    groups: scores.groups,
                    groups_used: scores.groups_used,
                    group_best: scores.group_best,
                    normalise,
                    scale: scores.scale,
                };
                append_scored(pool, logits, count, &rule, routing);
            }
        }
        if let Some(scales) = &self.scales {
            for (weight, id) in routing.weights.iter_mut().zip(&routing.ids).skip(before) {
                *weight *= scales[*id as usize];
            }
        }
    }
}

impl SharedExpert {
    /// The weights that read the layer's rows.
    pub(crate) fn readers(&self) -> impl Iterator<Item = &Matrix> {
        [Some(&self.gate), Some(&self.up), self.weight.as_ref()].into_iter().flatten().map(|of| &of.weight)
    }

    /// Reads `scratch.activations` and leaves others there; writes `scratch.shared` and `scratch.shared_gate`.
    pub(crate) fn forward(&self, pool: &Pool, config: &ModelConfig, s: &mut Scratch) {
        if let Some(weight) = &self.weight {
            weight.apply(pool, &s.activations, &mut s.shared_gate);
        }
        Projection::apply_each(pool, &s.activations, [(&self.gate, &mut s.gate), (&self.up, &mut s.up)]);
        gate_mul(pool, config.gate, &mut s.gate, &s.up, self.gate.weight.rows());
        s.activations.load_for(pool, &s.gate, self.gate.weight.rows(), [&self.down.weight]);
        self.down.apply(pool, &s.activations, &mut s.shared);
    }

    /// Adds what [`SharedExpert::forward`] has come to.
    pub(crate) fn add(&self, pool: &Pool, outputs: &[f32], gates: &[f32], rows: &mut [f32]) {
        match &self.weight {
            Some(_) => add_gated(pool, rows, outputs, gates),
            None => add(pool, rows, outputs),
        }
    }
}
