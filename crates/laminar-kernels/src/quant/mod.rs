//! ggml's block formats: unpacking one block, whole-row conversion to and from f32.
//!
//! The formats are those of `ggml-common.h` and `ggml-quants.c` in llama.cpp. All of them fit one scheme,
//! `value = scale * (code - zero) - min`, with a scale per 32 values (per 16 for Q6_K); [`Block`] holds
//! that scheme, and packing for the matrix kernels starts from it as well.

mod k;
mod legacy;
pub(crate) mod mx;

use half::{bf16, f16};

use crate::{KernelError, WeightType};

/// One unpacked block of a block format.
pub(crate) struct Block {
    /// Unsigned codes; `block_len` of them are in use.
    pub codes: [u8; 256],
    /// The f16 scale of the block.
    pub d: f16,
    /// The scale byte of an MXFP4 block, which has no `d`.
    pub exponent: u8,
    /// The f16 offset: added as it is for Q4_1 and Q5_1, the scale of `mins` for Q4_K and Q5_K.
    pub m: f16,
    /// Integer factors on `d` for each group; 1 for the simple formats.
    pub scales: [i8; 16],
    /// Integer factors on `m` for each group; used by Q4_K and Q5_K.
    pub mins: [u8; 8],
}

impl Block {
    pub(crate) fn new() -> Block {
        Block { codes: [0; 256], d: f16::ZERO, exponent: 0, m: f16::ZERO, scales: [1; 16], mins: [0; 8] }
    }

    /// Unpacks `bytes`, one block of the block format `ty`.
    pub(crate) fn unpack(&mut self, ty: WeightType, bytes: &[u8]) {
        match ty {
            WeightType::Q8_0 => legacy::unpack_q8_0(bytes, self),
            WeightType::Q4_0 => legacy::unpack_4(bytes, false, self),
            WeightType::Q4_1 => legacy::unpack_4(bytes, true, self),
            WeightType::Q5_0 => legacy::unpack_5(bytes, false, self),
            WeightType::Q5_1 => legacy::unpack_5(bytes, true, self),
            WeightType::Q4K => k::unpack_q4(bytes, self),
            WeightType::Q5K => k::unpack_q5(bytes, self),
            WeightType::Q6K => k::unpack_q6(bytes, self),
            WeightType::Mxfp4 => mx::unpack_fp4(bytes, self),
            WeightType::F32 | WeightType::F16 | WeightType::Bf16 => {}
        }
    }

    /// Writes the values of the block, `out.len()` of them.
    fn values(&self, ty: WeightType, out: &mut [f32]) {
        let d = if ty == WeightType::Mxfp4 { mx::half_scale(self.exponent) } else { self.d.to_f32() };
        let m = self.m.to_f32();
        let group = group_len(ty);
        let zero = i32::from(zero_code(ty));
        for (g, out) in out.chunks_mut(group).enumerate() {
            let scale = d * f32::from(self.scales[g]);
            // Two roundings, as ggml does; no fused operation here.
            let min = match min_kind(ty) {
                MinKind::None => 0.0,
                MinKind::Added => -m,
                MinKind::Scaled => m * f32::from(self.mins[g]),
            };
            for (value, code) in out.iter_mut().zip(&self.codes[g * group..]) {
                *value = scale * (i32::from(*code) - zero) as f32 - min;
            }
        }
    }
}

/// What the offset of a format is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MinKind {
    None,
    Added,
    Scaled,
}

pub(crate) fn min_kind(ty: WeightType) -> MinKind {
    match ty {
        WeightType::Q4_1 | WeightType::Q5_1 => MinKind::Added,
        WeightType::Q4K | WeightType::Q5K => MinKind::Scaled,
        _ => MinKind::None,
    }
}

/// Values that share a scale.
pub(crate) fn group_len(ty: WeightType) -> usize {
    if ty == WeightType::Q6K { 16 } else { 32 }
}

/// The unsigned code that stands for zero.
pub(crate) fn zero_code(ty: WeightType) -> u8 {
    match ty {
        WeightType::Q8_0 => 128,
        WeightType::Q4_0 => 8,
        WeightType::Q5_0 => 16,
        WeightType::Q6K => 32,
        WeightType::Mxfp4 => mx::ZERO,
        _ => 0,
    }
}

/// Converts stored values to f32, bit for bit as ggml defines them.
///
/// `bytes` holds `out.len()` values: any number of whole blocks.
///
/// # Errors
///
/// If `out.len()` is not a whole number of blocks, or `bytes` is not exactly as long as these values take.
pub fn dequantize(ty: WeightType, bytes: &[u8], out: &mut [f32]) -> Result<(), KernelError> {
    let expected = ty.row_bytes(out.len()).ok_or(KernelError::PartialBlock { ty, cols: out.len() })?;
    if bytes.len() != expected {
        return Err(KernelError::ByteLength { ty, values: out.len(), expected, found: bytes.len() });
    }
    match ty {
        WeightType::F32 => {
            for (value, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        WeightType::F16 => {
            for (value, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *value = f16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
        WeightType::Bf16 => {
            for (value, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *value = bf16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
        _ => {
            let mut block = Block::new();
            let blocks = bytes.chunks_exact(ty.block_bytes());
            for (out, bytes) in out.chunks_exact_mut(ty.block_len()).zip(blocks) {
                block.unpack(ty, bytes);
                block.values(ty, out);
            }
        }
    }
    Ok(())
}

/// Converts f32 values to the stored form and appends it to `out`.
///
/// The simple formats and MXFP4 round as ggml's reference does. For the K formats the scales are found by a short
/// least-squares search of our own, so the bytes differ from llama.cpp's while the error is alike.
///
/// # Errors
///
/// If `values.len()` is not a whole number of blocks.
pub fn quantize(ty: WeightType, values: &[f32], out: &mut Vec<u8>) -> Result<(), KernelError> {
    let bytes = ty.row_bytes(values.len()).ok_or(KernelError::PartialBlock { ty, cols: values.len() })?;
    out.reserve(bytes);
    let blocks = values.chunks_exact(ty.block_len());
    match ty {
        WeightType::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        WeightType::F16 => out.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
        WeightType::Bf16 => {
            out.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()));
        }
        WeightType::Q8_0 => blocks.for_each(|b| legacy::pack_q8_0(b, out)),
        WeightType::Q4_0 => blocks.for_each(|b| legacy::pack_4_symmetric(b, out)),
        WeightType::Q4_1 => blocks.for_each(|b| legacy::pack_4_affine(b, out)),
        WeightType::Q5_0 => blocks.for_each(|b| legacy::pack_5_symmetric(b, out)),
        WeightType::Q5_1 => blocks.for_each(|b| legacy::pack_5_affine(b, out)),
        WeightType::Q4K => blocks.for_each(|b| k::pack_q4(b, out)),
        WeightType::Q5K => blocks.for_each(|b| k::pack_q5(b, out)),
        WeightType::Q6K => blocks.for_each(|b| k::pack_q6(b, out)),
        WeightType::Mxfp4 => blocks.for_each(|b| mx::pack_fp4(b, out)),
    }
    Ok(())
}
