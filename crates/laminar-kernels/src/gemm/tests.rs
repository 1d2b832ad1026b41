use proptest::prelude::*;

use super::linear_for;
use crate::isa::Isa;
use crate::testing::{cases, matrix, noise, weights};
use crate::{Activations, Pool, WeightType, dequantize};

fn product(isa: Isa, threads: usize, w: &crate::Matrix, x: &[f32]) -> Vec<f32> {
    let pool = Pool::new(threads);
    let mut activations = Activations::new();
    activations.load_on(isa, &pool, x, w.cols());
    let mut out = vec![f32::NAN; activations.rows() * w.rows()];
    linear_for(isa, &pool, &mut [(w, &mut out)], &activations);
    out
}

/// The result and the sum of absolute terms, in f64, with activations rounded as the kernels do.
fn reference(ty: WeightType, rows: usize, cols: usize, data: &[u8], x: &[f32]) -> Vec<(f64, f64)> {
    let mut w = vec![0.0; rows * cols];
    dequantize(ty, data, &mut w).unwrap();
    let mut out = Vec::new();
    for x in x.chunks(cols) {
        let mut x = x.to_vec();
        if !ty.is_float() {
            for block in x.chunks_mut(32) {
                let max = block.iter().fold(0f32, |a, b| a.max(b.abs()));
                for v in block {
                    let code = (*v * (127.0 / max)).round_ties_even();
                    *v = if max > 0.0 { code * (max / 127.0) } else { 0.0 };
                }
            }
        }
        for w in w.chunks(cols) {
            let terms = w.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x));
            out.push((terms.clone().sum(), terms.map(f64::abs).sum()));
        }
    }
    out
}

#[test]
fn products_match_an_f64_reference() {
    for ty in WeightType::ALL {
        // An interpreter takes minutes for what is milliseconds otherwise.
        for cols in if cfg!(miri) { vec![256] } else { vec![256, 768] } {
            let (rows, batch) = if cfg!(miri) { (17, 5) } else { (21, 7) };
            let data = weights(ty, rows, cols, 5);
            let w = crate::Matrix::pack(ty, rows, cols, &data).unwrap();
            let x = noise(batch * cols, 6);
            let exact = reference(ty, rows, cols, &data, &x);
            for isa in Isa::available() {
                for (got, (exact, scale)) in product(isa, 2, &w, &x).iter().zip(&exact) {
                    let error = (f64::from(*got) - exact).abs() / scale.max(1e-30);
                    assert!(error < 1e-6, "{} {isa:?}: {error}", ty.name());
                }
            }
        }
    }
}

#[test]
fn extreme_codes_do_not_overflow() {
    // All weight bits set and the largest activations: the integer sums reach their limits.
    for ty in WeightType::ALL.into_iter().filter(|ty| !ty.is_float()) {
        for fill in [0xff, 0x00, 0x80, 0x7f, 0x77] {
            let (rows, cols) = (9, 256);
            let mut data = weights(ty, rows, cols, 1);
            for block in data.chunks_mut(ty.block_bytes()) {
                let float = half::f16::from_f32(0.01).to_le_bytes();
                block.fill(fill);
                match ty {
                    WeightType::Q6K => block[208..210].copy_from_slice(&float),
                    WeightType::Mxfp4 => block[0] = 120,
                    _ => block[..2].copy_from_slice(&float),
                }
                if matches!(ty, WeightType::Q4_1 | WeightType::Q5_1 | WeightType::Q4K | WeightType::Q5K) {
                    block[2..4].copy_from_slice(&float);
                }
            }
            let w = crate::Matrix::pack(ty, rows, cols, &data).unwrap();
            for x in [vec![1.0; cols], vec![-1.0; cols]] {
                let exact = reference(ty, rows, cols, &data, &x);
                for isa in Isa::available() {
                    for (got, (exact, scale)) in product(isa, 1, &w, &x).iter().zip(&exact) {
                        let error = (f64::from(*got) - exact).abs() / scale.max(1e-30);
                        assert!(error < 1e-6, "{} {isa:?} {fill}: {error}", ty.name());
                    }
                }
            }
        }
    }
}

#[test]
fn every_mxfp4_scale_gives_the_same_bits_on_every_path() {
    let (rows, cols) = (256, 64);
    let mut data = weights(WeightType::Mxfp4, rows, cols, 7);
    for (scale, row) in data.chunks_exact_mut(34).enumerate() {
        row[0] = scale as u8;
        row[17] = 255 - scale as u8;
    }
    let w = crate::Matrix::pack(WeightType::Mxfp4, rows, cols, &data).unwrap();
    // Small and large, so that neither end of the scales vanishes or overflows for all of them.
    for size in [1e-20, 1.0, 1e20] {
        let x: Vec<f32> = noise(5 * cols, 8).iter().map(|v| v * size).collect();
        let bits = |isa| product(isa, 1, &w, &x).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let expected = bits(Isa::Portable);
        for isa in Isa::available() {
            assert_eq!(bits(isa), expected, "{isa:?}");
        }
    }
}

#[test]
fn values_that_are_not_finite_stay_visible() {
    let cols = 64;
    for ty in [WeightType::Q8_0, WeightType::Q4_1, WeightType::F16] {
        let w = matrix(ty, 8, cols, 3);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = noise(2 * cols, 4);
            x[cols + 40] = bad;
            for isa in Isa::available() {
                let out = product(isa, 1, &w, &x);
                assert!(out[..8].iter().all(|v| v.is_finite()));
                assert!(out[8..].iter().all(|v| !v.is_finite()), "{isa:?} {out:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(96)))]

    #[test]
    fn every_path_batch_and_thread_count_gives_the_same_bits(
        ty in prop::sample::select(&WeightType::ALL[..]),
        rows in 1..70usize,
        blocks in 1..5usize,
        odd in 0..31usize,
        batch in 1..23usize,
        seed in any::<u32>(),
    ) {
        let cols = match ty.block_len() {
            1 => blocks * 8 + odd,
            len => blocks * len,
        };
        let w = matrix(ty, rows, cols, seed);
        let x = noise(batch * cols, seed ^ 1);
        let expected = product(Isa::Portable, 1, &w, &x);
        for isa in Isa::available() {
            for threads in 1..=3 {
                prop_assert_eq!(&product(isa, threads, &w, &x), &expected, "{:?} {}", isa, threads);
            }
            let alone: Vec<f32> = x.chunks(cols).flat_map(|row| product(isa, 1, &w, row)).collect();
            prop_assert_eq!(&alone, &expected, "{:?} alone", isa);
        }
    }
}
