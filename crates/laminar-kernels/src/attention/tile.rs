//! The work of one task: some rows of a sequence through one key/value head.

use std::cell::RefCell;
use std::ops::Range;

use super::AttentionShape;
use super::kv::{Cell, KvLayer, KvShape, KvType};
use super::lanes::{LANES, Lanes};
use super::product::{Job, Queries, Weights, product, rows_at_once, widen};
use super::softmax::{Merge, Normalise, Part, Softmax};
use super::source::{KeyCodes, PACKED, Packed, Q8_BLOCK, Source, Strided, ValueCodes};
use crate::pool::SharedMut;

/// Positions in a split, which begins at a multiple of it: a softmax of its own, merged with the others in order.
pub(super) const SPLIT: usize = 256;

/// Queries up to which keys and values are used as they are stored, rather than widened for all first.
const FEW: usize = 12;

/// The most rows a product takes at once.
const MOST_ROWS: usize = 12;

/// What a call to `attention` is about.
pub(super) struct Call<'a> {
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
    fn visible(&self, row: usize, window: Option<usize>) -> Range<usize> {
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
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// Queries of a tile for one key/value head.
    pub(super) fn queries(&self, tile: &Tile<'_>) -> usize {
        tile.rows * self.group()
    }

    /// Floats of a query's sums: whole vectors.
    fn width(&self) -> usize {
        self.shape.head_dim.next_multiple_of(LANES)
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
struct Scratch {
    /// Scaled queries: for each group of rows that products take at once, a dimension after the other.
    queries: Floats,
    /// Keys of a split, in pieces of 32 positions with rows of dimensions.
    keys: Floats,
    /// Values of a split, in pieces of 32 dimensions with rows of positions.
    values: Floats,
    /// Scores, then weights, of the rows of one product.
    scores: Floats,
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
                    split_part::<L>(call, tile, head, split, follows, scratch, &mut Part::new(all_memory, queries));
                } else {
                    split_part::<L>(call, tile, head, split, follows, scratch, &mut Part::new(next_memory, queries));
                    let (all, next) = (Part::new(all_memory, queries), Part::new(next_memory, queries));
                    L::vectorize(Merge { all, next, queries });
                }
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
                split_part::<L>(call, tile, head, split, split + 1 < splits.end, scratch, part);
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

/// Queries that one product takes at once: the first of them, and how many.
fn groups<L: Lanes>(queries: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let rows = (first < queries).then(|| rows_at_once::<L>(queries - first))?;
        first += rows;
        Some((first - rows, rows))
    })
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
    let AttentionShape { heads, head_dim: dim, .. } = *call.shape;
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

/// How keys and values lie in a cell.
trait Format {
    type Keys: Source;
    type Values: Source;
    /// Keys from `position` of the block on.
    ///
    /// # Safety
    /// The cell is of this type and shape, and has the position.
    unsafe fn keys(cell: *const u8, shape: &KvShape, position: usize, ahead: isize) -> Self::Keys;
    /// Values from `dim` on, a multiple of 16.
    ///
    /// # Safety
    /// As `keys`.
    unsafe fn values(cell: *const u8, shape: &KvShape, dim: usize, ahead: isize) -> Self::Values;
}

struct Plain<T>(std::marker::PhantomData<T>);

impl<T> Format for Plain<T>
where
    Strided<T>: Source,
{
    type Keys = Strided<T>;
    type Values = Strided<T>;

    unsafe fn keys(cell: *const u8, shape: &KvShape, position: usize, ahead: isize) -> Strided<T> {
        // SAFETY: inside the cell, by the contract.
        Strided { at: unsafe { cell.cast::<T>().add(position) }, stride: shape.block_len, ahead }
    }

    unsafe fn values(cell: *const u8, shape: &KvShape, dim: usize, ahead: isize) -> Strided<T> {
        // SAFETY: inside the cell, by the contract.
        Strided { at: unsafe { cell.cast::<T>().add(dim) }, stride: shape.head_dim, ahead }
    }
}

struct Q8;

impl Format for Q8 {
    type Keys = KeyCodes;
    type Values = ValueCodes;

    unsafe fn keys(cell: *const u8, shape: &KvShape, position: usize, ahead: isize) -> KeyCodes {
        // SAFETY: inside the cell, by the contract.
        unsafe {
            let scales = cell.add(shape.block_len * shape.head_dim).cast::<u16>().add(position);
            KeyCodes { codes: cell.cast::<i8>().add(position), scales, stride: shape.block_len, ahead }
        }
    }

    unsafe fn values(cell: *const u8, shape: &KvShape, dim: usize, ahead: isize) -> ValueCodes {
        // SAFETY: inside the cell, by the contract.
        unsafe {
            let scales = cell.add(shape.block_len * shape.head_dim).cast::<u16>().add(dim / Q8_BLOCK);
            ValueCodes { codes: cell.cast::<i8>().add(dim), scales, stride: shape.head_dim, ahead }
        }
    }
}

/// The positions of `split` for a tile and a head. `follows` says that the next split comes next.
///
/// # Safety
///
/// As `whole`; queries are packed.
unsafe fn split_part<L: Lanes>(
    call: &Call<'_>,
    tile: &Tile<'_>,
    head: usize,
    split: usize,
    follows: bool,
    scratch: &mut Scratch,
    part: &mut Part<'_>,
) {
    // SAFETY: passed on; the format is the cache's.
    unsafe {
        match call.kv.kv_type() {
            KvType::F32 => split_as::<L, Plain<f32>>(call, tile, head, split, follows, scratch, part),
            KvType::F16 => split_as::<L, Plain<u16>>(call, tile, head, split, follows, scratch, part),
            KvType::Q8_0 => split_as::<L, Q8>(call, tile, head, split, follows, scratch, part),
        }
    }
}

unsafe fn split_as<L: Lanes, F: Format>(
    call: &Call<'_>,
    tile: &Tile<'_>,
    head: usize,
    split: usize,
    follows: bool,
    scratch: &mut Scratch,
    part: &mut Part<'_>,
) {
    let shape = call.kv.shape();
    let (dim, width, group) = (shape.head_dim, call.width(), call.group());
    let start = split * SPLIT;
    let seen = clip(tile.positions(call.shape.window), start);
    let cells = Cells { call, tile, head, start, seen: seen.clone(), follows };
    let queries = call.queries(tile);
    let stored = queries <= FEW && shape.block_len.is_multiple_of(PACKED);
    let (keys, values) = if stored {
        (&mut [][..], &mut [][..])
    } else {
        (scratch.keys.room(SPLIT * dim), scratch.values.room(SPLIT * width.next_multiple_of(PACKED)))
    };
    if !stored {
        // SAFETY: passed on; there is room for a split.
        unsafe { widen_split::<L, F>(&cells, keys.as_mut_ptr(), values.as_mut_ptr()) };
    }
    let packed = scratch.queries.room(queries * dim);
    let scores = scratch.scores.room(MOST_ROWS * SPLIT);
    for (first, rows) in groups::<L>(queries) {
        let mut visible: [Range<usize>; MOST_ROWS] = Default::default();
        for (r, visible) in visible[..rows].iter_mut().enumerate() {
            *visible = clip(tile.visible((first + r) / group, call.shape.window), start);
        }
        let some = || visible[..rows].iter().filter(|range| !range.is_empty());
        let any = some().map(|range| range.start).min().unwrap_or(0)..some().map(|range| range.end).max().unwrap_or(0);
        let visible = &visible[..rows];
        let a = Queries(packed[first * dim..].as_ptr());
        // Whole pieces of 32 positions, of which the last may be needed half.
        for piece in (any.start / PACKED * PACKED..any.end).step_by(PACKED) {
            let c = scores[piece..].as_mut_ptr();
            let vectors = (any.end - piece).div_ceil(LANES).min(2);
            for (v, vectors) in steps::<L>(vectors) {
                // SAFETY: `c` has this many rows of a split; keys of whole vectors are in the piece.
                unsafe {
                    let c = c.add(v * LANES);
                    if stored {
                        let (cell, at) = cells.at(piece);
                        let ahead = if first == 0 { cells.after_keys(piece) } else { 0 };
                        let b = F::keys(cell.keys, &shape, at + v * LANES, ahead);
                        let job = Job { a, b, from: 0, to: dim, c, c_stride: SPLIT, add: false };
                        product::<L, _, _>(rows, vectors, job);
                    } else {
                        let b = Packed(keys[piece * dim + v * LANES..].as_ptr());
                        let job = Job { a, b, from: 0, to: dim, c, c_stride: SPLIT, add: false };
                        product::<L, _, _>(rows, vectors, job);
                    }
                }
            }
        }
        let these = first..first + rows;
        let softmax = Softmax {
            scores: scores.as_mut_ptr(),
            visible,
            cap: call.shape.softcap.map(|cap| cap * std::f32::consts::LOG2_E),
            max: &mut part.max[these.clone()],
            total: &mut part.total[these.clone()],
        };
        // SAFETY: the machine has the instructions, and there are as many rows of scores.
        unsafe { L::vectorize(softmax) };

        let sums = &mut part.sums[these.start * width..these.end * width];
        sums.fill(0.0);
        let mut weigh = |r: usize, rows: usize, range: Range<usize>| {
            if range.is_empty() {
                return;
            }
            let (a, c) = (scores[r * SPLIT..].as_ptr(), sums[r * width..].as_mut_ptr());
            if !stored {
                for at in (0..width).step_by(PACKED) {
                    for (v, vectors) in steps::<L>(((width - at) / LANES).min(2)) {
                        let b = Packed(values[at * SPLIT + v * LANES..].as_ptr());
                        let (from, to) = (range.start, range.end);
                        // SAFETY: rows of scores and sums that exist, and values of the split.
                        unsafe {
                            let c = c.add(at + v * LANES);
                            let job = Job { a: Weights(a), b, from, to, c, c_stride: width, add: true };
                            product::<L, _, _>(rows, vectors, job);
                        }
                    }
                }
                return;
            }
            let mut from = range.start;
            while from < range.end {
                let (cell, at) = cells.at(from);
                let to = range.end.min(from - at + shape.block_len);
                let ahead = if first == 0 { cells.after_values(from) } else { 0 };
                for d in (0..width).step_by(PACKED) {
                    for (v, vectors) in steps::<L>(((width - d) / LANES).min(2)) {
                        let d = d + v * LANES;
                        // SAFETY: rows of scores and sums that exist; positions of the cell. A vector that begins in
                        // a row may end behind it, but not behind the cache's memory; nobody uses what is there.
                        unsafe {
                            let b = F::values(cell.values, &shape, d, ahead);
                            // Row `k` of the cell is position `from - at + k`.
                            let a = Weights(a.add(from - at));
                            let job =
                                Job { a, b, from: at, to: at + to - from, c: c.add(d), c_stride: width, add: true };
                            product::<L, _, _>(rows, vectors, job);
                        }
                    }
                }
                from = to;
            }
        };
        // Positions that all rows see go together. What only some see is left out for the others, not weighed by
        // zero: that would spread what is not a number.
        let common = visible.iter().fold(0..SPLIT, |all, v| all.start.max(v.start)..all.end.min(v.end));
        let common = if common.is_empty() { any.start..any.start } else { common };
        for (r, visible) in visible.iter().enumerate() {
            weigh(r, 1, visible.start..visible.end.min(common.start));
        }
        weigh(0, rows, common.clone());
        for (r, visible) in visible.iter().enumerate() {
            weigh(r, 1, visible.start.max(common.end)..visible.end);
        }
    }
}

/// Vectors that a product takes at once: the first of them, and how many.
fn steps<L: Lanes>(vectors: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..vectors).step_by(L::WIDE).map(move |v| (v, L::WIDE.min(vectors - v)))
}

