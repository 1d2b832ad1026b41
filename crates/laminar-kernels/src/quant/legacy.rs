//! The simple formats: one f16 scale (and offset) for 32 values.

use half::f16;

use super::Block;

fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Q8_0: `d`, then 32 signed bytes. The unsigned code is the byte plus 128.
pub(super) fn unpack_q8_0(bytes: &[u8], block: &mut Block) {
    block.d = half_at(bytes, 0);
    for (code, byte) in block.codes.iter_mut().zip(&bytes[2..34]) {
        *code = byte ^ 0x80;
    }
}

/// Sixteen bytes of nibbles: the low ones are values 0..16, the high ones 16..32.
fn unpack_nibbles(bytes: &[u8], codes: &mut [u8; 256]) {
    for (i, byte) in bytes.iter().enumerate() {
        codes[i] = byte & 15;
        codes[i + 16] = byte >> 4;
    }
}

/// Q4_0 and Q4_1: `d`, for Q4_1 `m`, 16 bytes of nibbles.
pub(super) fn unpack_4(bytes: &[u8], affine: bool, block: &mut Block) {
    block.d = half_at(bytes, 0);
    let rest = if affine {
        block.m = half_at(bytes, 2);
        &bytes[4..20]
    } else {
        &bytes[2..18]
    };
    unpack_nibbles(rest, &mut block.codes);
}

/// Q5_0 and Q5_1: `d`, for Q5_1 `m`, 32 fifth bits, 16 bytes of nibbles.
pub(super) fn unpack_5(bytes: &[u8], affine: bool, block: &mut Block) {
    block.d = half_at(bytes, 0);
    let rest = if affine {
        block.m = half_at(bytes, 2);
        &bytes[4..24]
    } else {
        &bytes[2..22]
    };
    let high = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
    unpack_nibbles(&rest[4..], &mut block.codes);
    for (i, code) in block.codes[..32].iter_mut().enumerate() {
        *code |= ((high >> i & 1) as u8) << 4;
    }
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

pub(super) fn pack_q8_0(values: &[f32], out: &mut Vec<u8>) {
    let d = values.iter().fold(0f32, |max, v| max.max(v.abs())) / 127.0;
    let inverse = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(values.iter().map(|v| (v * inverse).round() as i8 as u8));
}

/// The value of largest magnitude, with its sign; the first of equals.
fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |max, v| if v.abs() > max.abs() { *v } else { max })
}

/// Codes for `values` in `0..=max`, the value of largest magnitude exactly at the end of the range.
fn symmetric(values: &[f32], zero: f32, max: f32, out: &mut Vec<u8>) -> [u8; 32] {
    let d = extreme(values) / -zero;
    let inverse = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    let mut codes = [0; 32];
    for (code, v) in codes.iter_mut().zip(values) {
        *code = (v * inverse + (zero + 0.5)).clamp(0.0, max) as u8;
    }
    codes
}

/// Codes for `values` between their minimum and maximum.
fn affine(values: &[f32], max: f32, out: &mut Vec<u8>) -> [u8; 32] {
    let low = values.iter().fold(f32::INFINITY, |a, v| a.min(*v));
    let high = values.iter().fold(f32::NEG_INFINITY, |a, v| a.max(*v));
    let d = (high - low) / max;
    let inverse = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(f16::from_f32(low).to_le_bytes());
    let mut codes = [0; 32];
    for (code, v) in codes.iter_mut().zip(values) {
        *code = ((v - low) * inverse + 0.5).clamp(0.0, max) as u8;
    }
    codes
}

fn push_nibbles(codes: &[u8; 32], out: &mut Vec<u8>) {
    out.extend((0..16).map(|i| codes[i] & 15 | (codes[i + 16] & 15) << 4));
}

fn push_high_bits(codes: &[u8; 32], out: &mut Vec<u8>) {
    let bits = codes.iter().enumerate().fold(0u32, |bits, (i, code)| bits | u32::from(code >> 4) << i);
    out.extend(bits.to_le_bytes());
}

pub(super) fn pack_4_symmetric(values: &[f32], out: &mut Vec<u8>) {
    let codes = symmetric(values, 8.0, 15.0, out);
    push_nibbles(&codes, out);
}

pub(super) fn pack_4_affine(values: &[f32], out: &mut Vec<u8>) {
    let codes = affine(values, 15.0, out);
    push_nibbles(&codes, out);
}

pub(super) fn pack_5_symmetric(values: &[f32], out: &mut Vec<u8>) {
    let codes = symmetric(values, 16.0, 31.0, out);
    push_high_bits(&codes, out);
    push_nibbles(&codes, out);
}

pub(super) fn pack_5_affine(values: &[f32], out: &mut Vec<u8>) {
    let codes = affine(values, 31.0, out);
    push_high_bits(&codes, out);
    push_nibbles(&codes, out);
}
