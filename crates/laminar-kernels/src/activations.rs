//! A batch of input rows, prepared once for any number of matrix products.

use crate::isa::{Isa, isa};
use crate::tiles::{Forms, SharedTiles, TILE, Tiles};
use crate::{ExpertSet, Matrix, Pool};

/// A batch of rows in the forms the matrix kernels read: floats for float weights, and 8-bit codes in
/// blocks of 32, each with an f32 scale, for quantised weights.
///
/// Buffers are kept between batches, so a long-lived `Activations` doesn't allocate once it has seen the
/// largest one.
#[derive(Default)]
pub struct Activations {
    rows: usize,
    /// The forms of the rows to come; all of them unless it says otherwise.
    only: Option<Forms>,
    pub(crate) tiles: Tiles,
}

impl Activations {
    /// Rows in a tile: [`Activations::append`] goes on behind whole tiles only.
    pub const TILE_ROWS: usize = TILE;

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
        self.load_on(isa(), pool, x, cols);
    }

    /// As [`Activations::load`], in the forms that the `readers` among the weights need and no others. What the weights of
    /// a layer leave in the caches is little, so each form costs a way to memory.
    ///
    /// # Panics
    ///
    /// As [`Activations::load`].
    pub fn load_for<'a>(&mut self, pool: &Pool, x: &[f32], cols: usize, readers: impl IntoIterator<Item = &'a Matrix>) {
        self.rows = 0;
        self.only = Some(Forms::read_by(isa(), readers));
        self.append_for(isa(), pool, x, cols);
    }

    /// Empties the batch, for any use of the rows that are appended from here on.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.only = None;
    }

    /// Empties the batch. Rows that are appended from here on are kept only as `experts` read them, which
    /// takes less memory (1.5 bytes a value for quantised experts) but serves [`moe_ffn_part`] alone.
    ///
    /// [`moe_ffn_part`]: crate::moe_ffn_part
    pub fn clear_for(&mut self, experts: &ExpertSet) {
        self.rows = 0;
        // The wide codes are made anew when an expert's rows are gathered.
        self.only = Some(Forms { wide: false, ..experts.input_forms(Isa::Portable) });
    }

    /// Adds the rows of `cols` values in `x` behind those of the batch, so that a batch can be filled as its
    /// rows come. The result is that of one [`Activations::load`] of all rows.
    ///
    /// # Panics
    ///
    /// If `cols` is zero or, behind other rows, not the same as theirs; if the rows so far are not a multiple
    /// of [`Activations::TILE_ROWS`]; or if `x` is not a whole number of rows.
    pub fn append(&mut self, pool: &Pool, x: &[f32], cols: usize) {
        self.append_for(isa(), pool, x, cols);
    }

    pub(crate) fn load_on(&mut self, isa: Isa, pool: &Pool, x: &[f32], cols: usize) {
        self.clear();
        self.append_for(isa, pool, x, cols);
    }

    pub(crate) fn append_for(&mut self, isa: Isa, pool: &Pool, x: &[f32], cols: usize) {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "{} values are not whole rows of {cols}", x.len());
        assert!(
            self.rows == 0 || (self.rows.is_multiple_of(TILE) && self.tiles.cols == cols),
            "rows of {cols} values behind {} rows of {}",
            self.rows,
            self.tiles.cols
        );
        let first_tile = self.rows / TILE;
        self.rows += x.len() / cols;
        let new_tiles = self.rows.div_ceil(TILE) - first_tile;
        self.tiles.resize(first_tile + new_tiles, cols, self.only.unwrap_or(Forms::all(isa)));
        let to = SharedTiles::new(&mut self.tiles);
        pool.run(new_tiles, &|task| {
            // SAFETY: each task takes its own tile.
            let mut to = unsafe { to.part(first_tile + task, 0, to.per_tile) };
            let rows = x.chunks_exact(cols).skip(task * TILE).take(TILE);
            for (row, values) in rows.enumerate() {
                to.set_row(isa, row, values);
            }
        });
    }

    /// Whether the rows have every form in which the path `isa` reads them for `w`.
    pub(crate) fn serves(&self, isa: Isa, w: &Matrix) -> bool {
        self.rows == 0 || self.tiles.forms.include(Forms::read_by(isa, [w]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::linear_for;
    use crate::testing::{matrix, noise};
    use crate::{Matrix, WeightType};

    fn products(isa: Isa, x: &Activations, matrices: &[Matrix]) -> Vec<Vec<f32>> {
        let product = |m: &Matrix| {
            let mut out = vec![f32::NAN; x.rows() * m.rows()];
            linear_for(isa, &Pool::new(1), &mut [(m, &mut out)], x);
            out
        };
        matrices.iter().map(product).collect()
    }

    #[test]
    fn rows_that_come_in_blocks_give_the_bits_of_one_load() {
        let (rows, cols) = (23, 96);
        let x = noise(rows * cols, 3);
        let types = [WeightType::Q8_0, WeightType::Q4_1, WeightType::F32];
        let matrices: Vec<Matrix> = types.iter().map(|ty| matrix(*ty, 20, cols, 7)).collect();
        for isa in Isa::available() {
            let pool = Pool::new(2);
            let mut whole = Activations::new();
            whole.load_on(isa, &pool, &x, cols);
            let expected = products(isa, &whole, &matrices);
            let mut blocks = Activations::new();
            // What an earlier, larger batch left must not shine through.
            blocks.load_on(isa, &pool, &noise(50 * cols, 4), cols);
            for cuts in [&[0, 23][..], &[0, 4, 8, 23], &[0, 0, 12, 12, 20, 23], &[0, 20, 20, 23]] {
                blocks.clear();
                for cut in cuts.windows(2) {
                    blocks.append_for(isa, &pool, &x[cut[0] * cols..cut[1] * cols], cols);
                }
                assert_eq!(blocks.rows(), rows);
                assert_eq!(products(isa, &blocks, &matrices), expected, "{isa:?} {cuts:?}");
            }
        }
    }

    #[test]
    fn rows_for_some_weights_give_the_bits_of_rows_for_all() {
        let x = noise(6 * 256, 5);
        let pool = Pool::new(2);
        let types = [WeightType::Q8_0, WeightType::Q4K, WeightType::F16, WeightType::F32];
        let matrices: Vec<Matrix> = types.iter().map(|ty| matrix(*ty, 20, 256, 7)).collect();
        let mut all = Activations::new();
        all.load(&pool, &x, 256);
        let expected = products(isa(), &all, &matrices);
        let mut some = Activations::new();
        for readers in [0..2, 2..4, 1..3] {
            some.load_for(&pool, &x, 256, &matrices[readers.clone()]);
            assert_eq!(products(isa(), &some, &matrices[readers.clone()]), expected[readers.clone()], "{readers:?}");
        }
    }

    #[test]
    #[should_panic(expected = "kept for other weights")]
    fn weights_that_were_not_named_cannot_read_the_rows() {
        let pool = Pool::new(1);
        let (codes, floats) = (matrix(WeightType::Q4_0, 16, 32, 1), matrix(WeightType::F32, 16, 32, 2));
        let mut x = Activations::new();
        x.load_for(&pool, &[1.0; 32], 32, [&codes]);
        crate::linear(&pool, &floats, &x, &mut [0.0; 16]);
    }

    #[test]
    #[should_panic(expected = "behind 3 rows")]
    fn rows_cannot_follow_a_part_of_a_tile() {
        let pool = Pool::new(1);
        let mut x = Activations::new();
        x.append(&pool, &[1.0; 3 * 32], 32);
        x.append(&pool, &[1.0; 32], 32);
    }
}
