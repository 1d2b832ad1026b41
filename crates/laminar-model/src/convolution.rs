//! Layers that see earlier rows through a short convolution instead of attention (LFM2).

use laminar_kernels::{ConvLayer, Pool, Span, short_conv};

use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::{Mixer, Projection};
use crate::layer_weights::LayerWeights;
use crate::scratch::Scratch;

/// A convolution between two projections and two gates.
pub(crate) struct Convolution {
    /// The gate on inputs, the gate on outputs, the values.
    input: Projection,
    /// A row for each tap, the oldest first.
    taps: Vec<f32>,
    bias: Option<Vec<f32>>,
    output: Projection,
}

impl From<Convolution> for Mixer {
    fn from(convolution: Convolution) -> Self {
        Self::Convolution(Box::new(convolution))
    }
}

impl Convolution {
    /// Reads `scratch.norm`, writes `scratch.branch`.
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        config: &ModelConfig,
        memory: &mut ConvLayer,
        scratch: &mut Scratch,
        spans: &[Span<'_>],
    ) {
        let s = scratch;
        s.activations.load_for(pool, &s.norm, config.hidden, [&self.input.weight]);
        self.input.apply(pool, &s.activations, &mut s.convolved);
        s.attention.resize(s.positions.len() * config.hidden, 0.0);
        short_conv(pool, &s.convolved, &self.taps, self.bias.as_deref(), spans, memory, &mut s.attention);
        s.activations.load_for(pool, &s.attention, config.hidden, [&self.output.weight]);
        self.output.apply(pool, &s.activations, &mut s.branch);
    }
}

impl LayerWeights<'_> {
    /// A convolution of so many taps.
    pub(crate) fn convolution(&self, config: &ModelConfig, taps: usize) -> Result<Convolution, ModelError> {
        let hidden = config.hidden;
        let bias = match self.find("shortconv.conv", ".bias") {
            Some(bias) => Some(self.weights.vector(&bias, hidden, 0.0)?),
            None => None,
        };
        Ok(Convolution {
            input: self.projection("shortconv.in_proj", 3 * hidden, hidden)?,
            taps: self.taps("shortconv.conv", hidden, taps)?,
            bias,
            output: self.projection("shortconv.out_proj", hidden, hidden)?,
        })
    }
}
