//! What the layers of each architecture are made of, as far as a synthetic model needs to know.

/// The architecture of a preset: it decides tensors and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    /// Experts in files that call themselves `llama`.
    Mixtral,
    Qwen2Moe,
    Qwen3Moe,
    GptOss,
    Granite,
    GraniteMoe,
    Gemma2,
    Glm4Moe,
    Olmo2,
    Olmoe,
    Phi3,
}

/// Norms on queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QkNorm {
    None,
    /// On each head.
    Heads,
    /// On all heads of a row together.
    Rows,
}

impl Family {
    pub fn architecture(self) -> &'static str {
        match self {
            Family::Llama | Family::Mixtral => "llama",
            Family::Qwen2Moe => "qwen2moe",
            Family::Qwen3Moe => "qwen3moe",
            Family::GptOss => "gpt-oss",
            Family::Granite => "granite",
            Family::GraniteMoe => "granitemoe",
            Family::Gemma2 => "gemma2",
            Family::Glm4Moe => "glm4moe",
            Family::Olmo2 => "olmo2",
            Family::Olmoe => "olmoe",
            Family::Phi3 => "phi3",
        }
    }

    pub fn qk_norm(self) -> QkNorm {
        match self {
            Family::Qwen3Moe => QkNorm::Heads,
            Family::Olmo2 | Family::Olmoe => QkNorm::Rows,
            _ => QkNorm::None,
        }
    }

    /// Whether the projection has a bias.
    pub fn has_bias(self, projection: &str) -> bool {
        match self {
            Family::GptOss => true,
            Family::Qwen2Moe | Family::Glm4Moe => projection != "attn_output",
            _ => false,
        }
    }

    /// Whether norms stand before the branches.
    pub fn norms_before(self) -> bool {
        self != Family::Olmo2
    }

    /// Whether norms stand behind them.
    pub fn norms_behind(self) -> bool {
        matches!(self, Family::Olmo2 | Family::Gemma2)
    }

    /// The norm before the feed-forward branch.
    pub fn ffn_norm(self) -> &'static str {
        match self {
            Family::GptOss | Family::Glm4Moe => "post_attention_norm.weight",
            _ => "ffn_norm.weight",
        }
    }

    /// Whether queries, keys and values are one matrix, and gate and up projections another.
    pub fn is_fused(self) -> bool {
        self == Family::Phi3
    }

    /// Whether the output matrix is the embedding.
    pub fn is_tied(self) -> bool {
        self == Family::Gemma2
    }

    /// Whether files state the width of an expert, or call it that of the feed-forward branch.
    pub fn states_expert_width(self) -> bool {
        !matches!(self, Family::Mixtral | Family::Olmoe | Family::GraniteMoe)
    }
}
