//! One expert a few columns at a time.
//!
//! An expert that thousands of rows have chosen takes longer than streams may wait. Cut by its rows it would have to be read
//! for every part again, so it is cut by its columns: first those of the hidden rows, then those of the outputs. Each column
//! of a weight is read once, and no sum changes its order, so the bits are those of the whole.
//!
//! ```text
//! slice       0   1   2  ..  B-1 |  B  ..  B + B/2 - 1
//! weights    gate and up, 32     |  down, as many columns as take
//!            hidden columns      |  as long
//! all rows   -> hidden           |  -> sums
//! ```

use std::ops::Range;

use super::{Layer, MoeScratch, Segment};
use crate::isa::{Isa, isa};
use crate::panel::BLOCK;
use crate::tiles::TILE;
use crate::{Activations, ExpertSet, Gate, Pool, Routing};

/// Rows of a segment: threads share them out, since a slice may be a single block of columns.
const SEGMENT_ROWS: usize = 64 * TILE;

impl ExpertSet {
    /// Slices of one expert for [`moe_ffn_slice`], all of which take about the same time.
    pub fn slices(&self) -> usize {
        self.down.first().map_or(0, |down| {
            let blocks = down.cols().div_ceil(BLOCK);
            blocks + output_slices(blocks)
        })
    }
}

/// Slices of output columns: there are two matrices before them of the size of theirs.
fn output_slices(blocks: usize) -> usize {
    (blocks / 2).max(1)
}

/// Some slices of one expert, of [`ExpertSet::slices`]. The first one gathers the expert's rows.
///
/// `sums` holds the sums over the experts before this one, zeros where there are none. Behind the last slice it holds those over
/// this one, too, with the bits of [`moe_ffn_part`]; in between those of some columns. `scratch` has to be that of the slice
/// before, with nothing else in between.
///
/// [`moe_ffn_part`]: super::moe_ffn_part
///
/// # Panics
///
/// As [`moe_ffn`], if there is no such expert or slice, or if `scratch` holds no rows of the expert.
///
/// [`moe_ffn`]: super::moe_ffn
#[allow(clippy::too_many_arguments)] // Those of `moe_ffn_part`, and the slices.
pub fn moe_ffn_slice(
    pool: &Pool,
    experts: &ExpertSet,
    expert: usize,
    slices: Range<usize>,
    gate: Gate,
    x: &Activations,
    routing: &Routing,
    sums: &mut [f32],
    scratch: &mut MoeScratch,
) {
    moe_ffn_slice_for(isa(), pool, experts, expert, slices, gate, x, routing, sums, scratch);
}

#[allow(clippy::too_many_arguments)] // The public function's, and the path to take.
pub(crate) fn moe_ffn_slice_for(
    isa: Isa,
    pool: &Pool,
    experts: &ExpertSet,
    expert: usize,
    slices: Range<usize>,
    gate: Gate,
    x: &Activations,
    routing: &Routing,
    sums: &mut [f32],
    scratch: &mut MoeScratch,
) {
    let layer = Layer::new(isa, pool, experts, gate);
    layer.check(&(expert..expert + 1), x, routing, sums);
    let all = experts.slices();
    assert!(slices.start <= slices.end && slices.end <= all, "slices {slices:?} of {all}");
    if slices.is_empty() {
        return;
    }
    if slices.start == 0 {
        scratch.bucket(routing, expert..expert + 1);
        scratch.take_all(expert);
        layer.gather(x, routing.top_k, scratch);
    }
    let rows: usize = scratch.segments.iter().map(|segment| segment.rows).sum();
    let has = routing.ids.iter().filter(|id| **id as usize == expert).count();
    assert!(
        rows == has && scratch.segments.iter().all(|segment| segment.expert == expert),
        "slices {slices:?} of expert {expert} do not follow those before them"
    );
    if rows == 0 {
        return;
    }
    let blocks = layer.blocks();
    let hidden = slices.start.min(blocks)..slices.end.min(blocks);
    if !hidden.is_empty() {
        layer.gate_and_up(hidden, scratch);
    }
    let outputs = output_slices(blocks);
    let first_panel = |slice: usize| slice.saturating_sub(blocks) * layer.panels() / outputs;
    let panels = first_panel(slices.start)..first_panel(slices.end);
    if !panels.is_empty() {
        layer.down(panels, routing, scratch, sums);
    }
}

impl MoeScratch {
    /// Fills `segments` with all rows of the one expert in the buckets.
    fn take_all(&mut self, expert: usize) {
        self.segments.clear();
        for first_pair in (0..self.pairs.len()).step_by(SEGMENT_ROWS) {
            let rows = SEGMENT_ROWS.min(self.pairs.len() - first_pair);
            self.segments.push(Segment { expert, first_pair, rows, first_tile: first_pair / TILE });
        }
    }
}
