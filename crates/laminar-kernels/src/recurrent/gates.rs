//! What rows are made into before they change a state: units of length, decays, shares.

use super::RecurrentShape;
use crate::Pool;
use crate::exp::exp;
use crate::isa::{Isa, isa, multiversion};
use crate::norm::inverse_rms;
use crate::pool::for_each_row;

/// Added to the sum of squares of queries and keys.
const EPS: f32 = 1e-6;

/// Scales queries and keys of the rows to length 1, and queries then by `1 / sqrt(key_dim)`.
///
/// # Panics
///
/// If `mixed` is not rows of [`RecurrentShape::channels`] numbers.
pub fn unit_heads(pool: &Pool, shape: &RecurrentShape, mixed: &mut [f32]) {
    unit_heads_for(isa(), pool, shape, mixed);
}

fn unit_heads_for(isa: Isa, pool: &Pool, shape: &RecurrentShape, mixed: &mut [f32]) {
    shape.check(mixed);
    let (heads, dim) = (shape.key_heads, shape.key_dim);
    let factor = 1.0 / (dim as f32).sqrt();
    for_each_row(pool, mixed, shape.channels(), &|_, row| {
        for (index, head) in row[..2 * heads * dim].chunks_exact_mut(dim).enumerate() {
            unit_head(isa, head, if index < heads { factor } else { 1.0 });
        }
    });
}

multiversion! {
    fn unit_head(x: &mut [f32], factor: f32) = unit_head_body;
}

#[inline(always)]
fn unit_head_body(x: &mut [f32], factor: f32) {
    let len = x.len() as f32;
    let factor = inverse_rms(x, EPS / len) / len.sqrt() * factor;
    for x in x {
        *x *= factor;
    }
}

/// Turns a row's numbers for each head into what the delta rule takes: `fading` into factors `exp(rate * softplus(fading +
/// bias))`, `moving` into shares `sigmoid(moving)`. `rates` are negative.
///
/// # Panics
///
/// If lengths don't fit together.
pub fn delta_gates(pool: &Pool, rates: &[f32], bias: &[f32], fading: &mut [f32], moving: &mut [f32]) {
    delta_gates_for(isa(), pool, rates, bias, fading, moving);
}

fn delta_gates_for(isa: Isa, pool: &Pool, rates: &[f32], bias: &[f32], fading: &mut [f32], moving: &mut [f32]) {
    let heads = rates.len();
    assert!(bias.len() == heads && fading.len() == moving.len(), "gates of another number of heads");
    for_each_row(pool, fading, heads, &|_, row| fade(isa, rates, bias, row));
    for_each_row(pool, moving, heads, &|_, row| share(isa, row));
}

multiversion! {
    fn fade(rates: &[f32], bias: &[f32], row: &mut [f32]) = fade_body;
}

#[inline(always)]
fn fade_body(rates: &[f32], bias: &[f32], row: &mut [f32]) {
    for ((x, rate), bias) in row.iter_mut().zip(rates).zip(bias) {
        *x = exp(rate * softplus(*x + bias));
    }
}

/// The same where one number does both: `steps` into shares `softplus(steps + bias)`, `decays` into `exp(rate * share)`.
///
/// # Panics
///
/// If lengths don't fit together.
pub fn selective_gates(pool: &Pool, rates: &[f32], bias: &[f32], steps: &mut [f32], decays: &mut [f32]) {
    selective_gates_for(isa(), pool, rates, bias, steps, decays);
}

fn selective_gates_for(isa: Isa, pool: &Pool, rates: &[f32], bias: &[f32], steps: &mut [f32], decays: &mut [f32]) {
    let heads = rates.len();
    assert!(bias.len() == heads && decays.len() == steps.len(), "gates of another number of heads");
    decays.copy_from_slice(steps);
    for_each_row(pool, decays, heads, &|_, row| fade(isa, rates, bias, row));
    for_each_row(pool, steps, heads, &|_, row| stretch(isa, bias, row));
}

multiversion! {
    fn stretch(bias: &[f32], row: &mut [f32]) = stretch_body;
}

