//! What a model looks like from outside: how many weights each part of it has.

use laminar_schedule::{CostPrior, Experts, MachineGuess, ModelDimensions};

/// The sizes of a decoder-only model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelShape {
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads of a layer.
    pub q_heads: usize,
    /// Key heads of a layer, and as many value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// The second half of each layer.
    pub feed_forward: FeedForward,
    /// Bytes that a weight takes in memory.
    pub bytes_per_weight: f64,
}

/// The feed-forward stage of a layer: three matrices (gate, up, down) for each network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedForward {
    /// One network for all rows.
    Dense {
        /// Its inner width.
        width: usize,
    },
    /// A mixture of experts.
    Experts {
        /// Experts there are.
        count: usize,
        /// Experts that each row goes through.
        top_k: usize,
        /// The inner width of one.
        width: usize,
    },
}

/// Bytes that a Q4_0 weight takes: 18 bytes hold 32 of them.
const Q4_0: f64 = 18.0 / 32.0;

impl ModelShape {
    /// Eight layers of Qwen3-30B-A3B, in Q4_0.
    pub const QWEN3_30B_8L: ModelShape = ModelShape {
        layers: 8,
        hidden: 2048,
        q_heads: 32,
        kv_heads: 4,
        head_dim: 128,
        vocab: 32_768,
        feed_forward: FeedForward::Experts { count: 128, top_k: 8, width: 768 },
        bytes_per_weight: Q4_0,
    };

    /// A deep and narrow mixture: as many layers as Qwen3-30B-A3B, each a small one.
    pub const MOE_DEEP: ModelShape = ModelShape {
        layers: 48,
        hidden: 1024,
        q_heads: 16,
        kv_heads: 4,
        head_dim: 64,
        vocab: 32_768,
        feed_forward: FeedForward::Experts { count: 64, top_k: 8, width: 384 },
        bytes_per_weight: Q4_0,
    };

    /// [`QWEN3_30B_8L`](Self::QWEN3_30B_8L) with one dense network of the size that a row passes there.
    pub const DENSE_8L: ModelShape =
        ModelShape { feed_forward: FeedForward::Dense { width: 6144 }, ..Self::QWEN3_30B_8L };

    /// A deep dense model: the sizes of Qwen3-0.6B.
    pub const DENSE_DEEP: ModelShape = ModelShape {
        layers: 28,
        hidden: 1024,
        q_heads: 16,
        kv_heads: 8,
        head_dim: 128,
        vocab: 32_768,
        feed_forward: FeedForward::Dense { width: 3072 },
        bytes_per_weight: Q4_0,
    };

    /// The shapes above, by name.
    pub const PRESETS: [(&'static str, ModelShape); 4] = [
        ("qwen3-30b-a3b-8l", Self::QWEN3_30B_8L),
        ("moe-deep", Self::MOE_DEEP),
        ("dense-8l", Self::DENSE_8L),
        ("dense-deep", Self::DENSE_DEEP),
    ];

    /// The experts of a layer, as the scheduler wants to know them.
    pub fn experts(&self) -> Option<Experts> {
        match self.feed_forward {
            FeedForward::Dense { .. } => None,
            FeedForward::Experts { count, top_k, .. } => Some(Experts { count, top_k }),
        }
    }

    /// What a scheduler may know of the model's costs before it has seen a step: its dimensions, on a machine that is guessed
    /// with caution.
    pub fn cost_prior(&self) -> CostPrior {
        let dimensions = ModelDimensions {
            layers: self.layers as f64,
            hidden: self.hidden as f64,
            vocab: self.vocab as f64,
            attention_weights: self.attention_weights(),
            attention_width: (self.q_heads * self.head_dim) as f64,
            kv_bytes: self.kv_bytes(),
            feed_forward_weights: self.network_weights(),
            bytes_per_weight: self.bytes_per_weight,
        };
        CostPrior::from_dimensions(&dimensions, &MachineGuess { weight_operations: 170e9, ..MachineGuess::CAUTIOUS })
    }

    /// Weights of a layer's query, key, value and output matrices.
    pub fn attention_weights(&self) -> f64 {
        (2 * self.hidden * (self.q_heads + self.kv_heads) * self.head_dim) as f64
    }

    /// Weights of a layer's dense network, or of one expert.
    pub fn network_weights(&self) -> f64 {
        let (FeedForward::Dense { width } | FeedForward::Experts { width, .. }) = self.feed_forward;
        (3 * self.hidden * width) as f64
    }

    /// Weights of the matrix from the last row to the vocabulary.
    pub fn head_weights(&self) -> f64 {
        (self.hidden * self.vocab) as f64
    }

    /// Bytes of keys and values of one position in one layer, as f16.
    pub fn kv_bytes(&self) -> f64 {
        (2 * 2 * self.kv_heads * self.head_dim) as f64
    }
}
