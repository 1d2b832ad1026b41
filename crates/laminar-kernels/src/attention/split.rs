//! One split of a tile: scores, weights, weighted values.

use std::marker::PhantomData;
use std::ops::Range;

use super::cells::{Cells, Format, Plain, Q8, widen_split};
use super::kv::KvType;
use super::lanes::{LANES, Lanes};
use super::product::{Job, Queries, Weights, product, rows_at_once};
use super::softmax::{Part, Softmax};
use super::source::{PACKED, Packed};
use super::tile::{Call, SPLIT, Scratch, Tile};

/// Queries up to which keys and values are used as they are stored, rather than widened for all first.
const FEW: usize = 12;

/// The most rows a product takes at once.
pub(super) const MOST_ROWS: usize = 12;

/// Queries that one product takes at once: the first of them, and how many.
pub(super) fn groups<L: Lanes>(queries: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let rows = (first < queries).then(|| rows_at_once::<L>(queries - first))?;
        first += rows;
        Some((first - rows, rows))
    })
}

/// Vectors that a product takes at once: the first of them, and how many.
fn steps<L: Lanes>(vectors: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..vectors).step_by(L::WIDE).map(move |v| (v, L::WIDE.min(vectors - v)))
}

/// The part of absolute positions that is in a split, counted from its start.
fn clip(positions: Range<usize>, start: usize) -> Range<usize> {
    positions.start.clamp(start, start + SPLIT) - start..positions.end.clamp(start, start + SPLIT) - start
}

/// The positions of `split` for a tile and a head, added up in `part`. `follows` says that the next split comes next.
///
/// # Safety
///
/// As `tile::whole`; queries are packed.
pub(super) unsafe fn split_part<L: Lanes>(
    (call, tile, head): (&Call<'_>, &Tile<'_>, usize),
    split: usize,
    follows: bool,
    scratch: &mut Scratch,
    part: &mut Part<'_>,
) {
    let start = split * SPLIT;
    let seen = clip(tile.positions(call.shape.window), start);
    let cells = Cells { call, tile, head, start, seen, follows };
    // SAFETY: passed on; the format is the cache's.
    unsafe {
        match call.kv.kv_type() {
            KvType::F32 => split_as::<L, Plain<f32>>(&cells, scratch, part),
            KvType::F16 => split_as::<L, Plain<u16>>(&cells, scratch, part),
            KvType::Q8_0 => split_as::<L, Q8>(&cells, scratch, part),
        }
    }
}

