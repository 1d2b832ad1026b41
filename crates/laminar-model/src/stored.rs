//! Where the rows of a matrix are in a checkpoint: mostly side by side, but some families spread them.
//!
//! Rows are brought together while they are packed, some at a time, so that no second copy of a tensor is ever in memory.

use std::ops::Range;

use half::f16;
use laminar_kernels::{WeightType, dequantize};

use crate::checkpoint::{ByteTensor, CheckpointError, QuantisedWeight, Tensor};
use crate::error::ModelError;
use crate::weights::shape_error;

/// Values of an MXFP4 block, and the bytes that safetensors files and our kernels have for one.
const BLOCK: usize = 32;
const STORED_BLOCK: usize = 16;
const KERNEL_BLOCK: usize = 17;

/// One matrix to be packed.
#[derive(Clone)]
pub(crate) enum Stored<'a> {
    /// Its rows follow each other.
    Rows(Tensor<'a>),
    /// Its rows are columns of a stored matrix of blocks, which were taken apart: in half precision.
    Turned { name: String, bytes: Vec<u8>, rows: usize, cols: usize },
    /// Its rows are columns of a stored matrix.
    Columns { tensor: Tensor<'a>, rows: usize, every: Every },
    /// MXFP4 in two tensors: `[all, blocks, 16]` bytes with two values each, and `[all, blocks]` scales.
    Mxfp4 { blocks: ByteTensor<'a>, scales: ByteTensor<'a>, rows: usize, every: Every },
    /// Rows from `first` on of a weight that another program quantised.
    Quantised { weight: QuantisedWeight<'a>, first: usize, rows: usize },
}

/// Row `r` is number `first + r * step` of those that are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Every {
    pub first: usize,
    pub step: usize,
}

impl Every {
    /// All of them.
    pub const ONE: Every = Every { first: 0, step: 1 };

    fn at(self, row: usize) -> usize {
        self.first + row * self.step
    }

    /// How many rows there are, if they are all of `stored` that are wanted.
    fn rows(self, stored: usize) -> usize {
        stored / self.step
    }
}

impl<'a> Stored<'a> {
    /// A matrix of that shape, as it lies in the file.
    pub fn rows(tensor: Tensor<'a>, rows: usize, cols: usize) -> Result<Self, ModelError> {
        if tensor.shape == [rows, cols] { Ok(Self::Rows(tensor)) } else { Err(shape_error(&tensor, vec![rows, cols])) }
    }

    /// A weight that another program quantised.
    pub fn quantised(weight: QuantisedWeight<'a>, rows: usize, cols: usize) -> Result<Self, ModelError> {
        let found = vec![weight.rows(), weight.cols()];
        if found == [rows, cols] {
            return Ok(Self::Quantised { weight, first: 0, rows });
        }
        Err(ModelError::Shape { name: weight.name().to_owned(), expected: vec![rows, cols], found })
    }

    /// Some of its rows, if it can be cut.
    pub fn part(self, part: Range<usize>) -> Option<Self> {
        match self {
            Self::Rows(tensor) => tensor.row_range(part).map(Self::Rows),
            Self::Quantised { weight, first, rows } if part.start <= part.end && part.end <= rows => {
                Some(Self::Quantised { weight, first: first + part.start, rows: part.len() })
            }
            _ => None,
        }
    }

    /// A matrix of floats whose rows are columns of a stored one.
    pub fn columns(tensor: Tensor<'a>, rows: usize, cols: usize, every: Every) -> Result<Self, ModelError> {
        let fits = tensor.shape == [cols, rows * every.step] && tensor.ty.is_float();
        if fits {
            Ok(Self::Columns { tensor, rows, every })
        } else {
            Err(shape_error(&tensor, vec![cols, rows * every.step]))
        }
    }

    /// Rows and columns exchanged. Blocks of a row are no blocks of a column: these become floats in half precision.
    pub fn turned(self) -> Result<Self, ModelError> {
        let (cols, rows) = self.shape();
        match self {
            Self::Rows(tensor) if tensor.ty.is_float() => Self::columns(tensor, rows, cols, Every::ONE),
            stored => {
                let (mut values, mut buffer) = (Vec::new(), Vec::new());
                stored.values(0..cols, &mut values, &mut buffer)?;
                let places = (0..rows).flat_map(|row| (0..cols).map(move |k| k * rows + row));
                let turned = places.filter_map(|at| values.get(at)).flat_map(|x| f16::from_f32(*x).to_le_bytes());
                Ok(Self::Turned { name: stored.name().to_owned(), bytes: turned.collect(), rows, cols })
            }
        }
    }

    /// A matrix in MXFP4.
    pub fn mxfp4(
        blocks: ByteTensor<'a>,
        scales: ByteTensor<'a>,
        rows: usize,
        cols: usize,
        every: Every,
    ) -> Result<Self, ModelError> {
        let (all, count) = (rows * every.step, cols / BLOCK);
        for (tensor, shape) in [(&blocks, vec![all, count, STORED_BLOCK]), (&scales, vec![all, count])] {
            if tensor.shape != shape || !cols.is_multiple_of(BLOCK) {
                let found = tensor.shape.clone();
                return Err(ModelError::Shape { name: tensor.name.to_owned(), expected: shape, found });
            }
        }
        Ok(Self::Mxfp4 { blocks, scales, rows, every })
    }

    /// How its values are stored once its rows are together.
    pub fn ty(&self) -> WeightType {
        match self {
            Self::Rows(tensor) | Self::Columns { tensor, .. } => tensor.ty,
            Self::Turned { .. } => WeightType::F16,
            Self::Mxfp4 { .. } => WeightType::Mxfp4,
            Self::Quantised { weight, .. } => weight.ty(),
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Rows(tensor) => (tensor.rows(), tensor.cols()),
            Self::Columns { tensor, rows, .. } => (*rows, tensor.rows()),
            Self::Turned { rows, cols, .. } => (*rows, *cols),
            Self::Quantised { weight, rows, .. } => (*rows, weight.cols()),
            Self::Mxfp4 { scales, rows, .. } => (*rows, scales.shape.last().map_or(0, |blocks| blocks * BLOCK)),
        }
    }

    /// The values of some rows in f32, in place of what `out` held. Exact, also where [`Stored::ty`] is only near.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn values(&self, rows: Range<usize>, out: &mut Vec<f32>, buffer: &mut Vec<u8>) -> Result<(), CheckpointError> {
        if let Self::Quantised { weight, first, .. } = self {
            weight.values(first + rows.start..first + rows.end, out);
            return Ok(());
        }
        let (ty, cols) = (self.ty(), self.shape().1);
        let row_bytes = ty.row_bytes(cols).unwrap_or(0);
        out.clear();
        out.resize(rows.len() * cols, 0.0);
        let bytes = self.read(rows.start * row_bytes..rows.end * row_bytes, buffer)?;
        dequantize(ty, bytes, out).map_err(|source| CheckpointError::Values {
            file: "checkpoint".to_owned(),
            tensor: self.name().to_owned(),
            source,
        })
    }

    fn name(&self) -> &str {
        match self {
            Self::Rows(tensor) | Self::Columns { tensor, .. } => tensor.name,
            Self::Turned { name, .. } => name,
            Self::Mxfp4 { blocks, .. } => blocks.name,
            Self::Quantised { weight, .. } => weight.name(),
        }
    }

    /// The bytes `range` of the rows put together, whole rows.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read<'b>(&'b self, range: Range<usize>, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], CheckpointError> {
        match self {
            Self::Rows(tensor) => tensor.read(range, buffer),
            // Packing asks for what a matrix of this shape and type has.
            Self::Turned { bytes, .. } => Ok(bytes.get(range).unwrap_or_default()),
            Self::Quantised { weight, first, .. } => {
                let row_bytes = weight.ty().row_bytes(weight.cols()).unwrap_or(0).max(1);
                weight.read(first + range.start / row_bytes..first + range.end / row_bytes, buffer)?;
                Ok(buffer)
            }
            Self::Columns { tensor, every, .. } => {
                let (cols, stored) = (tensor.rows(), tensor.cols());
                let value = tensor.ty.block_bytes();
                let rows = range.start / (cols * value)..range.end / (cols * value);
                buffer.clear();
                for row in rows {
                    let column = every.at(row);
                    let at = |k: usize| (k * stored + column) * value;
                    buffer.extend((0..cols).flat_map(|k| &tensor.data[at(k)..at(k) + value]));
                }
                Ok(buffer)
            }
            Self::Mxfp4 { blocks, scales, every, .. } => {
                let count = scales.shape.last().copied().unwrap_or(0);
                let bytes = count * KERNEL_BLOCK;
                let rows = range.start / bytes.max(1)..range.end / bytes.max(1);
                buffer.clear();
                let Some(last) = rows.clone().next_back() else {
                    return Ok(buffer);
                };
                // Read in one piece, with the rows between.
                let (from, to) = (every.at(rows.start), every.at(last) + 1);
                let (mut values, mut exponents) = (Vec::new(), Vec::new());
                let row_bytes = count * STORED_BLOCK;
                let values = blocks.read(from * row_bytes..to * row_bytes, &mut values)?;
                let exponents = scales.read(from * count..to * count, &mut exponents)?;
                for row in rows {
                    let row = every.at(row) - from;
                    let pairs = values[row * row_bytes..][..row_bytes].as_chunks::<STORED_BLOCK>().0;
                    for (pairs, exponent) in pairs.iter().zip(&exponents[row * count..][..count]) {
                        put_block(pairs, *exponent, buffer);
                    }
                }
                Ok(buffer)
            }
        }
    }
}

