//! Expert products.
use crate::{Activations, Gate, Matrix, Pool, Routing};
/// The experts of a layer.
pub struct ExpertSet {
    /// Gate projections.
    pub gate: Vec<Matrix>,
    /// Up projections.
    pub up: Vec<Matrix>,
    /// Down projections.
    pub down: Vec<Matrix>,
}
/// Buffers of [`moe_ffn`].
#[derive(Default)]
pub struct MoeScratch {}
/// Mixture-of-experts feed-forward.
#[allow(clippy::too_many_arguments)]
pub fn moe_ffn(
    _pool: &Pool,
    _experts: &ExpertSet,
    _gate: Gate,
    _x: &Activations,
    _routing: &Routing,
    _out: &mut [f32],
    _scratch: &mut MoeScratch,
) {
    unimplemented!()
}
