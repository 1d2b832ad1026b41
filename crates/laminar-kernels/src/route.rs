//! Router.
use crate::Pool;
/// Which experts each row goes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routing {
    /// Experts a row.
    pub top_k: usize,
    /// `rows * top_k` expert numbers; those of a row are distinct.
    pub ids: Vec<u32>,
    /// `rows * top_k` weights.
    pub weights: Vec<f32>,
}
/// Softmax over all experts, then the `top_k` largest.
pub fn route_top_k(
    _pool: &Pool,
    _logits: &[f32],
    _experts: usize,
    _top_k: usize,
    _normalise: bool,
    _routing: &mut Routing,
) {
    unimplemented!()
}
