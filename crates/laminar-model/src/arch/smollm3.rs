//! SmolLM3: Llama's layer, in which every fourth one leaves queries and keys unrotated.
//!
//! Chat: ChatML. Reasoning is between `<think>` and `</think>` (`/no_think` in the system message turns it off). Tools are
//! called as JSON between `<tool_call>` and `</tool_call>`, or as Python between `<code>` and `</code>`.

use super::{Family, Hyper, base, llama};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::error::ModelError;

pub(super) const FAMILY: Family = Family {
    name: "smollm3",
    gguf_architecture: "smollm3",
    models: "SmolLM3 3B",
    features: &["every fourth layer unrotated"],
    checked_against: &["transformers", "llama.cpp"],
    hf_model_types: &["smollm3"],
    read_config,
    layer: llama::layer,
    hf_names: &[],
};

/// Every fourth layer is unrotated unless the configuration says otherwise; GGUF files do not.
const UNROTATED_EVERY: usize = 4;

fn read_config(hyper: &Hyper<'_>, checkpoint: &Checkpoint) -> Result<ModelConfig, ModelError> {
    base::require_activation(hyper, "hidden_act", &["silu"])?;
    let mut config = base::config("smollm3", base::llama_style(hyper), hyper, checkpoint)?;
    if hyper.hf_bool("use_sliding_window")?.unwrap_or(false) {
        return Err(ModelError::config("use_sliding_window", "is not supported for this family"));
    }
    config.unrotated = match hyper.hf_field("no_rope_layers").and_then(|v| v.as_array()) {
        // 1 where a layer rotates, its name notwithstanding.
        Some(listed) => listed.iter().map(|rotates| rotates.as_u64() == Some(0)).collect(),
        None => {
            let every = hyper.opt_size("", "no_rope_layer_interval")?.unwrap_or(UNROTATED_EVERY);
            (1..=config.layers).map(|number| number.is_multiple_of(every)).collect()
        }
    };
    if config.unrotated.len() != config.layers {
        let message = format!("lists {} of {} layers", config.unrotated.len(), config.layers);
        return Err(ModelError::config("no_rope_layers", message));
    }
    Ok(config)
}
