//! Root-mean-square normalisation.

use crate::Pool;
use crate::isa::{Isa, isa, multiversion};
use crate::pool::for_each_row;

/// Partial sums of squares: value `i` goes to sum `i % LANES`, and the sums are added pairwise, so the
/// order is fixed whatever the vector width.
const LANES: usize = 16;

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
pub(crate) fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, v) in sums.iter_mut().zip(chunk) {
            *sum = v.mul_add(*v, *sum);
        }
    }
    for (sum, v) in sums.iter_mut().zip(rest) {
        *sum = v.mul_add(*v, *sum);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    1.0 / (sums[0] / x.len() as f32 + eps).sqrt()
}

multiversion! {
    fn norm_row(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = norm_row_body;
}

#[inline(always)]
fn norm_row_body(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let factor = inverse_rms(x, eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * factor * weight;
    }
}

multiversion! {
    fn norm_row_in_place(x: &mut [f32], weight: &[f32], eps: f32) = norm_row_in_place_body;
}

#[inline(always)]
fn norm_row_in_place_body(x: &mut [f32], weight: &[f32], eps: f32) {
    let factor = inverse_rms(x, eps);
    for (x, weight) in x.iter_mut().zip(weight) {
        *x = *x * factor * weight;
    }
}

/// Root-mean-square norm of each row of `weight.len()` values: `x / sqrt(mean(x^2) + eps) * weight`.
///
/// Rows may be whole hidden states or single heads.
///
/// # Panics
///
/// If `x` and `out` differ in length, or are not whole rows.
pub fn rms_norm(pool: &Pool, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    rms_norm_for(isa(), pool, x, weight, eps, out);
}

pub(crate) fn rms_norm_for(isa: Isa, pool: &Pool, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == out.len(), "input and output differ in length");
    for_each_row(pool, out, weight.len(), &|row, out| {
        let x = &x[row * weight.len()..][..weight.len()];
        norm_row(isa, x, weight, eps, out);
    });
}

/// [`rms_norm`] with the result in place of `x`.
///
/// # Panics
///
/// If `x` is not whole rows.
pub fn rms_norm_in_place(pool: &Pool, x: &mut [f32], weight: &[f32], eps: f32) {
    let isa = isa();
    for_each_row(pool, x, weight.len(), &|_, x| {
        norm_row_in_place(isa, x, weight, eps);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norm_matches_the_definition_on_every_path() {
        let pool = Pool::new(2);
        for len in [1, 15, 16, 64, 100] {
            let x: Vec<f32> = (0..len * 5).map(|i| (i * 37 % 101) as f32 / 20.0 - 2.3).collect();
            let weight: Vec<f32> = (0..len).map(|i| 0.5 + (i % 7) as f32 / 5.0).collect();
            let mut first: Option<Vec<f32>> = None;
            for isa in Isa::available() {
                let mut out = vec![0.0; x.len()];
                rms_norm_for(isa, &pool, &x, &weight, 1e-5, &mut out);
                for (x, out) in x.chunks(len).zip(out.chunks(len)) {
                    let mean: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / len as f64;
                    for i in 0..len {
                        let exact = f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(weight[i]);
                        assert!((f64::from(out[i]) - exact).abs() < 1e-5 * (1.0 + exact.abs()));
                    }
                }
                assert_eq!(*first.get_or_insert(out.clone()), out);
            }
            let mut in_place = x.clone();
            rms_norm_in_place(&pool, &mut in_place, &weight, 1e-5);
            assert_eq!(first, Some(in_place));
        }
    }
}