#[inline(always)]
fn stretch_body(bias: &[f32], row: &mut [f32]) {
    for (x, bias) in row.iter_mut().zip(bias) {
        *x = softplus(*x + bias);
    }
}

multiversion! {
    fn share(row: &mut [f32]) = share_body;
}

#[inline(always)]
fn share_body(row: &mut [f32]) {
    for x in row {
        *x = 1.0 / (1.0 + exp(-*x));
    }
}

/// `ln(1 + e^x)`, as one fixed sequence of float operations.
///
/// It is `max(x, 0) + ln(1 + y)` with `y = e^-|x|` at most 1, and `ln(1 + y) = 2 artanh(y / (2 + y))`, whose series in a
/// number of at most 1/3 ends when terms are below 1e-8.
#[inline(always)]
fn softplus(x: f32) -> f32 {
    let y = exp(-x.abs());
    let s = y / (2.0 + y);
    let square = s * s;
    let p = square.mul_add(1.0 / 15.0, 1.0 / 13.0);
    let p = p.mul_add(square, 1.0 / 11.0);
    let p = p.mul_add(square, 1.0 / 9.0);
    let p = p.mul_add(square, 1.0 / 7.0);
    let p = p.mul_add(square, 1.0 / 5.0);
    let p = p.mul_add(square, 1.0 / 3.0);
    let p = p.mul_add(square, 1.0);
    let positive = if x > 0.0 { x } else { 0.0 };
    (2.0 * s).mul_add(p, positive)
}

#[cfg(test)]
mod tests {
    use super::super::RecurrentRule;
    use super::*;
    use crate::testing::noise;

    #[test]
    fn gates_and_unit_heads_match_their_definitions_and_all_paths_agree() {
        let rule = RecurrentRule::Delta;
        let shape = RecurrentShape { rule, key_heads: 2, value_heads: 2, key_dim: 20, value_dim: 3, in_turns: false };
        let mixed = noise(5 * shape.channels(), 1);
        let (rates, bias) = ([-0.5, -12.0], [0.3, -0.2]);
        let fading = [-30.0, -3.0, -0.1, 0.0, 0.5, 2.0, 9.0, 25.0, 80.0, -80.0];
        let moving = noise(10, 2);
        let mut first = None;
        for isa in Isa::available() {
            let pool = Pool::new(2);
            let (mut heads, mut decays, mut shares) = (mixed.clone(), fading.to_vec(), moving.clone());
            unit_heads_for(isa, &pool, &shape, &mut heads);
            delta_gates_for(isa, &pool, &rates, &bias, &mut decays, &mut shares);
            for (row, (before, after)) in mixed.chunks(86).zip(heads.chunks(86)).enumerate() {
                assert_eq!(before[80..], after[80..], "values stay");
                for (head, (before, after)) in before[..80].chunks(20).zip(after[..80].chunks(20)).enumerate() {
                    let length = before.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() + 1e-6;
                    let factor = if head < 2 { 1.0 / 20f64.sqrt() } else { 1.0 };
                    for (before, after) in before.iter().zip(after) {
                        let exact = f64::from(*before) / length.sqrt() * factor;
                        assert!((f64::from(*after) - exact).abs() < 1e-6, "row {row}, head {head}");
                    }
                }
            }
            let (mut steps, mut same) = (fading.to_vec(), vec![0.0; 10]);
            selective_gates_for(isa, &pool, &rates, &bias, &mut steps, &mut same);
            assert_eq!(same, decays);
            for i in 0..10 {
                let x = f64::from(fading[i]) + f64::from(bias[i % 2]);
                let softplus = x.max(0.0) + (-x.abs()).exp().ln_1p();
                assert!((f64::from(decays[i]) - (f64::from(rates[i % 2]) * softplus).exp()).abs() < 1e-6, "{x}");
                assert!((f64::from(steps[i]) - softplus).abs() < 1e-6 * (1.0 + softplus), "{x}");
                assert!((f64::from(shares[i]) - 1.0 / (1.0 + (-f64::from(moving[i])).exp())).abs() < 1e-6);
            }
            assert_eq!(*first.get_or_insert((heads.clone(), decays.clone(), shares.clone())), (heads, decays, shares));
        }
    }
}
