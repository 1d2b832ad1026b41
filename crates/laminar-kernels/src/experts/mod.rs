//! The feed-forward stage of a mixture-of-experts layer.
//!
//! Rows are bucketed by expert once. Experts then run in ascending order, as many together as a bounded
//! working set holds, each as small matrix products over its own rows: gather the rows, gate and up
//! projections with the activation and the quantisation of the hidden row in one pass, then the down
//! projection added to the output with the router's weight. A row's sum over experts is taken in ascending
//! order of expert, whatever the batch, so results are bit-equal for any batch.

use std::ops::Range;

use crate::elementwise::gate_values;
use crate::gemm::{OutTile, ROWS, SHARES, ahead, group_len, multiply_tiles, share};
use crate::isa::{Isa, isa};
use crate::panel::{BLOCK, LANES};
use crate::pool::SharedMut;
use crate::tiles::{Forms, SharedTiles, TILE, Tiles};
use crate::{Activations, Gate, Matrix, Pool, Routing};

mod slice;

pub use slice::moe_ffn_slice;

/// The experts of a layer, one matrix of each kind per expert.
pub struct ExpertSet {
    /// Gate projections, hidden x dim.
    pub gate: Vec<Matrix>,
    /// Up projections, hidden x dim.
    pub up: Vec<Matrix>,
    /// Down projections, dim x hidden.
    pub down: Vec<Matrix>,
    /// What is added to their outputs, if anything.
    pub biases: Option<ExpertBiases>,
}

/// Biases of experts, those of one expert after those of another.
pub struct ExpertBiases {
    /// Of the gate projections, experts x hidden.
    pub gate: Vec<f32>,
    /// Of the up projections, experts x hidden.
    pub up: Vec<f32>,
    /// Of the down projections, experts x dim.
    pub down: Vec<f32>,
}

impl ExpertSet {
    /// How the gate and up projections read their rows.
    pub(crate) fn input_forms(&self, isa: Isa) -> Forms {
        Forms::read_by(isa, self.gate.iter().chain(&self.up))
    }
}

/// Buffers of [`moe_ffn`], kept between calls.
#[derive(Default)]
pub struct MoeScratch {
    /// The first expert of the call.
    first_expert: usize,
    /// First entry of each expert of the call in `pairs`, and their total.
    starts: Vec<usize>,
    /// Places `row * top_k + choice` in the routing, by ascending expert, then row.
    pairs: Vec<u32>,
    /// The experts that run together.
    segments: Vec<Segment>,
    /// Their gathered input rows.
    input: Tiles,
    /// Their hidden rows.
    hidden: Tiles,
}

/// Some rows of one expert.
#[derive(Clone, Copy)]
struct Segment {
    expert: usize,
    first_pair: usize,
    rows: usize,
    /// The first of its tiles in the gathered input.
    first_tile: usize,
}

