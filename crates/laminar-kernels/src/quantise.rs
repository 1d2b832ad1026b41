//! Rounding activations to 8 bits, in blocks of 32 with a scale each.

use crate::isa::Isa;
use crate::panel::BLOCK;
use crate::tiles::TileBlock;

/// A block of values, rounded.
struct Quantised {
    codes: [i8; BLOCK],
    scale: f32,
    /// Sums of the first and of the last 16 codes.
    sums: [i32; 2],
}

/// Below this the largest value of a block counts as zero; its inverse would overflow.
const TINY: f32 = 1e-30;

/// Adding this leaves a float's integer part, rounded to nearest even, in the low mantissa bits.
const ROUND: f32 = 12_582_912.0;

/// Quantises a row, 32 values to a block; the last block is filled up with zeros.
pub(crate) fn quantise_row(isa: Isa, values: &[f32], row: usize, blocks: &mut [TileBlock]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` other than `Portable` exists only where the machine has it.
        Isa::Avx2 => unsafe { x86::avx2_row(values, row, blocks) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Vnni => unsafe { x86::avx512_row(values, row, blocks) },
        _ => each_block(values, row, blocks, portable),
    }
}

#[inline(always)]
fn each_block(values: &[f32], row: usize, blocks: &mut [TileBlock], quantise: impl Fn(&[f32; BLOCK]) -> Quantised) {
    for (values, block) in values.chunks(BLOCK).zip(blocks) {
        let Quantised { codes, scale, sums: [low, high] } = match values.try_into() {
            Ok(values) => quantise(values),
            Err(_) => {
                let mut padded = [0.0; BLOCK];
                padded[..values.len()].copy_from_slice(values);
                quantise(&padded)
            }
        };
        block.codes[row] = codes;
        block.scale[row] = scale;
        block.scaled_sum[row] = scale * (low + high) as f32;
        block.neg_sum[row] = -(low + high);
        block.neg_sum_low[row] = -low;
    }
}

/// The scale and its inverse for a largest magnitude; both zero if that is too small to divide by.
#[inline(always)]
fn scale_of(max: f32) -> (f32, f32) {
    if max >= TINY { (max / 127.0, 127.0 / max) } else { (0.0, 0.0) }
}

/// Of a block with values that are not finite: a row that is already broken must stay visibly broken.
const BROKEN: Quantised = Quantised { codes: [0; BLOCK], scale: f32::NAN, sums: [0; 2] };

fn portable(values: &[f32; BLOCK]) -> Quantised {
    if !values.iter().all(|v| v.is_finite()) {
        return BROKEN;
    }
    let max = values.iter().fold(0f32, |max, v| if v.abs() > max { v.abs() } else { max });
    let (scale, inverse) = scale_of(max);
    let codes = values.map(|v| (v * inverse + ROUND).to_bits() as i8);
    let sum = |codes: &[i8]| codes.iter().map(|c| i32::from(*c)).sum();
    Quantised { codes, scale, sums: [sum(&codes[..BLOCK / 2]), sum(&codes[BLOCK / 2..])] }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BROKEN, Quantised, each_block, scale_of};
    use crate::panel::BLOCK;
    use crate::tiles::TileBlock;

    /// # Safety
    /// AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2_row(values: &[f32], row: usize, blocks: &mut [TileBlock]) {
        each_block(values, row, blocks, |values| avx2(values));
    }

    /// # Safety
    /// AVX-512 F, VL, BW and DQ.
    #[target_feature(enable = "avx2,avx512f,avx512vl,avx512bw,avx512dq")]
    pub(super) unsafe fn avx512_row(values: &[f32], row: usize, blocks: &mut [TileBlock]) {
        each_block(values, row, blocks, |values| avx512(values));
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn avx2(values: &[f32; BLOCK]) -> Quantised {
        // Written out: closures over vectors in `map` are calls.
        let at = values.as_ptr();
        // SAFETY: 32 floats.
        let v = unsafe {
            [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8)), _mm256_loadu_ps(at.add(16)), _mm256_loadu_ps(at.add(24))]
        };
        let sign = _mm256_set1_ps(-0.0);
        let largest = _mm256_set1_ps(f32::MAX);
        let mut a = v;
        let mut finite = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
        for a in &mut a {
            *a = _mm256_andnot_ps(sign, *a);
            finite = _mm256_and_ps(finite, _mm256_cmp_ps::<_CMP_LE_OQ>(*a, largest));
        }
        if _mm256_movemask_ps(finite) != 0xff {
            return BROKEN;
        }
        let max = _mm256_max_ps(_mm256_max_ps(a[0], a[1]), _mm256_max_ps(a[2], a[3]));
        let max = _mm_max_ps(_mm256_castps256_ps128(max), _mm256_extractf128_ps::<1>(max));
        let max = _mm_max_ps(max, _mm_movehl_ps(max, max));
        let max = _mm_cvtss_f32(_mm_max_ss(max, _mm_movehdup_ps(max)));
        let (scale, inverse) = scale_of(max);
        let inverse = _mm256_set1_ps(inverse);
        // Rounds to nearest even, as the mode of the machine is.
        let mut c = [_mm256_setzero_si256(); 4];
        for (c, v) in c.iter_mut().zip(v) {
            *c = _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse));
        }
        // Packing works on halves of a vector, so the groups of four come out in the order 0 2 4 6 1 3 5 7.
        let bytes = _mm256_packs_epi16(_mm256_packs_epi32(c[0], c[1]), _mm256_packs_epi32(c[2], c[3]));
        let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        finish(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes), scale)
    }

    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512vl,avx512bw,avx512dq")]
    fn avx512(values: &[f32; BLOCK]) -> Quantised {
        let at = values.as_ptr();
        // SAFETY: 32 floats.
        let (v, w) = unsafe { (_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16))) };
        let max = _mm512_max_ps(_mm512_abs_ps(v), _mm512_abs_ps(w));
        let largest = _mm512_set1_ps(f32::MAX);
        // The maximum forgets what is not a number.
        let finite = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(_mm512_abs_ps(v), largest)
            & _mm512_cmp_ps_mask::<_CMP_LE_OQ>(_mm512_abs_ps(w), largest);
        if finite != 0xffff {
            return BROKEN;
        }
        let (scale, inverse) = scale_of(_mm512_reduce_max_ps(max));
        let inverse = _mm512_set1_ps(inverse);
        // Rounds to nearest even, as the mode of the machine is.
        let low = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(v, inverse)));
        let high = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(w, inverse)));
        finish(low, high, scale)
    }

    /// Sums two times 16 codes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn finish(low: __m128i, high: __m128i, scale: f32) -> Quantised {
        let (one, ones) = (_mm_set1_epi8(1), _mm_set1_epi16(1));
        let first = _mm_madd_epi16(_mm_maddubs_epi16(one, low), ones);
        let second = _mm_madd_epi16(_mm_maddubs_epi16(one, high), ones);
        let sums = _mm_hadd_epi32(first, second);
        let sums = _mm_hadd_epi32(sums, sums);
        let mut codes = [0; BLOCK];
        // SAFETY: two halves of 16 bytes.
        unsafe {
            _mm_storeu_si128(codes.as_mut_ptr().cast(), low);
            _mm_storeu_si128(codes.as_mut_ptr().add(BLOCK / 2).cast(), high);
        }
        Quantised { codes, scale, sums: [_mm_cvtsi128_si32(sums), _mm_extract_epi32::<1>(sums)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;
    use crate::tiles::EMPTY;

    #[test]
    fn every_path_rounds_alike() {
        for len in [1, 32, 77, 256] {
            let mut values = noise(len, 11);
            // Halves between two codes, and blocks of zeros, of tiny and of huge values.
            let max = values.iter().fold(0f32, |max, v| max.max(v.abs()));
            values[0] = max * 0.5 / 127.0;
            let scaled = |factor: f32| values.iter().map(|v| v * factor).collect::<Vec<f32>>();
            let halves: Vec<f32> = (0..len).map(|i| if i % 32 == 0 { 127.0 } else { i as f32 % 20.0 - 9.5 }).collect();
            let mut broken = values.clone();
            broken[len / 2] = f32::NAN;
            let mut endless = values.clone();
            endless[len - 1] = f32::NEG_INFINITY;
            for row in [&values, &scaled(0.0), &scaled(1e-33), &scaled(1e36), &halves, &broken, &endless] {
                let made = |isa| {
                    let mut blocks = vec![EMPTY; len.div_ceil(BLOCK)];
                    quantise_row(isa, row, 2, &mut blocks);
                    let bits = |b: &TileBlock| {
                        (b.codes, b.scale.map(f32::to_bits), b.scaled_sum.map(f32::to_bits), b.neg_sum, b.neg_sum_low)
                    };
                    blocks.iter().map(bits).collect::<Vec<_>>()
                };
                let expected = made(Isa::Portable);
                for isa in Isa::available() {
                    assert_eq!(made(isa), expected, "{isa:?} {row:?}");
                }
            }
        }
    }
}
