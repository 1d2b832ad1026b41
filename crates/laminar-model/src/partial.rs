//! One layer of a cohort in parts, so that a step may end in the middle of it.
//!
//! A layer has two stages. *Attention* may stop after any block of rows: causal attention needs only the keys of
//! earlier rows, which are in the KV cache by then, and a recurrent state stands exactly behind the rows that are done. *Feed-forward* begins when all rows have passed attention. A dense
//! network may stop after any row; a mixture may stop between two experts, so that each expert's weights are read once
//! however often the layer stops, and, where so many rows have chosen one expert that it takes longer than a step, between
//! two slices of its weights, each of which is read once, too. The bits are those of [`Model::forward`], wherever it stops.

use std::ops::Range;

use laminar_kernels::{Activations, MoeScratch, Pool, Routing, Span, moe_ffn_part, moe_ffn_slice, rms_norm_in_place};

use crate::error::ModelError;
use crate::kv::KvCache;
use crate::layer::{FeedForward, RowSpan, read_rows};
use crate::loads::ExpertLoads;
use crate::model::{Model, check_span};
use crate::scratch::Scratch;

/// Where a cohort stands inside a layer, and what is kept of it besides the hidden rows: of a mixture the normed and
/// quantised rows, their routing, the shared expert's part, and the sums over the experts that are done; of a dense
/// network nothing.
///
/// One belongs to each cohort that stops inside layers. It may be used for any layer and any later cohort of a model,
/// and keeps its memory.
#[derive(Default)]
pub struct PartialLayer {
    place: Option<Place>,
    input: Activations,
    routing: Routing,
    sums: Vec<f32>,
    /// Slices of the next expert that are done, and what they have come to.
    begun: usize,
    sliced: MoeScratch,
    /// What the shared expert adds to each row, and its gates. It belongs to no part of the experts, so it runs with the
    /// rows that pass attention.
    shared: Vec<f32>,
    shared_gate: Vec<f32>,
}

/// The next rows or units that a layer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    layer: usize,
    /// Rows that have passed attention.
    rows: usize,
    /// Experts that are done, or, of a dense network, rows.
    units: usize,
}

impl PartialLayer {
    /// Borders between rows inside a cohort must be multiples of this in [`Model::attend`].
    pub const ROW_STEP: usize = Activations::TILE_ROWS;

    /// The layer that has begun and not ended, if there is one.
    pub fn layer(&self) -> Option<usize> {
        self.place.map(|place| place.layer)
    }

    /// Slices of the next expert that are done.
    pub fn begun_slices(&self) -> usize {
        self.begun
    }

    /// Rows that each expert of the layer has, in `rows`; nothing of a dense network.
    pub fn rows_by_expert(&self, experts: usize, rows: &mut Vec<u32>) {
        rows.clear();
        rows.resize(experts, 0);
        for id in &self.routing.ids {
            if let Some(rows) = rows.get_mut(*id as usize) {
                *rows += 1;
            }
        }
    }

    fn expect(&self, place: Place) -> Result<(), ModelError> {
        match self.place {
            Some(found) if found == place => Ok(()),
            Some(found) => Err(call(format!("a layer cannot go on at {place:?}, it stopped at {found:?}"))),
            None => Err(call(format!("a layer cannot go on at {place:?}, it has not begun"))),
        }
    }
}

impl Model {
    /// Experts of a layer's mixture; `None` if its network is dense. The dense layers that some mixtures begin with count
    /// as if they had experts too, so that all layers of a model have the same units.
    pub fn experts(&self, layer: usize) -> Option<usize> {
        match (&self.layers.get(layer)?.ffn, &self.config.experts) {
            (FeedForward::Experts { config, .. }, _) | (FeedForward::Dense { .. }, Some(config)) => Some(config.count),
            (FeedForward::Dense { .. }, None) => None,
        }
    }

