//! Layers whose rows change a state by a gated delta rule instead of keeping keys and values (Qwen3-Next).
//!
//! Queries, keys and values pass a short convolution first. What the rule reads is normed head by head and weighed by a gate
//! that the row has made.

use laminar_kernels::{
    Gate, Matrix, Pool, RecurrentShape, StateLayer, causal_conv, delta_gates, for_each_row, gate_mul, recur,
    rms_norm_in_place, unit_heads,
};

use crate::checkpoint::Checkpoint;
use crate::config::{ModelConfig, RecurrentConfig};
use crate::error::ModelError;
use crate::layer::{Mixer, Projection};
use crate::layer_weights::LayerWeights;
use crate::scratch::{RecurrentRows, Scratch};
use crate::weights::shape_error;

/// A gated delta rule between its projections.
pub(crate) struct DeltaNet {
    shape: RecurrentShape,
    inputs: Inputs,
    gates: Gates,
    /// A row for each tap, the oldest first.
    taps: Vec<f32>,
    /// How fast each value head forgets, negative, and what is added to a row's part in it.
    rates: Vec<f32>,
    time_bias: Vec<f32>,
    /// Norm weights of each value head.
    norm: Vec<f32>,
    output: Projection,
}

/// What queries, keys and values are made of, and the gates on outputs.
enum Inputs {
    Apart {
        mixed: Projection,
        gates: Projection,
    },
    /// One key head after the other, each with the values and gates that belong to it.
    ByKeyHead(Projection),
}

/// What decays and shares are made of.
enum Gates {
    Apart {
        fading: Projection,
        moving: Projection,
    },
    /// Of one key head after the other, first the shares.
    ByKeyHead(Projection),
}

impl From<DeltaNet> for Mixer {
    fn from(net: DeltaNet) -> Self {
        Self::Delta(Box::new(net))
    }
}

impl DeltaNet {
    /// Reads `scratch.norm`, writes `scratch.branch`.
    pub(crate) fn forward(&self, pool: &Pool, config: &ModelConfig, memory: &mut StateLayer, scratch: &mut Scratch) {
        let s = scratch;
        let (rows, shape, width) = (s.positions.len(), &self.shape, self.shape.value_width());
        s.activations.load_for(pool, &s.norm, config.hidden, self.readers());
        let r = &mut s.recurrent;
        match &self.inputs {
            Inputs::Apart { mixed, gates } => {
                Projection::apply_each(pool, &s.activations, [(mixed, &mut r.inputs), (gates, &mut r.gates)]);
            }
            Inputs::ByKeyHead(all) => {
                all.apply(pool, &s.activations, &mut r.together);
                r.inputs.resize(rows * shape.channels(), 0.0);
                r.gates.resize(rows * width, 0.0);
                inputs_apart(pool, shape, r);
            }
        }
        match &self.gates {
            Gates::Apart { fading, moving } => {
                Projection::apply_each(pool, &s.activations, [(fading, &mut r.fading), (moving, &mut r.moving)]);
            }
            Gates::ByKeyHead(all) => {
                all.apply(pool, &s.activations, &mut r.together);
                r.fading.resize(rows * shape.value_heads, 0.0);
                r.moving.resize(rows * shape.value_heads, 0.0);
                gates_apart(shape, r);
            }
        }
        r.mixed.resize(r.inputs.len(), 0.0);
        causal_conv(pool, &r.inputs, &self.taps, None, &s.states, memory, &mut r.mixed);
        unit_heads(pool, shape, &mut r.mixed);
        delta_gates(pool, &self.rates, &self.time_bias, &mut r.fading, &mut r.moving);
        s.attention.resize(rows * width, 0.0);
        recur(pool, shape, &r.mixed, &r.fading, &r.moving, None, &s.states, memory, &mut s.attention);
        rms_norm_in_place(pool, &mut s.attention, &self.norm, config.rms_eps);
        gate_mul(pool, Gate::Silu, &mut r.gates, &s.attention, width);
        s.activations.load_for(pool, &r.gates, width, [&self.output.weight]);
        self.output.apply(pool, &s.activations, &mut s.branch);
    }

    /// The weights that read the layer's rows.
    fn readers(&self) -> impl Iterator<Item = &Matrix> {
        let inputs = match &self.inputs {
            Inputs::Apart { mixed, gates } => [Some(mixed), Some(gates)],
            Inputs::ByKeyHead(all) => [Some(all), None],
        };
        let gates = match &self.gates {
            Gates::Apart { fading, moving } => [Some(fading), Some(moving)],
            Gates::ByKeyHead(all) => [Some(all), None],
        };
        inputs.into_iter().chain(gates).flatten().map(|projection| &projection.weight)
    }
}

