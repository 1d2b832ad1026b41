//! AVX-512 VNNI: four products of bytes summed into an i32 in one instruction.

use std::arch::x86_64::*;

use super::super::OutTile;
use super::super::format::{Format, Scales};
use super::{Job, Table, accumulate, block_scales, broadcast_codes, load_codes, order, prefetch, start, store};

pub(super) fn table<F: Format>() -> Table {
    [
        [vnni::<F, 1, 1>, vnni::<F, 1, 2>],
        [vnni::<F, 2, 1>, vnni::<F, 2, 2>],
        [vnni::<F, 3, 1>, vnni::<F, 3, 2>],
        [vnni::<F, 4, 1>, vnni::<F, 4, 2>],
    ]
}

/// # Safety
/// AVX-512 VNNI and VL and what `avx2` needs; `job` as its type says.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq,avx512vnni")]
unsafe fn vnni<F: Format, const R: usize, const P: usize>(job: &Job, out: &mut OutTile) {
    let block_bytes = if F::NIBBLES { 128 } else { 256 };
    let halves = F::SCALES == Scales::SuperHalves;
    let mut acc = [[_mm256_setzero_ps(); P]; R];
    for b in 0..job.steps {
        // SAFETY: block `b` is in the tile and in each of `P` panels.
        unsafe {
            let x = &*job.blocks.add(b);
            prefetch(job, b);
            let mut dots = [[[_mm256_setzero_si256(); 2]; P]; R];
            for (r, dots) in dots.iter_mut().enumerate() {
                let (low, high) = start::<F>(x, r);
                for dots in dots {
                    *dots = [low, high];
                }
            }
            let codes = job.codes.add(b * block_bytes);
            for step in order::<F>() {
                // Columns 16.. have sums of their own where halves have their own scales.
                let half = if halves { step / 4 } else { 0 };
                let mut weights = [_mm256_setzero_si256(); P];
                for (p, weights) in weights.iter_mut().enumerate() {
                    *weights = load_codes::<F>(codes.add(p * job.stride), step);
                }
                for (r, dots) in dots.iter_mut().enumerate() {
                    let x = broadcast_codes(x, r, step);
                    for p in 0..P {
                        dots[p][half] = _mm256_dpbusd_epi32(dots[p][half], weights[p], x);
                    }
                }
            }
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
