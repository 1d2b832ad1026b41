//! Rows of several residual streams (Gemma 3n): a layer works on one of them, and by what it comes to the others are
//! corrected, which were predicted before (alternating updates, Baykal et al., arXiv 2301.13310). Around the layer's
//! attention there is a branch of low rank.

use std::f32::consts::FRAC_1_SQRT_2;

use laminar_kernels::{
    Matrix, Pool, Span, StreamShape, add, add_behind_first, correct_streams, for_each_row, linear, match_magnitude,
    predict_streams, rms_norm_in_place, scale,
};

use crate::config::{ModelConfig, StreamConfig};
use crate::error::ModelError;
use crate::expert_weights::slice;
use crate::kv::LayerMemory;
use crate::layer::{Layer, Projection, read_rows};
use crate::layer_weights::LayerWeights;
use crate::loads::ExpertLoads;
use crate::scratch::Scratch;
use crate::stored::Stored;
use crate::weights::Weights;
use crate::wide::{read_part, write_part};

/// What a model with several streams has beside its layers.
pub(crate) struct Streams {
    shape: StreamShape,
    active: usize,
    /// Make the other streams of the first one, before the layers.
    enter: Vec<Matrix>,
    /// Lead them back to it, behind the layers.
    leave: Vec<Matrix>,
    layers: Vec<LayerStreams>,
}

/// And beside each layer.
struct LayerStreams {
    /// Divided by the number of values.
    router_norm: Vec<f32>,
    router: Projection,
    predict: Vec<f32>,
    correct: Vec<f32>,
    /// Factors on the active stream where it meets the layer's input.
    scales: Option<Vec<f32>>,
    low: Projection,
    high: Projection,
    low_rank_norm: Vec<f32>,
}

impl Streams {
    /// All but what belongs to the layers, which [`Streams::add`] adds one by one.
    pub(crate) fn load(weights: &Weights<'_>, config: &ModelConfig, of: &StreamConfig) -> Result<Self, ModelError> {
        Ok(Self {
            shape: StreamShape { count: of.count, hidden: config.hidden, width: config.row_width() },
            active: of.active,
            enter: stack(weights, "altup_proj.weight", of.count - 1, config.hidden)?,
            leave: stack(weights, "altup_unembd_proj.weight", of.count - 1, config.hidden)?,
            layers: Vec::new(),
        })
    }

    /// The next layer.
    pub(crate) fn add(
        &mut self,
        weights: &LayerWeights<'_>,
        config: &ModelConfig,
        of: &StreamConfig,
    ) -> Result<(), ModelError> {
        let (hidden, count) = (config.hidden, of.count);
        let mut router_norm = weights.norm("altup_router_norm", config)?;
        router_norm.iter_mut().for_each(|weight| *weight /= hidden as f32);
        let rank = weights.rows_of("laurel_l")?.ok_or_else(|| weights.missing("laurel_l.weight"))?;
        self.layers.push(LayerStreams {
            router_norm,
            router: weights.projection("altup_router", count, hidden)?,
            predict: weights.values("altup_predict_coef", count * count, count)?,
            correct: weights.values("altup_correct_coef", count, count)?,
            scales: if of.scaled { Some(weights.bare("altup_correct_scale", ".weight", hidden)?) } else { None },
            low: weights.projection("laurel_l", rank, hidden)?,
            high: weights.projection("laurel_r", hidden, rank)?,
            low_rank_norm: weights.norm("laurel_post_norm", config)?,
        });
        Ok(())
    }

