//! Keys and values of a layer in memory: number types, layout, writing.
//!
//! Memory is cut into cells, one for each block and key/value head: keys first, one dimension after the other with the
//! positions of the block side by side, then values, one position after the other. So a vector of neighbouring
//! positions' scores, and a vector of neighbouring dimensions' sums, both come from consecutive numbers, for many
//! queries or for one.

use std::alloc::{Layout, handle_alloc_error};

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::Span;
use super::lanes::LANES;
use super::source::Q8_BLOCK;
use crate::Pool;
use crate::pool::SharedMut;
use crate::storage::{LINE, Memory};

/// Keys below which writing them is not worth other threads.
const FEW: usize = 4096;

/// Number type of stored keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KvType {
    /// Single precision: twice the memory of the default, used to compare with f32 references.
    F32,
    /// Half precision, rounded to nearest: the default.
    #[default]
    F16,
    /// Blocks of 32 values of a head: 8-bit codes with a scale in half precision, about half the memory of the default.
    Q8_0,
}

impl KvType {
    /// Its name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Whether heads of `head_dim` values can be stored.
    pub fn fits(self, head_dim: usize) -> bool {
        self != Self::Q8_0 || head_dim.is_multiple_of(Q8_BLOCK)
    }
}

/// The sizes of a layer's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Positions in a block: 16, 32, 64, 128 or 256.
    pub block_len: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Numbers in a key.
    pub head_dim: usize,
    /// Where values are what keys hold from some dimension on, and not stored again: that dimension. `None`: values are as
    /// wide as keys, and beside them.
    pub values_from: Option<usize>,
}

impl KvShape {
    /// Numbers in a value.
    pub fn value_dim(&self) -> usize {
        self.head_dim - self.values_from.unwrap_or(0)
    }

    /// Bytes a block takes, keys and values of all heads.
    pub fn block_bytes(&self, ty: KvType) -> usize {
        self.kv_heads * self.cell_bytes(ty)
    }

    /// Bytes of a cell.
    fn cell_bytes(&self, ty: KvType) -> usize {
        let halves = if self.values_from.is_some() { 1 } else { 2 };
        halves * self.half_cell(ty)
    }

    /// Bytes of a cell's keys, or of its values.
    fn half_cell(&self, ty: KvType) -> usize {
        let values = self.block_len * self.head_dim;
        let bytes = match ty {
            KvType::F32 => 4 * values,
            KvType::F16 => 2 * values,
            KvType::Q8_0 => values + 2 * (values / Q8_BLOCK),
        };
        bytes.next_multiple_of(LINE)
    }
}

/// Keys and values of one layer, in blocks of positions.
pub struct KvLayer {
    ty: KvType,
    shape: KvShape,
    blocks: usize,
    /// The cells, which begin on a line, and a line behind them: vectors may be read past the end of a cell.
    memory: Memory,
    /// Bytes, from the first on, whose pages have been asked for ahead of time.
    ready: usize,
}

/// Where keys and values of a cell are. Values that are in the keys have no place of their own: theirs is that of the keys.
#[derive(Clone, Copy)]
pub(super) struct Cell {
    pub keys: *const u8,
    pub values: *const u8,
}

impl KvLayer {
    /// Memory for `blocks` blocks, zeros.
    ///
    /// Pages are touched on first use only, so a generous count costs nothing until it is used.
    ///
    /// # Panics
    ///
    /// If the block length is none of those allowed, a size is zero, or the type doesn't fit the heads
    /// ([`KvType::fits`]).
    pub fn new(ty: KvType, shape: KvShape, blocks: usize) -> KvLayer {
        assert!([16, 32, 64, 128, 256].contains(&shape.block_len), "blocks of {} positions", shape.block_len);
        assert!(shape.kv_heads > 0 && shape.head_dim > 0, "no heads, or empty ones");
        assert!(shape.values_from.is_none_or(|from| from < shape.head_dim), "no values in keys of {}", shape.head_dim);
        assert!(ty.fits(shape.head_dim), "{} can't hold heads of {} values", ty.name(), shape.head_dim);
        // Huge pages: a head's cells are some kilobytes here and there, and with small ones every cell begins with a
        // walk through the page tables.
        let bytes = blocks * shape.block_bytes(ty) + LINE;
        match Memory::zeroed(bytes) {
            Ok(memory) => KvLayer { ty, shape, blocks, memory, ready: 0 },
            // As every other allocation that the system refuses.
            Err(_) => handle_alloc_error(Layout::array::<u8>(bytes).unwrap_or(Layout::new::<u8>())),
        }
    }

