//! Weight matrices, packed once at load for the matrix kernels in the layout of `panel.rs`.

use std::sync::Arc;

use memmap2::Mmap;

use crate::panel::{LANES, pack_row, panel_bytes};
use crate::storage::{Line, Lines, Memory};
use crate::{KernelError, WeightType};

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
    lines: Lines,
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Matrix({} {}x{})", self.ty.name(), self.rows, self.cols)
    }
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
        let panel_bytes = panel_bytes(ty, cols).ok_or(too_large.clone())?;
        let packed_bytes = rows
            .div_ceil(LANES)
            .checked_mul(panel_bytes)
            .filter(|bytes| *bytes <= isize::MAX as usize)
            .ok_or(too_large)?;
        Ok(Shape { ty, rows, cols, row_bytes, source_bytes, panel_bytes, packed_bytes })
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
    for (rows, bytes) in rows.chunks(shape.source_panel_bytes()).zip(panels.chunks_exact_mut(shape.panel_bytes)) {
        for (lane, row) in rows.chunks_exact(shape.row_bytes).enumerate() {
            pack_row(shape.ty, lane, row, bytes);
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
        let &Shape { ty, rows, cols, source_bytes, panel_bytes, .. } = shape;
        Matrix { ty, rows, cols, source_bytes, panel_bytes, lines }
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

    /// The bytes of a panel; nothing beyond the last.
    pub(crate) fn panel(&self, panel: usize) -> &[u8] {
        self.panels_between(panel, panel + 1)
    }

    /// The bytes of the panels `from .. to`, of those that exist.
    pub(crate) fn panels_between(&self, from: usize, to: usize) -> &[u8] {
        let line = |panel: usize| (panel * (self.panel_bytes / 64)).min(self.lines.len());
        as_bytes(&self.lines[line(from)..line(to)])
    }
}

fn as_bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: a `Line` is 64 bytes without padding, and any bytes are a valid `u8`.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) }
}