    /// The first branch of a layer, and before the first layer the other streams. `own` is memory to work in.
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
        own: &mut Vec<f32>,
    ) {
        let parts = &self.layers[index];
        if index == 0 {
            self.enter(pool, rows, scratch);
        }
        self.read(pool, rows, self.active, own);
        parts.route(pool, config, own, scratch);
        predict_streams(pool, rows, &self.shape, &scratch.router, &parts.predict);
        self.read(pool, rows, self.active, own);
        layer.attend(pool, config, memory, scratch, spans, own);
        parts.low_rank(pool, config, scratch);
        add(pool, own, &scratch.branch);
        scale(pool, own, FRAC_1_SQRT_2);
        self.write(pool, own, self.shape.count, rows);
    }

    /// The second branch of a layer, and the correction of the streams. Leaves in `own` the active stream as the layer's
    /// input meets it.
    #[allow(clippy::too_many_arguments)] // Each is a separate borrow, as in `Layer::feed_forward`.
    pub(crate) fn feed_forward(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        index: usize,
        layer: &Layer,
        scratch: &mut Scratch,
        rows: &mut [f32],
        own: &mut Vec<f32>,
        loads: &mut ExpertLoads,
    ) {
        let parts = &self.layers[index];
        self.read(pool, rows, self.shape.count, own);
        layer.feed_forward(pool, config, scratch, own, loads);
        parts.route(pool, config, own, scratch);
        correct_streams(pool, rows, &self.shape, self.active, own, &scratch.router, &parts.correct);
        self.read(pool, rows, self.active, own);
        if let Some(scales) = &parts.scales {
            for_each_row(pool, own, self.shape.hidden, &|_, row| {
                row.iter_mut().zip(scales).for_each(|(x, factor)| *x *= factor);
            });
        }
    }

    /// Adds what the layer's input has come to.
    pub(crate) fn add_inputs(&self, pool: &Pool, rows: &mut [f32], inputs: &[f32]) {
        add_behind_first(pool, rows, &self.shape, inputs);
    }

    /// Makes the other streams of the first one, with its magnitude.
    fn enter(&self, pool: &Pool, rows: &mut [f32], s: &mut Scratch) {
        let StreamShape { hidden, width, .. } = self.shape;
        self.read(pool, rows, 0, &mut s.norm);
        s.activations.load_for(pool, &s.norm, hidden, &self.enter);
        s.branch.resize(s.norm.len(), 0.0);
        for (at, matrix) in (1..).zip(&self.enter) {
            linear(pool, matrix, &s.activations, &mut s.branch);
            match_magnitude(pool, &mut s.branch, hidden, rows, width);
            self.write(pool, &s.branch, at, rows);
        }
    }

    /// The mean of all streams, the others led back to the first one and with its magnitude, in place of what `out` held.
    pub(crate) fn leave(&self, pool: &Pool, rows: &[f32], out: &mut Vec<f32>, s: &mut Scratch) {
        let StreamShape { count, hidden, width } = self.shape;
        self.read(pool, rows, 0, out);
        s.branch.resize(out.len(), 0.0);
        for (at, matrix) in (1..).zip(&self.leave) {
            self.read(pool, rows, at, &mut s.up);
            s.activations.load_for(pool, &s.up, hidden, [matrix]);
            linear(pool, matrix, &s.activations, &mut s.branch);
            match_magnitude(pool, &mut s.branch, hidden, rows, width);
            add(pool, out, &s.branch);
        }
        scale(pool, out, 1.0 / count as f32);
    }

    /// One stream of all rows side by side, or, by the number behind the last one, what lies there.
    fn read(&self, pool: &Pool, rows: &[f32], stream: usize, out: &mut Vec<f32>) {
        let StreamShape { hidden, width, .. } = self.shape;
        read_part(pool, rows, width, stream * hidden, hidden, out);
    }

    /// The other way round.
    fn write(&self, pool: &Pool, from: &[f32], stream: usize, rows: &mut [f32]) {
        let StreamShape { hidden, width, .. } = self.shape;
        write_part(pool, from, hidden, rows, width, stream * hidden);
    }
}

impl LayerStreams {
    /// What streams are predicted and corrected by: writes `scratch.router`.
    fn route(&self, pool: &Pool, config: &ModelConfig, rows: &[f32], s: &mut Scratch) {
        read_rows(pool, Some(&self.router_norm), config.rms_eps, rows, &mut s.norm);
        s.activations.load_for(pool, &s.norm, config.hidden, [&self.router.weight]);
        self.router.apply(pool, &s.activations, &mut s.router);
    }

    /// The branch of low rank: reads `scratch.norm`, writes `scratch.branch`.
    fn low_rank(&self, pool: &Pool, config: &ModelConfig, s: &mut Scratch) {
        s.activations.load_for(pool, &s.norm, config.hidden, [&self.low.weight]);
        self.low.apply(pool, &s.activations, &mut s.gate);
        s.activations.load_for(pool, &s.gate, self.low.weight.rows(), [&self.high.weight]);
        self.high.apply(pool, &s.activations, &mut s.branch);
        rms_norm_in_place(pool, &mut s.branch, &self.low_rank_norm, config.rms_eps);
        add(pool, &mut s.branch, &s.norm);
    }
}

/// Square matrices that a GGUF file has in one tensor, and a folder each by itself.
fn stack(weights: &Weights<'_>, name: &str, count: usize, size: usize) -> Result<Vec<Matrix>, ModelError> {
    let name = weights.outer_name(name);
    let matrices: Vec<Stored<'_>> = if name.contains("{}") {
        let own = |i: usize| weights.stored(&name.replace("{}", &i.to_string()), size, size);
        (0..count).map(own).collect::<Result<_, _>>()?
    } else {
        let all = weights.require_own(&name)?;
        let own = |i: usize| Stored::rows(slice(&all, i, &[count, size, size])?, size, size);
        (0..count).map(own).collect::<Result<_, _>>()?
    };
    weights.pack_all(&name, matrices)
}
