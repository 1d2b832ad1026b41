//! Matrix products: the tile kernels behind one function, and the parallel product over them.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::isa::{Isa, isa};
use crate::panel::LANES;
use crate::pool::SharedMut;
use crate::tiles::{TILE, TileRef};
use crate::{Activations, Matrix, Pool};

/// Rows a kernel computes at once: two tiles, so that each vector of weights is unpacked for eight rows.
pub(crate) const ROWS: usize = 2 * TILE;

/// Results of a kernel: rows x outputs of a panel.
pub(crate) type OutTile = [[f32; LANES]; ROWS];

/// Multiplies `rows` rows of one or two tiles with a panel of `matrix`: sets `out[row]` for each.
///
/// The second tile matters only if `rows` is more than a tile. `ahead` are weights that will be read soon.
#[inline]
pub(crate) fn multiply_tiles(
    isa: Isa,
    matrix: &Matrix,
    panel: usize,
    tiles: [TileRef<'_>; 2],
    rows: usize,
    ahead: &[u8],
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
    let group = group_len(pool, w.panels(), w.panel_bytes());
    pool.run(w.panels().div_ceil(group), &|task| {
        let panels = task * group..w.panels().min((task + 1) * group);
        for first_tile in (0..tiles).step_by(TILES_AT_ONCE) {
            let part = first_tile..tiles.min(first_tile + TILES_AT_ONCE);
            for panel in panels.clone() {
                let next = w.panel(panel + 1);
                let column = panel * LANES;
                let width = LANES.min(w.rows() - column);
                for tile in part.clone().step_by(2) {
                    let rows = ROWS.min(x.rows() - tile * TILE);
                    let ahead = share(next, (tile - part.start) / 2, part.len().div_ceil(2));
                    let mut result = [[0.0; LANES]; ROWS];
                    multiply_tiles(isa, w, panel, x.tiles.pair(tile), rows, ahead, &mut result);
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

/// How many of `panels` panels of `bytes` bytes make a task: few enough to fit the cache and to
/// give every thread several tasks.
pub(crate) fn group_len(pool: &Pool, panels: usize, bytes: usize) -> usize {
    let fits = (TASK_BYTES / bytes.max(1)).max(1);
    let fair = panels.div_ceil(pool.threads() * 8).max(1);
    if pool.threads() == 1 { fits } else { fits.min(fair) }
}

#[cfg(test)]
mod tests;
