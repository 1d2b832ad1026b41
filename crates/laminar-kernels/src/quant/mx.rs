//! MXFP4: 4-bit floats in blocks of 32 that share a power of two.
//!
//! The element format is E2M1 and the scale E8M0 of the OCP Microscaling Formats specification, v1.0: the values of
//! nibbles 0..8 are 0, 0.5, 1, 1.5, 2, 3, 4 and 6, those of nibbles 8..16 the same negated, and a scale byte `e` stands
//! for `2^(e - 127)`. As in ggml, values are kept doubled, so that they are integers, and scales halved. The
//! specification calls 255 not a number; ggml reads it like any other byte, and so does this.

use super::Block;

/// The unsigned code that stands for zero.
pub(super) const ZERO: u8 = 12;

/// The code of each nibble: its doubled value plus [`ZERO`].
pub(crate) const CODES: [u8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];

/// The first nibble of each code; 0 where there is none.
pub(crate) const NIBBLES: [u8; 25] = {
    let mut nibbles = [0; 25];
    let mut nibble = 16;
    while nibble > 0 {
        nibble -= 1;
        nibbles[CODES[nibble] as usize] = nibble as u8;
    }
    nibbles
};

/// Half the value of a scale byte, `2^(e - 128)`.
///
/// The exponent field of an f32 holds `e - 1` for all but the two smallest, which are below the normal floats: one bit
/// of the mantissa. Written as a maximum, it is as good for vectors.
pub(crate) fn half_scale(e: u8) -> f32 {
    let e = i32::from(e);
    f32::from_bits(((e - 1) << 23).max((e + 1) << 21) as u32)
}

/// The scale byte, then sixteen bytes of nibbles: the low ones are values 0..16, the high ones 16..32.
pub(super) fn unpack_fp4(bytes: &[u8], block: &mut Block) {
    block.exponent = bytes[0];
    for (i, byte) in bytes[1..17].iter().enumerate() {
        block.codes[i] = CODES[usize::from(byte & 15)];
        block.codes[i + 16] = CODES[usize::from(byte >> 4)];
    }
}

/// The scale that puts the largest magnitude between 4 and 8, then the nearest value for each; the smaller magnitude
/// of two equally near.
pub(super) fn pack_fp4(values: &[f32], out: &mut Vec<u8>) {
    let max = values.iter().fold(0f32, |max, v| max.max(v.abs()));
    let exponent = (max.to_bits() >> 23).saturating_sub(2) as u8;
    let scale = half_scale(exponent);
    let nibble = |value: f32| {
        let mut best = (0, f32::INFINITY);
        for (nibble, code) in CODES.iter().enumerate() {
            let error = (scale * f32::from(*code as i8 - ZERO as i8) - value).abs();
            if error < best.1 {
                best = (nibble as u8, error);
            }
        }
        best.0
    };
    out.push(exponent);
    out.extend((0..16).map(|i| nibble(values[i]) | nibble(values[i + 16]) << 4));
}
