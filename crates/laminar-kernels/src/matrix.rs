//! Weight matrices, packed once at load for the matrix kernels.
//!
//! Eight output rows form a *panel*; a vector register holds one value (or four consecutive codes) of each
//! of the eight. So one lane is one output, a dot product needs no sum across lanes, and its value can't
//! depend on how many rows are computed together.
//!
//! A panel of a block format is its codes, then its scales:
//!
//! - codes, for each block of 32 columns: eight vectors of 8 lanes x 4 codes (256 bytes); 4-bit codes as
//!   four vectors (128 bytes) whose low nibbles are the first 16 columns and high nibbles the last 16;
//! - scales of the simple formats, for each block of 32: 8 f16 scales and, where there are any, 8 f16
//!   offsets;
//! - scales of Q4_K and Q5_K, for each super-block: 8 f16 `d`, 8 f16 `dmin`, then eight times 8 factor
//!   bytes of `d` and 8 of `dmin`;
//! - scales of Q6_K, for each super-block: 8 f16 `d`, then sixteen times 8 factor bytes.
//!
//! A panel of a float format is, for each column, the eight values. The last panel is filled up with
//! zeros.

use std::sync::Arc;

use memmap2::Mmap;

use crate::quant::{Block, MinKind, min_kind};
use crate::storage::{LINE, Line, Lines, Memory};
use crate::{KernelError, WeightType};

/// Output rows in a panel.
pub(crate) const LANES: usize = 8;
/// Columns in a block of codes.
pub(crate) const BLOCK: usize = 32;

/// A weight matrix, `rows` outputs x `cols` inputs, packed for the kernels.
///
/// A clone shares the packed weights.
#[derive(Clone)]
pub struct Matrix {
    ty: WeightType,
    rows: usize,
    cols: usize,
    source_bytes: usize,
    /// Bytes from one panel to the next.
    panel_bytes: usize,
    /// Where the scales start within a panel.
    scales_at: usize,
    lines: Lines,
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Matrix({} {}x{})", self.ty.name(), self.rows, self.cols)
    }
}

/// Bytes of the codes and of the scales of a panel.
fn panel_layout(ty: WeightType, cols: usize) -> Option<(usize, usize)> {
    let blocks = cols / BLOCK;
    let (codes, scales) = match ty {
        WeightType::F32 => return Some((cols.checked_mul(4 * LANES)?, 0)),
        WeightType::F16 | WeightType::Bf16 => return Some((cols.checked_mul(2 * LANES)?, 0)),
        WeightType::Q8_0 | WeightType::Q5_0 => (256, 16),
        WeightType::Q4_0 => (128, 16),
        WeightType::Q4_1 => (128, 32),
        WeightType::Q5_1 => (256, 32),
        // Eight blocks share 160 or 144 bytes; a row is a whole number of super-blocks.
        WeightType::Q4K => (128, 20),
        WeightType::Q5K => (256, 20),
        WeightType::Q6K => (256, 18),
    };
    Some((blocks.checked_mul(codes)?, blocks.checked_mul(scales)?))
}

/// How a matrix is laid out, in the file and packed.
pub(crate) struct Shape {
    ty: WeightType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    /// Bytes in the file's format.
    pub source_bytes: usize,
    /// Bytes from one panel to the next.
    pub panel_bytes: usize,
    scales_at: usize,
    /// Bytes of all panels.
    pub packed_bytes: usize,
}

impl Shape {
    pub fn new(ty: WeightType, rows: usize, cols: usize) -> Result<Shape, KernelError> {
        if rows == 0 || cols == 0 {
            return Err(KernelError::Empty { rows, cols });
        }
        if !cols.is_multiple_of(ty.block_len()) {
            return Err(KernelError::PartialBlock { ty, cols });
        }
        let too_large = KernelError::TooLarge { rows, cols };
        let row_bytes = ty.row_bytes(cols).ok_or(too_large.clone())?;
        rows.checked_mul(cols).ok_or(too_large.clone())?;
        let source_bytes = rows.checked_mul(row_bytes).ok_or(too_large.clone())?;
        let (codes, scales) = panel_layout(ty, cols).ok_or(too_large.clone())?;
        let panel_bytes = codes
            .checked_add(scales)
            .and_then(|bytes| bytes.checked_next_multiple_of(LINE))
            .ok_or(too_large.clone())?;
        let packed_bytes = rows
            .div_ceil(LANES)
            .checked_mul(panel_bytes)
            .filter(|bytes| *bytes <= isize::MAX as usize)
            .ok_or(too_large)?;
        Ok(Shape { ty, rows, cols, row_bytes, source_bytes, panel_bytes, scales_at: codes, packed_bytes })
    }

