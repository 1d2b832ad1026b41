//! ggml block formats.
use crate::{KernelError, WeightType};
/// Converts whole rows to f32.
pub fn dequantize(_ty: WeightType, _bytes: &[u8], _out: &mut [f32]) -> Result<(), KernelError> {
    unimplemented!()
}
/// Appends the block form of `values` to `out`.
pub fn quantize(_ty: WeightType, _values: &[f32], _out: &mut Vec<u8>) -> Result<(), KernelError> {
    unimplemented!()
}
