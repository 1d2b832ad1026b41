//! The text part of Qwen2-VL, Qwen2.5-VL and Qwen3-VL: Qwen2's and Qwen3's layers. Positions have three dimensions there, which
//! are the same number in a text, so the usual rotary embedding is what they come to. Images are not read.
//!
//! Chat: Qwen2.5's and Qwen3's; images would stand between `<|vision_start|>` and `<|vision_end|>`.

use super::{Family, qwen2, qwen3};

pub(super) const QWEN2: Family = Family {
    name: "qwen2vl",
    gguf_architecture: "qwen2vl",
    models: "Qwen2-VL and Qwen2.5-VL, text",
    features: &["query, key and value biases", "text alone"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["qwen2_5_vl_text", "qwen2_5_vl", "qwen2_vl_text", "qwen2_vl"],
    ..qwen2::FAMILY
};

pub(super) const QWEN3: Family = Family {
    name: "qwen3vl",
    gguf_architecture: "qwen3vl",
    models: "Qwen3-VL, dense, text",
    features: &["head norms", "text alone"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["qwen3_vl_text"],
    ..qwen3::FAMILY
};