    /// Bytes in the file's format of the rows of a full panel.
    pub fn source_panel_bytes(&self) -> usize {
        self.row_bytes * LANES
    }

    /// That `data` is as long as the matrix takes in the file's format.
    pub fn check(&self, data: &[u8]) -> Result<(), KernelError> {
        let (ty, values, expected, found) = (self.ty, self.rows * self.cols, self.source_bytes, data.len());
        if found == expected { Ok(()) } else { Err(KernelError::ByteLength { ty, values, expected, found }) }
    }
}

/// Packs some rows, from the first of a panel on, into as many panels as they take. These must be zeros.
pub(crate) fn pack_panels(shape: &Shape, rows: &[u8], panels: &mut [u8]) {
    let ty = shape.ty;
    for (rows, bytes) in rows.chunks(shape.source_panel_bytes()).zip(panels.chunks_exact_mut(shape.panel_bytes)) {
        for (lane, row) in rows.chunks_exact(shape.row_bytes).enumerate() {
            if ty.is_float() {
                pack_floats(ty.block_bytes(), lane, row, bytes);
            } else {
                let (codes, scales) = bytes.split_at_mut(shape.scales_at);
                pack_blocks(ty, lane, row, codes, scales);
            }
        }
    }
}

impl Matrix {
    /// Packs `data`, `rows` rows of `cols` values in the file's format, row after row.
    ///
    /// # Errors
    ///
    /// If the matrix is empty or too large, `cols` is not a whole number of blocks, or `data` is not exactly
    /// as long as the matrix takes.
    pub fn pack(ty: WeightType, rows: usize, cols: usize, data: &[u8]) -> Result<Matrix, KernelError> {
        let shape = Shape::new(ty, rows, cols)?;
        shape.check(data)?;
        let mut memory = Memory::zeroed(shape.packed_bytes)?;
        pack_panels(&shape, data, memory.bytes_mut());
        let lines = memory.into_parts(shape.packed_bytes)?.pop();
        lines.map(|lines| Matrix::new(&shape, lines)).ok_or(KernelError::Empty { rows, cols })
    }

    /// A matrix whose packed weights lie in a mapped file, from the byte `at` on, as [`Matrix::packed`] gave them.
    ///
    /// They must have been packed in the layout of this program, which [`packed_layout`](crate::packed_layout) tells from
    /// others. Bytes that never were packed weights give results without meaning, and nothing worse.
    ///
    /// # Errors
    ///
    /// As [`Matrix::pack`] for the shape; and if the weights don't lie inside the file, on a boundary of 64 bytes.
    pub fn from_packed(
        ty: WeightType,
        rows: usize,
        cols: usize,
        file: &Arc<Mmap>,
        at: usize,
    ) -> Result<Matrix, KernelError> {
        let shape = Shape::new(ty, rows, cols)?;
        let expected = shape.packed_bytes;
        let lines = Lines::new(file, at, expected).ok_or(KernelError::Outside { at, expected, found: file.len() })?;
        Ok(Matrix::new(&shape, lines))
    }

    /// Bytes that the packed weights of a matrix take.
    ///
    /// # Errors
    ///
    /// As [`Matrix::pack`] for the shape.
    pub fn packed_bytes_of(ty: WeightType, rows: usize, cols: usize) -> Result<usize, KernelError> {
        Shape::new(ty, rows, cols).map(|shape| shape.packed_bytes)
    }

