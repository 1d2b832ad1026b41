//! Elementwise operations.
use crate::Pool;
/// The gate activation of a gated feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU, tanh form.
    GeluTanh,
}
/// `gate = act(gate) * up`.
pub fn gate_mul(_pool: &Pool, _kind: Gate, _gate: &mut [f32], _up: &[f32], _row_len: usize) {
    unimplemented!()
}
/// `x += y`.
pub fn add(_pool: &Pool, _x: &mut [f32], _y: &[f32]) {
    unimplemented!()
}
/// Adds `bias` to every row.
pub fn add_bias(_pool: &Pool, _x: &mut [f32], _bias: &[f32]) {
    unimplemented!()
}
/// `x *= factor`.
pub fn scale(_pool: &Pool, _x: &mut [f32], _factor: f32) {
    unimplemented!()
}
