//! Chains for x86, in assembly, since a compiler would take a product that never changes out of the loop.
//!
//! Each function multiplies the same two vectors over and over and adds the products to sums side by side: at
//! least as many as it takes to start two multiplications a cycle at a latency of four or five. Sums may wrap.

use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;

/// Steps of a burst: some microseconds.
const STEPS: usize = 500;
/// How often the instructions of a step are repeated before the loop ends.
pub(super) const REPEAT: usize = 8;
/// Sums of `fma` and `dpbusd`.
const WIDE_SUMS: usize = 12;
/// Sums of `madd`.
const MADD_SUMS: usize = 8;
/// Sums of `maddubs`.
pub(super) const MADDUBS_SUMS: usize = 4;

/// Places that `sum` reads side by side.
const STREAMS: usize = 4;
/// Values of a cache line.
const LINE: usize = 8;

/// The sum of all values, read at four places at once, so that the walks of page tables overlap. By hand: for
/// AVX-512 the compiler makes gathers of the plain loop.
#[target_feature(enable = "avx2")]
pub(super) fn sum(values: &[u64]) -> u64 {
    let mut sums = [[_mm256_setzero_si256(); 2]; STREAMS];
    let stream = values.len() / STREAMS / LINE * LINE;
    for at in (0..stream).step_by(LINE) {
        for (number, sums) in sums.iter_mut().enumerate() {
            let line = values[number * stream + at..][..LINE].as_ptr();
            // SAFETY: the halves of eight values.
            let halves = unsafe { [_mm256_loadu_si256(line.cast()), _mm256_loadu_si256(line.add(LINE / 2).cast())] };
            sums[0] = _mm256_add_epi64(sums[0], halves[0]);
            sums[1] = _mm256_add_epi64(sums[1], halves[1]);
        }
    }
    let mut lanes = [0u64; 4];
    let mut total = super::portable::sum(&values[stream * STREAMS..]);
    for sum in sums.as_flattened() {
        // SAFETY: four values.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), *sum) };
        total = lanes.iter().fold(total, |all, lane| all.wrapping_add(*lane));
    }
    total
}

/// # Safety
/// AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn fma_burst() -> u64 {
    black_box(fma(STEPS, _mm256_set1_ps(0.5), _mm256_set1_ps(0.25)));
    (STEPS * REPEAT * WIDE_SUMS * 8 * 2) as u64
}

/// # Safety
/// AVX2. `sums` is 2, 4 or 8; anything else counts as 8.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn maddubs_burst(sums: usize) -> u64 {
    let (a, b) = (_mm256_set1_epi8(3), _mm256_set1_epi8(-5));
    let sums = match sums {
        2 => {
            black_box(maddubs::<1>(STEPS, a, b));
            2
        }
        4 => {
            black_box(maddubs::<3>(STEPS, a, b));
            4
        }
        _ => {
            black_box(maddubs::<7>(STEPS, a, b));
            8
        }
    };
    (STEPS * REPEAT * MADDUBS_SUMS * sums * 32 * 2) as u64
}

/// # Safety
/// AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn madd_burst() -> u64 {
    black_box(madd(STEPS, _mm256_set1_epi16(3), _mm256_set1_epi16(-5)));
    (STEPS * REPEAT * MADD_SUMS * 16 * 2) as u64
}

/// # Safety
/// AVX-512 VNNI and VL.
#[target_feature(enable = "avx2,avx512f,avx512vl,avx512vnni")]
pub(super) unsafe fn dpbusd_burst() -> u64 {
    black_box(dpbusd(STEPS, _mm256_set1_epi8(3), _mm256_set1_epi8(-5)));
    (STEPS * REPEAT * WIDE_SUMS * 32 * 2) as u64
}

