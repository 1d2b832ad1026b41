//! Matrix products: the tile kernels behind one function, and the parallel product over them.

mod format;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use format::byte_sums;

use crate::isa::{Isa, isa};
use crate::matrix::LANES;
use crate::pool::SharedMut;
use crate::tiles::{TILE, TileRef};
use crate::{Activations, Matrix, Pool};

/// Panels a kernel computes at once.
pub(crate) const PANELS: usize = 2;
/// Outputs a kernel computes at once.
pub(crate) const WIDTH: usize = PANELS * LANES;

/// Results of a kernel: rows of the tile x outputs of the panels.
pub(crate) type OutTile = [[f32; WIDTH]; TILE];

/// Multiplies `rows` rows of a tile with the panels `first .. first + count` of `matrix`.
///
/// `out[row][..8 * count]` is set. `count` is 1 or 2. `ahead` are weights that will be read soon.
#[inline]
#[allow(clippy::too_many_arguments)] // Matrix, panels, tile, rows, result.
pub(crate) fn multiply_tile(
    isa: Isa,
    matrix: &Matrix,
    first: usize,
    count: usize,
    tile: TileRef<'_>,
    rows: usize,
    ahead: &[u8],
    out: &mut OutTile,
) {
    #[cfg(target_arch = "x86_64")]
    if isa != Isa::Portable {
        x86::tile(isa, matrix, first, count, tile, rows, ahead, out);
        return;
    }
    let _ = (isa, ahead);
    portable::tile(matrix, first, count, tile, rows, out);
}

/// The product of a batch with a weight matrix: `out[row * w.rows() + n]` becomes the sum over `k` of
/// `x[row][k] * w[n][k]`.
///
/// # Panics
///
/// If `x.cols() != w.cols()`, `out.len() != x.rows() * w.rows()`, or `x` is kept for experts alone.
pub fn linear(pool: &Pool, w: &Matrix, x: &Activations, out: &mut [f32]) {
    linear_for(isa(), pool, w, x, out);
}

/// Activation tiles that are walked for a group of panels before the next: 64 rows of 2048 columns are
/// about 200 KB, which leaves room for the panels in the second-level cache.
const TILES_AT_ONCE: usize = 16;
/// Weight bytes of a task: they stay in the second-level cache while all rows pass by.
const TASK_BYTES: usize = 128 << 10;

pub(crate) fn linear_for(isa: Isa, pool: &Pool, w: &Matrix, x: &Activations, out: &mut [f32]) {
    assert!(x.cols() == w.cols() || x.rows() == 0, "rows of {} values for a matrix of {} columns", x.cols(), w.cols());
    assert!(out.len() == x.rows() * w.rows(), "room for {} outputs, not {} rows x {}", out.len(), x.rows(), w.rows());
    assert!(x.serves_all(isa), "the rows are kept for experts alone");
    let tiles = x.rows().div_ceil(TILE);
    if tiles == 0 {
        return;
    }
    let out = SharedMut::new(out);
    let steps = w.panels().div_ceil(PANELS);
    let group = group_len(pool, steps, w.panel_bytes() * PANELS);
    pool.run(steps.div_ceil(group), &|task| {
        let steps = task * group..steps.min((task + 1) * group);
        for first_tile in (0..tiles).step_by(TILES_AT_ONCE) {
            let part = first_tile..tiles.min(first_tile + TILES_AT_ONCE);
            for step in steps.clone() {
                let first = step * PANELS;
                let next = w.panel_pair((first + PANELS).min(w.panels()));
                for tile in part.clone() {
                    let rows = TILE.min(x.rows() - tile * TILE);
                    let count = PANELS.min(w.panels() - first);
                    let ahead = share(next, tile - part.start, part.len());
                    let source = x.tiles.tile(tile);
                    let mut result = [[0.0; WIDTH]; TILE];
                    multiply_tile(isa, w, first, count, source, rows, ahead, &mut result);
                    let column = first * LANES;
                    let width = WIDTH.min(w.rows() - column);
                    for (r, result) in result[..rows].iter().enumerate() {
                        let at = (tile * TILE + r) * w.rows() + column;
                        // SAFETY: tasks write disjoint columns.
                        unsafe { out.slice(at, width) }.copy_from_slice(&result[..width]);
                    }
                }
            }
        }
    });
}

/// Share `index` of `count` of the bytes to fetch ahead.
pub(crate) fn share(bytes: &[u8], index: usize, count: usize) -> &[u8] {
    let each = bytes.len().div_ceil(count).next_multiple_of(64);
    let from = (index * each).min(bytes.len());
    &bytes[from..(from + each).min(bytes.len())]
}

/// How many of `steps` equal steps of `bytes` weight bytes make a task: few enough to fit the cache and to
/// give every thread several tasks.
pub(crate) fn group_len(pool: &Pool, steps: usize, bytes: usize) -> usize {
    let fits = (TASK_BYTES / bytes.max(1)).max(1);
    let fair = steps.div_ceil(pool.threads() * 8).max(1);
    if pool.threads() == 1 { fits } else { fits.min(fair) }
}

#[cfg(test)]
mod tests;