    /// `lines` are as many as the shape says.
    pub(crate) fn new(shape: &Shape, lines: Lines) -> Matrix {
        let &Shape { ty, rows, cols, source_bytes, panel_bytes, scales_at, .. } = shape;
        Matrix { ty, rows, cols, source_bytes, panel_bytes, scales_at, lines }
    }

    /// Rows: the outputs of the product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the inputs of the product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The format the weights came in.
    pub fn weight_type(&self) -> WeightType {
        self.ty
    }

    /// Bytes of the weights in the file's format: what reading this matrix once is counted as.
    pub fn source_bytes(&self) -> usize {
        self.source_bytes
    }

    /// Bytes the packed weights take in memory.
    pub fn packed_bytes(&self) -> usize {
        self.lines.len() * 64
    }

    /// The packed weights.
    pub fn packed(&self) -> &[u8] {
        as_bytes(&self.lines)
    }

    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    pub(crate) fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }

    /// All bytes of two neighbouring panels, or of the last one, or nothing beyond it.
    pub(crate) fn panel_pair(&self, panel: usize) -> &[u8] {
        let from = (panel * (self.panel_bytes / 64)).min(self.lines.len());
        let to = (from + 2 * (self.panel_bytes / 64)).min(self.lines.len());
        as_bytes(&self.lines[from..to])
    }

    /// Codes (or floats) and scales of a panel.
    pub(crate) fn panel(&self, panel: usize) -> (&[u8], &[u8]) {
        let lines = &self.lines[panel * (self.panel_bytes / 64)..][..self.panel_bytes / 64];
        as_bytes(lines).split_at(self.scales_at)
    }
}

fn as_bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: a `Line` is 64 bytes without padding, and any bytes are a valid `u8`.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) }
}

/// Spreads a row of floats of `size` bytes over the panel.
fn pack_floats(size: usize, lane: usize, row: &[u8], panel: &mut [u8]) {
    for (value, group) in row.chunks_exact(size).zip(panel.chunks_exact_mut(size * LANES)) {
        group[lane * size..][..size].copy_from_slice(value);
    }
}

/// Spreads a row of blocks over the panel.
fn pack_blocks(ty: WeightType, lane: usize, row: &[u8], codes: &mut [u8], scales: &mut [u8]) {
    let mut block = Block::new();
    let nibbles = matches!(ty, WeightType::Q4_0 | WeightType::Q4_1 | WeightType::Q4K);
    let per_block = if nibbles { 128 } else { 256 };
    let sub_blocks = ty.block_len() / BLOCK;
    // The scales may be followed by padding up to a whole cache line.
    let block_scales = panel_layout(ty, ty.block_len()).map_or(1, |(_, scales)| scales);
    for ((source, codes), scales) in row
        .chunks_exact(ty.block_bytes())
        .zip(codes.chunks_exact_mut(per_block * sub_blocks))
        .zip(scales.chunks_exact_mut(block_scales))
    {
        block.unpack(ty, source);
        for (values, codes) in block.codes.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(per_block)) {
            // Vector `step` holds columns 4 step .. 4 step + 4 of each lane.
            for (step, vector) in codes.chunks_exact_mut(32).enumerate() {
                let four = &mut vector[lane * 4..lane * 4 + 4];
                for (i, code) in four.iter_mut().enumerate() {
                    *code = values[step * 4 + i];
                    if nibbles {
                        *code |= values[16 + step * 4 + i] << 4;
                    }
                }
            }
        }
        let half = lane * 2..lane * 2 + 2;
        scales[half.clone()].copy_from_slice(&block.d.to_le_bytes());
        match min_kind(ty) {
            MinKind::None if ty == WeightType::Q6K => {
                for (g, factor) in block.scales.iter().enumerate() {
                    scales[16 + g * 8 + lane] = *factor as u8;
                }
            }
            MinKind::None => {}
            MinKind::Added => scales[16..32][half].copy_from_slice(&block.m.to_le_bytes()),
            MinKind::Scaled => {
                scales[16..32][half].copy_from_slice(&block.m.to_le_bytes());
                for g in 0..8 {
                    scales[32 + g * 16 + lane] = block.scales[g] as u8;
                    scales[40 + g * 16 + lane] = block.mins[g];
                }
            }
        }
    }
}
