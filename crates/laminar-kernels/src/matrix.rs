//! Weight matrices, packed once at load for the matrix kernels in the layout of `panel.rs`.

use crate::panel::{LANES, pack_row, panel_bytes};
use crate::{KernelError, WeightType};

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
    lines: Vec<Line>,
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Matrix({} {}x{})", self.ty.name(), self.rows, self.cols)
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
        let panel_bytes = panel_bytes(ty, cols).ok_or(too_large.clone())?;
        let lines = rows
            .div_ceil(LANES)
            .checked_mul(panel_bytes / 64)
            .filter(|lines| *lines <= isize::MAX as usize / 64)
            .ok_or(too_large)?;
        let mut matrix =
            Matrix { ty, rows, cols, source_bytes: expected, panel_bytes, lines: vec![Line([0; 64]); lines] };
        for (panel, rows) in data.chunks(row_bytes * LANES).enumerate() {
            let lines = &mut matrix.lines[panel * (panel_bytes / 64)..][..panel_bytes / 64];
            let bytes = as_bytes_mut(lines);
            for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
                pack_row(ty, lane, row, bytes);
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

    /// The bytes of a panel; nothing beyond the last.
    pub(crate) fn panel(&self, panel: usize) -> &[u8] {
        let each = self.panel_bytes / 64;
        let from = (panel * each).min(self.lines.len());
        as_bytes(&self.lines[from..(from + each).min(self.lines.len())])
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
