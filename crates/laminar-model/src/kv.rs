//! Paged KV memory: keys and values of every layer in blocks of [`BLOCK_LEN`] positions.
//!
//! Which block belongs to whom is the scheduler's business; this file only stores numbers under block ids, and how they
//! lie in a block is the kernels' business.

use laminar_kernels::{KvLayer, KvShape};

use crate::config::ModelConfig;

pub use laminar_kernels::KvType;

/// Positions in one KV block.
pub const BLOCK_LEN: usize = 32;

/// KV memory of all layers.
pub struct KvCache {
    layers: Vec<KvLayer>,
    blocks: usize,
    pub(crate) block_len: usize,
    block_bytes: usize,
}

impl KvCache {
    /// Memory for `blocks` blocks of `block_len` positions in every layer of `config`.
    ///
    /// Pages are touched on first use only, so a generous count costs nothing until sequences fill it.
    ///
    /// # Panics
    /// `block_len` is none of those of [`KvShape`], or the heads don't fit the type ([`KvType::fits`]), which
    /// [`Model::load`](crate::Model::load) checks.
    pub fn new(config: &ModelConfig, blocks: usize, block_len: usize, kv: KvType) -> Self {
        let shape = shape(config, block_len);
        let layers = (0..config.layers).map(|_| KvLayer::new(kv, shape, blocks)).collect();
        Self { layers, blocks, block_len, block_bytes: Self::bytes_per_block(config, block_len, kv) }
    }

    pub(crate) fn layer(&mut self, index: usize) -> &mut KvLayer {
        &mut self.layers[index]
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
        shape(config, block_len).block_bytes(kv) * config.layers
    }
}

fn shape(config: &ModelConfig, block_len: usize) -> KvShape {
    KvShape { block_len, kv_heads: config.kv_heads, head_dim: config.head_dim, values_from: None }
}
