//! A tensor of the file to come: where its values are and how they are changed on the way.

use std::ops::Range;

use laminar_kernels::WeightType;

use super::ConvertError;
use crate::checkpoint::{CheckpointError, Tensor};
use crate::stored::Stored;

/// A tensor to be written under a GGUF name.
pub(crate) struct Planned<'a> {
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    pub source: Source<'a>,
    pub order: Order,
    /// Added to every value (norms that are stored minus one).
    pub offset: f32,
}

/// Where values come from.
pub(crate) enum Source<'a> {
    /// Matrices of one shape, one behind the other: one, or an expert each.
    Stored(Vec<Stored<'a>>),
    /// Few values, which are here.
    Values(Vec<f32>),
}

/// In which order rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they are.
    Same,
    /// Each head's rows so that the partners of a rotation, which are half a head apart, become neighbours.
    Pairs {
        /// Rows of a head.
        head: usize,
    },
    /// Each is the stored row of that number; of one matrix.
    Rows(Vec<usize>),
    /// Each of their values is the stored one of that number.
    Columns(Vec<usize>),
    /// They are the columns of what is stored.
    Turned,
}

impl Order {
    /// The stored row that is written as row `row`.
    fn at(&self, row: usize) -> usize {
        match self {
            Order::Same | Order::Columns(_) | Order::Turned => row,
            Order::Pairs { head } => {
                let (first, within) = (row / head * head, row % head);
                first + within % 2 * (head / 2) + within / 2
            }
            Order::Rows(rows) => rows.get(row).copied().unwrap_or(row),
        }
    }
}

impl<'a> Planned<'a> {
    /// A tensor as it lies in a checkpoint, under a name.
    pub fn of(name: impl Into<String>, mut tensor: Tensor<'a>) -> Self {
        let shape = tensor.shape.clone();
        // Stacked matrices are one with all their rows.
        tensor.shape = vec![tensor.elements() / tensor.cols().max(1), tensor.cols()];
        Self::stored(name, shape, vec![Stored::Rows(tensor)])
    }

    pub fn stored(name: impl Into<String>, shape: Vec<usize>, matrices: Vec<Stored<'a>>) -> Self {
        Self { name: name.into(), shape, source: Source::Stored(matrices), order: Order::Same, offset: 0.0 }
    }

    pub fn values(name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { name: name.into(), shape, source: Source::Values(values), order: Order::Same, offset: 0.0 }
    }

    /// How the values are stored now.
    pub fn ty(&self) -> WeightType {
        match &self.source {
            Source::Stored(matrices) => matrices.first().map_or(WeightType::F32, Stored::ty),
            Source::Values(_) => WeightType::F32,
        }
    }

    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Length of a row, as it is written.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// That the source has as many values as the shape says.
    pub fn check(&self) -> Result<(), ConvertError> {
        let found = match &self.source {
            Source::Values(values) => values.len(),
            Source::Stored(matrices) => {
                let counted = |(rows, cols): (usize, usize)| match &self.order {
                    Order::Rows(listed) => listed.iter().filter(|row| **row < rows).count().saturating_mul(cols),
                    Order::Columns(listed) => listed.iter().filter(|col| **col < cols).count().saturating_mul(rows),
                    _ => rows.saturating_mul(cols),
                };
                matrices.iter().map(Stored::shape).map(counted).sum()
            }
        };
        if found == self.elements() {
            return Ok(());
        }
        let problem = format!("{found} values are there, the shape {:?} needs {}", self.shape, self.elements());
        Err(ConvertError::tensor(&self.name, problem))
    }

    /// Values `range` in the order in which they are written, whole rows of one matrix, in place of what `out` held.
    pub fn read(&self, range: Range<usize>, out: &mut Vec<f32>, buffer: &mut Vec<u8>) -> Result<(), CheckpointError> {
        out.clear();
        out.resize(range.len(), 0.0);
        match &self.source {
            Source::Values(values) => out.copy_from_slice(&values[range]),
            Source::Stored(matrices) => {
                let (rows, cols) = self.matrix_shape();
                let values = (rows * cols).max(1);
                let (matrix, within) = (&matrices[range.start / values], range.start % values);
                self.read_rows(matrix, within / cols..(within + range.len()) / cols, cols, out, buffer)?;
            }
        }
        if self.offset != 0.0 {
            out.iter_mut().for_each(|x| *x += self.offset);
        }
        Ok(())
    }

    fn read_rows(
        &self,
        matrix: &Stored<'_>,
        rows: Range<usize>,
        cols: usize,
        out: &mut Vec<f32>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), CheckpointError> {
        if self.order == Order::Same {
            return matrix.values(rows, out, buffer);
        }
        let mut row_values = Vec::new();
        if self.order == Order::Turned {
            let (stored_rows, stored_cols) = matrix.shape();
            matrix.values(0..stored_rows, &mut row_values, buffer)?;
            for (row, out) in rows.zip(out.chunks_exact_mut(cols)) {
                for (value, stored) in out.iter_mut().zip(row_values.chunks_exact(stored_cols)) {
                    *value = stored[row];
                }
            }
            return Ok(());
        }
        for (row, out) in rows.zip(out.chunks_exact_mut(cols)) {
            let row = self.order.at(row);
            matrix.values(row..row + 1, &mut row_values, buffer)?;
            match &self.order {
                Order::Columns(columns) => {
                    out.iter_mut().zip(columns).for_each(|(value, column)| *value = row_values[*column]);
                }
                _ => out.copy_from_slice(&row_values),
            }
        }
        Ok(())
    }

