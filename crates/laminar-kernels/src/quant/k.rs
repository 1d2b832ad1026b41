//! The K formats: super-blocks of 256 values with integer scales for 32 (Q4_K, Q5_K) or 16 (Q6_K) values.

use std::ops::RangeInclusive;

use half::f16;

use super::Block;

fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Eight 6-bit scales and eight 6-bit minima in 12 bytes: the first four of each in the low six bits of
/// bytes 0..4 and 4..8; of the last four, the low nibbles in bytes 8..12 and the two high bits on top of
/// bytes 0..8.
fn unpack_scales(bytes: &[u8], block: &mut Block) {
    for j in 0..4 {
        block.scales[j] = (bytes[j] & 63) as i8;
        block.mins[j] = bytes[j + 4] & 63;
        block.scales[j + 4] = (bytes[j + 8] & 15 | bytes[j] >> 6 << 4) as i8;
        block.mins[j + 4] = bytes[j + 8] >> 4 | bytes[j + 4] >> 6 << 4;
    }
}

fn pack_scales(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    let mut bytes = [0; 12];
    for j in 0..4 {
        bytes[j] = scales[j] | scales[j + 4] >> 4 << 6;
        bytes[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        bytes[j + 8] = scales[j + 4] & 15 | (mins[j + 4] & 15) << 4;
    }
    bytes
}

/// 128 bytes of nibbles: each run of 32 bytes holds one group of 32 in its low and the next in its high
/// nibbles.
fn unpack_nibbles(bytes: &[u8], codes: &mut [u8; 256]) {
    for (run, bytes) in bytes.chunks_exact(32).enumerate() {
        for (l, byte) in bytes.iter().enumerate() {
            codes[run * 64 + l] = byte & 15;
            codes[run * 64 + 32 + l] = byte >> 4;
        }
    }
}

fn push_nibbles(codes: &[u8; 256], out: &mut Vec<u8>) {
    for run in codes.chunks_exact(64) {
        out.extend((0..32).map(|l| run[l] & 15 | (run[l + 32] & 15) << 4));
    }
}

/// Q4_K: `d`, `dmin`, 12 bytes of scales, 128 bytes of nibbles.
pub(super) fn unpack_q4(bytes: &[u8], block: &mut Block) {
    block.d = half_at(bytes, 0);
    block.m = half_at(bytes, 2);
    unpack_scales(&bytes[4..16], block);
    unpack_nibbles(&bytes[16..144], &mut block.codes);
}

/// Q5_K: as Q4_K with 32 bytes of fifth bits before the nibbles; bit `j` of byte `l` belongs to value `l`
/// of group `j`.
pub(super) fn unpack_q5(bytes: &[u8], block: &mut Block) {
    block.d = half_at(bytes, 0);
    block.m = half_at(bytes, 2);
    unpack_scales(&bytes[4..16], block);
    unpack_nibbles(&bytes[48..176], &mut block.codes);
    for (j, group) in block.codes.chunks_exact_mut(32).enumerate() {
        for (code, high) in group.iter_mut().zip(&bytes[16..48]) {
            *code |= (high >> j & 1) << 4;
        }
    }
}

/// Q6_K: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, `d`.
///
/// Each half of 128 values: nibble byte `l` of 64 holds values `l` (low) and `l + 64` (high); bit pair `p`
/// of byte `l` of 32 belongs to value `l + 32 p`.
pub(super) fn unpack_q6(bytes: &[u8], block: &mut Block) {
    for (n, codes) in block.codes.chunks_exact_mut(128).enumerate() {
        let low = &bytes[n * 64..n * 64 + 64];
        let high = &bytes[128 + n * 32..128 + n * 32 + 32];
        for l in 0..64 {
            codes[l] = low[l] & 15;
            codes[l + 64] = low[l] >> 4;
        }
        for (i, code) in codes.iter_mut().enumerate() {
            *code |= (high[i % 32] >> (i / 32 * 2) & 3) << 4;
        }
    }
    for (scale, byte) in block.scales.iter_mut().zip(&bytes[192..208]) {
        *scale = *byte as i8;
    }
    block.d = half_at(bytes, 208);
}

/// How much the error of each value of a group counts: larger values more, since they move a product more.
fn importance(values: &[f32], weights: &mut [f32; 32]) {
    let power: f32 = values.iter().map(|v| v * v).sum();
    let floor = (power / values.len() as f32).sqrt();
    for (weight, v) in weights.iter_mut().zip(values) {
        *weight = floor + v.abs();
    }
}

/// Where a group's range is cut, in tenths of a step: from a step short of all codes, which finds values again that have
/// been on a coarser grid, to a little beyond them, which loses at the extremes and gains everywhere else.
const CUTS: RangeInclusive<i8> = -10..=12;
/// How often values are given codes anew by the fit that their last codes led to.
const REFITS: usize = 3;

/// A scale and a minimum, and the error that is left with them.
#[derive(Clone, Copy)]
struct Fit {
    scale: f32,
    /// Not negative.
    min: f32,
    error: f32,
}

/// The best scale and minimum for values that have codes: weighted least squares of `scale * code - min`. `None` where all
/// codes are the same.
fn fit_codes(values: &[f32], weights: &[f32], code: impl Fn(f32) -> f32) -> Option<Fit> {
    let (mut sum_w, mut sum_v, mut c1, mut c2, mut cv) = (0f32, 0f32, 0f32, 0f32, 0f32);
    let mut codes = [0f32; 32];
    for ((&v, &w), c) in values.iter().zip(weights).zip(&mut codes) {
        *c = code(v);
        let c = *c;
        sum_w += w;
        sum_v += w * v;
        c1 += w * c;
        c2 += w * c * c;
        cv += w * c * v;
    }
    let determinant = sum_w * c2 - c1 * c1;
    if determinant <= 0.0 {
        return None;
    }
    let mut scale = (sum_w * cv - c1 * sum_v) / determinant;
    let mut min = (scale * c1 - sum_v) / sum_w;
    if min < 0.0 {
        min = 0.0;
        scale = cv / c2;
    }
    let error = |((&v, &w), c): ((&f32, &f32), &f32)| w * (scale * c - min - v).powi(2);
    let error = values.iter().zip(weights).zip(&codes).map(error).sum();
    Some(Fit { scale, min, error })
}

/// `scale` and `min` (not negative) such that `scale * code - min`, codes in `0..=max`, is close to
/// `values` in the sense of weighted least squares.
fn fit_affine(values: &[f32], weights: &[f32], max: f32) -> (f32, f32) {
    let low = values.iter().fold(0f32, |a, v| a.min(*v));
    let high = values.iter().fold(low, |a, v| a.max(*v));
    if high <= low {
        return (0.0, -low);
    }
    let mut best = Fit { scale: (high - low) / max, min: -low, error: f32::INFINITY };
    let better = |best: &mut Fit, fit: Option<Fit>| match fit {
        Some(fit) if fit.error < best.error => {
            *best = fit;
            true
        }
        _ => false,
    };
    for cut in CUTS {
        let inverse = (max + 0.1 * f32::from(cut)) / (high - low);
        better(&mut best, fit_codes(values, weights, |v| ((v - low) * inverse).round().clamp(0.0, max)));
    }
    for _ in 0..REFITS {
        let Fit { scale, min, .. } = best;
        let scale_inverse = inverse(scale);
        if !better(&mut best, fit_codes(values, weights, |v| affine_code(v, min, scale_inverse, max))) {
            break;
        }
    }
    (best.scale, best.min)
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The code nearest to a value.
fn affine_code(v: f32, min: f32, scale_inverse: f32, max: f32) -> f32 {
    ((v + min) * scale_inverse).round().clamp(0.0, max)
}

/// The integer factors nearest to a fit whose rounded values have the smallest error: rounding one of the two moves
/// what is best for the other.
fn affine_factors(group: &[f32], weights: &[f32], max: f32, (d, m): (f32, f32), fit: (f32, f32)) -> (u8, u8) {
    let near = |value: f32, unit: f32| (value * inverse(unit)).round().clamp(0.0, 63.0);
    let (scale, min) = (near(fit.0, d), near(fit.1, m));
    let mut best = ((scale as u8, min as u8), f32::INFINITY);
    for scale in [scale, scale - 1.0, scale + 1.0] {
        for min in [min, min - 1.0, min + 1.0] {
            if !(0.0..=63.0).contains(&scale) || !(0.0..=63.0).contains(&min) {
                continue;
            }
            let (step, offset) = (d * scale, m * min);
            let step_inverse = inverse(step);
            let error =
                |(&v, &w): (&f32, &f32)| w * (step * affine_code(v, offset, step_inverse, max) - offset - v).powi(2);
            let error: f32 = group.iter().zip(weights).map(error).sum();
            if error < best.1 {
                best = ((scale as u8, min as u8), error);
            }
        }
    }
    best.0
}

/// Writes `d`, `dmin` and the scales of a Q4_K or Q5_K block and returns the codes.
fn affine_codes(values: &[f32], max: f32, out: &mut Vec<u8>) -> [u8; 256] {
    let mut weights = [[0f32; 32]; 8];
    let mut fits = [(0f32, 0f32); 8];
    for ((fit, weights), group) in fits.iter_mut().zip(&mut weights).zip(values.chunks_exact(32)) {
        importance(group, weights);
        *fit = fit_affine(group, weights, max);
    }
    let max_scale = fits.iter().fold(0f32, |a, f| a.max(f.0));
    let max_min = fits.iter().fold(0f32, |a, f| a.max(f.1));
    let (d, m) = (f16::from_f32(max_scale / 63.0), f16::from_f32(max_min / 63.0));
    let units = (d.to_f32(), m.to_f32());
    let (mut scales, mut mins) = ([0u8; 8], [0u8; 8]);
    let mut codes = [0u8; 256];
    for (j, group) in values.chunks_exact(32).enumerate() {
        (scales[j], mins[j]) = affine_factors(group, &weights[j], max, units, fits[j]);
        let scale = inverse(units.0 * f32::from(scales[j]));
        let min = units.1 * f32::from(mins[j]);
        for (code, v) in codes[j * 32..].iter_mut().zip(group) {
            *code = affine_code(*v, min, scale, max) as u8;
        }
    }
    out.extend(d.to_le_bytes());
    out.extend(m.to_le_bytes());
    out.extend(pack_scales(&scales, &mins));
    codes
}

pub(super) fn pack_q4(values: &[f32], out: &mut Vec<u8>) {
    let codes = affine_codes(values, 15.0, out);
    push_nibbles(&codes, out);
}

pub(super) fn pack_q5(values: &[f32], out: &mut Vec<u8>) {
    let codes = affine_codes(values, 31.0, out);
    out.extend((0..32).map(|l| (0..8).fold(0u8, |bits, j| bits | (codes[j * 32 + l] >> 4) << j)));
    push_nibbles(&codes, out);
}

/// A scale such that `scale * code`, codes in `-32..=31`, is close to `values` in the least-squares sense.
fn fit_symmetric(values: &[f32]) -> f32 {
    let extreme = values.iter().fold(0f32, |max, v| if v.abs() > max.abs() { *v } else { max });
    if extreme == 0.0 {
        return 0.0;
    }
    let mut best = (extreme / -32.0, f32::INFINITY);
    for step in -9..=9i8 {
        let inverse = -(32.0 + 0.1 * f32::from(step)) / extreme;
        let code = |v: f32| (v * inverse).round().clamp(-32.0, 31.0);
        let (mut c2, mut cv) = (0f32, 0f32);
        for &v in values {
            c2 += code(v) * code(v);
            cv += code(v) * v;
        }
        if c2 == 0.0 {
            continue;
        }
        let scale = cv / c2;
        let error: f32 = values.iter().map(|&v| (scale * code(v) - v).powi(2)).sum();
        if error < best.1 {
            best = (scale, error);
        }
    }
    best.0
}

/// The code nearest to a value.
fn symmetric_code(v: f32, scale_inverse: f32) -> f32 {
    (v * scale_inverse).round().clamp(-32.0, 31.0)
}

/// The integer factor near `wanted` whose rounded values have the smallest error.
fn symmetric_factor(group: &[f32], d: f32, wanted: f32) -> f32 {
    let nearest = wanted.round().clamp(-128.0, 127.0);
    let mut best = (nearest, f32::INFINITY);
    for factor in [nearest, nearest - 1.0, nearest + 1.0] {
        if !(-128.0..=127.0).contains(&factor) {
            continue;
        }
        let step = d * factor;
        let step_inverse = inverse(step);
        let error: f32 = group.iter().map(|v| (step * symmetric_code(*v, step_inverse) - v).powi(2)).sum();
        if error < best.1 {
            best = (factor, error);
        }
    }
    best.0
}

pub(super) fn pack_q6(values: &[f32], out: &mut Vec<u8>) {
    let mut fits = [0f32; 16];
    for (fit, group) in fits.iter_mut().zip(values.chunks_exact(16)) {
        *fit = fit_symmetric(group);
    }
    let extreme = fits.iter().fold(0f32, |max, v| if v.abs() > max.abs() { *v } else { max });
    let d = f16::from_f32(extreme / -128.0);
    let d_inverse = inverse(d.to_f32());
    let mut scales = [0u8; 16];
    let mut codes = [32u8; 256];
    for (g, group) in values.chunks_exact(16).enumerate() {
        let scale = symmetric_factor(group, d.to_f32(), fits[g] * d_inverse);
        scales[g] = scale as i8 as u8;
        let inverse = inverse(d.to_f32() * scale);
        for (code, v) in codes[g * 16..].iter_mut().zip(group) {
            *code = (symmetric_code(*v, inverse) + 32.0) as u8;
        }
    }
    for half in codes.chunks_exact(128) {
        out.extend((0..64).map(|l| half[l] & 15 | (half[l + 64] & 15) << 4));
    }
    for half in codes.chunks_exact(128) {
        out.extend((0..32).map(|l| (0..4).fold(0u8, |bits, p| bits | (half[l + 32 * p] >> 4) << (2 * p))));
    }
    out.extend(scales);
    out.extend(d.to_le_bytes());
}