/// Takes `together` apart into `inputs` and `gates`.
fn inputs_apart(pool: &Pool, shape: &RecurrentShape, rows: &mut RecurrentRows) {
    let &RecurrentShape { key_heads, key_dim, .. } = shape;
    let values = shape.value_width() / key_heads;
    let (width, all) = (2 * (key_dim + values), &rows.together);
    let heads = |row: usize| all[row * key_heads * width..][..key_heads * width].chunks_exact(width);
    for_each_row(pool, &mut rows.inputs, shape.channels(), &|row, inputs| {
        let (queries, rest) = inputs.split_at_mut(key_heads * key_dim);
        let (keys, own_values) = rest.split_at_mut(key_heads * key_dim);
        for (head, from) in heads(row).enumerate() {
            queries[head * key_dim..][..key_dim].copy_from_slice(&from[..key_dim]);
            keys[head * key_dim..][..key_dim].copy_from_slice(&from[key_dim..2 * key_dim]);
            own_values[head * values..][..values].copy_from_slice(&from[2 * key_dim..][..values]);
        }
    });
    for_each_row(pool, &mut rows.gates, shape.value_width(), &|row, gates| {
        for (gates, from) in gates.chunks_exact_mut(values).zip(heads(row)) {
            gates.copy_from_slice(&from[2 * key_dim + values..]);
        }
    });
}

/// Takes `together` apart into `moving` and `fading`.
fn gates_apart(shape: &RecurrentShape, rows: &mut RecurrentRows) {
    let each = shape.value_heads / shape.key_heads;
    let parts = rows.together.chunks_exact(2 * each).map(|part| part.split_at(each));
    for ((moving, fading), (from, behind)) in
        rows.moving.chunks_exact_mut(each).zip(rows.fading.chunks_exact_mut(each)).zip(parts)
    {
        moving.copy_from_slice(from);
        fading.copy_from_slice(behind);
    }
}

impl LayerWeights<'_> {
    /// A gated delta rule, by the names of llama.cpp.
    pub(crate) fn delta_net(&self, config: &ModelConfig, recurrent: &RecurrentConfig) -> Result<DeltaNet, ModelError> {
        let (shape, hidden) = (recurrent.shape, config.hidden);
        let (channels, width, heads) = (shape.channels(), shape.value_width(), shape.value_heads);
        let inputs = if self.rows_of("ssm_in")?.is_some() {
            Inputs::ByKeyHead(self.projection("ssm_in", channels + width, hidden)?)
        } else {
            Inputs::Apart {
                mixed: self.projection("attn_qkv", channels, hidden)?,
                gates: self.projection("attn_gate", width, hidden)?,
            }
        };
        let gates = if self.rows_of("ssm_ba")?.is_some() {
            Gates::ByKeyHead(self.projection("ssm_ba", 2 * heads, hidden)?)
        } else {
            Gates::Apart {
                fading: self.projection("ssm_alpha", heads, hidden)?,
                moving: self.projection("ssm_beta", heads, hidden)?,
            }
        };
        let mut rates = self.bare("ssm_a", "", heads)?;
        // GGUF files have the rates themselves.
        if matches!(self.weights.checkpoint, Checkpoint::HuggingFace(_)) {
            rates.iter_mut().for_each(|rate| *rate = -rate.exp());
        }
        Ok(DeltaNet {
            shape,
            inputs,
            gates,
            taps: self.taps("ssm_conv1d", channels, recurrent.taps)?,
            rates,
            time_bias: self.bare("ssm_dt", ".bias", heads)?,
            norm: self.norm_of("ssm_norm", shape.value_dim, 0.0)?,
            output: self.projection("ssm_out", hidden, width)?,
        })
    }

    /// The weights of a convolution over `channels`, a row for each tap, the oldest first.
    pub(crate) fn taps(&self, stem: &str, channels: usize, taps: usize) -> Result<Vec<f32>, ModelError> {
        let mut kernel = self.weights.require_own(&self.name(stem, ".weight"))?;
        // Folders have a dimension of one between.
        if kernel.shape == [channels, 1, taps] {
            kernel.shape = vec![channels, taps];
        }
        if kernel.shape != [channels, taps] {
            return Err(shape_error(&kernel, vec![channels, taps]));
        }
        let by_channel = kernel.to_f32()?;
        Ok((0..taps).flat_map(|tap| by_channel.iter().skip(tap).step_by(taps).copied()).collect())
    }
}
