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

use crate::quant::{Block, MinKind, min_kind};
use crate::{KernelError, WeightType};

/// Output rows in a panel.
pub(crate) const LANES: usize = 8;
/// Columns in a block of codes.
pub(crate) const BLOCK: usize = 32;

/// A cache line; gives the packed bytes their alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A weight matrix, `rows` outputs x `cols` inputs, packed for the kernels.
pub struct Matrix {
    ty: WeightType,
    rows: usize,
    cols: usize,
    source_bytes: usize,
    /// Bytes from one panel to the next.
    panel_bytes: usize,
    /// Where the scales start within a panel.
    scales_at: usize,
    lines: Vec<Line>,
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

impl Matrix {
    /// Packs `data`, `rows` rows of `cols` values in the file's format, row after row.
    ///
    /// # Errors
    ///
    /// If the matrix is empty or too large, `cols` is not a whole number of blocks, or `data` is not exactly
    /// as long as the matrix takes.
    pub fn pack(ty: WeightType, rows: usize, cols: usize, data: &[u8]) -> Result<Matrix, KernelError> {
        if rows == 0 || cols == 0 {
            return Err(KernelError::Empty { rows, cols });
        }
        if !cols.is_multiple_of(ty.block_len()) {
            return Err(KernelError::PartialBlock { ty, cols });
        }
        let too_large = KernelError::TooLarge { rows, cols };
        let row_bytes = ty.row_bytes(cols).ok_or(too_large.clone())?;
        let values = rows.checked_mul(cols).ok_or(too_large.clone())?;
        let expected = rows.checked_mul(row_bytes).ok_or(too_large.clone())?;
        if data.len() != expected {
            return Err(KernelError::ByteLength { ty, values, expected, found: data.len() });
        }
        let (codes, scales) = panel_layout(ty, cols).ok_or(too_large.clone())?;
        let panel_bytes =
            codes.checked_add(scales).and_then(|bytes| bytes.checked_next_multiple_of(64)).ok_or(too_large.clone())?;
        let lines = rows
            .div_ceil(LANES)
            .checked_mul(panel_bytes / 64)
            .filter(|lines| *lines <= isize::MAX as usize / 64)
            .ok_or(too_large)?;
        let mut matrix = Matrix {
            ty,
            rows,
            cols,
            source_bytes: expected,
            panel_bytes,
            scales_at: codes,
            lines: vec![Line([0; 64]); lines],
        };
        for (panel, rows) in data.chunks(row_bytes * LANES).enumerate() {
            let lines = &mut matrix.lines[panel * (panel_bytes / 64)..][..panel_bytes / 64];
            let bytes = as_bytes_mut(lines);
            for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
                if ty.is_float() {
                    pack_floats(ty.block_bytes(), lane, row, bytes);
                } else {
                    let (codes, scales) = bytes.split_at_mut(matrix.scales_at);
                    pack_blocks(ty, lane, row, codes, scales);
                }
            }
        }
        Ok(matrix)
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
    // SAFETY: a `Line` is 64 bytes without padding, and any byte pattern is valid in both directions.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) }
}

fn as_bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: as in `as_bytes`; the exclusive borrow carries over.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 64) }
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
