//! Activation rows in the form the matrix kernels read: tiles of four rows, quantised or as floats.

use crate::Matrix;
use crate::isa::{Isa, multiversion};
use crate::panel::BLOCK;
use crate::pool::SharedMut;
use crate::quantise::quantise_row;

/// Rows in a tile.
pub(crate) const TILE: usize = 4;

/// 32 columns of four quantised rows: three cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct TileBlock {
    /// Codes in -127..=127; the value is `scale * code`.
    pub codes: [[i8; BLOCK]; TILE],
    pub scale: [f32; TILE],
    /// Scale times the sum of the codes.
    pub scaled_sum: [f32; TILE],
    /// The negated sum of the codes: weights with an offset start their dot product from it.
    pub neg_sum: [i32; TILE],
    /// The negated sum of the first 16 codes.
    pub neg_sum_low: [i32; TILE],
}

/// The codes of a [`TileBlock`] as i16, each four in the order 0, 2, 1, 3.
///
/// Only the AVX2 path for 8-bit weights reads it: masking and shifting a vector of bytes gives the even
/// and the odd ones as i16.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct WideBlock(pub [[i16; BLOCK]; TILE]);

/// A block of zeros.
pub(crate) const EMPTY: TileBlock = TileBlock {
    codes: [[0; BLOCK]; TILE],
    scale: [0.0; TILE],
    scaled_sum: [0.0; TILE],
    neg_sum: [0; TILE],
    neg_sum_low: [0; TILE],
};

/// Which forms of the rows are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Forms {
    pub codes: bool,
    pub wide: bool,
    pub floats: bool,
}

impl Forms {
    pub(crate) fn all(isa: Isa) -> Forms {
        Forms { codes: true, wide: isa == Isa::Avx2, floats: true }
    }

    /// The forms in which the path `isa` reads rows for these weights.
    pub(crate) fn read_by<'a>(isa: Isa, weights: impl IntoIterator<Item = &'a Matrix>) -> Forms {
        let mut forms = Forms::default();
        for weights in weights {
            let float = weights.weight_type().is_float();
            forms.floats |= float;
            forms.codes |= !float;
            forms.wide |= !float && isa == Isa::Avx2;
        }
        forms
    }

    /// Whether all of `wanted` are there.
    pub(crate) fn include(self, wanted: Forms) -> bool {
        self.hold(wanted) && (self.wide || !wanted.wide)
    }

    /// Whether rows in these forms can be gathered in the forms `wanted`; wide codes are made from the others.
    pub(crate) fn hold(self, wanted: Forms) -> bool {
        (self.codes || !wanted.codes) && (self.floats || !wanted.floats)
    }
}

/// Tiles of rows of `cols` values. Each tile is contiguous: its blocks in order of columns, its floats as
/// four values for each column.
#[derive(Default)]
pub(crate) struct Tiles {
    pub tiles: usize,
    pub cols: usize,
    pub forms: Forms,
    pub blocks: Vec<TileBlock>,
    pub wide: Vec<WideBlock>,
    pub floats: Vec<f32>,
}

impl Tiles {
    /// Blocks in a tile; the last may be partly empty.
    pub(crate) fn blocks_per_tile(&self) -> usize {
        self.cols.div_ceil(BLOCK)
    }

    /// Makes room for `tiles` tiles. What they hold is unspecified. Buffers only ever grow.
    pub(crate) fn resize(&mut self, tiles: usize, cols: usize, forms: Forms) {
        self.tiles = tiles;
        self.cols = cols;
        self.forms = forms;
        let blocks = tiles * self.blocks_per_tile();
        if forms.codes && self.blocks.len() < blocks {
            self.blocks.resize(blocks, EMPTY);
        }
        if forms.wide && self.wide.len() < blocks {
            self.wide.resize(blocks, WideBlock([[0; BLOCK]; TILE]));
        }
        if forms.floats && self.floats.len() < tiles * cols * TILE {
            self.floats.resize(tiles * cols * TILE, 0.0);
        }
    }

    /// One tile. Forms that are not there are empty slices.
    pub(crate) fn tile(&self, tile: usize) -> TileRef<'_> {
        let blocks = self.blocks_per_tile();
        TileRef {
            blocks: match self.forms.codes {
                true => &self.blocks[tile * blocks..][..blocks],
                false => &[],
            },
            wide: match self.forms.wide {
                true => &self.wide[tile * blocks..][..blocks],
                false => &[],
            },
            floats: match self.forms.floats {
                true => &self.floats[tile * self.cols * TILE..][..self.cols * TILE],
                false => &[],
            },
        }
    }
}

