//! A batch of input rows, prepared once for any number of matrix products.

use crate::Pool;
use crate::isa::{Isa, isa};
use crate::pool::SharedMut;
use crate::tiles::{Forms, TILE, TileMut, Tiles};

/// A batch of rows in the forms the matrix kernels read: floats for float weights, and 8-bit codes in
/// blocks of 32, each with an f32 scale, for quantised weights.
///
/// Buffers are kept between calls of [`Activations::load`], so a long-lived `Activations` doesn't allocate
/// once it has seen the largest batch.
#[derive(Default)]
pub struct Activations {
    rows: usize,
    pub(crate) tiles: Tiles,
}

impl Activations {
    /// An empty batch.
    pub fn new() -> Activations {
        Activations::default()
    }

    /// Replaces the batch by the rows of `cols` values in `x`.
    ///
    /// A block whose values are all below 1e-30 in magnitude quantises to zeros; a block with a value that
    /// is not finite gives NaN in every product with quantised weights.
    ///
    /// # Panics
    ///
    /// If `cols` is zero or `x` is not a whole number of rows.
    pub fn load(&mut self, pool: &Pool, x: &[f32], cols: usize) {
        self.load_for(isa(), pool, x, cols);
    }

    pub(crate) fn load_for(&mut self, isa: Isa, pool: &Pool, x: &[f32], cols: usize) {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "{} values are not whole rows of {cols}", x.len());
        self.rows = x.len() / cols;
        let tiles = self.rows.div_ceil(TILE);
        self.tiles.resize(tiles, cols, Forms::all(isa));
        let per_tile = self.tiles.blocks_per_tile();
        let has_wide = self.tiles.forms.wide;
        let blocks = SharedMut::new(&mut self.tiles.blocks);
        let wide = SharedMut::new(&mut self.tiles.wide);
        let floats = SharedMut::new(&mut self.tiles.floats);
        pool.run(tiles, &|tile| {
            // SAFETY: each task takes the parts of its own tile.
            let mut to = unsafe {
                TileMut {
                    blocks: blocks.slice(tile * per_tile, per_tile),
                    wide: match has_wide {
                        true => wide.slice(tile * per_tile, per_tile),
                        false => &mut [],
                    },
                    floats: floats.slice(tile * cols * TILE, cols * TILE),
                }
            };
            let rows = x.chunks_exact(cols).skip(tile * TILE).take(TILE);
            for (row, values) in rows.enumerate() {
                to.set_row(isa, row, values);
            }
        });
    }

    /// Rows in the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.tiles.cols
    }
}
