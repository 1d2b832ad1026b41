//! Operations on each value alone: activations, sums, factors.

use crate::Pool;
use crate::exp::exp;
use crate::isa::{Isa, isa, multiversion};
use crate::pool::for_each_row;

/// The activation of a gated feed-forward network, which computes `act(gate) * up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// `x * sigmoid(x)`: Llama, Qwen, Mixtral.
    Silu,
    /// GELU in its tanh form: Gemma.
    GeluTanh,
    /// `x * sigmoid(1.702 x) * (up + 1)` with `x` at most 7 and `up` between -7 and 7: gpt-oss.
    ClampedSwiglu,
}

impl Gate {
    /// The factor inside the sigmoid of [`Gate::ClampedSwiglu`].
    pub const CLAMPED_ALPHA: f32 = 1.702;
    /// The bound of both inputs of [`Gate::ClampedSwiglu`].
    pub const CLAMPED_LIMIT: f32 = 7.0;
}

/// Values a task of an elementwise operation handles; smaller inputs aren't worth a second thread.
const PART: usize = 16 * 1024;

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `x / 2 * (1 + tanh(u))` with `u = sqrt(2 / pi) * (x + 0.044715 x^3)` is `x / (1 + exp(-2 u))`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const FACTOR: f32 = 0.797_884_6;
    let u = FACTOR * (x * x * x).mul_add(0.044_715, x);
    x / (1.0 + exp(-2.0 * u))
}

/// `x * sigmoid(alpha x) * (up + 1)`, both bounded; what is not a number stays so.
#[inline(always)]
fn clamped_swiglu(x: f32, up: f32) -> f32 {
    let limit = Gate::CLAMPED_LIMIT;
    let x = if x > limit { limit } else { x };
    let up = if up > limit { limit } else { up };
    let up = if up < -limit { -limit } else { up };
    x / (1.0 + exp(-Gate::CLAMPED_ALPHA * x)) * (up + 1.0)
}

/// The hyperbolic tangent through `exp`, with an absolute error of about 1e-7.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

multiversion! {
    /// `gate = act(gate) * up` for slices of equal length.
    pub(crate) fn gate_values(kind: Gate, gate: &mut [f32], up: &[f32]) = gate_values_body;
}

#[inline(always)]
fn gate_values_body(kind: Gate, gate: &mut [f32], up: &[f32]) {
    match kind {
        Gate::Silu => {
            for (gate, up) in gate.iter_mut().zip(up) {
                *gate = silu(*gate) * up;
            }
        }
        Gate::GeluTanh => {
            for (gate, up) in gate.iter_mut().zip(up) {
                *gate = gelu_tanh(*gate) * up;
            }
        }
        Gate::ClampedSwiglu => {
            for (gate, up) in gate.iter_mut().zip(up) {
                *gate = clamped_swiglu(*gate, *up);
            }
        }
    }
}

/// `gate = act(gate) * up`, for rows of `row_len` values.
///
/// # Panics
///
/// If the two lengths differ, or they are not whole rows.
pub fn gate_mul(pool: &Pool, kind: Gate, gate: &mut [f32], up: &[f32], row_len: usize) {
    gate_mul_for(isa(), pool, kind, gate, up, row_len);
}

pub(crate) fn gate_mul_for(isa: Isa, pool: &Pool, kind: Gate, gate: &mut [f32], up: &[f32], row_len: usize) {
    assert!(gate.len() == up.len(), "gate and up differ in length");
    for_each_row(pool, gate, row_len, &|row, gate| {
        gate_values(isa, kind, gate, &up[row * row_len..][..row_len]);
    });
}

/// Runs `f(offset, part)` over parts of `x` in parallel; small inputs in place.
fn parts(pool: &Pool, x: &mut [f32], f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
    let whole = x.len() / PART * PART;
    let (parts, rest) = x.split_at_mut(whole);
    for_each_row(pool, parts, PART, &|part, values| f(part * PART, values));
    f(whole, rest);
}

