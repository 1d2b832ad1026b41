//! A view of one tensor's bytes in a checkpoint.

use std::ops::Range;
use std::sync::Arc;

use laminar_kernels::WeightType;

use super::bytes::Bytes;
use super::error::CheckpointError;
use super::safetensors::Bytewise;

/// One tensor: a name, a type, a shape and the bytes as they lie in the file.
///
/// Rows are contiguous: the innermost dimension (`cols`) varies fastest, as GGUF and safetensors both store it.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    /// The tensor's name in its file.
    pub name: &'a str,
    /// How the values are stored.
    pub ty: WeightType,
    /// The dimensions, outermost first: `[cols]`, `[rows, cols]` or `[experts, rows, cols]`.
    pub shape: Vec<usize>,
    /// The values, [`WeightType::row_bytes`] for each row. In a mapped file, looking at them brings them into memory.
    pub data: &'a [u8],
    /// Where `data` lies.
    pub(super) place: Place<'a>,
}

/// A tensor that means something together with others: the parts of quantised weights in folders.
#[derive(Debug, Clone)]
pub struct ByteTensor<'a> {
    /// The tensor's name in its file.
    pub name: &'a str,
    /// How its elements are stored.
    pub kind: Bytewise,
    /// The dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The bytes. In a mapped file, looking at them brings them into memory.
    pub data: &'a [u8],
    /// Where `data` lies.
    pub(super) place: Place<'a>,
}

impl<'a> ByteTensor<'a> {
    /// The `i`-th slice along the outermost dimension; `None` when there is no such slice.
    pub fn slice(&self, i: usize) -> Option<ByteTensor<'a>> {
        let (&count, rest) = self.shape.split_first()?;
        let bytes = self.data.len() / count.max(1);
        let at = i.checked_mul(bytes).filter(|_| i < count)?;
        let data = self.data.get(at..at + bytes)?;
        let place = Place { at: self.place.at + at, ..self.place };
        Some(ByteTensor { name: self.name, kind: self.kind, shape: rest.to_vec(), data, place })
    }

    /// Some of the bytes, for one use: as [`Bytes::read`] gets them.
    pub(crate) fn read<'b>(
        &'b self,
        range: Range<usize>,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], CheckpointError> {
        self.place.read(range, buffer)
    }

    /// The file that holds the bytes, and where they begin in it.
    pub(crate) fn place(&self) -> (&'a Arc<Bytes>, usize) {
        (self.place.bytes, self.place.at)
    }
}

/// A place in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub bytes: &'a Arc<Bytes>,
    pub at: usize,
}

impl Place<'_> {
    /// Some of the bytes from here on, for one use: as [`Bytes::read`] gets them. The range was checked to lie inside the
    /// file, so neither sum overflows.
    fn read<'b>(&'b self, range: Range<usize>, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], CheckpointError> {
        self.bytes.read(self.at + range.start..self.at + range.end, buffer)
    }
}

impl<'a> Tensor<'a> {
    /// The number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The length of a row: the innermost dimension.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The number of rows of a matrix: the dimension next to the innermost one; 1 for a vector.
    pub fn rows(&self) -> usize {
        match self.shape.as_slice() {
            [.., rows, _] => *rows,
            _ => 1,
        }
    }

    /// The number of matrices stacked in the tensor: 1 unless it has more than two dimensions.
    pub fn matrices(&self) -> usize {
        match self.shape.as_slice() {
            [outer @ .., _, _] => outer.iter().product(),
            _ => 1,
        }
    }

    /// All values as 32-bit floats.
    pub fn to_f32(&self) -> Result<Vec<f32>, CheckpointError> {
        let mut values = vec![0.0; self.elements()];
        let mut buffer = Vec::new();
        let data = self.read(0..self.data.len(), &mut buffer)?;
        laminar_kernels::dequantize(self.ty, data, &mut values).map_err(|source| CheckpointError::Values {
            file: "checkpoint".to_string(),
            tensor: self.name.to_string(),
            source,
        })?;
        Ok(values)
    }

    /// The `i`-th slice along the outermost dimension: one expert of a `[experts, rows, cols]` tensor, one row of a
    /// matrix. `None` when there is no such slice or it is not made of whole blocks.
    pub fn expert(&self, i: usize) -> Option<Tensor<'a>> {
        let (&count, rest) = self.shape.split_first()?;
        if i >= count || rest.is_empty() {
            return None;
        }
        let bytes = self.data.len() / count;
        let data = self.data.get(i.checked_mul(bytes)?..(i + 1).checked_mul(bytes)?)?;
        let place = Place { at: self.place.at + i * bytes, ..self.place };
        Some(Tensor { name: self.name, ty: self.ty, shape: rest.to_vec(), data, place })
    }

    /// Some rows of a matrix. `None` when there are no such rows, or it is no matrix.
    pub fn row_range(&self, rows: Range<usize>) -> Option<Tensor<'a>> {
        let &[count, cols] = self.shape.as_slice() else {
            return None;
        };
        let bytes = self.ty.row_bytes(cols)?;
        if rows.start > rows.end || rows.end > count {
            return None;
        }
        let at = rows.start * bytes;
        let data = self.data.get(at..rows.end * bytes)?;
        let place = Place { at: self.place.at + at, ..self.place };
        Some(Tensor { name: self.name, ty: self.ty, shape: vec![rows.len(), cols], data, place })
    }

    /// Some bytes of the values, for one use: as [`Bytes::read`] gets them.
    pub(crate) fn read<'b>(
        &'b self,
        range: Range<usize>,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], CheckpointError> {
        self.place.read(range, buffer)
    }

    /// The file that holds the values, and where they begin in it.
    pub(crate) fn place(&self) -> (&'a Arc<Bytes>, usize) {
        (self.place.bytes, self.place.at)
    }
}