    /// Has the system provide a page of the first `blocks` blocks, ahead of time. False if all of theirs are there.
    pub fn provide(&mut self, blocks: usize) -> bool {
        let wanted = blocks.min(self.blocks) * self.shape.block_bytes(self.ty);
        if self.ready >= wanted {
            return false;
        }
        self.ready = self.memory.provide(self.ready);
        true
    }

    /// Number type.
    pub fn kv_type(&self) -> KvType {
        self.ty
    }

    /// Sizes.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Blocks; their ids are `0 .. blocks()`.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// A cell.
    ///
    /// # Panics
    ///
    /// If there is no such block or head.
    pub(super) fn cell(&self, block: u32, head: usize) -> Cell {
        let (cell, half) = (self.shape.cell_bytes(self.ty), self.shape.half_cell(self.ty));
        assert!((block as usize) < self.blocks && head < self.shape.kv_heads, "no block {block} or head {head}");
        let cells = &self.memory.bytes()[(block as usize * self.shape.kv_heads + head) * cell..];
        Cell { keys: cells.as_ptr(), values: cells[cell - half..].as_ptr() }
    }

    /// Fills everything with not-a-number, as memory that others left behind.
    #[cfg(test)]
    pub(super) fn spoil(&mut self) {
        // All bits set are not-a-number in both float types, and a scale of `q8_0` is one.
        self.memory.bytes_mut().fill(0xff);
    }
}

