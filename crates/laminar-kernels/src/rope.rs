//! Rotary position embedding.
use crate::Pool;
/// Which elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// Pairs `(2i, 2i + 1)`.
    Interleaved,
    /// Pairs `(i, i + d / 2)`.
    Half,
}
/// Cosines and sines by position.
pub struct RopeTable {}
impl RopeTable {
    /// An empty table.
    pub fn new(_inv_freq: Vec<f32>, _attention_factor: f32) -> RopeTable {
        RopeTable {}
    }
    /// Makes positions `0..positions` available.
    pub fn ensure(&mut self, _positions: usize) {
        unimplemented!()
    }
}
/// Rotates all heads of all rows.
pub fn rope(
    _pool: &Pool,
    _x: &mut [f32],
    _heads: usize,
    _head_dim: usize,
    _positions: &[u32],
    _table: &RopeTable,
    _style: RopeStyle,
) {
    unimplemented!()
}
