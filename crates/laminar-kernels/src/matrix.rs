//! Packed weights.
use crate::{KernelError, WeightType};
/// A weight matrix packed for the kernels: `rows` outputs x `cols` inputs.
pub struct Matrix {
    rows: usize,
    cols: usize,
    ty: WeightType,
}
impl Matrix {
    /// Packs a matrix.
    pub fn pack(
        ty: WeightType,
        rows: usize,
        cols: usize,
        _data: &[u8],
    ) -> Result<Matrix, KernelError> {
        Ok(Matrix { rows, cols, ty })
    }
    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Type.
    pub fn weight_type(&self) -> WeightType {
        self.ty
    }
    /// Bytes in the file format.
    pub fn source_bytes(&self) -> usize {
        unimplemented!()
    }
    /// Bytes in memory.
    pub fn packed_bytes(&self) -> usize {
        unimplemented!()
    }
}
