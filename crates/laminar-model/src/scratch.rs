//! Buffers a forward pass reuses from call to call.

use laminar_kernels::{Activations, MoeScratch, RopeTable, Routing, StateSpan};

use crate::config::{ModelConfig, RopeConfig};
use crate::layer::RowSpan;
use crate::states::state_span;

/// Working memory of the forward pass: grows to the largest call and is kept. One for each thread that runs a model, and
/// for one model only (it also holds the model's rotary tables).
#[derive(Default)]
pub struct Scratch {
    pub(crate) activations: Activations,
    /// The rows of a call that are not side by side.
    pub(crate) rows: Vec<f32>,
    /// Of rows with several streams, those of the one that a layer works on.
    pub(crate) own: Vec<f32>,
    /// The tokens of rows, and what a layer has for each of them.
    pub(crate) tokens: Vec<u32>,
    pub(crate) inputs: Vec<f32>,
    pub(crate) norm: Vec<f32>,
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
    pub(crate) attention: Vec<f32>,
    pub(crate) latent: LatentRows,
    pub(crate) recurrent: RecurrentRows,
    /// The spans of a call as recurrent layers take them.
    pub(crate) states: Vec<StateSpan>,
    /// What a convolution reads (its gates and values), or queries, each with its gate.
    pub(crate) convolved: Vec<f32>,
    pub(crate) branch: Vec<f32>,
    pub(crate) gate: Vec<f32>,
    pub(crate) up: Vec<f32>,
    pub(crate) router: Vec<f32>,
    pub(crate) routing: Routing,
    pub(crate) moe: MoeScratch,
    /// What the shared expert adds to each row, and its gate.
    pub(crate) shared: Vec<f32>,
    pub(crate) shared_gate: Vec<f32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) prefill_rows: Vec<bool>,
    pub(crate) seen: Vec<u8>,
    pub(crate) rope: Option<RopeTable>,
    pub(crate) local_rope: Option<RopeTable>,
}

/// What latent attention makes its queries and keys of.
#[derive(Default)]
pub(crate) struct LatentRows {
    /// Compressed queries.
    pub(crate) compressed: Vec<f32>,
    /// Latents, each with the part of the key that will be rotated behind it.
    pub(crate) inputs: Vec<f32>,
    /// Latents alone.
    pub(crate) latents: Vec<f32>,
    /// Queries of all heads; then their outputs.
    pub(crate) heads: Vec<f32>,
}

/// What recurrent layers work on.
#[derive(Default)]
pub(crate) struct RecurrentRows {
    /// Several of the others, where one projection makes them.
    pub(crate) together: Vec<f32>,
    /// Queries, keys and values before the convolution, in the order that the rule has.
    pub(crate) inputs: Vec<f32>,
    /// And behind it.
    pub(crate) mixed: Vec<f32>,
    /// Gates on outputs; then what they let through.
    pub(crate) gates: Vec<f32>,
    /// Of each value head, how much the state fades, and how far it moves.
    pub(crate) fading: Vec<f32>,
    pub(crate) moving: Vec<f32>,
}

impl Scratch {
    /// Lays out rows and positions of a call and extends the rotary tables to reach them.
    pub(crate) fn begin(&mut self, config: &ModelConfig, spans: &[RowSpan<'_>]) {
        self.positions.clear();
        self.prefill_rows.clear();
        self.states.clear();
        let mut end = 0;
        for span in spans {
            if config.recurrent.is_some() {
                self.states.push(state_span(span, self.positions.len()));
            }
            let last = span.first_pos + span.rows;
            self.positions.extend((span.first_pos..last).map(|p| p as u32));
            self.prefill_rows.resize(self.positions.len(), span.prefill);
            end = end.max(last);
        }
        let table = |rope: &RopeConfig| RopeTable::new(rope.inv_freq.clone(), rope.attention_factor);
        self.rope.get_or_insert_with(|| table(&config.rope)).ensure(end);
        if let Some(local) = &config.local_rope {
            self.local_rope.get_or_insert_with(|| table(local)).ensure(end);
        }
    }
}
