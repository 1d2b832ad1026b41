//! Matrix products: the tile kernels behind one function, and the parallel product over them.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use crate::isa::{Isa, isa};
use crate::panel::LANES;
use crate::pool::SharedMut;
use crate::tiles::{TILE, TileRef};
use crate::{Activations, Matrix, Pool};

/// Rows a kernel computes at once: two tiles, so that each vector of weights is unpacked for eight rows.
pub(crate) const ROWS: usize = 2 * TILE;

/// Results of a kernel: rows x outputs of a panel.
pub(crate) type OutTile = [[f32; LANES]; ROWS];

/// What to fetch while a kernel computes.
#[derive(Clone, Copy)]
pub(crate) enum Ahead<'a> {
    /// What comes next in memory: weights that are used once and read in long runs.
    Stream,
    /// These.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // The other paths fetch nothing.
    Bytes(&'a [u8]),
}

/// How far ahead [`Ahead::Stream`] fetches: enough to hide the way to memory, little enough to stay in the
/// second-level cache until it is used.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // As above.
const AHEAD_BYTES: usize = 12 << 10;

/// Multiplies `rows` rows of one or two tiles with a panel of `matrix`: sets `out[row]` for each.
///
/// The second tile matters only if `rows` is more than a tile.
#[inline]
pub(crate) fn multiply_tiles(
    isa: Isa,
    matrix: &Matrix,
    panel: usize,
    tiles: [TileRef<'_>; 2],
    rows: usize,
    ahead: Ahead<'_>,
    out: &mut OutTile,
) {
    #[cfg(target_arch = "x86_64")]
    if isa != Isa::Portable {
        x86::tile(isa, matrix, panel, tiles, rows, ahead, out);
        return;
    }
    #[cfg(target_arch = "aarch64")]
    if isa == Isa::Dotprod {
        // SAFETY: `Isa::Dotprod` exists only where the machine has the instructions.
        unsafe { aarch64::tile(matrix, panel, tiles, rows, out) };
        return;
    }
    let _ = (isa, ahead);
    for (tile, out) in tiles.iter().zip(out[..rows].chunks_mut(TILE)) {
        portable::tile(matrix, panel, *tile, out);
    }
}

/// The product of a batch with a weight matrix: `out[row * w.rows() + n]` becomes the sum over `k` of
/// `x[row][k] * w[n][k]`.
///
/// # Panics
///
/// If `x.cols() != w.cols()`, `out.len() != x.rows() * w.rows()`, or `x` is kept for other weights alone.
pub fn linear(pool: &Pool, w: &Matrix, x: &Activations, out: &mut [f32]) {
    linear_for(isa(), pool, &mut [(w, out)], x);
}

/// The products of a batch with several matrices, each as [`linear`] computes it, shared out together: a small
/// matrix alone would be done before all threads have joined in.
///
/// # Panics
///
/// As [`linear`], or if there are more than four.
pub fn linear_each(pool: &Pool, products: &mut [(&Matrix, &mut [f32])], x: &Activations) {
    linear_for(isa(), pool, products, x);
}

/// Activation tiles that are walked for a group of panels before the next: 64 rows of 2048 columns are
/// about 200 KB, which leaves room for the panels in the second-level cache.
const TILES_AT_ONCE: usize = 16;

pub(crate) fn linear_for(isa: Isa, pool: &Pool, products: &mut [(&Matrix, &mut [f32])], x: &Activations) {
    let rows = x.rows();
    assert!(products.len() <= TOGETHER, "{} matrices at once", products.len());
    let mut shared: [Option<Shared<'_>>; TOGETHER] = [const { None }; TOGETHER];
    let mut tasks = 0;
    for ((w, out), shared) in products.iter_mut().zip(&mut shared) {
        assert!(x.serves(isa, w), "the rows are kept for other weights");
        assert!(x.cols() == w.cols() || rows == 0, "rows of {} values for a matrix of {} columns", x.cols(), w.cols());
        assert!(out.len() == rows * w.rows(), "room for {} outputs, not {rows} rows x {}", out.len(), w.rows());
        let group = group_len(pool, w.panels(), w.panel_bytes(), rows.div_ceil(ROWS), SHARES);
        let first = tasks;
        tasks += w.panels().div_ceil(group);
        *shared = Some(Shared { w, out: SharedMut::new(out), group, tasks: first..tasks });
    }
    if rows == 0 {
        return;
    }
    pool.run(tasks, &|task| {
        for of in shared.iter().flatten().filter(|of| of.tasks.contains(&task)) {
            let first = (task - of.tasks.start) * of.group;
            multiply_panels(isa, of.w, first..of.w.panels().min(first + of.group), x, &of.out);
        }
    });
}

/// Matrices that [`linear_each`] takes.
const TOGETHER: usize = 4;

/// A product that several threads work on.
struct Shared<'a> {
    w: &'a Matrix,
    out: SharedMut<'a, f32>,
    /// Panels of a task.
    group: usize,
    tasks: Range<usize>,
}

/// The outputs of some panels for all rows.
fn multiply_panels(isa: Isa, w: &Matrix, panels: Range<usize>, x: &Activations, out: &SharedMut<'_, f32>) {
    let tiles = x.rows().div_ceil(TILE);
    let mut result: OutTile = [[0.0; LANES]; ROWS];
    for first_tile in (0..tiles).step_by(TILES_AT_ONCE) {
        let part = first_tile..tiles.min(first_tile + TILES_AT_ONCE);
        let passes = part.len().div_ceil(ROWS / TILE);
        for panel in panels.clone() {
            let column = panel * LANES;
            let width = LANES.min(w.rows() - column);
            for pass in 0..passes {
                let tile = part.start + pass * (ROWS / TILE);
                let rows = ROWS.min(x.rows() - tile * TILE);
                let ahead = ahead(w, panel..panels.end, pass, passes);
                multiply_tiles(isa, w, panel, x.tiles.pair(tile), rows, ahead, &mut result);
                for (r, result) in result[..rows].iter().enumerate() {
                    let at = (tile * TILE + r) * w.rows() + column;
                    // SAFETY: tasks write disjoint columns.
                    unsafe { out.slice(at, width) }.copy_from_slice(&result[..width]);
                }
            }
        }
    }
}

/// What to fetch while the first of `panels`, which follow each other in a task, is used for the `pass`-th time
/// of `passes`. What lies behind the last is another task's, and would be fetched twice.
pub(crate) fn ahead(w: &Matrix, panels: Range<usize>, pass: usize, passes: usize) -> Ahead<'_> {
    match passes {
        1 => Ahead::Stream,
        _ if panels.len() > 1 => share(w.panel(panels.start + 1), pass, passes),
        _ => Ahead::Bytes(&[]),
    }
}

