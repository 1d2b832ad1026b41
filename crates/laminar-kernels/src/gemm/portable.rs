//! The matrix kernels in plain Rust: slow, and the definition of what the others must compute.

use half::{bf16, f16};

use crate::WeightType;
use crate::matrix::Matrix;
use crate::panel::{
    BLOCK, Format, LANES, Mxfp4, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Scales, code, factors_at,
};
use crate::quant::mx;
use crate::tiles::{TILE, TileRef};

/// `out[row]` = row of the tile times a panel, for as many rows as `out` has.
pub(super) fn tile(matrix: &Matrix, panel: usize, tile: TileRef<'_>, out: &mut [[f32; LANES]]) {
    let panel = matrix.panel(panel);
    for (row, out) in out.iter_mut().enumerate() {
        *out = match matrix.weight_type() {
            WeightType::F32 => floats(panel, 4, tile, row, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            WeightType::F16 => floats(panel, 2, tile, row, |b| f16::from_le_bytes([b[0], b[1]]).to_f32()),
            WeightType::Bf16 => floats(panel, 2, tile, row, |b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
            WeightType::Q8_0 => blocks::<Q8_0>(panel, tile, row),
            WeightType::Q4_0 => blocks::<Q4_0>(panel, tile, row),
            WeightType::Q4_1 => blocks::<Q4_1>(panel, tile, row),
            WeightType::Q5_0 => blocks::<Q5_0>(panel, tile, row),
            WeightType::Q5_1 => blocks::<Q5_1>(panel, tile, row),
            WeightType::Q4K => blocks::<Q4K>(panel, tile, row),
            WeightType::Q5K => blocks::<Q5K>(panel, tile, row),
            WeightType::Q6K => blocks::<Q6K>(panel, tile, row),
            WeightType::Mxfp4 => blocks::<Mxfp4>(panel, tile, row),
        };
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

fn blocks<F: Format>(panel: &[u8], tile: TileRef<'_>, row: usize) -> [f32; LANES] {
    let mut acc = [0f32; LANES];
    let groups = panel.chunks_exact(F::LAYOUT.group());
    for (group, xs) in groups.zip(tile.blocks.chunks(F::LAYOUT.blocks)) {
        let (head, codes) = group.split_at(F::LAYOUT.head);
        for (b, (codes, x)) in codes.chunks_exact(F::LAYOUT.codes).zip(xs).enumerate() {
            for (lane, acc) in acc.iter_mut().enumerate() {
                let product = |column: usize| {
                    let code = i32::from(code(F::CODES, codes, lane, column));
                    (code - F::ZERO) * i32::from(x.codes[row][column])
                };
                let low: i32 = (0..BLOCK / 2).map(product).sum();
                let high: i32 = (BLOCK / 2..BLOCK).map(product).sum();
                let d = match F::SCALES {
                    Scales::Powers => mx::half_scale(head[lane]),
                    _ => half_at(head, 0, lane),
                };
                let x_scale = x.scale[row];
                let factor = |at: usize| head[factors_at(F::SCALES, b) + at + lane];
                match F::SCALES {
                    Scales::Half | Scales::Powers => *acc = (d * x_scale).mul_add((low + high) as f32, *acc),
                    Scales::HalfAndOffset => {
                        *acc = (d * x_scale).mul_add((low + high) as f32, *acc);
                        let m = half_at(head, 2 * LANES, lane);
                        *acc = m.mul_add(x.scaled_sum[row], *acc);
                    }
                    Scales::Super => {
                        let scale = d * f32::from(factor(0));
                        *acc = (scale * x_scale).mul_add((low + high) as f32, *acc);
                        let min = half_at(head, 2 * LANES, lane) * f32::from(factor(LANES));
                        *acc = (-min).mul_add(x.scaled_sum[row], *acc);
                    }
                    Scales::SuperHalves => {
                        let signed = |at: usize| f32::from(factor(at) as i8);
                        *acc = (d * signed(0) * x_scale).mul_add(low as f32, *acc);
                        *acc = (d * signed(LANES) * x_scale).mul_add(high as f32, *acc);
                    }
                }
            }
        }
    }
    acc
}
