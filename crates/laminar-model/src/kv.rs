//! Paged KV memory: keys and values of every layer in blocks of [`BLOCK_LEN`] positions.
//!
//! Which block belongs to whom is the scheduler's business; this file only stores numbers under block ids.

use crate::config::ModelConfig;
use half::f16;
use half::slice::HalfBitsSliceExt;

/// Positions in one KV block.
pub const BLOCK_LEN: usize = 32;

/// Element type of stored keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// Half precision: the default.
    #[default]
    F16,
    /// Single precision: twice the memory, used to compare with f32 references.
    F32,
}

impl KvType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Keys and values of one layer, laid out `[block][kv head][position in block][head_dim]`.
///
/// Half-precision numbers are kept as raw bits, since a zeroed vector of integers costs no memory until it is written.
pub(crate) enum LayerStore {
    F16 { k: Vec<u16>, v: Vec<u16> },
    F32 { k: Vec<f32>, v: Vec<f32> },
}

impl LayerStore {
    pub(crate) fn as_f16_mut(k: &mut [u16]) -> &mut [f16] {
        k.reinterpret_cast_mut()
    }
}

/// One layer's store, for the duration of a layer call.
pub(crate) struct LayerView<'a> {
    pub(crate) store: &'a mut LayerStore,
    pub(crate) block_len: usize,
}

/// KV memory of all layers.
pub struct KvCache {
    layers: Vec<LayerStore>,
    blocks: usize,
    pub(crate) block_len: usize,
    block_bytes: usize,
}

impl KvCache {
    /// Memory for `blocks` blocks of `block_len` positions in every layer of `config`.
    ///
    /// Pages are touched on first use only, so a generous count costs nothing until sequences fill it.
    pub fn new(config: &ModelConfig, blocks: usize, block_len: usize, kv: KvType) -> Self {
        let per_block = block_len * config.kv_width();
        let elements = blocks * per_block;
        let layers = (0..config.layers)
            .map(|_| match kv {
                KvType::F16 => LayerStore::F16 { k: vec![0; elements], v: vec![0; elements] },
                KvType::F32 => LayerStore::F32 { k: vec![0.0; elements], v: vec![0.0; elements] },
            })
            .collect();
        Self { layers, blocks, block_len, block_bytes: 2 * per_block * kv.bytes() * config.layers }
    }

    pub(crate) fn layer(&mut self, index: usize) -> LayerView<'_> {
        LayerView { store: &mut self.layers[index], block_len: self.block_len }
    }

    /// Number of blocks; block ids are `0..blocks()`.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes one block takes over all layers.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Bytes a block of `block_len` positions takes over all layers of `config`, without allocating anything.
    pub fn bytes_per_block(config: &ModelConfig, block_len: usize, kv: KvType) -> usize {
        2 * block_len * config.kv_width() * kv.bytes() * config.layers
    }
}