/// The part of absolute positions that is in a split, counted from its start.
fn clip(positions: Range<usize>, start: usize) -> Range<usize> {
    positions.start.clamp(start, start + SPLIT) - start..positions.end.clamp(start, start + SPLIT) - start
}

/// The cells of a split for one tile and head.
struct Cells<'a> {
    call: &'a Call<'a>,
    tile: &'a Tile<'a>,
    head: usize,
    /// First position of the split.
    start: usize,
    /// Positions of the split that any row sees.
    seen: Range<usize>,
    follows: bool,
}

impl Cells<'_> {
    /// The cell of a position of the split, and the position's place in it.
    fn at(&self, position: usize) -> (Cell, usize) {
        let absolute = self.start + position;
        let block_len = self.call.kv.shape().block_len;
        (self.call.kv.cell(self.tile.blocks[absolute / block_len], self.head), absolute % block_len)
    }

    /// Bytes from the keys of a position's cell to what is read next: the next keys, or the first values.
    fn after_keys(&self, position: usize) -> isize {
        let block_len = self.call.kv.shape().block_len;
        let next = position - position % block_len + block_len;
        let next = if next < self.seen.end { self.at(next).0.keys } else { self.at(self.seen.start).0.values };
        (next as isize).wrapping_sub(self.at(position).0.keys as isize)
    }

    /// Bytes from the values of a position's cell to what is read next: the next values, or keys of the next split.
    fn after_values(&self, position: usize) -> isize {
        let block_len = self.call.kv.shape().block_len;
        let next = position - position % block_len + block_len;
        let here = self.at(position).0.values as isize;
        if next < self.seen.end {
            (self.at(next).0.values as isize).wrapping_sub(here)
        } else if self.follows {
            (self.at(SPLIT).0.keys as isize).wrapping_sub(here)
        } else {
            0
        }
    }
}

