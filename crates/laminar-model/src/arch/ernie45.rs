//! Ernie 4.5, dense: Llama's layer, its pairs of rotated values neighbours in both formats.
//!
//! Chat: `<|begin_of_sentence|>`, the system message, then `User: ` and `Assistant: ` before texts, each on a line of its
//! own; answers end with `<|end_of_sentence|>`. No markers for tools; the thinking member writes `<think>` and `</think>`.

use laminar_kernels::RopeStyle;

use super::{Family, Hyper, base, llama};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "ernie4_5",
    gguf_architecture: "ernie4_5",
    models: "Ernie 4.5 0.3B",
    features: &[],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["ernie4_5"],
    read_config,
    layer: llama::layer,
    hf_names: &[],
};

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    base::config("ernie4_5", RopeStyle::Interleaved, hyper, checkpoint)
}
