//! Chains in plain Rust, for processors without kernels of their own: the arithmetic of the portable kernels.

use std::hint::black_box;

/// Steps of a burst.
pub(super) const STEPS: usize = 1000;
/// Sums that grow side by side.
const SUMS: usize = 32;
/// Operations of a step of [`floats`].
pub(super) const FLOAT_OPERATIONS: u64 = 2 * SUMS as u64;
/// Operations of a step of [`bytes`].
pub(super) const BYTE_OPERATIONS: u64 = 2 * 32;

/// `sum = fma(a, b, sum)`, so often in each sum.
pub(super) fn floats(steps: usize, a: f32, b: f32) -> [f32; SUMS] {
    let mut sums = [0.0; SUMS];
    for _ in 0..steps {
        // Otherwise the compiler could take the product out of the loop.
        let (a, b) = (black_box(a), black_box(b));
        sums.iter_mut().for_each(|sum: &mut f32| *sum = a.mul_add(b, *sum));
    }
    sums
}

/// The dot product of 32 codes with 32 activations, so often.
pub(super) fn bytes(steps: usize, a: &[u8; 32], b: &[i8; 32]) -> i32 {
    let mut sum = 0i32;
    for _ in 0..steps {
        let (a, b) = (black_box(a), black_box(b));
        let dot: i32 = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
        sum = sum.wrapping_add(dot);
    }
    sum
}

/// The sum of all values.
pub(super) fn sum(values: &[u64]) -> u64 {
    // Sums side by side, which the compiler keeps in vectors.
    let mut sums = [0u64; 16];
    for part in values.chunks(16) {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}