/// One block as the kernels take it: the scale, then values 0..16 in the low and 16..32 in the high halves of bytes.
/// Stored are values 0 and 1 in the first byte, and so on.
fn put_block(pairs: &[u8; STORED_BLOCK], exponent: u8, out: &mut Vec<u8>) {
    let value = |i: usize| pairs[i / 2] >> (4 * (i % 2)) & 15;
    out.push(exponent);
    out.extend((0..STORED_BLOCK).map(|i| value(i) | value(i + STORED_BLOCK) << 4));
}

/// Numbers that belong to the rows of a matrix, of which some are wanted.
pub(crate) fn pick(values: &[f32], every: Every) -> Vec<f32> {
    (0..every.rows(values.len())).filter_map(|row| values.get(every.at(row)).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Gguf, GgufWriter};

    #[test]
    fn a_block_keeps_its_values() {
        const VALUES: [f32; 16] =
            [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];
        let nibble = |i: usize| (i * 7 + i / 16 * 3) % 16;
        let pairs: Vec<u8> = (0..16).map(|i| (nibble(2 * i) | nibble(2 * i + 1) << 4) as u8).collect();
        let mut bytes = Vec::new();
        put_block(pairs.as_slice().try_into().unwrap(), 129, &mut bytes);
        let mut found = [0.0; 32];
        dequantize(WeightType::Mxfp4, &bytes, &mut found).unwrap();
        for (i, found) in found.into_iter().enumerate() {
            assert_eq!(found, 4.0 * VALUES[nibble(i)], "value {i}");
        }
    }

    #[test]
    fn columns_of_blocks_become_rows_of_floats() {
        // A matrix of 3 x 64 in blocks of 32, from a file.
        let values: Vec<f32> = (0..192).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
        let mut writer = GgufWriter::new("llama");
        writer.add_tensor("m", WeightType::Q8_0, &[3, 64]).unwrap();
        let mut file = Vec::new();
        writer
            .write(&mut file, &mut |_, out| {
                let mut bytes = Vec::new();
                laminar_kernels::quantize(WeightType::Q8_0, &values, &mut bytes).unwrap();
                out.write_all(&bytes).map_err(|e| CheckpointError::io("write", std::path::Path::new("m"), e))
            })
            .unwrap();
        let file = Gguf::from_vec(file).unwrap();
        let tensor = file.tensor("m").unwrap();
        let stored = tensor.to_f32().unwrap();
        let turned = Stored::rows(tensor, 3, 64).unwrap().turned().unwrap();
        assert_eq!((turned.ty(), turned.shape()), (WeightType::F16, (64, 3)));
        let mut buffer = Vec::new();
        // Rows 10 and 11.
        let bytes = turned.read(60..72, &mut buffer).unwrap();
        let mut found = [0.0; 6];
        dequantize(WeightType::F16, bytes, &mut found).unwrap();
        for (i, found) in found.into_iter().enumerate() {
            let (row, k) = (10 + i / 3, i % 3);
            assert_eq!(found, f16::from_f32(stored[k * 64 + row]).to_f32());
        }
    }

    #[test]
    fn every_other_value_is_picked() {
        let values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(pick(&values, Every { first: 0, step: 2 }), [0.0, 2.0, 4.0]);
        assert_eq!(pick(&values, Every { first: 1, step: 2 }), [1.0, 3.0, 5.0]);
        assert_eq!(pick(&values, Every::ONE), values);
    }
}
