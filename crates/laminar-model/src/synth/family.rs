//! What the layers of each architecture are made of, as far as a synthetic model needs to know.

/// The architecture of a preset: it decides tensors and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    /// Experts in files that call themselves `llama`.
    Mixtral,
    Qwen2Moe,
    Qwen3Moe,
    Qwen3Next,
    Qwen35,
    Qwen35Moe,
    GptOss,
    Granite,
    GraniteHybrid,
    GraniteMoe,
    Gemma2,
    Glm4Moe,
    DeepSeek2,
    Dots1,
    Ernie45,
    Ernie45Moe,
    Glm4,
    Lfm2,
    Lfm2Moe,
    MiniMaxM2,
    Olmo2,
    Olmoe,
    Phi3,
    SeedOss,
    SmolLm3,
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
            Family::Qwen3Next => "qwen3next",
            Family::Qwen35 => "qwen35",
            Family::Qwen35Moe => "qwen35moe",
            Family::GptOss => "gpt-oss",
            Family::Granite => "granite",
            Family::GraniteHybrid => "granitehybrid",
            Family::GraniteMoe => "granitemoe",
            Family::Gemma2 => "gemma2",
            Family::Glm4Moe => "glm4moe",
            Family::DeepSeek2 => "deepseek2",
            Family::Dots1 => "dots1",
            Family::Ernie45 => "ernie4_5",
            Family::Ernie45Moe => "ernie4_5-moe",
            Family::Glm4 => "glm4",
            Family::MiniMaxM2 => "minimax-m2",
            Family::SeedOss => "seed_oss",
            Family::SmolLm3 => "smollm3",
            Family::Lfm2 => "lfm2",
            Family::Lfm2Moe => "lfm2moe",
            Family::Olmo2 => "olmo2",
            Family::Olmoe => "olmoe",
            Family::Phi3 => "phi3",
        }
    }

    pub fn qk_norm(self) -> QkNorm {
        match self {
            Family::Qwen3Moe | Family::Dots1 | Family::Lfm2 | Family::Lfm2Moe => QkNorm::Heads,
            _ if self.has_gated_queries() => QkNorm::Heads,
            Family::Olmo2 | Family::Olmoe | Family::MiniMaxM2 => QkNorm::Rows,
            _ => QkNorm::None,
        }
    }

    /// Whether the projection has a bias.
    pub fn has_bias(self, projection: &str) -> bool {
        match self {
            Family::GptOss => true,
            Family::Qwen2Moe | Family::Glm4 | Family::Glm4Moe | Family::SeedOss => projection != "attn_output",
            _ => false,
        }
    }

    /// Whether norms stand before the branches.
    pub fn norms_before(self) -> bool {
        self != Family::Olmo2
    }

    /// Whether norms stand behind them.
    pub fn norms_behind(self) -> bool {
        matches!(self, Family::Olmo2 | Family::Gemma2 | Family::Glm4)
    }

    /// The norm before the feed-forward branch.
    pub fn ffn_norm(self) -> &'static str {
        match self {
            Family::GptOss | Family::Glm4Moe | Family::SeedOss => "post_attention_norm.weight",
            _ if self.has_gated_queries() => "post_attention_norm.weight",
            _ => "ffn_norm.weight",
        }
    }

    /// Whether the query projection makes a gate beside each query.
    pub fn has_gated_queries(self) -> bool {
        matches!(self, Family::Qwen3Next | Family::Qwen35 | Family::Qwen35Moe)
    }

    /// Whether the expert for all rows is behind a gate.
    pub fn has_gated_shared_expert(self) -> bool {
        matches!(self, Family::Qwen2Moe | Family::Qwen3Next | Family::Qwen35Moe)
    }

    /// Whether layers without key heads are told by a list of these.
    pub fn lists_key_heads(self) -> bool {
        matches!(self, Family::Lfm2 | Family::Lfm2Moe | Family::GraniteHybrid)
    }

    /// Whether queries, keys and values are one matrix.
    pub fn has_fused_attention(self) -> bool {
        self == Family::Phi3
    }

    /// Whether gate and up projections are one matrix.
    pub fn has_fused_network(self) -> bool {
        matches!(self, Family::Phi3 | Family::Glm4)
    }

    /// Whether the output matrix is the embedding.
    pub fn is_tied(self) -> bool {
        matches!(self, Family::Gemma2 | Family::Lfm2 | Family::Lfm2Moe)
    }

    /// The norm before the output matrix.
    pub fn output_norm(self) -> &'static str {
        if self.is_tied() && self != Family::Gemma2 { "token_embd_norm.weight" } else { "output_norm.weight" }
    }

    /// Whether experts are chosen as in DeepSeek's line, whose files count the experts for all rows.
    pub fn is_scored(self) -> bool {
        matches!(self, Family::Glm4Moe | Family::DeepSeek2 | Family::Dots1)
    }

    /// Whether the choice of experts is corrected.
    pub fn is_corrected(self) -> bool {
        self.is_scored() || matches!(self, Family::Ernie45Moe | Family::Lfm2Moe | Family::MiniMaxM2)
    }

    /// Whether files state the width of an expert, or call it that of the feed-forward branch.
    pub fn states_expert_width(self) -> bool {
        !matches!(self, Family::Mixtral | Family::Olmoe | Family::GraniteMoe | Family::GraniteHybrid)
    }
}
