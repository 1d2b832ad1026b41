//! Paged memory of what sequences keep: keys and values of every layer, in blocks of [`BLOCK_LEN`] positions, and beside them
//! the last inputs of layers with convolutions.
//!
//! Which block belongs to whom is the scheduler's business; this file only stores numbers under block ids, and how they
//! lie in a block is the kernels' business.

use laminar_kernels::{ConvLayer, ConvShape, KvLayer, KvShape};

use crate::config::ModelConfig;

pub use laminar_kernels::KvType;

/// Positions in one KV block.
pub const BLOCK_LEN: usize = 32;

/// What one layer keeps of its sequences.
pub(crate) enum LayerMemory {
    /// Keys and values.
    Keys(KvLayer),
    /// Of each block the last inputs of a convolution.
    Inputs(ConvLayer),
}

/// KV memory of all layers.
pub struct KvCache {
    layers: Vec<LayerMemory>,
    blocks: usize,
    pub(crate) block_len: usize,
    block_bytes: usize,
    /// Blocks whose keys and values have their pages.
    provided: usize,
}

/// Blocks that get their pages in all layers before others do.
const PROVIDED_TOGETHER: usize = 16;

impl KvCache {
    /// Memory for `blocks` blocks of `block_len` positions in every layer of `config`.
    ///
    /// Pages are touched on first use only, so a generous count costs nothing until sequences fill it.
    ///
    /// # Panics
    /// `block_len` is none of those of [`KvShape`], or the heads don't fit the type ([`KvType::fits`]), which
    /// [`Model::load`](crate::Model::load) checks.
    pub fn new(config: &ModelConfig, blocks: usize, block_len: usize, kv: KvType) -> Self {
        let layer = |index: usize| match conv_shape(config, index, block_len) {
            Some(shape) => LayerMemory::Inputs(ConvLayer::new(shape, blocks)),
            None => LayerMemory::Keys(KvLayer::new(kv, shape(config, index, block_len), blocks)),
        };
        let layers = (0..config.layers).map(layer).collect();
        let block_bytes = Self::bytes_per_block(config, block_len, kv);
        Self { layers, blocks, block_len, block_bytes, provided: 0 }
    }

    /// Has the system provide one more page of the first `blocks` blocks, ahead of time. False if all are there.
    ///
    /// The first row of a block may need a new page in every layer at once. Providing one takes the system up to some
    /// milliseconds, and all of them a good part of a second, in which every stream would wait.
    pub fn provide(&mut self, blocks: usize) -> bool {
        while self.provided < blocks.min(self.blocks) {
            let next = self.provided + PROVIDED_TOGETHER;
            let did = self.layers.iter_mut().any(|layer| match layer {
                LayerMemory::Keys(keys) => keys.provide(next),
                LayerMemory::Inputs(_) => false,
            });
            if did {
                return true;
            }
            self.provided = next;
        }
        false
    }

    pub(crate) fn layer(&mut self, index: usize) -> &mut LayerMemory {
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
        let layer = |index| match conv_shape(config, index, block_len) {
            Some(shape) => shape.block_bytes(),
            None => shape(config, index, block_len).block_bytes(kv),
        };
        (0..config.layers).map(layer).sum()
    }
}

fn shape(config: &ModelConfig, layer: usize, block_len: usize) -> KvShape {
    let values_from = config.latent.as_ref().map(|latent| latent.rotated);
    let (kv_heads, head_dim) = config.heads_of(layer);
    KvShape { block_len, kv_heads, head_dim, values_from }
}

/// Of a layer with a convolution.
fn conv_shape(config: &ModelConfig, layer: usize, block_len: usize) -> Option<ConvShape> {
    let convolution = config.convolution.as_ref().filter(|_| config.is_convolution(layer))?;
    Some(ConvShape { block_len, width: config.hidden, taps: convolution.taps })
}
