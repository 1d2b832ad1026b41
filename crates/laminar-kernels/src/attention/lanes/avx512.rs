//! AVX-512: a vector is a register.

use std::arch::x86_64::*;

use super::avx2::fold8;
use super::{Kernel, Lanes, operations};

/// AVX-512 with VL, BW and DQ.
pub(in crate::attention) struct Avx512;

type V = __m512;

#[inline(always)]
unsafe fn halves(v: V) -> (__m256, __m256) {
    // SAFETY: as the operations below.
    unsafe { (_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)) }
}

impl Lanes for Avx512 {
    type V = V;
    const ROWS: usize = 12;
    const WIDE: usize = 2;

    unsafe fn vectorize<K: Kernel>(kernel: K) {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq")]
        fn inner<K: Kernel>(kernel: K) {
            // SAFETY: this function is compiled for the instructions, and its caller promises the rest.
            unsafe { kernel.run::<Avx512>() };
        }
        // SAFETY: the machine has the instructions, by the contract.
        unsafe { inner(kernel) };
    }

    operations! {
        splat(x: f32) -> V = _mm512_set1_ps(x);
        load(from: *const f32) -> V = _mm512_loadu_ps(from);
        store(to: *mut f32, v: V) = _mm512_storeu_ps(to, v);
        load_f16(from: *const u16) -> V = _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()));
        splat_f16(from: *const u16) -> V = _mm512_cvtph_ps(_mm256_set1_epi16(*from as i16));
        load_i8(from: *const i8) -> V = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())));
        add(a: V, b: V) -> V = _mm512_add_ps(a, b);
        sub(a: V, b: V) -> V = _mm512_sub_ps(a, b);
        mul(a: V, b: V) -> V = _mm512_mul_ps(a, b);
        div(a: V, b: V) -> V = _mm512_div_ps(a, b);
        fma(a: V, b: V, c: V) -> V = _mm512_fmadd_ps(a, b, c);
        max(a: V, b: V) -> V = _mm512_max_ps(a, b);
        abs(a: V) -> V = _mm512_abs_ps(a);
        with_sign(a: V, b: V) -> V = _mm512_or_ps(a, _mm512_and_ps(_mm512_set1_ps(-0.0), b));
        add_exponent(p: V, n: V) -> V = {
            let n = _mm512_slli_epi32::<23>(_mm512_castps_si512(n));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), n))
        };
        zero_below(v: V, x: V, limit: V) -> V = {
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, limit), v)
        };
        sum(v: V) -> f32 = {
            let (low, high) = halves(v);
            fold8!(_mm256_add_ps(low, high), _mm_add_ps, _mm_add_ss)
        };
        largest(v: V) -> f32 = {
            let (low, high) = halves(v);
            fold8!(_mm256_max_ps(low, high), _mm_max_ps, _mm_max_ss)
        };
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
