//! The work of one task: some rows of a sequence through one key/value head.

use std::cell::RefCell;
use std::ops::Range;

use super::AttentionShape;
use super::kv::KvLayer;
use super::lanes::{LANES, Lanes};
use super::softmax::{Merge, Normalise, Part};
use super::split::{MOST_ROWS, groups, split_part};
use crate::Pool;
use crate::pool::SharedMut;

/// Positions in a split, which begins at a multiple of it: a softmax of its own, merged with the others in order.
pub(super) const SPLIT: usize = 256;

/// What a call to `attention` is about.
pub(super) struct Call<'a> {
    /// Whose threads the tasks run on.
    pub pool: &'a Pool,
    pub q: &'a [f32],
    pub kv: &'a KvLayer,
    pub shape: &'a AttentionShape,
    pub sinks: Option<&'a [f32]>,
    pub out: SharedMut<'a, f32>,
}

/// Consecutive rows of a span.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub first_row: usize,
    pub rows: usize,
    pub first_pos: usize,
    pub blocks: &'a [u32],
}

impl Tile<'_> {
    /// Positions that row `row` sees.
    pub(super) fn visible(&self, row: usize, window: Option<usize>) -> Range<usize> {
        let position = self.first_pos + row;
        window.map_or(0, |w| (position + 1).saturating_sub(w))..position + 1
    }

    /// Positions that any row sees.
    pub(super) fn positions(&self, window: Option<usize>) -> Range<usize> {
        self.visible(0, window).start..self.first_pos + self.rows
    }

    /// Splits that these are in.
    pub(super) fn splits(&self, window: Option<usize>) -> Range<usize> {
        let positions = self.positions(window);
        positions.start / SPLIT..positions.end.div_ceil(SPLIT)
    }
}

impl Call<'_> {
    /// Query heads of a key/value head.
    pub(super) fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// Queries of a tile for one key/value head.
    pub(super) fn queries(&self, tile: &Tile<'_>) -> usize {
        tile.rows * self.group()
    }

    /// Floats of a query's sums: whole vectors.
    pub(super) fn width(&self) -> usize {
        self.kv.shape().value_dim().next_multiple_of(LANES)
    }

    /// Floats of what a split gives for a tile, whole vectors.
    pub(super) fn part_len(&self, tile: &Tile<'_>) -> usize {
        Part::len(self.queries(tile), self.width())
    }
}

/// Sixteen floats on a cache line of their own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// Floats, aligned.
#[derive(Default)]
pub(super) struct Floats(Vec<Line>);

impl Floats {
    /// The first `len` floats, of any value.
    pub(super) fn room(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(LANES);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; LANES]));
        }
        // SAFETY: a line is 16 floats without padding, so these are 16 times as many.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }
}

