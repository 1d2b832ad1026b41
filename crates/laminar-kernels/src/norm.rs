//! Norms.
use crate::Pool;
/// RMS norm of each row.
pub fn rms_norm(_pool: &Pool, _x: &[f32], _weight: &[f32], _eps: f32, _out: &mut [f32]) {
    unimplemented!()
}
/// RMS norm of each row, in place.
pub fn rms_norm_in_place(_pool: &Pool, _x: &mut [f32], _weight: &[f32], _eps: f32) {
    unimplemented!()
}
