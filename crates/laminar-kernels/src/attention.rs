//! Attention over paged keys and values.
use crate::Pool;
/// A number a KV cache may hold.
pub trait KvElement: Copy + Default + Send + Sync + 'static {
    /// Rounds to nearest.
    fn from_f32(value: f32) -> Self;
    /// Exact.
    fn to_f32(self) -> f32;
}
impl KvElement for f32 {
    fn from_f32(value: f32) -> f32 {
        value
    }
    fn to_f32(self) -> f32 {
        self
    }
}
impl KvElement for half::f16 {
    fn from_f32(value: f32) -> half::f16 {
        half::f16::from_f32(value)
    }
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
}
/// Keys and values of one layer: `[block][kv_head][position in block][head_dim]`.
#[derive(Debug, Clone, Copy)]
pub struct KvLayer<'a, E> {
    /// Keys.
    pub k: &'a [E],
    /// Values.
    pub v: &'a [E],
    /// Positions in a block.
    pub block_len: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
}
/// Consecutive rows of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// First row in the batch.
    pub first_row: usize,
    /// Rows.
    pub rows: usize,
    /// Position of the first row in the sequence.
    pub first_pos: usize,
    /// Block table of the sequence.
    pub blocks: &'a [u32],
}
/// Shape of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Sliding window `w`: key j is visible to query i if `j <= i` and `i - j < w`.
    pub window: Option<usize>,
}
/// Writes new keys and values into the cache.
#[allow(clippy::too_many_arguments)]
pub fn store_kv<E: KvElement>(
    _k_rows: &[f32],
    _v_rows: &[f32],
    _spans: &[Span<'_>],
    _k: &mut [E],
    _v: &mut [E],
    _block_len: usize,
    _kv_heads: usize,
    _head_dim: usize,
) {
    unimplemented!()
}
/// Causal attention.
pub fn attention<E: KvElement>(
    _pool: &Pool,
    _q: &[f32],
    _spans: &[Span<'_>],
    _kv: &KvLayer<'_, E>,
    _shape: &AttentionShape,
    _out: &mut [f32],
) {
    unimplemented!()
}