    /// Takes some rows of a cohort through the attention stage of one layer, in place.
    ///
    /// `hidden` holds all rows of the cohort, and `rows` those of this part: a layer begins with row 0, and its parts
    /// follow each other. `spans` are the rows among them that run, in ascending order; the others (of sequences that
    /// have left) keep their places and cost no attention, and what becomes of their values is of no consequence.
    ///
    /// # Errors
    /// Rows, layers, blocks or slots outside what exists, a part that does not follow the one before it, or a border inside the
    /// cohort that is not a multiple of [`PartialLayer::ROW_STEP`]. Nothing has been changed then.
    #[allow(clippy::too_many_arguments)] // Each is one thing the caller owns, as in `forward`.
    pub fn attend(
        &self,
        pool: &Pool,
        kv: &mut KvCache,
        scratch: &mut Scratch,
        layer: usize,
        rows: Range<usize>,
        spans: &[RowSpan<'_>],
        hidden: &mut [f32],
        state: &mut PartialLayer,
    ) -> Result<(), ModelError> {
        let width = self.config.row_width();
        let all = self.check_rows(layer, &rows, hidden)?;
        let live = check_spans(kv, &rows, spans)?;
        if !rows.end.is_multiple_of(PartialLayer::ROW_STEP) && rows.end != all {
            return Err(call(format!("attention cannot stop at row {} of {all}", rows.end)));
        }
        kv.check_states(layer..layer + 1, spans)?;
        if rows.start > 0 {
            state.expect(Place { layer, rows: rows.start, units: 0 })?;
        } else {
            state.begun = 0;
            state.routing.clear();
            if let FeedForward::Experts { experts, .. } = &self.layers[layer].ffn {
                state.input.clear_for(experts);
                state.sums.clear();
                state.sums.reserve_exact(hidden.len());
                state.shared.clear();
                state.shared_gate.clear();
            }
        }
        state.place = Some(Place { layer, rows: rows.end, units: 0 });

        let hidden = &mut hidden[rows.start * width..rows.end * width];
        if live == rows.len() {
            self.attend_rows(pool, kv, scratch, layer, spans, hidden);
        } else if live > 0 {
            // The rows that run, side by side.
            let mut own = std::mem::take(&mut scratch.rows);
            own.clear();
            let place = |s: &RowSpan<'_>| {
                let first = (s.first_row - rows.start) * width;
                first..first + s.rows * width
            };
            for span in spans {
                own.extend_from_slice(&hidden[place(span)]);
            }
            self.attend_rows(pool, kv, scratch, layer, spans, &mut own);
            let mut from = own.as_slice();
            for span in spans {
                let (values, rest) = from.split_at(span.rows * width);
                hidden[place(span)].copy_from_slice(values);
                from = rest;
            }
            scratch.rows = own;
        }
        self.route_rows(pool, scratch, layer, hidden, state);
        Ok(())
    }

