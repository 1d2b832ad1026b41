//! Hyper-parameters of a model, as one structure for every checkpoint format.

use laminar_kernels::{Gate, RecurrentShape, RopeStyle, Scoring};

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
    /// Width of one head: of queries and keys as attention sees them.
    pub head_dim: usize,
    /// Other key/value heads of layers that see the whole sequence.
    pub global_heads: Option<GlobalHeads>,
    /// Short convolutions, which some layers have instead of attention.
    pub convolution: Option<ConvConfig>,
    /// Recurrent states, which some layers have instead of keys and values.
    pub recurrent: Option<RecurrentConfig>,
    /// Whether the query projection makes a gate beside each query, whose sigmoid weighs the head's output.
    pub gated_queries: bool,
    /// How keys and values are compressed, where attention runs over what they are made of.
    pub latent: Option<LatentConfig>,
    /// Width of a dense feed-forward layer, the widest if they differ (unused where every layer has experts).
    pub ffn: usize,
    /// Per layer: width of its dense network, where they differ; otherwise empty.
    pub ffn_by_layer: Vec<usize>,
    /// Per layer: how many standard deviations above the mean of its row a value of the dense network's gate has to be to
    /// count (Gemma 3n); layers beyond its end have no such border.
    pub gate_borders: Vec<Option<f32>>,
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
    /// Per layer: whether queries and keys are left unrotated; layers beyond its end rotate them.
    pub unrotated: Vec<bool>,
    /// Factor on query-key products.
    pub attention_scale: f32,
    /// Per layer: the earlier layer whose keys and values it reads, if it has none of its own; layers beyond its end have
    /// their own.
    pub keys_from: Vec<Option<usize>>,
    /// The streams of rows that have several.
    pub streams: Option<StreamConfig>,
    /// Width of the input that each layer has of its own for every token, if layers do (Gemma 3n and the small members of
    /// Gemma 4).
    pub layer_inputs: Option<usize>,
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

/// The key/value heads of layers without a window, where the others' are not the same (Gemma 4).
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalHeads {
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of each, and of query heads.
    pub head_dim: usize,
}

/// Residual rows of several streams, of which layers compute one (alternating updates, arXiv 2301.13310; Gemma 3n).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamConfig {
    /// Streams.
    pub count: usize,
    /// The one that layers compute.
    pub active: usize,
    /// Whether the active stream is scaled where it meets a layer's own input.
    pub scaled: bool,
}

/// Short causal convolutions along the sequence (LFM2).
#[derive(Debug, Clone, PartialEq)]
pub struct ConvConfig {
    /// Rows that an output is made of, its own included.
    pub taps: usize,
    /// Per layer: whether it has one instead of attention.
    pub layers: Vec<bool>,
}

/// States of fixed size, which a layer's rows change one after the other: by a gated delta rule (Qwen3-Next; arXiv 2412.06464)
/// or as a selective state space (Granite 4; arXiv 2405.21060).
#[derive(Debug, Clone, PartialEq)]
pub struct RecurrentConfig {
    /// Heads.
    pub shape: RecurrentShape,
    /// Rows that an output of the convolution before is made of, its own included.
    pub taps: usize,
    /// Per layer: whether it has such a state instead of attention.
    pub layers: Vec<bool>,
}

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434). A token's keys and values are products of one short row,
/// the latent, with matrices of each head. Only the latent and one rotated key for all heads are kept: queries are
/// multiplied by the matrices of the keys, sums of latents by those of the values. So attention is that of many query
/// heads over one key/value head, whose keys are `rotated + rank` wide ([`ModelConfig::head_dim`]), the rotated part first,
/// and whose values are the latents in them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentConfig {
    /// Width of the compressed row that queries are made of; `None`: they are made of the layer's input.
    pub query_rank: Option<usize>,
    /// Width of a latent.
    pub rank: usize,
    /// Rotated values of a query head.
    pub rotated: usize,
    /// The others.
    pub plain: usize,
    /// Width of a head's values.
    pub value: usize,
}

impl LatentConfig {
    /// Weights of a layer's matrices, in a model of such a width with so many query heads.
    pub fn weights(&self, hidden: usize, heads: usize) -> usize {
        let &Self { query_rank, rank, rotated, plain, value } = self;
        let queries = heads * (plain + rotated);
        let queries = query_rank.map_or(hidden * queries, |compressed| compressed * (hidden + queries));
        queries + hidden * (rank + rotated) + heads * rank * (plain + value) + heads * value * hidden
    }
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

    /// Values of a row that travels from layer to layer: the residual stream; or several of them, with a place for the one
    /// that a layer works on; and the token's id, if layers have inputs of their own.
    pub fn row_width(&self) -> usize {
        let streams = self.streams.as_ref().map_or(1, |streams| streams.count + 1);
        streams * self.hidden + usize::from(self.layer_inputs.is_some())
    }

    /// Width of a layer's dense network.
    pub fn ffn_of(&self, layer: usize) -> usize {
        self.ffn_by_layer.get(layer).copied().unwrap_or(self.ffn)
    }

    /// The earlier layer whose keys and values a layer reads, if it has none of its own.
    pub fn keys_of(&self, layer: usize) -> Option<usize> {
        self.keys_from.get(layer).copied().flatten()
    }

    /// The longest context, in tokens, that the model can be loaded for. It is more than `context_length` where positions
    /// rotate otherwise beyond that (dynamic NTK).
    pub fn longest_context(&self) -> usize {
        match &self.rope.longer {
            Some(Longer::Ntk { factor, .. }) => (self.context_length as f32 * factor) as usize,
            _ => self.context_length,
        }
    }

    /// Key/value heads of a layer, and the width of its heads.
    pub fn heads_of(&self, layer: usize) -> (usize, usize) {
        match &self.global_heads {
            Some(global) if self.windows.get(layer) == Some(&None) => (global.kv_heads, global.head_dim),
            _ => (self.kv_heads, self.head_dim),
        }
    }

    /// Whether a layer has a convolution instead of attention.
    pub fn is_convolution(&self, layer: usize) -> bool {
        self.convolution.as_ref().is_some_and(|convolution| convolution.layers.get(layer) == Some(&true))
    }

    /// What a layer keeps of a sequence whatever its length, if it does so instead of keys and values.
    pub fn recurrent_of(&self, layer: usize) -> Option<&RecurrentConfig> {
        self.recurrent.as_ref().filter(|recurrent| recurrent.layers.get(layer) == Some(&true))
    }

    /// Elements of all query heads of a token.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }
}
