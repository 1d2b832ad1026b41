//! AVX2 with FMA and F16C: a vector is a pair of registers.

use std::arch::x86_64::*;

use super::{Kernel, Lanes, operations};

/// AVX2, FMA and F16C.
pub(in crate::attention) struct Avx2;

/// Lanes 0..8 and 8..16.
#[derive(Clone, Copy)]
pub(in crate::attention) struct V(__m256, __m256);

/// `V(f(a.0, b.0), f(a.1, b.1))` and so on.
macro_rules! both {
    ($f:path; $($x:expr),+) => {
        V($f($($x.0),+), $f($($x.1),+))
    };
}

/// The last steps of a fold: eight lanes to four, two, one.
macro_rules! fold8 {
    ($v:expr, $f4:path, $f1:path) => {{
        let v = $v;
        let four = $f4(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = $f4(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32($f1(two, _mm_shuffle_ps::<1>(two, two)))
    }};
}
pub(super) use fold8;

#[inline(always)]
unsafe fn bits(v: V) -> (__m256i, __m256i) {
    // SAFETY: as the operations below.
    unsafe { (_mm256_castps_si256(v.0), _mm256_castps_si256(v.1)) }
}

#[inline(always)]
unsafe fn plus_exponent(p: __m256i, n: __m256i) -> __m256 {
    // SAFETY: as the operations below.
    unsafe { _mm256_castsi256_ps(_mm256_add_epi32(p, _mm256_slli_epi32::<23>(n))) }
}

#[inline(always)]
unsafe fn bytes(from: *const i8) -> __m256 {
    // SAFETY: as the operations below.
    unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
}

impl Lanes for Avx2 {
    type V = V;
    const ROWS: usize = 6;
    const WIDE: usize = 1;

    unsafe fn vectorize<K: Kernel>(kernel: K) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner<K: Kernel>(kernel: K) {
            // SAFETY: this function is compiled for the instructions, and its caller promises the rest.
            unsafe { kernel.run::<Avx2>() };
        }
        // SAFETY: the machine has the instructions, by the contract.
        unsafe { inner(kernel) };
    }

    operations! {
        splat(x: f32) -> V = V(_mm256_set1_ps(x), _mm256_set1_ps(x));
        load(from: *const f32) -> V = V(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)));
        store(to: *mut f32, v: V) = {
            _mm256_storeu_ps(to, v.0);
            _mm256_storeu_ps(to.add(8), v.1);
        };
        load_f16(from: *const u16) -> V = V(
            _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())),
        );
        splat_f16(from: *const u16) -> V = {
            let v = _mm256_cvtph_ps(_mm_set1_epi16(*from as i16));
            V(v, v)
        };
        load_i8(from: *const i8) -> V = V(bytes(from), bytes(from.add(8)));
        add(a: V, b: V) -> V = both!(_mm256_add_ps; a, b);
        sub(a: V, b: V) -> V = both!(_mm256_sub_ps; a, b);
        mul(a: V, b: V) -> V = both!(_mm256_mul_ps; a, b);
        div(a: V, b: V) -> V = both!(_mm256_div_ps; a, b);
        fma(a: V, b: V, c: V) -> V = both!(_mm256_fmadd_ps; a, b, c);
        max(a: V, b: V) -> V = both!(_mm256_max_ps; a, b);
        abs(a: V) -> V = {
            let sign = _mm256_set1_ps(-0.0);
            V(_mm256_andnot_ps(sign, a.0), _mm256_andnot_ps(sign, a.1))
        };
        with_sign(a: V, b: V) -> V = {
            let sign = _mm256_set1_ps(-0.0);
            V(_mm256_or_ps(a.0, _mm256_and_ps(sign, b.0)), _mm256_or_ps(a.1, _mm256_and_ps(sign, b.1)))
        };
        add_exponent(p: V, n: V) -> V = {
            let (p, n) = (bits(p), bits(n));
            V(plus_exponent(p.0, n.0), plus_exponent(p.1, n.1))
        };
        zero_below(v: V, x: V, limit: V) -> V = {
            let keep = both!(_mm256_cmp_ps::<_CMP_NLT_UQ>; x, limit);
            both!(_mm256_and_ps; v, keep)
        };
        sum(v: V) -> f32 = fold8!(_mm256_add_ps(v.0, v.1), _mm_add_ps, _mm_add_ss);
        largest(v: V) -> f32 = fold8!(_mm256_max_ps(v.0, v.1), _mm_max_ps, _mm_max_ss);
    }

    #[inline(always)]
    fn prefetch<const NEAR: bool>(at: *const u8) {
        // SAFETY: prefetching any address is allowed; it has no effect on the program.
        unsafe {
            if NEAR {
                _mm_prefetch::<_MM_HINT_T0>(at.cast());
            } else {
                _mm_prefetch::<_MM_HINT_T1>(at.cast());
            }
        }
    }
}