/// Working memory of a thread.
#[derive(Default)]
pub(super) struct Scratch {
    /// Scaled queries: for each group of rows that products take at once, a dimension after the other.
    pub(super) queries: Floats,
    /// Keys of a split, in pieces of 32 positions with rows of dimensions.
    pub(super) keys: Floats,
    /// Values of a split, in pieces of 32 dimensions with rows of positions.
    pub(super) values: Floats,
    /// Scores, then weights, of the rows of one product.
    pub(super) scores: Floats,
    /// What the splits so far add up to, and the next one.
    all: Floats,
    next: Floats,
    /// Sinks of a tile's queries.
    sinks: Floats,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A tile through one head from its first split to its output.
///
/// # Safety
///
/// The machine has the instructions of `L`, no other task writes these rows' heads, and the tile's positions are in
/// its block table.
pub(super) unsafe fn whole<L: Lanes>(call: &Call<'_>, tile: &Tile<'_>, head: usize) {
    let queries = call.queries(tile);
    SCRATCH.with_borrow_mut(|scratch| {
        let mut all = std::mem::take(&mut scratch.all);
        let mut next = std::mem::take(&mut scratch.next);
        let (all_memory, next_memory) = (all.room(call.part_len(tile)), next.room(call.part_len(tile)));
        // SAFETY: passed on.
        unsafe {
            pack_queries::<L>(call, tile, head, scratch);
            let splits = tile.splits(call.shape.window);
            for split in splits.clone() {
                let follows = split + 1 < splits.end;
                if split == splits.start {
                    split_part::<L>((call, tile, head), split, follows, scratch, &mut Part::new(all_memory, queries));
                } else {
                    split_part::<L>((call, tile, head), split, follows, scratch, &mut Part::new(next_memory, queries));
                    let (all, next) = (Part::new(all_memory, queries), Part::new(next_memory, queries));
                    L::vectorize(Merge { all, next, queries });
                }
                call.pool.give_way();
            }
            finish::<L>(call, tile, head, &mut Part::new(all_memory, queries), &mut scratch.sinks);
        }
        scratch.all = all;
        scratch.next = next;
    });
}

/// Some splits of a tile through one head; what each adds up to is written to its part, of [`Call::part_len`].
///
/// # Safety
///
/// As `whole`.
pub(super) unsafe fn some_splits<L: Lanes>(
    call: &Call<'_>,
    tile: &Tile<'_>,
    head: usize,
    splits: Range<usize>,
    parts: &mut [f32],
) {
    SCRATCH.with_borrow_mut(|scratch| {
        // SAFETY: passed on.
        unsafe {
            pack_queries::<L>(call, tile, head, scratch);
            for (split, part) in splits.clone().zip(parts.chunks_exact_mut(call.part_len(tile))) {
                let part = &mut Part::new(part, call.queries(tile));
                split_part::<L>((call, tile, head), split, split + 1 < splits.end, scratch, part);
                call.pool.give_way();
            }
        }
    });
}

/// Merges what the splits of a tile gave, each of [`Call::part_len`], and writes its output.
///
/// # Safety
///
/// As `whole`.
pub(super) unsafe fn merge_splits<L: Lanes>(call: &Call<'_>, tile: &Tile<'_>, head: usize, parts: &mut [f32]) {
    let queries = call.queries(tile);
    let (all, rest) = parts.split_at_mut(call.part_len(tile));
    SCRATCH.with_borrow_mut(|scratch| {
        // SAFETY: passed on.
        unsafe {
            for next in rest.chunks_exact_mut(call.part_len(tile)) {
                L::vectorize(Merge { all: Part::new(all, queries), next: Part::new(next, queries), queries });
            }
            finish::<L>(call, tile, head, &mut Part::new(all, queries), &mut scratch.sinks);
        }
    });
}

/// Scales queries and lays them out for products.
fn pack_queries<L: Lanes>(call: &Call<'_>, tile: &Tile<'_>, head: usize, scratch: &mut Scratch) {
    let AttentionShape { heads, head_dim: dim, scale, softcap, .. } = *call.shape;
    let group = call.group();
    // Softmax works in powers of two, the tangent on the score itself.
    let factor = softcap.map_or(scale * std::f32::consts::LOG2_E, |cap| scale / cap);
    let packed = scratch.queries.room(call.queries(tile) * dim);
    for (first, rows) in groups::<L>(call.queries(tile)) {
        let packed = &mut packed[first * dim..][..rows * dim];
        let mut from: [&[f32]; MOST_ROWS] = [&[]; MOST_ROWS];
        for (r, from) in from[..rows].iter_mut().enumerate() {
            let (row, i) = ((first + r) / group, (first + r) % group);
            *from = &call.q[((tile.first_row + row) * heads + head * group + i) * dim..][..dim];
        }
        for (d, packed) in packed.chunks_exact_mut(rows).enumerate() {
            for (to, from) in packed.iter_mut().zip(&from) {
                *to = from[d] * factor;
            }
        }
    }
}

/// Writes the attention of a tile's queries from what all splits add up to.
///
/// # Safety
///
/// As `whole`.
unsafe fn finish<L: Lanes>(call: &Call<'_>, tile: &Tile<'_>, head: usize, all: &mut Part<'_>, sinks: &mut Floats) {
    let (heads, dim) = (call.shape.heads, call.kv.shape().value_dim());
    let (group, width) = (call.group(), call.width());
    let sinks = call.sinks.map(|logits| {
        let of_queries = sinks.room(all.total.len());
        for (query, to) in of_queries.iter_mut().enumerate() {
            *to = logits[head * group + query % group] * std::f32::consts::LOG2_E;
        }
        &*of_queries
    });
    // SAFETY: the machine has the instructions.
    unsafe { L::vectorize(Normalise { max: all.max, total: all.total, sinks }) };
    for row in 0..tile.rows {
        let at = ((tile.first_row + row) * heads + head * group) * dim;
        // SAFETY: a task writes its own heads of its own rows; `check` saw that no row is in two spans.
        let to = unsafe { call.out.slice(at, group * dim) };
        for (i, to) in to.chunks_exact_mut(dim).enumerate() {
            let query = row * group + i;
            let factor = all.total[query];
            for (to, sum) in to.iter_mut().zip(&all.sums[query * width..]) {
                *to = sum * factor;
            }
        }
    }
}
