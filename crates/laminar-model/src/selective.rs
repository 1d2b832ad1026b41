//! Layers whose rows change a selective state space instead of keeping keys and values (Mamba 2, as in Granite 4).
//!
//! A row's values, keys and queries pass a short convolution first. What is read from the state is weighed by a gate that the
//! row has made, and normed behind it.

use laminar_kernels::{
    Gate, Pool, RecurrentShape, StateLayer, causal_conv, gate_mul, recur, rms_norm_in_place, selective_gates,
};

use crate::checkpoint::Checkpoint;
use crate::config::{ModelConfig, RecurrentConfig};
use crate::error::ModelError;
use crate::layer::{Mixer, Projection};
use crate::layer_weights::LayerWeights;
use crate::scratch::Scratch;

/// A selective state space between its projections.
pub(crate) struct Selective {
    shape: RecurrentShape,
    gates: Projection,
    /// Values, keys and queries.
    mixed: Projection,
    /// How far each head goes.
    steps: Projection,
    /// A row for each tap, the oldest first.
    taps: Vec<f32>,
    tap_bias: Option<Vec<f32>>,
    /// How fast each head forgets, negative, and what is added to a row's steps.
    rates: Vec<f32>,
    time_bias: Vec<f32>,
    /// What each head adds of its values.
    skips: Vec<f32>,
    norm: Vec<f32>,
    output: Projection,
}

impl From<Selective> for Mixer {
    fn from(selective: Selective) -> Self {
        Self::Selective(Box::new(selective))
    }
}

impl Selective {
    /// Reads `scratch.norm`, writes `scratch.branch`.
    pub(crate) fn forward(&self, pool: &Pool, config: &ModelConfig, memory: &mut StateLayer, scratch: &mut Scratch) {
        let s = scratch;
        let (shape, width) = (&self.shape, self.shape.value_width());
        let Self { gates, mixed, steps, .. } = self;
        s.activations.load_for(pool, &s.norm, config.hidden, [&gates.weight, &mixed.weight, &steps.weight]);
        let r = &mut s.recurrent;
        let each = [(gates, &mut r.gates), (mixed, &mut r.inputs), (steps, &mut r.moving)];
        Projection::apply_each(pool, &s.activations, each);
        r.mixed.resize(r.inputs.len(), 0.0);
        causal_conv(pool, &r.inputs, &self.taps, self.tap_bias.as_deref(), &s.states, memory, &mut r.mixed);
        r.fading.resize(r.moving.len(), 0.0);
        selective_gates(pool, &self.rates, &self.time_bias, &mut r.moving, &mut r.fading);
        s.attention.resize(s.positions.len() * width, 0.0);
        let skips = Some(self.skips.as_slice());
        recur(pool, shape, &r.mixed, &r.fading, &r.moving, skips, &s.states, memory, &mut s.attention);
        gate_mul(pool, Gate::Silu, &mut r.gates, &s.attention, width);
        rms_norm_in_place(pool, &mut r.gates, &self.norm, config.rms_eps);
        s.activations.load_for(pool, &r.gates, width, [&self.output.weight]);
        self.output.apply(pool, &s.activations, &mut s.branch);
    }
}

impl LayerWeights<'_> {
    /// A selective state space, by the names of llama.cpp.
    pub(crate) fn selective(&self, config: &ModelConfig, recurrent: &RecurrentConfig) -> Result<Selective, ModelError> {
        let (shape, hidden) = (recurrent.shape, config.hidden);
        let (channels, width, heads) = (shape.channels(), shape.value_width(), shape.value_heads);
        let all = width + channels + heads;
        let input = |from: usize, rows: usize| self.part("ssm_in", from..from + rows, all, hidden);
        let mut rates = self.bare("ssm_a", "", heads)?;
        // GGUF files have the rates themselves.
        if matches!(self.weights.checkpoint, Checkpoint::HuggingFace(_)) {
            rates.iter_mut().for_each(|rate| *rate = -rate.exp());
        }
        let tap_bias = match self.find("ssm_conv1d", ".bias") {
            Some(bias) => Some(self.weights.vector(&bias, channels, 0.0)?),
            None => None,
        };
        let mut norm = self.weights.require_own(&self.name("ssm_norm", ".weight"))?;
        // GGUF files have a row for each group of heads.
        if norm.shape == [1, width] {
            norm.shape = vec![width];
        }
        Ok(Selective {
            shape,
            gates: input(0, width)?,
            mixed: input(width, channels)?,
            steps: input(width + channels, heads)?,
            taps: self.taps("ssm_conv1d", channels, recurrent.taps)?,
            tap_bias,
            rates,
            time_bias: self.bare("ssm_dt", ".bias", heads)?,
            skips: self.bare("ssm_d", "", heads)?,
            norm: self.weights.vector(&norm, width, 0.0)?,
            output: self.projection("ssm_out", hidden, width)?,
        })
    }
}
