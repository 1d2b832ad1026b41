//! Causal attention over paged keys and values.
//!
//! The cache is cut into blocks of equally many positions; a sequence's block table says where its blocks
//! lie. A row walks the blocks of its sequence in order of absolute position with an online softmax
//! (Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135): running maximum, running sum and
//! weighted values, rescaled once per block. Every float operation of a row is fixed by its position alone,
//! so its result is the same bits in any batch.

mod product;

use std::cell::RefCell;
use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use self::product::{add_product, transpose};
use crate::Pool;
use crate::exp::exp;
use crate::isa::{Isa, isa, multiversion};
use crate::pool::SharedMut;

mod sealed {
    use crate::isa::Isa;

    /// What the kernels need of a cache element.
    pub trait Element: Sized {
        /// Rounds to nearest. The slices are equally long.
        fn store(values: &[f32], to: &mut [Self]);
        /// Exact. The slices are equally long.
        fn load(isa: Isa, values: &[Self], to: &mut [f32]);
    }
}
use sealed::Element;

/// A number a KV cache may hold: `f32`, or `half::f16` rounded to nearest.
pub trait KvElement: Element + Copy + Default + Send + Sync + 'static {}

impl KvElement for f32 {}
impl Element for f32 {
    fn store(values: &[f32], to: &mut [f32]) {
        to.copy_from_slice(values);
    }

    fn load(_: Isa, values: &[f32], to: &mut [f32]) {
        to.copy_from_slice(values);
    }
}

impl KvElement for f16 {}
impl Element for f16 {
    fn store(values: &[f32], to: &mut [f16]) {
        to.convert_from_f32_slice(values);
    }

    fn load(isa: Isa, values: &[f16], to: &mut [f32]) {
        product::widen(isa, values, to);
    }
}

/// Keys and values of one layer, each laid out `[block][kv_head][position in block][head_dim]`.
#[derive(Debug, Clone, Copy)]
pub struct KvLayer<'a, E> {
    /// Keys, already rotated.
    pub k: &'a [E],
    /// Values.
    pub v: &'a [E],
    /// Positions in a block.
    pub block_len: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
}

/// Consecutive rows of a batch that are consecutive positions of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// First row in the batch.
    pub first_row: usize,
    /// Rows.
    pub rows: usize,
    /// Position of the first row in its sequence.
    pub first_pos: usize,
    /// The sequence's block table: entry `i` is the block of positions `i * block_len ..`.
    pub blocks: &'a [u32],
}

/// Shape of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads, a multiple of `kv_heads`; neighbouring ones share a key/value head.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Sliding window `w`: position `j` is visible to position `i` if `j <= i` and `i - j < w`.
    pub window: Option<usize>,
}

