//! Matrix products.
use crate::{Activations, Matrix, Pool};
/// `out[row * w.rows() + n]` = dot of row and weight row n.
pub fn linear(_pool: &Pool, _w: &Matrix, _x: &Activations, _out: &mut [f32]) {
    unimplemented!()
}
