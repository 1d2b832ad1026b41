//! Small float matrix products for attention.
//!
//! Each output is accumulated over `k` in order by fused multiply-add, so neither the shape of a register
//! tile nor the number of rows shows in the result.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::isa::Isa;

/// `c[i][..n] += sum over k of a[i][k] * b[k][..n]`, with `k` in `range` in ascending order.
///
/// The rows of `a`, `b` and `c` are `a_stride`, `b_stride` and `c_stride` apart; `c` tells how many there
/// are. `n` is a multiple of 8.
#[allow(clippy::too_many_arguments)] // Three matrices with their strides.
pub(super) fn add_product(
    isa: Isa,
    a: &[f32],
    a_stride: usize,
    range: Range<usize>,
    b: &[f32],
    b_stride: usize,
    c: &mut [f32],
    c_stride: usize,
    n: usize,
) {
    let rows = c.len() / c_stride;
    assert!(n.is_multiple_of(8) && n <= b_stride && n <= c_stride);
    assert!(range.end <= a_stride && rows * a_stride <= a.len());
    assert!(range.is_empty() || range.end * b_stride <= b.len());
    #[cfg(target_arch = "x86_64")]
    if isa != Isa::Portable {
        let mut row = 0;
        while row < rows {
            let count = (rows - row).min(6);
            let job = x86::Job {
                a: a[row * a_stride + range.start..].as_ptr(),
                a_stride,
                b: b[range.start * b_stride..].as_ptr(),
                b_stride,
                c: c[row * c_stride..].as_mut_ptr(),
                c_stride,
                k: range.len(),
                n,
            };
            // SAFETY: the machine has AVX2 and FMA; by the assertions above, `count` rows of `a` and `c` and
            // `k` rows of `b`, each with `n` columns, are inside the slices.
            unsafe { x86::rows(&job, count) };
            row += count;
        }
        return;
    }
    let _ = isa;
    for row in 0..rows {
        let c = &mut c[row * c_stride..][..n];
        for k in range.clone() {
            let a = a[row * a_stride + k];
            for (c, b) in c.iter_mut().zip(&b[k * b_stride..]) {
                *c = a.mul_add(*b, *c);
            }
        }
    }
}

/// Writes the transpose of `from` (rows `stride` apart, one for each of `to_stride` positions) to `to` (rows
/// `to_stride` apart). Both strides are multiples of 8.
pub(super) fn transpose(isa: Isa, from: &[f32], stride: usize, to: &mut [f32], to_stride: usize) {
    assert!(stride.is_multiple_of(8) && to_stride.is_multiple_of(8));
    assert!(from.len() >= stride * to_stride && to.len() >= stride * to_stride);
    #[cfg(target_arch = "x86_64")]
    if isa != Isa::Portable {
        for row in (0..to_stride).step_by(8) {
            for column in (0..stride).step_by(8) {
                // SAFETY: the machine has AVX2; the 8 x 8 square is inside both by the assertions above.
                unsafe {
                    x86::transpose8(
                        from.as_ptr().add(row * stride + column),
                        stride,
                        to.as_mut_ptr().add(column * to_stride + row),
                        to_stride,
                    );
                }
            }
        }
        return;
    }
    let _ = isa;
    for row in 0..to_stride {
        for column in 0..stride {
            to[column * to_stride + row] = from[row * stride + column];
        }
    }
}