impl Segment {
    fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    /// How often a kernel goes over the segment's rows, some at a time.
    fn passes(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    fn rows_of(&self, pass: usize) -> usize {
        ROWS.min(self.rows - pass * ROWS)
    }

    /// The first tile of a pass, among those of all segments.
    fn tile_of(&self, pass: usize) -> usize {
        self.first_tile + pass * ROWS / TILE
    }
}

/// Passes of the segment with the most rows: whether weights are used once or several times.
fn most_passes(segments: &[Segment]) -> usize {
    segments.iter().map(Segment::passes).max().unwrap_or(1)
}

/// Tiles gathered at once: 2048 rows, about 9 MB for 2048 inputs and 768 hidden values. An expert with more
/// rows runs in several parts.
const MAX_TILES: usize = 512;

/// Tasks of the first pass for each thread. A thread goes from one to the next in order, so even short ones make long
/// runs, and at the end nobody waits long: up to 2 % of a decode step with one stream, against a quarter as many.
const HIDDEN_SHARES: usize = 32;

/// Hidden columns of a task of the first pass: a block of codes.
const PANELS_OF_BLOCK: usize = BLOCK / LANES;

/// The feed-forward network of each row's experts: with `h = act(gate x) * (up x)`,
/// `out = sum over the row's experts of weight * (down h)`; where there are biases, they are added to each product.
///
/// `out` is `x.rows()` rows of the down projection's outputs, and is overwritten.
///
/// # Panics
///
/// If the experts' shapes disagree, `routing` does not belong to the rows of `x` or names an expert that
/// does not exist, or `out` has another length.
pub fn moe_ffn(
    pool: &Pool,
    experts: &ExpertSet,
    gate: Gate,
    x: &Activations,
    routing: &Routing,
    out: &mut [f32],
    scratch: &mut MoeScratch,
) {
    out.fill(0.0);
    moe_ffn_part(pool, experts, 0..experts.gate.len(), gate, x, routing, out, scratch);
}

/// The part of [`moe_ffn`] that belongs to some experts.
///
/// `sums` holds the sums over the experts before `part`, zeros where there are none, and then also over `part`. Parts that
/// follow each other from expert 0 to the last give the bits of one [`moe_ffn`], wherever they are cut.
///
/// # Panics
///
/// As [`moe_ffn`], or if `part` names an expert that does not exist.
#[allow(clippy::too_many_arguments)] // Those of `moe_ffn`, and the part.
pub fn moe_ffn_part(
    pool: &Pool,
    experts: &ExpertSet,
    part: Range<usize>,
    gate: Gate,
    x: &Activations,
    routing: &Routing,
    sums: &mut [f32],
    scratch: &mut MoeScratch,
) {
    moe_ffn_part_for(isa(), pool, experts, part, gate, x, routing, sums, scratch);
}

#[allow(clippy::too_many_arguments)] // The public function's, and the path to take.
pub(crate) fn moe_ffn_part_for(
    isa: Isa,
    pool: &Pool,
    experts: &ExpertSet,
    part: Range<usize>,
    gate: Gate,
    x: &Activations,
    routing: &Routing,
    sums: &mut [f32],
    scratch: &mut MoeScratch,
) {
    let layer = Layer::new(isa, pool, experts, gate);
    layer.check(&part, x, routing, sums);
    if x.rows() == 0 || part.is_empty() {
        return;
    }
    scratch.bucket(routing, part);
    let mut next = Cursor::default();
    while scratch.take_segments(&mut next) {
        layer.gather(x, routing.top_k, scratch);
        layer.gate_and_up(0..layer.blocks(), scratch);
        layer.down(0..layer.panels(), routing, scratch, sums);
    }
}

/// Where the walk over the buckets stands.
#[derive(Default)]
struct Cursor {
    bucket: usize,
    done: usize,
}

impl MoeScratch {
    /// Sorts what the routing has for some experts by expert: a counting sort, stable in the rows.
    fn bucket(&mut self, routing: &Routing, experts: Range<usize>) {
        let count = experts.len();
        // Lower ids wrap around to numbers beyond the last bucket.
        let bucket = |id: &u32| (*id as usize).wrapping_sub(experts.start);
        self.first_expert = experts.start;
        self.starts.clear();
        self.starts.resize(count + 1, 0);
        for bucket in routing.ids.iter().map(bucket).filter(|b| *b < count) {
            self.starts[bucket + 1] += 1;
        }
        for b in 0..count {
            self.starts[b + 1] += self.starts[b];
        }
        self.pairs.clear();
        self.pairs.resize(self.starts[count], 0);
        for (pair, bucket) in routing.ids.iter().map(bucket).enumerate().filter(|(_, b)| *b < count) {
            let place = &mut self.starts[bucket];
            self.pairs[*place] = pair as u32;
            *place += 1;
        }
        // Each start has moved to the next one's place.
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }

    /// Fills `segments` with the next experts; false if there are none left.
    fn take_segments(&mut self, next: &mut Cursor) -> bool {
        self.segments.clear();
        let mut tiles = 0;
        while next.bucket + 1 < self.starts.len() && tiles < MAX_TILES {
            let first_pair = self.starts[next.bucket] + next.done;
            let left = self.starts[next.bucket + 1] - first_pair;
            let rows = left.min((MAX_TILES - tiles) * TILE);
            if rows > 0 {
                let expert = self.first_expert + next.bucket;
                self.segments.push(Segment { expert, first_pair, rows, first_tile: tiles });
                tiles += rows.div_ceil(TILE);
            }
            if rows == left {
                next.bucket += 1;
                next.done = 0;
            } else {
                next.done += rows;
            }
        }
        !self.segments.is_empty()
    }
}

/// Everything that stays the same during a call.
struct Layer<'a> {
    isa: Isa,
    pool: &'a Pool,
    experts: &'a ExpertSet,
    gate: Gate,
    dim: usize,
    hidden: usize,
    input_forms: Forms,
    hidden_forms: Forms,
}