/// # Safety
///
/// As `split_part`, with cells of format `F`.
unsafe fn split_as<L: Lanes, F: Format>(cells: &Cells<'_>, scratch: &mut Scratch, part: &mut Part<'_>) {
    let call = cells.call;
    let shape = call.kv.shape();
    let (dim, width, queries) = (shape.head_dim, call.width(), call.queries(cells.tile));
    let stored = queries <= FEW && shape.block_len.is_multiple_of(PACKED) && shape.values_from.is_none();
    let mut operands = Operands::<F> { cells, packed: None, first: true, format: PhantomData };
    if !stored {
        let keys = scratch.keys.room(SPLIT * dim).as_mut_ptr();
        let values = scratch.values.room(SPLIT * width.next_multiple_of(PACKED)).as_mut_ptr();
        // SAFETY: passed on; there is room for a split.
        unsafe { widen_split::<L, F>(cells, keys, values) };
        operands.packed = Some((keys, values));
    }
    let packed = scratch.queries.room(queries * dim);
    let scores = scratch.scores.room(MOST_ROWS * SPLIT).as_mut_ptr();
    for (first, rows) in groups::<L>(queries) {
        operands.first = first == 0;
        let mut visible: [Range<usize>; MOST_ROWS] = Default::default();
        for (r, visible) in visible[..rows].iter_mut().enumerate() {
            *visible = clip(cells.tile.visible((first + r) / call.group(), call.shape.window), cells.start);
        }
        let visible = &visible[..rows];
        let some = || visible.iter().filter(|range| !range.is_empty());
        let any = some().map(|range| range.start).min().unwrap_or(0)..some().map(|range| range.end).max().unwrap_or(0);
        let these = first..first + rows;
        // SAFETY: there are packed queries, scores, and sums for these rows.
        unsafe {
            operands.score::<L>(Queries(packed[first * dim..].as_ptr()), rows, any.clone(), scores);
            L::vectorize(Softmax {
                scores,
                visible,
                cap: call.shape.softcap.map(|cap| cap * std::f32::consts::LOG2_E),
                max: &mut part.max[these.clone()],
                total: &mut part.total[these.clone()],
            });
        }

        let sums = &mut part.sums[these.start * width..these.end * width];
        sums.fill(0.0);
        let sums = sums.as_mut_ptr();
        // SAFETY: as above.
        let weigh = |r: usize, rows: usize, range: Range<usize>| unsafe {
            operands.weigh::<L>(scores.add(r * SPLIT), rows, range, sums.add(r * width));
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

/// The keys and values of a split, stored or widened.
struct Operands<'a, F> {
    cells: &'a Cells<'a>,
    /// Widened keys and values, as `Scratch` has them; stored ones are used if there are none.
    packed: Option<(*const f32, *const f32)>,
    /// Whether these are the first rows that read the split.
    first: bool,
    format: PhantomData<F>,
}

impl<F: Format> Operands<'_, F> {
    /// Scores of `rows` queries over the vectors around a range of positions.
    ///
    /// # Safety
    ///
    /// The machine has the instructions; there are so many rows of queries and of `scores`, [`SPLIT`] each, and keys
    /// at all positions of the range.
    unsafe fn score<L: Lanes>(&self, a: Queries, rows: usize, range: Range<usize>, scores: *mut f32) {
        let shape = self.cells.call.kv.shape();
        let dim = shape.head_dim;
        // Pieces of 32 positions, of which the last may be needed half.
        for piece in (range.start / PACKED * PACKED..range.end).step_by(PACKED) {
            let vectors = (range.end - piece).div_ceil(LANES).min(2);
            for (v, vectors) in steps::<L>(vectors) {
                // SAFETY: whole vectors of a piece are inside a row of scores, a cell, and the widened keys.
                unsafe {
                    let c = scores.add(piece + v * LANES);
                    if let Some((keys, _)) = self.packed {
                        let b = Packed(keys.add(piece * dim + v * LANES));
                        product::<L, _, _>(
                            rows,
                            vectors,
                            Job { a, b, from: 0, to: dim, c, c_stride: SPLIT, add: false },
                        );
                    } else {
                        let (cell, at) = self.cells.at(piece);
                        let ahead = if self.first { self.cells.after_keys(piece) } else { 0 };
                        let b = F::keys(cell.keys, &shape, at + v * LANES, ahead);
                        product::<L, _, _>(
                            rows,
                            vectors,
                            Job { a, b, from: 0, to: dim, c, c_stride: SPLIT, add: false },
                        );
                    }
                }
            }
        }
    }

    /// Adds the values of a range of positions, times their weights, to the sums of `rows` queries.
    ///
    /// # Safety
    ///
    /// The machine has the instructions; there are so many rows of `weights`, [`SPLIT`] each, and of `sums`, and values
    /// at all positions of the range.
    unsafe fn weigh<L: Lanes>(&self, weights: *const f32, rows: usize, range: Range<usize>, sums: *mut f32) {
        let shape = self.cells.call.kv.shape();
        let c_stride = self.cells.call.width();
        let pieces = || {
            (0..c_stride)
                .step_by(PACKED)
                .flat_map(|d| steps::<L>(((c_stride - d) / LANES).min(2)).map(move |(v, vectors)| (d, v, vectors)))
        };
        if range.is_empty() {
            return;
        }
        if let Some((_, values)) = self.packed {
            for (d, v, vectors) in pieces() {
                // SAFETY: whole vectors of a piece are inside the widened values and a row of sums.
                unsafe {
                    let b = Packed(values.add(d * SPLIT + v * LANES));
                    let c = sums.add(d + v * LANES);
                    let job = Job { a: Weights(weights), b, from: range.start, to: range.end, c, c_stride, add: true };
                    product::<L, _, _>(rows, vectors, job);
                }
            }
            return;
        }
        let mut from = range.start;
        while from < range.end {
            let (cell, at) = self.cells.at(from);
            let ahead = if self.first { self.cells.after_values(from) } else { 0 };
            // Row `k` of the cell is position `base + k`.
            let base = from - at;
            let to = range.end.min(base + shape.block_len);
            for (d, v, vectors) in pieces() {
                let d = d + v * LANES;
                // SAFETY: positions of the cell. A vector that begins in a row may end behind it, but not behind the
                // cache's memory; nobody uses what is there.
                unsafe {
                    let b = F::values(cell.values, &shape, d, ahead);
                    let a = Weights(weights.add(base));
                    let job = Job { a, b, from: at, to: to - base, c: sums.add(d), c_stride, add: true };
                    product::<L, _, _>(rows, vectors, job);
                }
            }
            from = to;
        }
    }
}