/// Writes the keys and values of new rows into a layer's cache.
///
/// `k_rows` and `v_rows` are rows of `kv_heads * head_dim` values; where values are in the keys, nobody looks at `v_rows`.
///
/// # Panics
///
/// If a span has rows that are not in `k_rows` or `v_rows`, positions beyond its block table, or a block
/// beyond the cache.
pub fn store_kv(pool: &Pool, k_rows: &[f32], v_rows: &[f32], spans: &[Span<'_>], kv: &mut KvLayer) {
    let KvLayer { ty, shape, blocks, .. } = *kv;
    let (cell_bytes, half) = (shape.cell_bytes(ty), shape.half_cell(ty));
    let with_values = shape.values_from.is_none();
    let cells = blocks * shape.kv_heads;
    let memory = SharedMut::new(kv.memory.bytes_mut());
    let store_head = |head: usize| {
        for span in spans {
            for i in 0..span.rows {
                let position = span.first_pos + i;
                let cell = span.blocks[position / shape.block_len] as usize * shape.kv_heads + head;
                assert!(cell < cells, "a block beyond the cache");
                // SAFETY: a task writes the cells of its own head, one at a time.
                let cell = unsafe { memory.slice(cell * cell_bytes, cell_bytes) };
                let (keys, values) = cell.split_at_mut(half);
                let from = ((span.first_row + i) * shape.kv_heads + head) * shape.head_dim;
                let row = from..from + shape.head_dim;
                let at = position % shape.block_len;
                // Without values of their own, none are written.
                let (k, v) = (&k_rows[row.clone()], if with_values { &v_rows[row] } else { &[] });
                match ty {
                    KvType::F32 => {
                        let (keys, values) = (numbers::<f32>(keys), numbers::<f32>(values));
                        scatter(k, keys, shape.block_len, at);
                        if with_values {
                            values[at * shape.head_dim..][..shape.head_dim].copy_from_slice(v);
                        }
                    }
                    KvType::F16 => {
                        let (keys, values) = (numbers::<u16>(keys), numbers::<u16>(values));
                        let mut halves = [0; 64];
                        for (k, keys) in k.chunks(halves.len()).zip(keys.chunks_mut(halves.len() * shape.block_len)) {
                            let halves = &mut halves[..k.len()];
                            to_halves(k, halves);
                            scatter(halves, keys, shape.block_len, at);
                        }
                        if with_values {
                            to_halves(v, &mut values[at * shape.head_dim..][..shape.head_dim]);
                        }
                    }
                    KvType::Q8_0 => {
                        store_q8_keys(k, keys, shape, at);
                        if with_values {
                            store_q8_values(v, values, shape, at);
                        }
                    }
                }
            }
        }
    };
    let rows: usize = spans.iter().map(|span| span.rows).sum();
    if rows * shape.kv_heads * shape.head_dim < FEW {
        (0..shape.kv_heads).for_each(store_head);
    } else {
        pool.run(shape.kv_heads, &store_head);
    }
}

mod sealed {
    /// A number that may have any bits.
    pub trait Plain {}
    impl Plain for f32 {}
    impl Plain for u16 {}
    impl Plain for i8 {}
}

/// The numbers of a cell's half, or of a whole part of it.
fn numbers<T: sealed::Plain>(bytes: &mut [u8]) -> &mut [T] {
    // SAFETY: all bits are valid for a `Plain` number.
    let (before, numbers, _) = unsafe { bytes.align_to_mut::<T>() };
    debug_assert!(before.is_empty(), "cells are aligned");
    numbers
}

/// Writes a row as column `at` of a matrix with rows of `stride`.
fn scatter<T: Copy>(row: &[T], to: &mut [T], stride: usize, at: usize) {
    for (value, to) in row.iter().zip(to.chunks_exact_mut(stride)) {
        to[at] = *value;
    }
}

fn to_halves(from: &[f32], to: &mut [u16]) {
    use half::slice::HalfBitsSliceExt;
    to.reinterpret_cast_mut::<f16>().convert_from_f32_slice(from);
}

/// Rounds 32 values to codes; returns the scale's bits.
fn to_codes(values: &[f32], codes: &mut [i8; Q8_BLOCK]) -> u16 {
    let largest = values.iter().fold(0f32, |max, v| if v.abs() > max { v.abs() } else { max });
    // Not infinity, whatever the values are.
    let scale = f16::from_f32((largest / 127.0).min(f16::MAX.to_f32()));
    for (code, value) in codes.iter_mut().zip(values) {
        // A scale that was rounded down would lead beyond 127; over a scale of zero any code will do.
        *code = (value / scale.to_f32()).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    scale.to_bits()
}

fn store_q8_keys(k: &[f32], keys: &mut [u8], shape: KvShape, at: usize) {
    let (codes, scales) = keys.split_at_mut(shape.block_len * shape.head_dim);
    let (codes, scales) = (numbers::<i8>(codes), numbers::<u16>(scales));
    let mut block = [0; Q8_BLOCK];
    for (chunk, k) in k.chunks_exact(Q8_BLOCK).enumerate() {
        scales[chunk * shape.block_len + at] = to_codes(k, &mut block);
        scatter(&block, &mut codes[chunk * Q8_BLOCK * shape.block_len..], shape.block_len, at);
    }
}

fn store_q8_values(v: &[f32], values: &mut [u8], shape: KvShape, at: usize) {
    let (codes, scales) = values.split_at_mut(shape.block_len * shape.head_dim);
    let (codes, scales) = (numbers::<i8>(codes), numbers::<u16>(scales));
    let chunks = shape.head_dim / Q8_BLOCK;
    let mut block = [0; Q8_BLOCK];
    for (chunk, v) in v.chunks_exact(Q8_BLOCK).enumerate() {
        scales[at * chunks + chunk] = to_codes(v, &mut block);
        codes[at * shape.head_dim + chunk * Q8_BLOCK..][..Q8_BLOCK].copy_from_slice(&block);
    }
}

const _: () = assert!(LINE >= 4 * LANES, "a vector that begins in a cell's last number ends inside the memory");
