//! AVX2: products of bytes summed in i16 as far as they fit, or widened to i16 first.

use std::arch::x86_64::*;

use super::super::OutTile;
use super::super::format::{Format, Scales};
use super::{Job, Table, accumulate, block_scales, broadcast_codes, load_codes, order, prefetch, start, store};
use crate::matrix::LANES;
use crate::tiles::{TileBlock, WideBlock};

/// With sixteen registers, four rows and two panels don't fit: one panel after the other is faster, except
/// for 6-bit and 8-bit weights, where more of the work is shared.
pub(super) fn table<F: Format>() -> Table {
    let both = F::SUMS < 4;
    [
        [avx2::<F, 1, 1>, avx2::<F, 1, 2>],
        [avx2::<F, 2, 1>, avx2::<F, 2, 2>],
        [avx2::<F, 3, 1>, if both { avx2::<F, 3, 2> } else { avx2_each::<F, 3> }],
        [avx2::<F, 4, 1>, if both { avx2::<F, 4, 2> } else { avx2_each::<F, 4> }],
    ]
}

/// # Safety
/// As `avx2` for two panels.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2_each<F: Format, const R: usize>(job: &Job, out: &mut OutTile) {
    let second = Job {
        // SAFETY: there is a second panel.
        codes: unsafe { job.codes.add(job.stride) },
        // SAFETY: as above.
        scales: unsafe { job.scales.add(job.stride) },
        column: LANES,
        lines: 0,
        ..*job
    };
    // SAFETY: passed on.
    unsafe {
        avx2::<F, R, 1>(job, out);
        avx2::<F, R, 1>(&second, out);
    }
}
/// # Safety
/// AVX2, FMA and F16C; `job` as its type says, with wide blocks if `F::SUMS` is 0.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<F: Format, const R: usize, const P: usize>(job: &Job, out: &mut OutTile) {
    let block_bytes = if F::NIBBLES { 128 } else { 256 };
    let mut acc = [[_mm256_setzero_ps(); P]; R];
    for b in 0..job.steps {
        // SAFETY: block `b` is in the tile and in each of `P` panels.
        unsafe {
            let x = &*job.blocks.add(b);
            prefetch(job, b);
            let codes = job.codes.add(b * block_bytes);
            let dots = if F::SUMS == 0 {
                dots_by_i16::<F, R, P>(codes, job.stride, x, &*job.wide.add(b))
            } else {
                dots_by_bytes::<F, R, P>(codes, job.stride, x)
            };
            for p in 0..P {
                let scales = block_scales::<F>(job.scales.add(p * job.stride), b);
                for r in 0..R {
                    let [low, high] = dots[r][p];
                    acc[r][p] = accumulate::<F>(acc[r][p], &scales, x, r, low, high);
                }
            }
        }
    }
    store(&acc, job.column, out);
}

/// The same value, in a register. Left alone, the compiler reorders the integer sums of a block to finish
/// one panel first and spills every activation vector for the second: a third of the speed.
#[inline]
#[target_feature(enable = "avx2")]
fn pin(mut value: __m256i) -> __m256i {
    // SAFETY: there is no instruction; the register is only named.
    unsafe {
        std::arch::asm!("/* {0} */", inout(ymm_reg) value, options(pure, nomem, nostack, preserves_flags));
    }
    value
}

type Dots<const R: usize, const P: usize> = [[[__m256i; 2]; P]; R];

/// Dot products of a block by `maddubs`: pairs of products of bytes, summed in i16 as far as they fit.
///
/// # Safety
/// `codes` is a block of codes in format `F` with others `stride` bytes apart for `P` panels.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dots_by_bytes<F: Format, const R: usize, const P: usize>(
    codes: *const u8,
    stride: usize,
    x: &TileBlock,
) -> Dots<R, P> {
    let halves = F::SCALES == Scales::SuperHalves;
    let mut dots = [[[_mm256_setzero_si256(); 2]; P]; R];
    let mut sums = [[_mm256_setzero_si256(); P]; R];
    // SAFETY: by the contract; steps are below 8.
    unsafe {
        if F::SUMS == 8 {
            for (i, step) in order::<F>().into_iter().enumerate() {
                add_step::<F, R, P>(codes, stride, x, step, i == 0, &mut sums);
            }
            flush::<F, R, P>(x, &sums, true, 0, &mut dots);
        } else {
            let mut from = 0;
            while from < 8 {
                for step in from..from + F::SUMS {
                    add_step::<F, R, P>(codes, stride, x, step, step == from, &mut sums);
                }
                let (half, first) = if halves { (from / 4, from % 4 == 0) } else { (0, from == 0) };
                flush::<F, R, P>(x, &sums, first, half, &mut dots);
                from += F::SUMS;
            }
        }
    }
    dots
}

