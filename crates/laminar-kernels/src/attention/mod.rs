//! Causal attention over paged keys and values.
//!
//! The cache is cut into blocks of equally many positions; a sequence's block table says where its blocks
//! lie. A row's positions are cut at absolute multiples of a fixed number into splits. Each split is a softmax of its
//! own: largest score, weights relative to it, their sum, weighted values; splits are merged in ascending order by
//! rescaling to the larger maximum (Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135). Every
//! float operation of a row is fixed by its position alone, so its result is the same bits in any batch, and splits
//! may be different threads' work.

mod cells;
mod kv;
mod lanes;
mod plan;
mod product;
mod shared;
mod softmax;
mod source;
mod split;
mod tile;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use self::kv::{KvLayer, KvShape, KvType, store_kv};
use self::lanes::Lanes;
use self::lanes::portable::Portable;
use self::plan::{Plan, Task};
use self::tile::{Call, Floats};
use crate::Pool;
use crate::isa::{Isa, isa};
use crate::pool::SharedMut;

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
    /// Numbers in a query and in a key.
    pub head_dim: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Sliding window `w`: position `j` is visible to position `i` if `j <= i` and `i - j < w`.
    pub window: Option<usize>,
    /// Bound of the scores: `s` becomes `cap * tanh(s / cap)`.
    pub softcap: Option<f32>,
}

/// Causal attention of the spans' rows over their sequences, whose keys and values, those of the rows
/// themselves included, are in `kv`.
///
/// `q` is rows of `heads * head_dim` values, and `out` of `heads` times the cache's [`KvShape::value_dim`]. Rows of `out`
/// outside every span are left alone. `sinks` has a logit for each head, which takes part in the softmax as a position
/// without a value would.
///
/// # Panics
///
/// If shapes or lengths don't fit together, spans share rows, or a block table is too short or names a
/// block beyond the cache.
pub fn attention(
    pool: &Pool,
    q: &[f32],
    spans: &[Span<'_>],
    kv: &KvLayer,
    shape: &AttentionShape,
    sinks: Option<&[f32]>,
    out: &mut [f32],
) {
    attention_for(isa(), pool, q, spans, kv, shape, sinks, out);
}

#[allow(clippy::too_many_arguments)] // Those of `attention`, and the path to take.
pub(crate) fn attention_for(
    isa: Isa,
    pool: &Pool,
    q: &[f32],
    spans: &[Span<'_>],
    kv: &KvLayer,
    shape: &AttentionShape,
    sinks: Option<&[f32]>,
    out: &mut [f32],
) {
    check(q, spans, kv, shape, sinks, out);
    let call = Call { pool, q, kv, shape, sinks, out: SharedMut::new(out) };
    let plan = Plan::new(&call, spans, pool.threads());
    // SAFETY: an `Isa` other than `Portable` exists only where the machine has it; `check` saw that no row is in two
    // spans and that block tables are long enough.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => run::<lanes::avx2::Avx2>(pool, &call, &plan),
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni => run::<lanes::avx512::Avx512>(pool, &call, &plan),
            _ => run::<Portable>(pool, &call, &plan),
        }
    }
}

thread_local! {
    /// What splits add up to, when they are tasks of their own.
    static PARTS: RefCell<Floats> = RefCell::default();
}

/// # Safety
///
/// The machine has the instructions of `L`; no row is in two spans; block tables are long enough.
unsafe fn run<L: Lanes>(pool: &Pool, call: &Call<'_>, plan: &Plan<'_>) {
    // Taken, not borrowed: a task may run another attention on this thread.
    let mut memory = PARTS.take();
    let parts = SharedMut::new(memory.room(plan.parts_len));
    let left: Vec<AtomicUsize> = plan.cut.iter().map(|cut| AtomicUsize::new(cut.tasks)).collect();
    pool.run(plan.tasks.len(), &|task| {
        match plan.tasks[task] {
            // SAFETY: as promised to this function; tiles are parts of spans, and each head of one is one task's.
            Task::Whole { tile, head } => unsafe { tile::whole::<L>(call, &plan.tiles[tile], head) },
            Task::Splits { cut: number, first, end } => {
                let cut = &plan.cut[number];
                let tile = &plan.tiles[cut.tile];
                let len = call.part_len(tile);
                // SAFETY: the parts of these splits are this task's; the rest as above.
                unsafe {
                    let parts = parts.slice(cut.parts + (first - cut.splits.start) * len, (end - first) * len);
                    tile::some_splits::<L>(call, tile, cut.head, first..end, parts);
                }
                // Whoever is last merges: it sees what the others wrote before they counted down.
                if left[number].fetch_sub(1, Ordering::AcqRel) == 1 {
                    // SAFETY: the tasks of all these parts are done; the rest as above.
                    unsafe {
                        let parts = parts.slice(cut.parts, cut.splits.len() * len);
                        tile::merge_splits::<L>(call, tile, cut.head, parts);
                    }
                }
            }
        }
    });
    PARTS.set(memory);
}

fn check(q: &[f32], spans: &[Span<'_>], kv: &KvLayer, shape: &AttentionShape, sinks: Option<&[f32]>, out: &[f32]) {
    assert!(
        shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads) && shape.heads > 0,
        "{} heads over {} key/value heads",
        shape.heads,
        shape.kv_heads
    );
    let cache = kv.shape();
    assert!(cache.kv_heads == shape.kv_heads && cache.head_dim == shape.head_dim, "the cache has another shape");
    assert!(sinks.is_none_or(|sinks| sinks.len() == shape.heads), "sinks need one logit for each head");
    let row_len = shape.heads * shape.head_dim;
    let rows = q.len() / row_len;
    assert!(
        q.len() == rows * row_len && out.len() == rows * shape.heads * cache.value_dim(),
        "queries and output differ in length"
    );
    let mut rows: Vec<Range<usize>> = spans.iter().map(|span| span.first_row..span.first_row + span.rows).collect();
    rows.sort_by_key(|rows| rows.start);
    assert!(rows.windows(2).all(|pair| pair[0].end <= pair[1].start), "two spans share rows");
    assert!(rows.last().is_none_or(|rows| rows.end * row_len <= q.len()), "a span has more rows than the batch");
    for span in spans {
        assert!(
            (span.first_pos + span.rows).div_ceil(cache.block_len) <= span.blocks.len(),
            "{} positions need more than {} blocks",
            span.first_pos + span.rows,
            span.blocks.len()
        );
    }
}

#[cfg(test)]
mod tests;
