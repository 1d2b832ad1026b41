//! Hyper-parameters of a model, as one structure for every checkpoint format.

use laminar_kernels::{Gate, RopeStyle};

/// Everything the forward pass needs to know besides the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Registry name of the architecture (`llama`, `qwen3moe`, ...).
    pub architecture: &'static str,
    /// Rows of the embedding and of the output matrix.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Width of a dense feed-forward layer (unused where every layer has experts).
    pub ffn: usize,
    /// Experts, for a mixture-of-experts model.
    pub experts: Option<ExpertConfig>,
    /// Added to the mean square in RMS norms.
    pub rms_eps: f32,
    /// Longest sequence the checkpoint was made for, in tokens.
    pub context_length: usize,
    /// Rotary embedding of ordinary (global) layers.
    pub rope: RopeConfig,
    /// Rotary embedding of sliding-window layers where it differs (Gemma 3).
    pub local_rope: Option<RopeConfig>,
    /// Factor on query-key products.
    pub attention_scale: f32,
    /// Per layer: how many positions back a query sees, itself included (`None`: all of them).
    pub windows: Vec<Option<usize>>,
    /// Activation of the gated feed-forward layer.
    pub gate: Gate,
    /// Factor on embedding rows (Gemma: square root of `hidden`).
    pub embedding_scale: Option<f32>,
    /// Added to stored norm weights (Gemma folders store `w - 1`; GGUF files store `w`).
    pub norm_offset: f32,
}

/// Shape of the expert layers.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertConfig {
    /// Experts in a layer.
    pub count: usize,
    /// Experts a token is routed to.
    pub top_k: usize,
    /// Width of one expert.
    pub ffn: usize,
    /// Whether the weights of the chosen experts are scaled to sum to one.
    pub normalise: bool,
}

/// A rotary position embedding (Su et al., arXiv 2104.09864).
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Which elements form a pair.
    pub style: RopeStyle,
    /// Rotation per position of each pair, in radians.
    pub inv_freq: Vec<f32>,
}

impl ModelConfig {
    /// Elements a token's keys (or values) take in one layer.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Elements of all query heads of a token.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }
}
