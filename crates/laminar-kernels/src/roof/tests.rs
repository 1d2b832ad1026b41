//! The chains compute what they should, so nobody has taken them out.

use super::*;

#[test]
fn portable_chains_add_up() {
    assert_eq!(portable::floats(10, 3.0, 0.5), [15.0; 32]);
    let (a, b) = codes();
    let dot: i32 = a.iter().zip(&b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    assert_eq!(portable::bytes(7, &a, &b), 7 * dot);
}

#[test]
fn a_reader_reads_every_value_once_a_round() {
    let pool = Pool::new(2);
    let reader = Reader::new(&pool, 3 << 20);
    let values = 3 * CHUNK as u64;
    let expected = values * (values - 1) / 2;
    for _ in 0..2 {
        assert_eq!((0..3).map(|_| reader.read_chunk()).sum::<u64>(), expected);
    }
}

#[test]
fn sums_leave_nothing_out() {
    for len in [0, 1, 31, 32, 100, 1000] {
        let values: Vec<u64> = (0..len).map(|i| i * i + 1).collect();
        let expected = values.iter().sum::<u64>();
        assert_eq!(portable::sum(&values), expected, "{len}");
        assert_eq!(sum(&values), expected, "{len}");
    }
}

#[test]
fn every_probe_has_a_rate() {
    let pool = Pool::new(2);
    let window = Duration::from_millis(2);
    for form in Form::available() {
        let rate = form.rate(&pool, window);
        assert!(rate.is_finite() && rate > 0.0, "{}: {rate}", form.name());
    }
    let read = Reader::new(&pool, 1).rate(&pool, window);
    assert!(read.is_finite() && read > 0.0);
    if let Some(rate) = dispatch_rate(&pool, window) {
        assert!(rate.is_finite() && rate > 0.0);
    }
}

/// The roof of a product is one that the machine can run, whichever path is in use.
#[test]
fn every_weight_type_has_a_form() {
    for ty in WeightType::ALL {
        let form = Form::of(ty);
        assert_eq!(form.is_float(), ty.is_float(), "{}", ty.name());
        let portable = matches!(form.0, Kind::PortableFloats | Kind::PortableBytes);
        assert!(portable || Form::available().contains(&form), "{}", ty.name());
    }
}

/// Different codes in every place. Eight pairs of products fit an i16.
fn codes() -> ([u8; 32], [i8; 32]) {
    (std::array::from_fn(|i| (i % 16) as u8), std::array::from_fn(|i| (i as i8 * 37 % 127) - 60))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::x86::{MADDUBS_SUMS, REPEAT, dpbusd, fma, madd, maddubs};
    use super::*;
    use std::arch::x86_64::*;

    const STEPS: usize = 3;
    const TIMES: i32 = (STEPS * REPEAT) as i32;

    /// Products of four neighbours, a lane each.
    fn dots(a: &[u8; 32], b: &[i8; 32]) -> [i32; 8] {
        std::array::from_fn(|lane| (lane * 4..lane * 4 + 4).map(|i| i32::from(a[i]) * i32::from(b[i])).sum())
    }

    /// # Safety
    /// AVX2.
    #[target_feature(enable = "avx2")]
    unsafe fn lanes(sum: __m256i) -> [i32; 8] {
        // SAFETY: both are eight i32.
        unsafe { std::mem::transmute(sum) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn check_avx2() {
        let (a, b) = codes();
        // SAFETY: 32 bytes each.
        let (va, vb) = unsafe { (_mm256_loadu_si256(a.as_ptr().cast()), _mm256_loadu_si256(b.as_ptr().cast())) };
        let check = |sums: [__m256i; MADDUBS_SUMS], pairs: i32| {
            let expected = dots(&a, &b).map(|dot| dot * pairs * TIMES);
            for sum in sums {
                // SAFETY: the machine has AVX2.
                assert_eq!(unsafe { lanes(sum) }, expected, "{pairs}");
            }
        };
        check(maddubs::<1>(STEPS, va, vb), 2);
        check(maddubs::<3>(STEPS, va, vb), 4);
        check(maddubs::<7>(STEPS, va, vb), 8);

        let (low_a, low_b) = (_mm256_castsi256_si128(va), _mm256_castsi256_si128(vb));
        let wide = madd(STEPS, _mm256_cvtepu8_epi16(low_a), _mm256_cvtepi8_epi16(low_b));
        let product = |i: usize| i32::from(a[i]) * i32::from(b[i]);
        let expected = std::array::from_fn(|lane| (product(lane * 2) + product(lane * 2 + 1)) * TIMES);
        for sum in wide {
            // SAFETY: the machine has AVX2.
            assert_eq!(unsafe { lanes(sum) }, expected);
        }

        let floats: [f32; 8] = std::array::from_fn(|i| i as f32 - 3.0);
        // SAFETY: eight values.
        let sums = fma(STEPS, unsafe { _mm256_loadu_ps(floats.as_ptr()) }, _mm256_set1_ps(0.5));
        let expected = floats.map(|value| value * 0.5 * TIMES as f32);
        for sum in sums {
            // SAFETY: both are eight f32.
            assert_eq!(unsafe { std::mem::transmute::<__m256, [f32; 8]>(sum) }, expected);
        }
    }

    #[target_feature(enable = "avx2,avx512f,avx512vl,avx512vnni")]
    fn check_vnni() {
        let (a, b) = codes();
        // SAFETY: 32 bytes each.
        let (va, vb) = unsafe { (_mm256_loadu_si256(a.as_ptr().cast()), _mm256_loadu_si256(b.as_ptr().cast())) };
        let sums = dpbusd(STEPS, va, vb);
        let expected = dots(&a, &b).map(|dot| dot * TIMES);
        for sum in sums {
            // SAFETY: the machine has AVX2.
            assert_eq!(unsafe { lanes(sum) }, expected);
        }
    }

    #[test]
    fn assembly_chains_add_up() {
        let available = Isa::available();
        if available.contains(&Isa::Avx2) {
            // SAFETY: the machine has AVX2 and FMA.
            unsafe { check_avx2() };
        }
        if available.contains(&Isa::Vnni) {
            // SAFETY: the machine has AVX-512 VNNI and VL.
            unsafe { check_vnni() };
        }
    }
}
