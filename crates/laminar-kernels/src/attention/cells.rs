//! The cells that a split's keys and values are in, and how to read each number type there.

use std::ops::Range;

use super::kv::{Cell, KvShape};
use super::lanes::{LANES, Lanes};
use super::product::widen;
use super::shared::values_of_keys;
use super::source::{KeyCodes, PACKED, Q8_BLOCK, Source, Strided, ValueCodes};
use super::tile::{Call, SPLIT, Tile};

/// How keys and values lie in a cell.
pub(super) trait Format {
    /// Keys of a cell.
    type Keys: Source;
    /// Values of a cell.
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

/// Numbers as they are.
pub(super) struct Plain<T>(std::marker::PhantomData<T>);

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

/// Codes and scales.
pub(super) struct Q8;

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

/// The cells of a split for one tile and head.
pub(super) struct Cells<'a> {
    pub call: &'a Call<'a>,
    pub tile: &'a Tile<'a>,
    pub head: usize,
    /// First position of the split.
    pub start: usize,
    /// Positions of the split that any row sees.
    pub seen: Range<usize>,
    /// Whether the next split comes next.
    pub follows: bool,
}

impl Cells<'_> {
    /// The cell of a position of the split, and the position's place in it.
    pub(super) fn at(&self, position: usize) -> (Cell, usize) {
        let absolute = self.start + position;
        let block_len = self.call.kv.shape().block_len;
        (self.call.kv.cell(self.tile.blocks[absolute / block_len], self.head), absolute % block_len)
    }

    /// Bytes from the keys of a position's cell to what is read next: the next keys, or the first values.
    pub(super) fn after_keys(&self, position: usize) -> isize {
        let block_len = self.call.kv.shape().block_len;
        let next = position - position % block_len + block_len;
        let next = if next < self.seen.end { self.at(next).0.keys } else { self.at(self.seen.start).0.values };
        (next as isize).wrapping_sub(self.at(position).0.keys as isize)
    }

    /// Bytes from the values of a position's cell to what is read next: the next values, or keys of the next split.
    pub(super) fn after_values(&self, position: usize) -> isize {
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

/// Keys and values of a split as floats, as `Scratch` has them.
///
/// # Safety
///
/// The machine has the instructions, the cells are of format `F`, and there is room for all keys and values of a split.
pub(super) unsafe fn widen_split<L: Lanes, F: Format>(cells: &Cells<'_>, keys: *mut f32, values: *mut f32) {
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
            if shape.values_from.is_none() {
                for d in (0..width).step_by(PACKED) {
                    let to = values.add(d * SPLIT + first * PACKED);
                    let vectors = ((width - d) / LANES).min(2);
                    widen::<L, _>(F::values(cell.values, &shape, d, 0), vectors, shape.block_len, to);
                }
            }
        }
        first += shape.block_len;
    }
    if let Some(from) = shape.values_from {
        // SAFETY: the keys of these positions were just written, and there is room for their values.
        unsafe { values_of_keys(keys, values, dim, from, cells.seen.clone()) };
    }
}