/// `x += y`.
///
/// # Panics
///
/// If the two lengths differ.
pub fn add(pool: &Pool, x: &mut [f32], y: &[f32]) {
    assert!(x.len() == y.len(), "the summands differ in length");
    parts(pool, x, &|at, part| {
        for (x, y) in part.iter_mut().zip(&y[at..]) {
            *x += y;
        }
    });
}

/// Adds `bias` to each row of `bias.len()` values.
///
/// # Panics
///
/// If `x` is not a whole number of rows.
pub fn add_bias(pool: &Pool, x: &mut [f32], bias: &[f32]) {
    for_each_row(pool, x, bias.len(), &|_, row| {
        for (x, b) in row.iter_mut().zip(bias) {
            *x += b;
        }
    });
}

/// `x *= factor`.
pub fn scale(pool: &Pool, x: &mut [f32], factor: f32) {
    parts(pool, x, &|_, part| {
        for x in part {
            *x *= factor;
        }
    });
}

multiversion! {
    fn softcap_values(x: &mut [f32], cap: f32) = softcap_values_body;
}

#[inline(always)]
fn softcap_values_body(x: &mut [f32], cap: f32) {
    for x in x {
        *x = cap * tanh(*x / cap);
    }
}

/// Bounds every value softly: `x = cap * tanh(x / cap)`.
pub fn softcap(pool: &Pool, x: &mut [f32], cap: f32) {
    softcap_for(isa(), pool, x, cap);
}

pub(crate) fn softcap_for(isa: Isa, pool: &Pool, x: &mut [f32], cap: f32) {
    parts(pool, x, &|_, part| softcap_values(isa, part, cap));
}

multiversion! {
    fn sigmoid_add(factor: f32, y: &[f32], x: &mut [f32]) = sigmoid_add_body;
}

#[inline(always)]
fn sigmoid_add_body(factor: f32, y: &[f32], x: &mut [f32]) {
    let factor = 1.0 / (1.0 + exp(-factor));
    for (x, y) in x.iter_mut().zip(y) {
        *x += factor * y;
    }
}

/// Adds to each row of `x` the row of `y` times the sigmoid of its gate: `x += sigmoid(gate) * y`.
///
/// # Panics
///
/// If the lengths of `x` and `y` differ, or they are not as many rows as there are gates.
pub fn add_gated(pool: &Pool, x: &mut [f32], y: &[f32], gates: &[f32]) {
    add_gated_for(isa(), pool, x, y, gates);
}

pub(crate) fn add_gated_for(isa: Isa, pool: &Pool, x: &mut [f32], y: &[f32], gates: &[f32]) {
    assert!(x.len() == y.len(), "the summands differ in length");
    if gates.is_empty() {
        assert!(x.is_empty(), "rows without gates");
        return;
    }
    assert!(x.len().is_multiple_of(gates.len()), "{} values are not {} rows", x.len(), gates.len());
    let row_len = x.len() / gates.len();
    for_each_row(pool, x, row_len, &|row, x| sigmoid_add(isa, gates[row], &y[row * row_len..][..row_len], x));
}

multiversion! {
    fn sigmoid_values(x: &mut [f32], gates: &[f32]) = sigmoid_values_body;
}

#[inline(always)]
fn sigmoid_values_body(x: &mut [f32], gates: &[f32]) {
    for (x, gate) in x.iter_mut().zip(gates) {
        *x /= 1.0 + exp(-gate);
    }
}

/// `x *= sigmoid(gates)`, each value with a gate of its own.
///
/// # Panics
///
/// If the two lengths differ.
pub fn mul_sigmoid(pool: &Pool, x: &mut [f32], gates: &[f32]) {
    mul_sigmoid_for(isa(), pool, x, gates);
}

