//! The matrix kernels in plain Rust: slow, and the definition of what the others must compute.

use half::{bf16, f16};

use super::format::{Format, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Scales, scale_offsets};
use super::{OutTile, PANELS};
use crate::WeightType;
use crate::matrix::{LANES, Matrix};
use crate::tiles::{TILE, TileRef};

/// `out[row][8 * i ..]` = rows of the tile times panel `first + i`, for `count` panels.
pub(super) fn tile(matrix: &Matrix, first: usize, count: usize, tile: TileRef<'_>, rows: usize, out: &mut OutTile) {
    for i in 0..count.min(PANELS) {
        let (codes, scales) = matrix.panel(first + i);
        for (row, out) in out[..rows].iter_mut().enumerate() {
            let lanes = match matrix.weight_type() {
                WeightType::F32 => floats(codes, 4, tile, row, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
                WeightType::F16 => floats(codes, 2, tile, row, |b| f16::from_le_bytes([b[0], b[1]]).to_f32()),
                WeightType::Bf16 => floats(codes, 2, tile, row, |b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
                WeightType::Q8_0 => blocks::<Q8_0>(codes, scales, tile, row),
                WeightType::Q4_0 => blocks::<Q4_0>(codes, scales, tile, row),
                WeightType::Q4_1 => blocks::<Q4_1>(codes, scales, tile, row),
                WeightType::Q5_0 => blocks::<Q5_0>(codes, scales, tile, row),
                WeightType::Q5_1 => blocks::<Q5_1>(codes, scales, tile, row),
                WeightType::Q4K => blocks::<Q4K>(codes, scales, tile, row),
                WeightType::Q5K => blocks::<Q5K>(codes, scales, tile, row),
                WeightType::Q6K => blocks::<Q6K>(codes, scales, tile, row),
            };
            out[i * LANES..(i + 1) * LANES].copy_from_slice(&lanes);
        }
    }
}

fn floats(panel: &[u8], size: usize, tile: TileRef<'_>, row: usize, value: impl Fn(&[u8]) -> f32) -> [f32; LANES] {
    let mut acc = [0f32; LANES];
    let weights = panel.chunks_exact(size * LANES);
    for (weights, x) in weights.zip(tile.floats.chunks_exact(TILE)) {
        for (acc, weight) in acc.iter_mut().zip(weights.chunks_exact(size)) {
            *acc = value(weight).mul_add(x[row], *acc);
        }
    }
    acc
}

fn half_at(bytes: &[u8], at: usize, lane: usize) -> f32 {
    f16::from_le_bytes([bytes[at + lane * 2], bytes[at + lane * 2 + 1]]).to_f32()
}

fn blocks<F: Format>(codes: &[u8], scales: &[u8], tile: TileRef<'_>, row: usize) -> [f32; LANES] {
    let mut acc = [0f32; LANES];
    let per_block = if F::NIBBLES { 128 } else { 256 };
    for (b, (x, codes)) in tile.blocks.iter().zip(codes.chunks_exact(per_block)).enumerate() {
        let at = scale_offsets::<F>(b);
        for (lane, acc) in acc.iter_mut().enumerate() {
            let zero = F::ZERO_SHIFT.map_or(0, |shift| 1 << shift);
            let product = |column: usize| {
                let step = if F::NIBBLES { column % 16 } else { column };
                let byte = codes[step / 4 * 32 + lane * 4 + step % 4];
                let code = match F::NIBBLES {
                    true if column < 16 => byte & 15,
                    true => byte >> 4,
                    false => byte,
                };
                (i32::from(code) - zero) * i32::from(x.codes[row][column])
            };
            let low: i32 = (0..16).map(product).sum();
            let high: i32 = (16..32).map(product).sum();
            let d = half_at(scales, at.d, lane);
            let x_scale = x.scale[row];
            match F::SCALES {
                Scales::Half => *acc = (d * x_scale).mul_add((low + high) as f32, *acc),
                Scales::HalfAndOffset => {
                    *acc = (d * x_scale).mul_add((low + high) as f32, *acc);
                    let m = half_at(scales, at.d + 16, lane);
                    *acc = m.mul_add(x.scaled_sum[row], *acc);
                }
                Scales::Super => {
                    let scale = d * f32::from(scales[at.factors + lane]);
                    *acc = (scale * x_scale).mul_add((low + high) as f32, *acc);
                    let min = half_at(scales, at.d + 16, lane) * f32::from(scales[at.factors + 8 + lane]);
                    *acc = (-min).mul_add(x.scaled_sum[row], *acc);
                }
                Scales::SuperHalves => {
                    let factor = |i: usize| f32::from(scales[at.factors + i * 8 + lane] as i8);
                    *acc = (d * factor(0) * x_scale).mul_add(low as f32, *acc);
                    *acc = (d * factor(1) * x_scale).mul_add(high as f32, *acc);
                }
            }
        }
    }
    acc
}