    /// The rows that `values` of the written tensor are, to be copied as they are stored; `None` where they change.
    pub fn bytes<'b>(
        &'b self,
        ty: WeightType,
        values: Range<usize>,
        buffer: &'b mut Vec<u8>,
    ) -> Option<Result<&'b [u8], CheckpointError>> {
        let Source::Stored(matrices) = &self.source else { return None };
        if self.ty() != ty || self.offset != 0.0 || self.order != Order::Same {
            return None;
        }
        let (rows, cols) = matrices.first().map(Stored::shape)?;
        let row_bytes = ty.row_bytes(cols)?;
        let (each, row) = ((rows * cols).max(1), values.start / cols.max(1));
        let (matrix, first) = (matrices.get(values.start / each)?, row % rows.max(1));
        let count = values.len() / cols.max(1);
        Some(matrix.read(first * row_bytes..(first + count) * row_bytes, buffer))
    }

    /// Rows of one matrix, which pieces must not cross, and columns.
    pub fn matrix_shape(&self) -> (usize, usize) {
        match &self.source {
            Source::Stored(matrices) => {
                let (rows, cols) = matrices.first().map_or((1, 1), Stored::shape);
                match &self.order {
                    Order::Turned => (cols, rows),
                    Order::Rows(listed) => (listed.len(), cols),
                    _ => (rows, cols),
                }
            }
            Source::Values(values) => {
                let cols = self.cols().max(1);
                (values.len() / cols, cols)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_become_neighbours() {
        let order = Order::Pairs { head: 6 };
        let rows: Vec<usize> = (0..12).map(|row| order.at(row)).collect();
        assert_eq!(rows, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }

    /// A file of one matrix, `[[0, 1, 2], [3, 4, 5]]`.
    fn matrix() -> crate::checkpoint::Gguf {
        let bytes: Vec<u8> = [0f32, 1.0, 2.0, 3.0, 4.0, 5.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut writer = crate::checkpoint::GgufWriter::new("llama");
        writer.add_tensor("m", WeightType::F32, &[2, 3]).unwrap();
        let mut file = Vec::new();
        writer
            .write(&mut file, &mut |_, out| {
                out.write_all(&bytes).map_err(|e| CheckpointError::io("write", std::path::Path::new("m"), e))
            })
            .unwrap();
        crate::checkpoint::Gguf::from_vec(file).unwrap()
    }

    #[test]
    fn rows_and_their_values_may_be_listed() {
        let file = matrix();
        let stored = || vec![Stored::rows(file.tensor("m").unwrap(), 2, 3).unwrap()];
        let (mut out, mut buffer) = (Vec::new(), Vec::new());
        // One of the two rows, as where a matrix is cut.
        let planned = Planned { order: Order::Rows(vec![1]), ..Planned::stored("m", vec![1, 3], stored()) };
        planned.check().unwrap();
        assert_eq!(planned.matrix_shape(), (1, 3));
        planned.read(0..3, &mut out, &mut buffer).unwrap();
        assert_eq!(out, [3.0, 4.0, 5.0]);
        let planned = Planned { order: Order::Columns(vec![2, 0, 1]), ..Planned::stored("m", vec![2, 3], stored()) };
        planned.check().unwrap();
        planned.read(3..6, &mut out, &mut buffer).unwrap();
        assert_eq!(out, [5.0, 3.0, 4.0]);
        assert!(planned.bytes(WeightType::F32, 0..3, &mut buffer).is_none());
        for order in [Order::Rows(vec![0, 2]), Order::Columns(vec![0, 1, 3])] {
            let planned = Planned { order, ..Planned::stored("m", vec![2, 3], stored()) };
            assert!(planned.check().is_err(), "{:?}", planned.order);
        }
    }

    #[test]
    fn columns_become_rows() {
        let file = matrix();
        let stored = || Stored::rows(file.tensor("m").unwrap(), 2, 3).unwrap();
        // Two matrices, the second of which is read from its second row on.
        let planned = Planned::stored("m", vec![2, 3, 2], vec![stored(), stored()]);
        let planned = Planned { order: Order::Turned, ..planned };
        planned.check().unwrap();
        assert_eq!(planned.matrix_shape(), (3, 2));
        let (mut out, mut buffer) = (Vec::new(), Vec::new());
        planned.read(0..6, &mut out, &mut buffer).unwrap();
        assert_eq!(out, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        planned.read(8..12, &mut out, &mut buffer).unwrap();
        assert_eq!(out, [1.0, 4.0, 2.0, 5.0]);
        assert!(planned.bytes(WeightType::F32, 0..6, &mut buffer).is_none());
    }

    #[test]
    fn values_are_read_with_their_offset() {
        let planned = Planned { offset: 1.0, ..Planned::values("x", vec![3], vec![0.5, 1.5, 2.5]) };
        let (mut out, mut buffer) = (Vec::new(), Vec::new());
        planned.read(1..3, &mut out, &mut buffer).unwrap();
        assert_eq!(out, [2.5, 3.5]);
        planned.check().unwrap();
        let short = Planned::values("x", vec![4], vec![0.0]);
        assert!(short.check().unwrap_err().to_string().contains("1 values are there"));
    }
}