/// One instruction of three operands, `REPEAT * steps` times into each of twelve sums.
macro_rules! twelve_sums {
    ($instruction:literal, $steps:ident, $a:ident, $b:ident, $sums:ident) => {{
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11] = &mut $sums;
        // SAFETY: registers alone; the loop ends after `steps` rounds, at least one.
        unsafe {
            asm!(
                "2:",
                ".rept {repeat}",
                concat!($instruction, " {s0}, {a}, {b}"),
                concat!($instruction, " {s1}, {a}, {b}"),
                concat!($instruction, " {s2}, {a}, {b}"),
                concat!($instruction, " {s3}, {a}, {b}"),
                concat!($instruction, " {s4}, {a}, {b}"),
                concat!($instruction, " {s5}, {a}, {b}"),
                concat!($instruction, " {s6}, {a}, {b}"),
                concat!($instruction, " {s7}, {a}, {b}"),
                concat!($instruction, " {s8}, {a}, {b}"),
                concat!($instruction, " {s9}, {a}, {b}"),
                concat!($instruction, " {s10}, {a}, {b}"),
                concat!($instruction, " {s11}, {a}, {b}"),
                ".endr",
                "dec {steps}",
                "jnz 2b",
                repeat = const REPEAT,
                steps = inout(reg) $steps.max(1) => _,
                a = in(ymm_reg) $a,
                b = in(ymm_reg) $b,
                s0 = inout(ymm_reg) *s0, s1 = inout(ymm_reg) *s1, s2 = inout(ymm_reg) *s2, s3 = inout(ymm_reg) *s3,
                s4 = inout(ymm_reg) *s4, s5 = inout(ymm_reg) *s5, s6 = inout(ymm_reg) *s6, s7 = inout(ymm_reg) *s7,
                s8 = inout(ymm_reg) *s8, s9 = inout(ymm_reg) *s9, s10 = inout(ymm_reg) *s10,
                s11 = inout(ymm_reg) *s11,
                options(nomem, nostack),
            );
        }
        $sums
    }};
}

/// `sum = fma(a, b, sum)` in eight lanes of twelve sums.
#[target_feature(enable = "avx2,fma")]
pub(super) fn fma(steps: usize, a: __m256, b: __m256) -> [__m256; WIDE_SUMS] {
    let mut sums = [_mm256_setzero_ps(); WIDE_SUMS];
    twelve_sums!("vfmadd231ps", steps, a, b, sums)
}

/// Four products of bytes added to each of eight lanes of twelve sums. `a` is unsigned, `b` signed.
#[target_feature(enable = "avx2,avx512f,avx512vl,avx512vnni")]
pub(super) fn dpbusd(steps: usize, a: __m256i, b: __m256i) -> [__m256i; WIDE_SUMS] {
    let mut sums = [_mm256_setzero_si256(); WIDE_SUMS];
    twelve_sums!("vpdpbusd", steps, a, b, sums)
}