    /// Takes a cohort through some units of the feed-forward stage of one layer: experts of a mixture, rows of a dense
    /// network (or equal shares of them, in a mixture's dense layer).
    ///
    /// `hidden` holds all rows of the cohort; all have passed the layer's attention. Dense rows change in place at once,
    /// those of a mixture when its last expert is done. Experts are counted as loads of a prefill, each in the part it
    /// belongs to, so that a layer's count does not depend on where it stops.
    ///
    /// # Errors
    /// Units or layers outside what exists, or a part that does not follow the one before it. Nothing has been changed
    /// then.
    #[allow(clippy::too_many_arguments)] // Each is one thing the caller owns, as in `forward`.
    pub fn feed_forward(
        &self,
        pool: &Pool,
        scratch: &mut Scratch,
        layer: usize,
        units: Range<usize>,
        hidden: &mut [f32],
        state: &mut PartialLayer,
        loads: &mut ExpertLoads,
    ) -> Result<(), ModelError> {
        let width = self.config.row_width();
        let rows = self.check_rows(layer, &(0..0), hidden)?;
        let all = self.experts(layer).unwrap_or(rows);
        if units.start > units.end || units.end > all {
            return Err(call(format!("units {units:?} of {all} in layer {layer}")));
        }
        state.expect(Place { layer, rows, units: units.start })?;
        let parts = &self.layers[layer];
        match &parts.ffn {
            FeedForward::Dense { .. } => {
                // Units are rows, or as many parts of them as the other layers have experts.
                let row = |unit: usize| unit * rows / all.max(1);
                let hidden = &mut hidden[row(units.start) * width..row(units.end) * width];
                self.feed_forward_layer(pool, scratch, layer, hidden, loads);
            }
            FeedForward::Experts { experts, expert_bytes, shared, norms, .. } => {
                let (input, routing, sums) = (&state.input, &state.routing, &mut state.sums);
                let gate = self.config.gate;
                let mut whole = units.clone();
                if state.begun > 0
                    && let Some(expert) = whole.next()
                {
                    let (slices, moe) = (state.begun..experts.slices(), &mut state.sliced);
                    moe_ffn_slice(pool, experts, expert, slices, gate, input, routing, sums, moe);
                    state.begun = 0;
                }
                loads.count(routing, expert_bytes, whole.clone(), |_| true, &mut scratch.seen);
                moe_ffn_part(pool, experts, whole, gate, input, routing, sums, &mut scratch.moe);
                if units.end == all {
                    if let Some(norms) = norms {
                        rms_norm_in_place(pool, sums, &norms.experts_output, self.config.rms_eps);
                    }
                    if let Some(shared) = shared {
                        shared.add(pool, &state.shared, &state.shared_gate, sums);
                    }
                    parts.add_network(pool, &self.config, sums, hidden);
                }
            }
        }
        state.place = (units.end < all).then_some(Place { layer, rows, units: units.end });
        Ok(())
    }

    /// Slices that each expert of a layer can be cut into, all about equally long; `None` if its network is dense.
    pub fn slices(&self, layer: usize) -> Option<usize> {
        match &self.layers.get(layer)?.ffn {
            FeedForward::Experts { experts, .. } => Some(experts.slices()),
            FeedForward::Dense { .. } => None,
        }
    }

    /// Takes the rows of the next expert of a layer through `slices` of the slices that it still has, so that a step may end
    /// inside an expert that takes long. Behind its last one the layer still stands before the expert, until the next
    /// [`Model::feed_forward`], which runs what is left of it.
    ///
    /// No slice's weights are those of another. The expert is counted as one load, with its first slice.
    ///
    /// # Errors
    /// A layer without experts or one that does not stand before an expert, or an expert that has not so many slices left.
    /// Nothing has been changed then.
    #[allow(clippy::too_many_arguments)] // As `feed_forward`.
    pub fn feed_forward_slices(
        &self,
        pool: &Pool,
        scratch: &mut Scratch,
        layer: usize,
        slices: usize,
        hidden: &[f32],
        state: &mut PartialLayer,
        loads: &mut ExpertLoads,
    ) -> Result<(), ModelError> {
        let all = self.check_rows(layer, &(0..0), hidden)?;
        let FeedForward::Experts { experts, expert_bytes, .. } = &self.layers[layer].ffn else {
            return Err(call(format!("slices of an expert in layer {layer}, which has none")));
        };
        let next = state.place.map_or(0, |place| place.units);
        state.expect(Place { layer, rows: all, units: next })?;
        let (begun, has) = (state.begun, experts.slices());
        if slices == 0 || slices > has.saturating_sub(begun) {
            return Err(call(format!("{slices} slices behind {begun} of the {has} of expert {next} in layer {layer}")));
        }
        if begun == 0 {
            loads.count(&state.routing, expert_bytes, next..next + 1, |_| true, &mut scratch.seen);
        }
        state.begun += slices;
        let (slices, gate, sums) = (begun..state.begun, self.config.gate, &mut state.sums);
        moe_ffn_slice(pool, experts, next, slices, gate, &state.input, &state.routing, sums, &mut state.sliced);
        Ok(())
    }

