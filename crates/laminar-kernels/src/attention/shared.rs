//! Values that are a part of the keys: widened keys, turned.

use std::ops::Range;

use super::source::PACKED;
use super::tile::SPLIT;

/// Writes the values of a range of a split's positions, which are what their keys hold from the dimension `from` on.
///
/// Keys and values are as `Scratch` has them, keys of `dim` numbers. Pieces of 32 positions are turned whole, and so are
/// pieces of 32 dimensions but the last.
///
/// # Safety
///
/// There are the keys and room for the values of a whole split, and all of these keys are initialised.
pub(super) unsafe fn values_of_keys(
    keys: *const f32,
    values: *mut f32,
    dim: usize,
    from: usize,
    positions: Range<usize>,
) {
    for piece in positions.start / PACKED..positions.end.div_ceil(PACKED) {
        for first in (0..dim - from).step_by(PACKED) {
            let dims = PACKED.min(dim - from - first);
            // SAFETY: the piece's rows of dimensions, and the piece's rows of positions, lie inside a split's.
            let (keys, values) = unsafe {
                (
                    std::slice::from_raw_parts(keys.add((piece * dim + from + first) * PACKED), dims * PACKED),
                    std::slice::from_raw_parts_mut(
                        values.add(first * SPLIT + piece * PACKED * PACKED),
                        PACKED * PACKED,
                    ),
                )
            };
            turn(keys, values);
        }
    }
}

/// Dimensions and positions that are turned at once.
const SIDE: usize = 4;

/// Rows of [`PACKED`] positions to rows of as many dimensions.
fn turn(keys: &[f32], values: &mut [f32]) {
    let keys = keys.as_chunks::<PACKED>().0;
    let values = values.as_chunks_mut::<PACKED>().0;
    let whole = keys.len() / SIDE * SIDE;
    for (first, rows) in keys[..whole].as_chunks::<SIDE>().0.iter().enumerate() {
        for (position, values) in values.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
            turn_square(rows, position * SIDE, values, first * SIDE);
        }
    }
    for (d, row) in keys.iter().enumerate().skip(whole) {
        for (value, key) in values.iter_mut().zip(row) {
            value[d] = *key;
        }
    }
}

/// Four positions from `position` on of four dimensions, to four dimensions from `d` on of these positions.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn turn_square(keys: &[[f32; PACKED]; SIDE], position: usize, values: &mut [[f32; PACKED]; SIDE], d: usize) {
    use std::arch::x86_64::{
        _mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
    };
    // Bounds that let the compiler see that all four are inside.
    let from = keys.each_ref().map(|row| row[position..position + SIDE].as_ptr());
    let to = values.each_mut().map(|row| row[d..d + SIDE].as_mut_ptr());
    // SAFETY: every machine of this kind has these instructions; four floats are at each place.
    unsafe {
        let [a, b, c, e] = from.map(|from| _mm_loadu_ps(from));
        let (ab, ce) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, e));
        let (ab_high, ce_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, e));
        _mm_storeu_ps(to[0], _mm_movelh_ps(ab, ce));
        _mm_storeu_ps(to[1], _mm_movehl_ps(ce, ab));
        _mm_storeu_ps(to[2], _mm_movelh_ps(ab_high, ce_high));
        _mm_storeu_ps(to[3], _mm_movehl_ps(ce_high, ab_high));
    }
}

/// As above.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn turn_square(keys: &[[f32; PACKED]; SIDE], position: usize, values: &mut [[f32; PACKED]; SIDE], d: usize) {
    for (i, values) in values.iter_mut().enumerate() {
        for (j, keys) in keys.iter().enumerate() {
            values[d + j] = keys[position + i];
        }
    }
}