impl Tiles {
    /// Two neighbouring tiles; behind the last one, it again.
    pub(crate) fn pair(&self, tile: usize) -> [TileRef<'_>; 2] {
        [self.tile(tile), self.tile((tile + 1).min(self.tiles - 1))]
    }
}

/// A tile to read.
#[derive(Clone, Copy)]
pub(crate) struct TileRef<'a> {
    pub blocks: &'a [TileBlock],
    pub wide: &'a [WideBlock],
    pub floats: &'a [f32],
}

/// A tile, or some blocks of it, to fill.
pub(crate) struct TileMut<'a> {
    pub blocks: &'a mut [TileBlock],
    pub wide: &'a mut [WideBlock],
    pub floats: &'a mut [f32],
}

impl TileMut<'_> {
    /// Writes `values` as row `row` of the tile.
    pub(crate) fn set_row(&mut self, isa: Isa, row: usize, values: &[f32]) {
        if !self.floats.is_empty() {
            for (group, value) in self.floats.chunks_exact_mut(TILE).zip(values) {
                group[row] = *value;
            }
        }
        if self.blocks.is_empty() {
            return;
        }
        quantise_row(isa, values, row, self.blocks);
        widen_row(isa, row, self.blocks, self.wide);
    }

    /// Copies row `from_row` of `from` to row `row`. Wide codes that `from` lacks are made from the others.
    pub(crate) fn copy_row(&mut self, isa: Isa, row: usize, from: TileRef<'_>, from_row: usize) {
        for (to, from) in self.blocks.iter_mut().zip(from.blocks) {
            to.codes[row] = from.codes[from_row];
            to.scale[row] = from.scale[from_row];
            to.scaled_sum[row] = from.scaled_sum[from_row];
            to.neg_sum[row] = from.neg_sum[from_row];
            to.neg_sum_low[row] = from.neg_sum_low[from_row];
        }
        if from.wide.is_empty() {
            widen_row(isa, row, self.blocks, self.wide);
        }
        for (to, from) in self.wide.iter_mut().zip(from.wide) {
            to.0[row] = from.0[from_row];
        }
        let groups = self.floats.chunks_exact_mut(TILE);
        for (to, from) in groups.zip(from.floats.chunks_exact(TILE)) {
            to[row] = from[from_row];
        }
    }
}

/// A `Tiles` that several tasks fill, each its own part.
pub(crate) struct SharedTiles<'a> {
    forms: Forms,
    cols: usize,
    /// Blocks in a tile.
    pub per_tile: usize,
    blocks: SharedMut<'a, TileBlock>,
    wide: SharedMut<'a, WideBlock>,
    floats: SharedMut<'a, f32>,
}

impl<'a> SharedTiles<'a> {
    pub(crate) fn new(tiles: &'a mut Tiles) -> Self {
        SharedTiles {
            forms: tiles.forms,
            cols: tiles.cols,
            per_tile: tiles.blocks_per_tile(),
            blocks: SharedMut::new(&mut tiles.blocks),
            wide: SharedMut::new(&mut tiles.wide),
            floats: SharedMut::new(&mut tiles.floats),
        }
    }

    /// The blocks `from .. from + count` of a tile.
    ///
    /// # Safety
    ///
    /// No two overlapping parts may be in use at the same time.
    #[allow(clippy::mut_from_ref)] // Disjointness is the caller's promise.
    pub(crate) unsafe fn part(&self, tile: usize, from: usize, count: usize) -> TileMut<'a> {
        let at = tile * self.per_tile + from;
        let columns = from * BLOCK..self.cols.min((from + count) * BLOCK);
        // SAFETY: passed on to the caller.
        unsafe {
            TileMut {
                blocks: match self.forms.codes {
                    true => self.blocks.slice(at, count),
                    false => &mut [],
                },
                wide: match self.forms.wide {
                    true => self.wide.slice(at, count),
                    false => &mut [],
                },
                floats: match self.forms.floats {
                    true => self.floats.slice((tile * self.cols + columns.start) * TILE, columns.len() * TILE),
                    false => &mut [],
                },
            }
        }
    }
}

multiversion! {
    /// Makes the wide codes of a row, if there is room for them.
    fn widen_row(row: usize, blocks: &[TileBlock], wide: &mut [WideBlock]) = widen_row_body;
}

#[inline(always)]
fn widen_row_body(row: usize, blocks: &[TileBlock], wide: &mut [WideBlock]) {
    for (wide, block) in wide.iter_mut().zip(blocks) {
        let pairs = wide.0[row].chunks_exact_mut(4);
        for (to, from) in pairs.zip(block.codes[row].chunks_exact(4)) {
            to.copy_from_slice(&[from[0], from[2], from[1], from[3]].map(i16::from));
        }
    }
}