/// Two products of i16 added to each of eight lanes of eight sums.
#[target_feature(enable = "avx2")]
pub(super) fn madd(steps: usize, a: __m256i, b: __m256i) -> [__m256i; MADD_SUMS] {
    let mut sums = [_mm256_setzero_si256(); MADD_SUMS];
    let [s0, s1, s2, s3, s4, s5, s6, s7] = &mut sums;
    // SAFETY: as in `twelve_sums`.
    unsafe {
        asm!(
            "2:",
            ".rept {repeat}",
            "vpmaddwd {t0}, {a}, {b}", "vpaddd {s0}, {s0}, {t0}",
            "vpmaddwd {t1}, {a}, {b}", "vpaddd {s1}, {s1}, {t1}",
            "vpmaddwd {t2}, {a}, {b}", "vpaddd {s2}, {s2}, {t2}",
            "vpmaddwd {t3}, {a}, {b}", "vpaddd {s3}, {s3}, {t3}",
            "vpmaddwd {t0}, {a}, {b}", "vpaddd {s4}, {s4}, {t0}",
            "vpmaddwd {t1}, {a}, {b}", "vpaddd {s5}, {s5}, {t1}",
            "vpmaddwd {t2}, {a}, {b}", "vpaddd {s6}, {s6}, {t2}",
            "vpmaddwd {t3}, {a}, {b}", "vpaddd {s7}, {s7}, {t3}",
            ".endr",
            "dec {steps}",
            "jnz 2b",
            repeat = const REPEAT,
            steps = inout(reg) steps.max(1) => _,
            a = in(ymm_reg) a,
            b = in(ymm_reg) b,
            s0 = inout(ymm_reg) *s0, s1 = inout(ymm_reg) *s1, s2 = inout(ymm_reg) *s2, s3 = inout(ymm_reg) *s3,
            s4 = inout(ymm_reg) *s4, s5 = inout(ymm_reg) *s5, s6 = inout(ymm_reg) *s6, s7 = inout(ymm_reg) *s7,
            t0 = out(ymm_reg) _, t1 = out(ymm_reg) _, t2 = out(ymm_reg) _, t3 = out(ymm_reg) _,
            options(nomem, nostack),
        );
    }
    sums
}

/// Products of bytes, two at a time, `1 + MORE` of them summed in i16, then added to each of eight lanes of
/// four sums. `a` is unsigned, `b` signed.
#[target_feature(enable = "avx2")]
pub(super) fn maddubs<const MORE: usize>(steps: usize, a: __m256i, b: __m256i) -> [__m256i; MADDUBS_SUMS] {
    let mut sums = [_mm256_setzero_si256(); MADDUBS_SUMS];
    let [s0, s1, s2, s3] = &mut sums;
    let ones = _mm256_set1_epi16(1);
    // SAFETY: as in `twelve_sums`.
    unsafe {
        asm!(
            "2:",
            ".rept {repeat}",
            "vpmaddubsw {w0}, {a}, {b}", "vpmaddubsw {w1}, {a}, {b}",
            "vpmaddubsw {w2}, {a}, {b}", "vpmaddubsw {w3}, {a}, {b}",
            ".rept {more}",
            "vpmaddubsw {t0}, {a}, {b}", "vpaddw {w0}, {w0}, {t0}",
            "vpmaddubsw {t1}, {a}, {b}", "vpaddw {w1}, {w1}, {t1}",
            "vpmaddubsw {t2}, {a}, {b}", "vpaddw {w2}, {w2}, {t2}",
            "vpmaddubsw {t3}, {a}, {b}", "vpaddw {w3}, {w3}, {t3}",
            ".endr",
            "vpmaddwd {t0}, {w0}, {ones}", "vpaddd {s0}, {s0}, {t0}",
            "vpmaddwd {t1}, {w1}, {ones}", "vpaddd {s1}, {s1}, {t1}",
            "vpmaddwd {t2}, {w2}, {ones}", "vpaddd {s2}, {s2}, {t2}",
            "vpmaddwd {t3}, {w3}, {ones}", "vpaddd {s3}, {s3}, {t3}",
            ".endr",
            "dec {steps}",
            "jnz 2b",
            repeat = const REPEAT,
            more = const MORE,
            steps = inout(reg) steps.max(1) => _,
            a = in(ymm_reg) a,
            b = in(ymm_reg) b,
            ones = in(ymm_reg) ones,
            s0 = inout(ymm_reg) *s0, s1 = inout(ymm_reg) *s1, s2 = inout(ymm_reg) *s2, s3 = inout(ymm_reg) *s3,
            w0 = out(ymm_reg) _, w1 = out(ymm_reg) _, w2 = out(ymm_reg) _, w3 = out(ymm_reg) _,
            t0 = out(ymm_reg) _, t1 = out(ymm_reg) _, t2 = out(ymm_reg) _, t3 = out(ymm_reg) _,
            options(nomem, nostack),
        );
    }
    sums
}
