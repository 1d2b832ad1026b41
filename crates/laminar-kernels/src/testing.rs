//! Data for the tests.

use crate::{Matrix, WeightType, quantize};

/// How many cases of a property to try: `n`, or few where an interpreter runs them.
pub(crate) fn cases(n: u32) -> u32 {
    if cfg!(miri) { 2 } else { n }
}

/// `n` values, roughly normal, from a seed.
pub(crate) fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = u64::from(seed) << 1 | 1;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (next() + next() + next()) * 2.0).collect()
}

/// `rows * cols` weights in a format.
pub(crate) fn weights(ty: WeightType, rows: usize, cols: usize, seed: u32) -> Vec<u8> {
    let mut data = Vec::new();
    quantize(ty, &noise(rows * cols, seed), &mut data).unwrap();
    data
}

/// A packed matrix of noise.
pub(crate) fn matrix(ty: WeightType, rows: usize, cols: usize, seed: u32) -> Matrix {
    Matrix::pack(ty, rows, cols, &weights(ty, rows, cols, seed)).unwrap()
}
