//! Hyper-parameters of a model, as one structure for every checkpoint format.

use laminar_kernels::{Gate, RopeStyle, Scoring};

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
    /// Bound of attention scores: `s` becomes `cap * tanh(s / cap)` (Gemma 2).
    pub attention_softcap: Option<f32>,
    /// Factor on what a branch adds to the residual rows (Granite).
    pub residual_scale: Option<f32>,
    /// Factor on logits (Granite).
    pub logit_scale: Option<f32>,
    /// Bound of logits, as that of attention scores (Gemma 2).
    pub logit_softcap: Option<f32>,
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
    /// Width of the expert that every token goes to beside the chosen ones.
    pub shared_ffn: Option<usize>,
    /// How experts are chosen, if not by the softmax of their logits alone.
    pub scores: Option<ScoreConfig>,
    /// Leading layers that have one dense network instead of experts.
    pub dense_layers: usize,
}

/// The choice of experts in DeepSeek's line; see [`laminar_kernels::ScoredRule`].
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreConfig {
    /// How logits become scores.
    pub scoring: Scoring,
    /// Groups of neighbouring experts, and
    pub groups: usize,
    /// how many of them experts are chosen from, by the sum of
    pub groups_used: usize,
    /// so many best experts of each.
    pub group_best: usize,
    /// Factor on the weights.
    pub scale: f32,
}

/// A rotary position embedding (Su et al., arXiv 2104.09864).
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Which elements form a pair.
    pub style: RopeStyle,
    /// Rotation per position of each pair, in radians. Fewer pairs than half a head leave the rest of it as it is.
    pub inv_freq: Vec<f32>,
    /// Factor on rotated values (1, except with YaRN and LongRoPE).
    pub attention_factor: f32,
    /// What changes for long contexts; a loaded model has chosen and has nothing here.
    pub longer: Option<Longer>,
}

/// Other frequencies for models that are loaded for contexts longer than those they were trained for.
#[derive(Debug, Clone, PartialEq)]
pub enum Longer {
    /// A set of its own (LongRoPE).
    Frequencies {
        /// The longest context, in tokens, without it.
        beyond: usize,
        /// As [`RopeConfig::inv_freq`].
        inv_freq: Vec<f32>,
    },
    /// A base that follows from the context (dynamic NTK).
    Ntk {
        /// The longest context, in tokens, without it.
        beyond: usize,
        /// The base up to there.
        theta: f32,
        /// How quickly it grows.
        factor: f32,
    },
}

impl ModelConfig {
    /// Elements a token's keys (or values) take in one layer.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The longest context, in tokens, that the model can be loaded for. It is more than `context_length` where positions
    /// rotate otherwise beyond that (dynamic NTK).
    pub fn longest_context(&self) -> usize {
        match &self.rope.longer {
            Some(Longer::Ntk { factor, .. }) => (self.context_length as f32 * factor) as usize,
            _ => self.context_length,
        }
    }

    /// Elements of all query heads of a token.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }
}