/// Keys and values of a split as floats, as [`Scratch`] has them.
///
/// # Safety
///
/// The machine has the instructions, the cells are of format `F`, and there is room for all keys and values of a split.
unsafe fn widen_split<L: Lanes, F: Format>(cells: &Cells<'_>, keys: *mut f32, values: *mut f32) {
    let shape = cells.call.kv.shape();
    let (dim, width) = (shape.head_dim, cells.call.width());
    let mut first = cells.seen.start / shape.block_len * shape.block_len;
    while first < cells.seen.end {
        let (cell, _) = cells.at(first);
        let vectors = shape.block_len.min(PACKED) / LANES;
        // SAFETY: whole cells, into the places of their positions.
        unsafe {
            for at in (0..shape.block_len).step_by(PACKED) {
                let position = first + at;
                let to = keys.add(position / PACKED * PACKED * dim + position % PACKED);
                widen::<L, _>(F::keys(cell.keys, &shape, at, 0), vectors, dim, to);
            }
            for d in (0..width).step_by(PACKED) {
                let to = values.add(d * SPLIT + first * PACKED);
                let vectors = ((width - d) / LANES).min(2);
                widen::<L, _>(F::values(cell.values, &shape, d, 0), vectors, shape.block_len, to);
            }
        }
        first += shape.block_len;
    }
}