pub(crate) fn mul_sigmoid_for(isa: Isa, pool: &Pool, x: &mut [f32], gates: &[f32]) {
    assert!(x.len() == gates.len(), "values and gates differ in length");
    parts(pool, x, &|at, part| sigmoid_values(isa, part, &gates[at..]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: u32) -> Vec<f32> {
        (0..n)
            .map(|i| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32)
            .map(|v| v / (1 << 21) as f32 - 4.0)
            .collect()
    }

    #[test]
    fn gates_match_their_definitions_and_all_paths_agree() {
        let (mut x, mut up) = (values(3 * 37, 1), values(3 * 37, 2));
        // Beyond the bounds of those that have some.
        x[..3].copy_from_slice(&[9.0, -9.0, 7.5]);
        up[1..4].copy_from_slice(&[-11.0, 8.0, 30.0]);
        for kind in [Gate::Silu, Gate::GeluTanh, Gate::ClampedSwiglu] {
            let mut first: Option<Vec<f32>> = None;
            for isa in Isa::available() {
                let mut gate = x.clone();
                gate_mul_for(isa, &Pool::new(2), kind, &mut gate, &up, 37);
                for ((got, x), up) in gate.iter().zip(&x).zip(&up) {
                    let (x, up) = (f64::from(*x), f64::from(*up));
                    let (x, up) = match kind {
                        Gate::ClampedSwiglu => (x.min(7.0), up.clamp(-7.0, 7.0) + 1.0),
                        _ => (x, up),
                    };
                    let act = match kind {
                        Gate::Silu => x / (1.0 + (-x).exp()),
                        Gate::ClampedSwiglu => x / (1.0 + (-1.702 * x).exp()),
                        Gate::GeluTanh => {
                            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                            0.5 * x * (1.0 + u.tanh())
                        }
                    };
                    let error = (f64::from(*got) - act * up).abs();
                    assert!(error <= 1e-6 * (1.0 + (act * up).abs()), "{kind:?} {x}: {error}");
                }
                assert_eq!(*first.get_or_insert(gate.clone()), gate, "{isa:?}");
            }
        }
    }

    #[test]
    fn sums_and_factors_reach_every_value() {
        let pool = Pool::new(3);
        let n = 3 * PART + 17;
        let (x, y) = (values(n, 3), values(n, 4));
        let mut sum = x.clone();
        add(&pool, &mut sum, &y);
        assert!(sum.iter().zip(x.iter().zip(&y)).all(|(s, (x, y))| *s == x + y));
        scale(&pool, &mut sum, 0.5);
        assert!(sum.iter().zip(x.iter().zip(&y)).all(|(s, (x, y))| *s == (x + y) * 0.5));
        let mut rows = x[..50].to_vec();
        add_bias(&pool, &mut rows, &y[..10]);
        assert!((0..50).all(|i| rows[i] == x[i] + y[i % 10]));
    }

    #[test]
    fn bounded_and_gated_values_match_their_definitions_and_all_paths_agree() {
        let (x, y) = (values(4 * 37, 5), values(4 * 37, 6));
        let gates = [-3.0, 0.0, 0.5, 40.0];
        let mut first: Option<[Vec<f32>; 3]> = None;
        for isa in Isa::available() {
            let [mut capped, mut sums, mut products] = [x.clone(), x.clone(), x.clone()];
            softcap_for(isa, &Pool::new(2), &mut capped, 2.5);
            add_gated_for(isa, &Pool::new(2), &mut sums, &y, &gates);
            mul_sigmoid_for(isa, &Pool::new(2), &mut products, &y);
            for (i, x) in x.iter().map(|x| f64::from(*x)).enumerate() {
                assert!((f64::from(capped[i]) - 2.5 * (x / 2.5).tanh()).abs() < 1e-6);
                let gate = 1.0 / (1.0 + (-f64::from(gates[i / 37])).exp());
                assert!((f64::from(sums[i]) - (x + gate * f64::from(y[i]))).abs() < 1e-6);
                assert!((f64::from(products[i]) - x / (1.0 + (-f64::from(y[i])).exp())).abs() < 1e-6);
            }
            let found = [capped, sums, products];
            assert_eq!(*first.get_or_insert(found.clone()), found, "{isa:?}");
        }
        add_gated(&Pool::new(1), &mut [], &[], &[]);
    }
}