/// Converts to f32; exact. The slices are equally long.
pub(super) fn widen(isa: Isa, from: &[f16], to: &mut [f32]) {
    assert!(from.len() == to.len());
    #[cfg(target_arch = "x86_64")]
    if isa != Isa::Portable {
        // SAFETY: the machine has AVX2 and F16C.
        unsafe { x86::widen(from, to) };
        return;
    }
    let _ = isa;
    from.convert_to_f32_slice(to);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::f16;

    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn widen(from: &[f16], to: &mut [f32]) {
        let (from, from_rest) = from.as_chunks::<8>();
        let (to, to_rest) = to.as_chunks_mut::<8>();
        for (from, to) in from.iter().zip(to) {
            // SAFETY: eight values on both sides.
            unsafe {
                let wide = _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast()));
                _mm256_storeu_ps(to.as_mut_ptr(), wide);
            }
        }
        for (from, to) in from_rest.iter().zip(to_rest) {
            *to = from.to_f32();
        }
    }

    /// Operands of a product; see `add_product`.
    pub(super) struct Job {
        pub a: *const f32,
        pub a_stride: usize,
        pub b: *const f32,
        pub b_stride: usize,
        pub c: *mut f32,
        pub c_stride: usize,
        pub k: usize,
        pub n: usize,
    }

    /// # Safety
    /// AVX2 and FMA; `count` (1..=6) rows of `a` and `c`, `k` rows of `b`, `n` columns, all inside their
    /// allocations.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn rows(job: &Job, count: usize) {
        let mut column = 0;
        // SAFETY: passed on; columns stay below `n`.
        unsafe {
            while column + 16 <= job.n {
                match count {
                    1 => tile::<1, 2>(job, column),
                    2 => tile::<2, 2>(job, column),
                    3 => tile::<3, 2>(job, column),
                    4 => tile::<4, 2>(job, column),
                    5 => tile::<5, 2>(job, column),
                    _ => tile::<6, 2>(job, column),
                }
                column += 16;
            }
            if column < job.n {
                match count {
                    1 => tile::<1, 1>(job, column),
                    2 => tile::<2, 1>(job, column),
                    3 => tile::<3, 1>(job, column),
                    4 => tile::<4, 1>(job, column),
                    5 => tile::<5, 1>(job, column),
                    _ => tile::<6, 1>(job, column),
                }
            }
        }
    }

    /// # Safety
    /// As `rows`, with `R` rows and columns `column .. column + 8 * V`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile<const R: usize, const V: usize>(job: &Job, column: usize) {
        // SAFETY: by the contract.
        unsafe {
            let mut acc = [[_mm256_setzero_ps(); V]; R];
            for (r, acc) in acc.iter_mut().enumerate() {
                for (v, acc) in acc.iter_mut().enumerate() {
                    *acc = _mm256_loadu_ps(job.c.add(r * job.c_stride + column + v * 8));
                }
            }
            for k in 0..job.k {
                let mut b = [_mm256_setzero_ps(); V];
                for (v, b) in b.iter_mut().enumerate() {
                    *b = _mm256_loadu_ps(job.b.add(k * job.b_stride + column + v * 8));
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let a = _mm256_set1_ps(*job.a.add(r * job.a_stride + k));
                    for v in 0..V {
                        acc[v] = _mm256_fmadd_ps(a, b[v], acc[v]);
                    }
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                for (v, acc) in acc.iter().enumerate() {
                    _mm256_storeu_ps(job.c.add(r * job.c_stride + column + v * 8), *acc);
                }
            }
        }
    }

    /// Transposes a square of 8 x 8.
    ///
    /// # Safety
    /// AVX2; both squares inside their allocations.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn transpose8(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: by the contract.
        unsafe {
            // Four values of rows i and i + 4 in the halves of a register, then 4 x 4 in each half.
            let pair = |i: usize, at: usize| {
                let low = _mm_loadu_ps(from.add(i * stride + at));
                let high = _mm_loadu_ps(from.add((i + 4) * stride + at));
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
            };
            for at in [0, 4] {
                let (a, b, c, d) = (pair(0, at), pair(1, at), pair(2, at), pair(3, at));
                let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                let columns = [
                    _mm256_shuffle_ps::<0x44>(ab_low, cd_low),
                    _mm256_shuffle_ps::<0xee>(ab_low, cd_low),
                    _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
                    _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
                ];
                for (i, column) in columns.into_iter().enumerate() {
                    _mm256_storeu_ps(to.add((at + i) * to_stride), column);
                }
            }
        }
    }
}
