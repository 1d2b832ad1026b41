//! Memory of what sequences keep: keys and values of every layer, in blocks of [`BLOCK_LEN`] positions, and beside them the
//! last inputs of layers with convolutions; the states of recurrent layers, in a slot for each sequence.
//!
//! Which block and which slot belongs to whom is the scheduler's business; this file only stores numbers under their ids, and
//! how they lie there is the kernels' business.

use std::ops::Range;

use laminar_kernels::{ConvLayer, ConvShape, KvLayer, KvShape, StateLayer, StateShape};

use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::layer::RowSpan;
use crate::states::Places;

pub use laminar_kernels::KvType;

/// Positions in one KV block.
pub const BLOCK_LEN: usize = 32;

/// What one layer keeps of its sequences.
pub(crate) enum LayerMemory {
    /// Keys and values.
    Keys(KvLayer),
    /// Of each block the last inputs of a convolution.
    Inputs(ConvLayer),
    /// Of each slot a state.
    States(StateLayer),
    /// Nothing: it reads the keys and values of that layer.
    Of(usize),
}

/// Memory of all layers.
pub struct KvCache {
    layers: Vec<LayerMemory>,
    /// Where states stand, if the model has recurrent layers.
    places: Option<Places>,
    blocks: usize,
    slots: usize,
    pub(crate) block_len: usize,
    block_bytes: usize,
    /// Blocks whose keys and values have their pages.
    provided: usize,
}

/// Blocks that get their pages in all layers before others do.
const PROVIDED_TOGETHER: usize = 16;

impl KvCache {
    /// Memory for `blocks` blocks of `block_len` positions in every layer of `config`, and for one state in recurrent ones.
    ///
    /// Pages are touched on first use only, so a generous count costs nothing until sequences fill it.
    ///
    /// # Panics
    /// `block_len` is none of those of [`KvShape`], or the heads don't fit the type ([`KvType::fits`]), which
    /// [`Model::load`](crate::Model::load) checks.
    pub fn new(config: &ModelConfig, blocks: usize, block_len: usize, kv: KvType) -> Self {
        Self::with_states(config, blocks, block_len, kv, 1)
    }

    /// [`KvCache::new`] with `slots` states in recurrent layers.
    ///
    /// # Panics
    /// As there.
    pub fn with_states(config: &ModelConfig, blocks: usize, block_len: usize, kv: KvType, slots: usize) -> Self {
        let layer = |index: usize| match (state_shape(config, index), conv_shape(config, index, block_len)) {
            (Some(shape), _) => LayerMemory::States(StateLayer::new(shape, slots)),
            (_, Some(shape)) => LayerMemory::Inputs(ConvLayer::new(shape, blocks)),
            _ => match config.keys_of(index) {
                Some(layer) => LayerMemory::Of(layer),
                None => LayerMemory::Keys(KvLayer::new(kv, shape(config, index, block_len), blocks)),
            },
        };
        let layers = (0..config.layers).map(layer).collect();
        let places = config.recurrent.as_ref().map(|_| Places::new(config.layers, slots));
        let block_bytes = Self::bytes_per_block(config, block_len, kv);
        Self { layers, places, blocks, slots, block_len, block_bytes, provided: 0 }
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
                LayerMemory::Inputs(_) | LayerMemory::States(_) | LayerMemory::Of(_) => false,
            });
            if did {
                return true;
            }
            self.provided = next;
        }
        false
    }

    /// That the rows of `spans` may pass recurrent layers among `layers` now.
    pub(crate) fn check_states(&self, layers: Range<usize>, spans: &[RowSpan<'_>]) -> Result<(), ModelError> {
        let Some(places) = &self.places else { return Ok(()) };
        let recurrent = |layer: &usize| matches!(self.layers.get(*layer), Some(LayerMemory::States(_)));
        layers.filter(recurrent).try_for_each(|layer| places.check(layer, spans))
    }

    /// The memory of a layer that the rows of `spans` pass.
    pub(crate) fn enter(&mut self, layer: usize, spans: &[RowSpan<'_>]) -> &mut LayerMemory {
        let at = if let LayerMemory::Of(other) = self.layers[layer] { other } else { layer };
        let memory = &mut self.layers[at];
        if let (LayerMemory::States(_), Some(places)) = (&*memory, &mut self.places) {
            places.advance(layer, spans);
        }
        memory
    }

    /// Number of blocks; block ids are `0..blocks()`.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Number of states; slots are `0..slots()`.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Bytes one block takes over all layers.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Bytes a block of `block_len` positions takes over all layers of `config`, without allocating anything.
    pub fn bytes_per_block(config: &ModelConfig, block_len: usize, kv: KvType) -> usize {
        let layer = |index| match conv_shape(config, index, block_len) {
            _ if config.recurrent_of(index).is_some() => 0,
            Some(shape) => shape.block_bytes(),
            None if config.keys_of(index).is_some() => 0,
            None => shape(config, index, block_len).block_bytes(kv),
        };
        (0..config.layers).map(layer).sum()
    }

    /// Bytes a state takes over all layers of `config`, without allocating anything; 0 if none is recurrent.
    pub fn bytes_per_state(config: &ModelConfig) -> usize {
        (0..config.layers).filter_map(|index| state_shape(config, index)).map(|shape| shape.slot_bytes()).sum()
    }
}

fn shape(config: &ModelConfig, layer: usize, block_len: usize) -> KvShape {
    let values_from = config.latent.as_ref().map(|latent| latent.rotated);
    let (kv_heads, head_dim) = config.heads_of(layer);
    KvShape { block_len, kv_heads, head_dim, values_from }
}

/// Of a recurrent layer.
fn state_shape(config: &ModelConfig, layer: usize) -> Option<StateShape> {
    let recurrent = config.recurrent_of(layer)?;
    let shape = &recurrent.shape;
    Some(StateShape { channels: shape.channels(), taps: recurrent.taps, numbers: shape.numbers() })
}

/// Of a layer with a convolution.
fn conv_shape(config: &ModelConfig, layer: usize, block_len: usize) -> Option<ConvShape> {
    let convolution = config.convolution.as_ref().filter(|_| config.is_convolution(layer))?;
    Some(ConvShape { block_len, width: config.hidden, taps: convolution.taps })
}