/// Writes the keys and values of new rows into a layer's cache.
///
/// `k_rows` and `v_rows` are rows of `kv_heads * head_dim` values. `k` and `v` are laid out as in [`KvLayer`].
///
/// # Panics
///
/// If a span has rows that are not in `k_rows` or `v_rows`, positions beyond its block table, or a block
/// beyond the cache.
#[allow(clippy::too_many_arguments)] // A layer of the cache is two slices and three sizes.
pub fn store_kv<E: KvElement>(
    k_rows: &[f32],
    v_rows: &[f32],
    spans: &[Span<'_>],
    k: &mut [E],
    v: &mut [E],
    block_len: usize,
    kv_heads: usize,
    head_dim: usize,
) {
    for span in spans {
        for i in 0..span.rows {
            let position = span.first_pos + i;
            let block = span.blocks[position / block_len] as usize;
            for head in 0..kv_heads {
                let from = ((span.first_row + i) * kv_heads + head) * head_dim;
                let slot = (block * kv_heads + head) * block_len + position % block_len;
                let to = slot * head_dim..(slot + 1) * head_dim;
                E::store(&k_rows[from..from + head_dim], &mut k[to.clone()]);
                E::store(&v_rows[from..from + head_dim], &mut v[to]);
            }
        }
    }
}

/// Query vectors a task handles together, so that a block of keys and values is converted once for all.
const QUERIES: usize = 128;

/// Causal attention of the spans' rows over their sequences, whose keys and values, those of the rows
/// themselves included, are in `kv`.
///
/// `q` and `out` are rows of `heads * head_dim` values. Rows of `out` outside every span are left alone.
///
/// # Panics
///
/// If shapes or lengths don't fit together, spans share rows, or a block table is too short or names a
/// block beyond the cache.
pub fn attention<E: KvElement>(
    pool: &Pool,
    q: &[f32],
    spans: &[Span<'_>],
    kv: &KvLayer<'_, E>,
    shape: &AttentionShape,
    out: &mut [f32],
) {
    attention_for(isa(), pool, q, spans, kv, shape, out);
}

pub(crate) fn attention_for<E: KvElement>(
    isa: Isa,
    pool: &Pool,
    q: &[f32],
    spans: &[Span<'_>],
    kv: &KvLayer<'_, E>,
    shape: &AttentionShape,
    out: &mut [f32],
) {
    check(q, spans, kv, shape, out);
    let group = shape.heads / shape.kv_heads;
    let tile_rows = (QUERIES / group).max(1);
    let mut tiles: Vec<Tile<'_>> = Vec::new();
    for span in spans {
        for from in (0..span.rows).step_by(tile_rows) {
            tiles.push(Tile {
                first_row: span.first_row + from,
                rows: tile_rows.min(span.rows - from),
                first_pos: span.first_pos + from,
                blocks: span.blocks,
            });
        }
    }
    // Long tasks first, so that none starts when the others are about to end.
    tiles.sort_by_key(|tile| std::cmp::Reverse(tile.first_pos));
    let out = SharedMut::new(out);
    pool.run(tiles.len() * shape.kv_heads, &|task| {
        let (tile, head) = (&tiles[task / shape.kv_heads], task % shape.kv_heads);
        SCRATCH.with_borrow_mut(|scratch| attend(isa, q, tile, head, kv, shape, &out, scratch));
    });
}

fn check<E>(q: &[f32], spans: &[Span<'_>], kv: &KvLayer<'_, E>, shape: &AttentionShape, out: &[f32]) {
    assert!(
        shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads) && shape.heads > 0,
        "{} heads over {} key/value heads",
        shape.heads,
        shape.kv_heads
    );
    assert!(kv.kv_heads == shape.kv_heads && kv.head_dim == shape.head_dim, "the cache has another shape");
    assert!(kv.block_len > 0 && shape.head_dim > 0, "empty blocks or heads");
    assert!(q.len() == out.len(), "queries and output differ in length");
    let row_len = shape.heads * shape.head_dim;
    let mut rows: Vec<Range<usize>> = spans.iter().map(|span| span.first_row..span.first_row + span.rows).collect();
    rows.sort_by_key(|rows| rows.start);
    assert!(rows.windows(2).all(|pair| pair[0].end <= pair[1].start), "two spans share rows");
    assert!(rows.last().is_none_or(|rows| rows.end * row_len <= q.len()), "a span has more rows than the batch");
    for span in spans {
        assert!(
            (span.first_pos + span.rows).div_ceil(kv.block_len) <= span.blocks.len(),
            "{} positions need more than {} blocks",
            span.first_pos + span.rows,
            span.blocks.len()
        );
    }
}

/// The rows of one task.
struct Tile<'a> {
    first_row: usize,
    rows: usize,
    first_pos: usize,
    blocks: &'a [u32],
}

/// Working memory of a thread.
#[derive(Default)]
struct Scratch {
    /// Scaled queries: row by row, within a row head by head.
    q: Vec<f32>,
    /// A block of keys or values as f32, a position after the other, rows padded to whole vectors.
    rows: Vec<f32>,
    /// A block of keys, a dimension after the other.
    keys: Vec<f32>,
    /// Scores, then probabilities, of each query over a block.
    scores: Vec<f32>,
    /// Weighted values of each query.
    sums: Vec<f32>,
    /// Running maximum of each query's scores.
    max: Vec<f32>,
    /// Running sum of its probabilities.
    total: Vec<f32>,
    /// What the last block multiplied the sums by.
    factor: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn room(buffer: &mut Vec<f32>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
}

/// Attention of the rows of a tile through one key/value head.
#[allow(clippy::too_many_arguments)] // Everything `attention` got, the task and its memory.
fn attend<E: KvElement>(
    isa: Isa,
    q: &[f32],
    tile: &Tile<'_>,
    head: usize,
    kv: &KvLayer<'_, E>,
    shape: &AttentionShape,
    out: &SharedMut<'_, f32>,
    scratch: &mut Scratch,
) {
    let group = shape.heads / shape.kv_heads;
    let queries = tile.rows * group;
    let dim = shape.head_dim;
    let block_len = kv.block_len;
    // Products work on whole vectors of eight.
    let (dim_pad, len_pad) = (dim.next_multiple_of(8), block_len.next_multiple_of(8));
    room(&mut scratch.q, queries * dim);
    room(&mut scratch.rows, len_pad * dim_pad);
    room(&mut scratch.keys, dim_pad * len_pad);
    room(&mut scratch.scores, queries * len_pad);
    room(&mut scratch.sums, queries * dim_pad);
    scratch.sums[..queries * dim_pad].fill(0.0);
    room(&mut scratch.max, queries);
    scratch.max[..queries].fill(f32::NEG_INFINITY);
    room(&mut scratch.total, queries);
    scratch.total[..queries].fill(0.0);
    room(&mut scratch.factor, queries);

    let in_row = |row: usize| ((tile.first_row + row) * shape.heads + head * group) * dim;
    for row in 0..tile.rows {
        let to = &mut scratch.q[row * group * dim..][..group * dim];
        for (to, from) in to.iter_mut().zip(&q[in_row(row)..]) {
            *to = from * shape.scale;
        }
    }

    // Positions row `row` sees.
    let visible = |row: usize| {
        let position = tile.first_pos + row;
        let first = shape.window.map_or(0, |w| (position + 1).saturating_sub(w));
        first..position + 1
    };
    let last = tile.first_pos + tile.rows;
    for block in visible(0).start / block_len..last.div_ceil(block_len) {
        let start = block * block_len;
        // Positions of the block that any row of the tile may see.
        let filled = block_len.min(last - start);
        let slot = (tile.blocks[block] as usize * kv.kv_heads + head) * block_len * dim;
        let here = slot..slot + filled * dim;
        load_rows(isa, &kv.k[here.clone()], dim, dim_pad, &mut scratch.rows);
        transpose(isa, &scratch.rows, dim_pad, &mut scratch.keys, len_pad);
        let columns = filled.next_multiple_of(8);
        // Columns a row doesn't see are computed too and not used: a score depends on its own key alone.
        let scores = &mut scratch.scores[..queries * len_pad];
        scores.fill(0.0);
        add_product(isa, &scratch.q[..queries * dim], dim, 0..dim, &scratch.keys, len_pad, scores, len_pad, columns);
        load_rows(isa, &kv.v[here], dim, dim_pad, &mut scratch.rows);

        let local = |row: usize| {
            let v = visible(row);
            let from = v.start.clamp(start, start + filled) - start;
            from..v.end.clamp(start, start + filled) - start
        };
        let mut row = 0;
        while row < tile.rows {
            // Rows with the same view of the block go together.
            let range = local(row);
            let mut end = row + 1;
            while end < tile.rows && local(end) == range {
                end += 1;
            }
            if !range.is_empty() {
                let these = row * group..end * group;
                let scores = &mut scratch.scores[these.start * len_pad..these.end * len_pad];
                let sums = &mut scratch.sums[these.start * dim_pad..these.end * dim_pad];
                let queries = Queries {
                    scores,
                    score_stride: len_pad,
                    max: &mut scratch.max[these.clone()],
                    total: &mut scratch.total[these.clone()],
                    factor: &mut scratch.factor[these.clone()],
                    sums,
                    sum_stride: dim_pad,
                };
                softmax_step(isa, queries, columns, range.clone());
                let scores = &scratch.scores[these.start * len_pad..these.end * len_pad];
                let sums = &mut scratch.sums[these.start * dim_pad..these.end * dim_pad];
                add_product(isa, scores, len_pad, range, &scratch.rows, dim_pad, sums, dim_pad, dim_pad);
            }
            row = end;
        }
    }

    for row in 0..tile.rows {
        // SAFETY: a task writes its own heads of its own rows; `check` saw that no row is in two spans.
        let to = unsafe { out.slice(in_row(row), group * dim) };
        for (i, to) in to.chunks_exact_mut(dim).enumerate() {
            let query = row * group + i;
            let inverse = 1.0 / scratch.total[query];
            for (to, sum) in to.iter_mut().zip(&scratch.sums[query * dim_pad..]) {
                *to = sum * inverse;
            }
        }
    }
}

/// Converts rows of `dim` values to f32 rows `dim_pad` apart. What is between stays as it is.
fn load_rows<E: KvElement>(isa: Isa, from: &[E], dim: usize, dim_pad: usize, to: &mut [f32]) {
    if dim == dim_pad {
        E::load(isa, from, &mut to[..from.len()]);
        return;
    }
    for (from, to) in from.chunks_exact(dim).zip(to.chunks_exact_mut(dim_pad)) {
        E::load(isa, from, &mut to[..dim]);
    }
}

/// The part of a thread's memory that belongs to queries with the same view of a block.
struct Queries<'a> {
    /// Scores, `score_stride` apart.
    scores: &'a mut [f32],
    score_stride: usize,
    max: &'a mut [f32],
    total: &'a mut [f32],
    /// Room for a factor of each query.
    factor: &'a mut [f32],
    /// Weighted values, `sum_stride` apart.
    sums: &'a mut [f32],
    sum_stride: usize,
}

multiversion! {
    /// One block of the online softmax, `columns` (a multiple of 8) of it computed: turns the visible scores
    /// into probabilities relative to the new running maximum, the others into zeros, and rescales what was
    /// summed before.
    fn softmax_step(queries: Queries<'_>, columns: usize, visible: Range<usize>) = softmax_step_body;
}

/// Goes over all queries with one step at a time: each alone is a chain of dependent operations, side by side
/// they fill the pipeline.
#[inline(always)]
fn softmax_step_body(queries: Queries<'_>, columns: usize, visible: Range<usize>) {
    let Queries { scores, score_stride, max, total, factor, sums, sum_stride } = queries;
    let rows = scores.chunks_exact_mut(score_stride);
    for ((row, max), factor) in rows.zip(max.iter_mut()).zip(factor.iter_mut()) {
        let row = &mut row[..columns];
        row[..visible.start].fill(f32::NEG_INFINITY);
        row[visible.end..].fill(f32::NEG_INFINITY);
        let mut lanes = [f32::NEG_INFINITY; 8];
        for eight in row.as_chunks::<8>().0 {
            for l in 0..8 {
                lanes[l] = if eight[l] > lanes[l] { eight[l] } else { lanes[l] };
            }
        }
        let old = *max;
        *max = larger(fold_pairs(lanes, larger), old);
        *factor = old - *max;
    }
    for factor in factor.iter_mut() {
        *factor = exp(*factor);
    }
    let rows = scores.chunks_exact_mut(score_stride);
    for (((row, max), total), factor) in rows.zip(&*max).zip(total).zip(&*factor) {
        let row = &mut row[..columns];
        for score in row.iter_mut() {
            *score = exp(*score - max);
        }
        // Eight sums by position, then pairwise: hidden positions add an exact zero, so it doesn't matter how
        // many columns were computed.
        let mut lanes = [0f32; 8];
        for eight in row.as_chunks::<8>().0 {
            for l in 0..8 {
                lanes[l] += eight[l];
            }
        }
        *total = total.mul_add(*factor, fold_pairs(lanes, |a, b| a + b));
    }
    for (sums, factor) in sums.chunks_exact_mut(sum_stride).zip(&*factor) {
        if *factor != 1.0 {
            for value in sums {
                *value *= factor;
            }
        }
    }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn fold_pairs(lanes: [f32; 8], f: impl Fn(f32, f32) -> f32) -> f32 {
    let [a, b, c, d, e, g, h, i] = lanes;
    let (a, b, c, d) = (f(a, e), f(b, g), f(c, h), f(d, i));
    f(f(a, c), f(b, d))
}

#[cfg(test)]
mod tests;