/// Share `index` of `count` of the bytes to fetch ahead.
pub(crate) fn share(bytes: &[u8], index: usize, count: usize) -> Ahead<'_> {
    let each = bytes.len().div_ceil(count).next_multiple_of(64);
    let from = (index * each).min(bytes.len());
    Ahead::Bytes(&bytes[from..(from + each).min(bytes.len())])
}

/// Weight bytes of a task whose weights are used several times: they stay in the second-level cache while all
/// rows pass by.
const TASK_BYTES: usize = 128 << 10;

/// Tasks for each thread: few, so that each reads a long run of memory.
pub(crate) const SHARES: usize = 8;

/// How many of `panels` panels of `bytes` bytes make a task that uses each `passes` times. Weights that are used
/// once are best read in long runs; either way every thread gets about `shares` tasks, or more.
pub(crate) fn group_len(pool: &Pool, panels: usize, bytes: usize, passes: usize, shares: usize) -> usize {
    let threads = pool.threads();
    let fits = (TASK_BYTES / bytes.max(1)).max(1);
    match (threads, passes) {
        (1, 0..=1) => panels,
        (1, _) => fits,
        (_, 0..=1) => panels.div_ceil(threads * shares),
        _ => fits.min(panels.div_ceil(threads * shares)),
    }
    .max(1)
}

#[cfg(test)]
mod tests;