impl<'a> Layer<'a> {
    /// The experts of a layer on some path.
    ///
    /// # Panics
    ///
    /// If there are none, or their shapes disagree.
    fn new(isa: Isa, pool: &'a Pool, experts: &'a ExpertSet, gate: Gate) -> Layer<'a> {
        let count = experts.gate.len();
        assert!(
            count > 0 && experts.up.len() == count && experts.down.len() == count,
            "{count} gate, {} up and {} down projections",
            experts.up.len(),
            experts.down.len()
        );
        let (dim, hidden) = (experts.down[0].rows(), experts.down[0].cols());
        let inputs = experts.gate[0].cols();
        let first = |m: &Matrix| m.rows() == hidden && m.cols() == inputs;
        let second = |m: &Matrix| m.rows() == dim && m.cols() == hidden;
        assert!(
            experts.gate.iter().chain(&experts.up).all(first) && experts.down.iter().all(second),
            "the experts differ in shape"
        );
        if let Some(biases) = &experts.biases {
            assert!(
                biases.gate.len() == count * hidden
                    && biases.up.len() == count * hidden
                    && biases.down.len() == count * dim,
                "the biases are not those of {count} experts"
            );
        }
        let input_forms = experts.input_forms(isa);
        let hidden_forms = Forms::read_by(isa, &experts.down);
        Layer { isa, pool, experts, gate, dim, hidden, input_forms, hidden_forms }
    }

    /// That some of the experts, rows, their routing and sums belong together.
    fn check(&self, part: &Range<usize>, x: &Activations, routing: &Routing, sums: &[f32]) {
        let (count, inputs) = (self.experts.gate.len(), self.experts.gate[0].cols());
        assert!(part.start <= part.end && part.end <= count, "experts {part:?} of {count}");
        assert!(x.rows() == 0 || x.cols() == inputs, "rows of {} values for experts of {inputs} inputs", x.cols());
        let pairs = x.rows() * routing.top_k;
        assert!(
            routing.ids.len() == pairs && routing.weights.len() == pairs,
            "{} ids and {} weights for {} rows x {} experts",
            routing.ids.len(),
            routing.weights.len(),
            x.rows(),
            routing.top_k
        );
        assert!(
            routing.ids.iter().all(|id| (*id as usize) < count),
            "the routing names an expert beyond the last, {}",
            count - 1
        );
        assert!(sums.len() == x.rows() * self.dim, "room for {} outputs", sums.len());
        assert!(x.rows() == 0 || x.tiles.forms.hold(self.input_forms), "the rows are kept for other experts");
    }

    /// Blocks of hidden columns.
    fn blocks(&self) -> usize {
        self.hidden.div_ceil(BLOCK)
    }

    /// Panels of output columns.
    fn panels(&self) -> usize {
        self.experts.down[0].panels()
    }

    /// Copies the segments' rows into tiles of their own.
    fn gather(&self, x: &Activations, top_k: usize, scratch: &mut MoeScratch) {
        let Some(last) = scratch.segments.last() else {
            return;
        };
        let tiles = last.first_tile + last.tiles();
        scratch.input.resize(tiles, x.cols(), self.input_forms);
        scratch.hidden.resize(tiles, self.hidden, self.hidden_forms);
        let (segments, pairs) = (&scratch.segments, &scratch.pairs);
        let to = SharedTiles::new(&mut scratch.input);
        self.pool.run(segments.len(), &|task| {
            let segment = &segments[task];
            for i in 0..segment.rows {
                let row = pairs[segment.first_pair + i] as usize / top_k;
                // SAFETY: the tiles of a segment belong to its task.
                let mut tile = unsafe { to.part(segment.first_tile + i / TILE, 0, to.per_tile) };
                tile.copy_row(self.isa, i % TILE, x.tiles.tile(row / TILE), row % TILE);
            }
        });
    }

    /// Hidden rows: gate and up projections of 32 columns at a time, activated and quantised at once. Some of their blocks of
    /// columns.
    fn gate_and_up(&self, blocks: Range<usize>, scratch: &mut MoeScratch) {
        let (segments, input) = (&scratch.segments, &scratch.input);
        let to = SharedTiles::new(&mut scratch.hidden);
        let count = blocks.len();
        let bytes = 2 * PANELS_OF_BLOCK * self.experts.gate[0].panel_bytes();
        let passes = most_passes(segments);
        let group = group_len(self.pool, segments.len() * count, bytes, passes, HIDDEN_SHARES).min(count);
        let groups = count.div_ceil(group);
        self.pool.run(segments.len() * groups, &|task| {
            let (segment, first) = (&segments[task / groups], blocks.start + task % groups * group);
            let end = blocks.end.min(first + group);
            for block in first..end {
                self.gate_and_up_of(segment, block..end, input, &to);
            }
        });
    }

    /// The first of some blocks of hidden columns, for a segment's rows.
    fn gate_and_up_of(&self, segment: &Segment, blocks: Range<usize>, input: &Tiles, to: &SharedTiles<'_>) {
        let gate = &self.experts.gate[segment.expert];
        let up = &self.experts.up[segment.expert];
        let block = blocks.start;
        let columns = BLOCK.min(self.hidden - block * BLOCK);
        let first = block * PANELS_OF_BLOCK;
        let panels = PANELS_OF_BLOCK.min(gate.panels() - first);
        let end = blocks.end * PANELS_OF_BLOCK;
        let mut part: OutTile = [[0.0; LANES]; ROWS];
        let mut gates = [[0f32; BLOCK]; ROWS];
        let mut ups = [[0f32; BLOCK]; ROWS];
        for pass in 0..segment.passes() {
            let rows = segment.rows_of(pass);
            let source = input.pair(segment.tile_of(pass));
            for (matrix, results) in [(gate, &mut gates), (up, &mut ups)] {
                for panel in 0..panels {
                    let ahead = ahead(matrix, first + panel..end, pass, segment.passes());
                    multiply_tiles(self.isa, matrix, first + panel, source, rows, ahead, &mut part);
                    for (result, part) in results.iter_mut().zip(&part[..rows]) {
                        result[panel * LANES..][..LANES].copy_from_slice(part);
                    }
                }
            }
            for row in 0..rows {
                let (gates, ups) = (&mut gates[row][..columns], &mut ups[row][..columns]);
                if let Some(biases) = &self.experts.biases {
                    let at = segment.expert * self.hidden + block * BLOCK;
                    add_values(self.isa, &biases.gate[at..at + columns], gates);
                    add_values(self.isa, &biases.up[at..at + columns], ups);
                }
                gate_values(self.isa, self.gate, gates, ups);
                // SAFETY: one task for each block of columns of a segment's tiles.
                let mut hidden = unsafe { to.part(segment.tile_of(pass) + row / TILE, block, 1) };
                hidden.set_row(self.isa, row % TILE, gates);
            }
        }
    }

    /// Adds the down projections to the output: a task owns some output columns and walks all experts. Some panels of them.
    fn down(&self, panels: Range<usize>, routing: &Routing, scratch: &MoeScratch, out: &mut [f32]) {
        let (segments, hidden) = (&scratch.segments, &scratch.hidden);
        let out = SharedMut::new(out);
        let matrix = &self.experts.down[0];
        let passes = most_passes(segments);
        let group = group_len(self.pool, panels.len(), matrix.panel_bytes(), passes, SHARES);
        self.pool.run(panels.len().div_ceil(group), &|task| {
            let mut part: OutTile = [[0.0; LANES]; ROWS];
            let first = panels.start + task * group;
            let task = first..panels.end.min(first + group);
            for (s, segment) in segments.iter().enumerate() {
                let matrix = &self.experts.down[segment.expert];
                for panel in task.clone() {
                    // Behind the task's last panel of this expert comes its first of the next.
                    let next = match segments.get(s + 1) {
                        Some(next) if panel + 1 == task.end => self.experts.down[next.expert].panel(task.start),
                        _ => &[],
                    };
                    let column = panel * LANES;
                    let width = LANES.min(self.dim - column);
                    for pass in 0..segment.passes() {
                        let rows = segment.rows_of(pass);
                        let source = hidden.pair(segment.tile_of(pass));
                        let ahead = match next {
                            [] => ahead(matrix, panel..task.end, pass, segment.passes()),
                            next => share(next, pass, segment.passes()),
                        };
                        let pairs = &scratch.pairs[segment.first_pair + pass * ROWS..][..rows];
                        let at = |pair: u32| pair as usize / routing.top_k * self.dim + column;
                        // The rows are scattered: fetch their sums while the product runs.
                        pairs.iter().for_each(|pair| out.prefetch(at(*pair)));
                        multiply_tiles(self.isa, matrix, panel, source, rows, ahead, &mut part);
                        if let Some(biases) = &self.experts.biases {
                            let bias = &biases.down[segment.expert * self.dim + column..][..width];
                            part[..rows].iter_mut().for_each(|part| add_values(self.isa, bias, part));
                        }
                        for (part, pair) in part.iter().zip(pairs) {
                            // SAFETY: tasks write disjoint columns.
                            let sums = unsafe { out.slice(at(*pair), width) };
                            add_weighted(self.isa, routing.weights[*pair as usize], part, sums);
                        }
                    }
                }
            }
        });
    }
}

crate::isa::multiversion! {
    fn add_weighted(weight: f32, values: &[f32; LANES], sums: &mut [f32]) = add_weighted_body;
}

crate::isa::multiversion! {
    fn add_values(values: &[f32], sums: &mut [f32]) = add_values_body;
}

#[inline(always)]
fn add_values_body(values: &[f32], sums: &mut [f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

#[inline(always)]
fn add_weighted_body(weight: f32, values: &[f32; LANES], sums: &mut [f32]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = weight.mul_add(*value, *sum);
    }
}

#[cfg(test)]
mod tests;