/// Adds the products of a step to the i16 sums, or starts them.
///
/// # Safety
/// As `dots_by_bytes`; `step` is below 8.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_step<F: Format, const R: usize, const P: usize>(
    codes: *const u8,
    stride: usize,
    x: &TileBlock,
    step: usize,
    fresh: bool,
    sums: &mut [[__m256i; P]; R],
) {
    // SAFETY: by the contract.
    unsafe {
        let mut weights = [_mm256_setzero_si256(); P];
        for (p, weights) in weights.iter_mut().enumerate() {
            *weights = load_codes::<F>(codes.add(p * stride), step);
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let x = broadcast_codes(x, r, step);
            for p in 0..P {
                let products = _mm256_maddubs_epi16(weights[p], x);
                sums[p] = pin(if fresh { products } else { _mm256_add_epi16(sums[p], products) });
            }
        }
    }
}

/// Adds full i16 sums to the dot products. Their start comes in here, not earlier: it would take registers.
#[inline]
#[target_feature(enable = "avx2")]
fn flush<F: Format, const R: usize, const P: usize>(
    x: &TileBlock,
    sums: &[[__m256i; P]; R],
    first: bool,
    half: usize,
    dots: &mut Dots<R, P>,
) {
    let ones = _mm256_set1_epi16(1);
    for r in 0..R {
        let (low, high) = start::<F>(x, r);
        for p in 0..P {
            let before = match (first, half) {
                (false, _) => dots[r][p][half],
                (true, 0) => low,
                (true, _) => high,
            };
            dots[r][p][half] = _mm256_add_epi32(before, _mm256_madd_epi16(sums[r][p], ones));
        }
    }
}

/// Dot products of a block of full bytes, even and odd bytes apart as i16.
///
/// # Safety
/// As `dots_by_bytes`; `wide` is the same activations as `x`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dots_by_i16<F: Format, const R: usize, const P: usize>(
    codes: *const u8,
    stride: usize,
    x: &TileBlock,
    wide: &WideBlock,
) -> Dots<R, P> {
    let even = _mm256_set1_epi16(0xff);
    let mut dots = [[[_mm256_setzero_si256(); 2]; P]; R];
    for (r, dots) in dots.iter_mut().enumerate() {
        let (low, _) = start::<F>(x, r);
        for dots in dots {
            dots[0] = low;
        }
    }
    for step in 0..8 {
        // SAFETY: by the contract; the activations of a step are 8 bytes of `wide`.
        unsafe {
            let mut weights = [[_mm256_setzero_si256(); 2]; P];
            for (p, weights) in weights.iter_mut().enumerate() {
                let codes = load_codes::<F>(codes.add(p * stride), step);
                *weights = [_mm256_and_si256(codes, even), _mm256_srli_epi16::<8>(codes)];
            }
            for (r, dots) in dots.iter_mut().enumerate() {
                let pairs: *const i32 = wide.0[r].as_ptr().add(step * 4).cast();
                let x_even = _mm256_set1_epi32(pairs.read_unaligned());
                let x_odd = _mm256_set1_epi32(pairs.add(1).read_unaligned());
                for p in 0..P {
                    let products = _mm256_madd_epi16(weights[p][0], x_even);
                    dots[p][0] = _mm256_add_epi32(dots[p][0], products);
                    let products = _mm256_madd_epi16(weights[p][1], x_odd);
                    dots[p][0] = pin(_mm256_add_epi32(dots[p][0], products));
                }
            }
        }
    }
    dots
}