    /// The attention branch of the rows of `spans`, which lie side by side in `hidden`.
    fn attend_rows<'a>(
        &self,
        pool: &Pool,
        kv: &mut KvCache,
        scratch: &mut Scratch,
        layer: usize,
        spans: &[RowSpan<'a>],
        hidden: &mut [f32],
    ) {
        scratch.begin(&self.config, spans);
        let mut next = 0;
        let side_by_side = |s: &RowSpan<'a>| {
            let first_row = next;
            next += s.rows;
            Span { first_row, rows: s.rows, first_pos: s.first_pos, blocks: s.blocks }
        };
        let kernel_spans: Vec<Span<'_>> = spans.iter().map(side_by_side).collect();
        let memory = kv.enter(layer, spans);
        self.attend_layer(pool, memory, scratch, layer, &kernel_spans, hidden);
    }

    /// Keeps rows that have passed attention as the experts will read them.
    fn route_rows(&self, pool: &Pool, s: &mut Scratch, layer: usize, hidden: &[f32], state: &mut PartialLayer) {
        let parts = &self.layers[layer];
        let FeedForward::Experts { router, shared, norms, config: shape, .. } = &parts.ffn else {
            return;
        };
        let (width, eps) = (self.config.hidden, self.config.rms_eps);
        // Zeros for the experts to add to: those of thousands of rows at once would keep the first expert waiting.
        state.sums.resize(state.sums.len() + hidden.len(), 0.0);
        read_rows(pool, parts.ffn_norm.as_deref(), eps, hidden, &mut s.norm);
        let readers = shared.iter().flat_map(|shared| shared.readers());
        if let Some(norms) = norms {
            s.activations.load_for(pool, &s.norm, width, readers);
            if let Some(shared) = shared {
                shared.forward(pool, &self.config, s);
                rms_norm_in_place(pool, &mut s.shared, &norms.shared_output, eps);
            }
            read_rows(pool, Some(&norms.router), eps, hidden, &mut s.norm);
            s.activations.load_for(pool, &s.norm, width, [router.weight()]);
            router.append(pool, shape, &s.activations, &mut s.router, &mut state.routing);
            read_rows(pool, Some(&norms.experts), eps, hidden, &mut s.norm);
            state.input.append(pool, &s.norm, width);
        } else {
            s.activations.load_for(pool, &s.norm, width, std::iter::once(router.weight()).chain(readers));
            router.append(pool, shape, &s.activations, &mut s.router, &mut state.routing);
            state.input.append(pool, &s.norm, width);
            if let Some(shared) = shared {
                shared.forward(pool, &self.config, s);
            }
        }
        if let Some(shared) = shared {
            state.shared.extend_from_slice(&s.shared);
            if shared.weight.is_some() {
                state.shared_gate.extend_from_slice(&s.shared_gate);
            }
        }
    }

    /// The cohort's rows, once the layer exists and `rows` are among them.
    fn check_rows(&self, layer: usize, rows: &Range<usize>, hidden: &[f32]) -> Result<usize, ModelError> {
        let width = self.config.row_width();
        let all = hidden.len() / width;
        if layer >= self.layers.len() {
            return Err(call(format!("layer {layer} of {}", self.layers.len())));
        }
        if !hidden.len().is_multiple_of(width) || rows.start > rows.end || rows.end > all {
            return Err(call(format!("rows {rows:?} of {all}, {} hidden values", hidden.len())));
        }
        Ok(all)
    }
}

/// How many of `rows` the spans hold, once they are in order and their KV blocks exist.
fn check_spans(kv: &KvCache, rows: &Range<usize>, spans: &[RowSpan<'_>]) -> Result<usize, ModelError> {
    let mut next = rows.start;
    let mut live = 0;
    for span in spans {
        if span.first_row < next || span.first_row + span.rows > rows.end {
            let end = span.first_row + span.rows;
            return Err(call(format!(
                "a span of rows {}..{end}, expected within {next}..{}",
                span.first_row, rows.end
            )));
        }
        check_span(kv, span)?;
        next = span.first_row + span.rows;
        live += span.rows;
    }
    Ok(live)
}

fn call(message: String) -> ModelError {
    ModelError::Call(message)
}
