//! What steps of a model should cost before any was timed.

use laminar_kernels::WeightType;
use laminar_model::{BLOCK_LEN, KvCache, KvType, Model, ModelConfig};
use laminar_schedule::{CostPrior, MachineGuess, ModelDimensions};

/// The model's dimensions over a guess of the machine: CPU kernels multiply weights of few bits faster than others, and all
/// wait for the same memory.
pub(crate) fn prior(model: &Model, kv_type: KvType) -> CostPrior {
    let weights = model.weight_type();
    CostPrior::from_dimensions(&dimensions(model.config(), weights, kv_type), &guess(weights))
}

/// What the costs depend on. A layer is one with experts, if there are any; leading dense layers cost less or more.
fn dimensions(config: &ModelConfig, weights: WeightType, kv_type: KvType) -> ModelDimensions {
    let hidden = config.hidden;
    let (attention, width) = match &config.latent {
        // Scores are products of whole keys, sums are made of the latents in them alone.
        Some(latent) => (
            latent.weights(hidden, config.heads) as f64,
            config.heads as f64 * (latent.rank as f64 + 0.5 * latent.rotated as f64),
        ),
        None => (mixing_weights(config), config.q_width() as f64),
    };
    let (every_row, feed_forward) = match &config.experts {
        Some(experts) => (hidden * (experts.count + 3 * experts.shared_ffn.unwrap_or(0)), experts.ffn),
        None => (0, config.ffn),
    };
    ModelDimensions {
        layers: config.layers as f64,
        hidden: hidden as f64,
        vocab: config.vocab_size as f64,
        attention_weights: attention + every_row as f64,
        attention_width: width,
        kv_bytes: KvCache::bytes_per_block(config, BLOCK_LEN, kv_type) as f64 / (BLOCK_LEN * config.layers) as f64,
        feed_forward_weights: (3 * hidden * feed_forward) as f64,
        bytes_per_weight: weights.block_bytes() as f64 / weights.block_len() as f64,
    }
}

/// Weights of a layer's projections before its feed-forward network, in the mean of all layers.
fn mixing_weights(config: &ModelConfig) -> f64 {
    let attention = 2 * (config.q_width() + config.kv_width()) + usize::from(config.gated_queries) * config.q_width();
    let columns = |layer| match config.recurrent_of(layer) {
        Some(recurrent) => recurrent.shape.channels() + 2 * recurrent.shape.value_width(),
        None => attention,
    };
    let all: usize = (0..config.layers).map(columns).sum();
    config.hidden as f64 * all as f64 / config.layers.max(1) as f64
}

fn guess(weights: WeightType) -> MachineGuess {
    let weight_operations = match weights {
        WeightType::F32 | WeightType::F16 | WeightType::Bf16 => 40e9,
        WeightType::Q4_0 | WeightType::Q4_1 | WeightType::Q4K => 170e9,
        _ => MachineGuess::CAUTIOUS.weight_operations,
    };
    MachineGuess { weight_operations, ..MachineGuess::CAUTIOUS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laminar_model::arch::read_config;
    use laminar_model::checkpoint::{Checkpoint, Gguf};
    use laminar_model::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};

    /// The weights that each row of a model's second layer meets beside its experts, as the cost model has them, and the
    /// elements of the matrices of that layer in the file.
    fn counted_and_stored(preset: Preset) -> (f64, usize) {
        let file = to_vec(&SynthOptions::new(preset), &byte_tokenizer()).unwrap();
        let checkpoint = Checkpoint::Gguf(Gguf::from_vec(file).unwrap());
        let counted = dimensions(&read_config(&checkpoint).unwrap(), WeightType::F32, KvType::F16).attention_weights;
        let matters = |name: &str| name.starts_with("blk.1.") && name.ends_with("weight") && !name.contains("_exps");
        let tensors = checkpoint.tensors().filter(|tensor| matters(tensor.name) && tensor.shape.len() > 1);
        (counted, tensors.map(|tensor| tensor.elements()).sum())
    }

    #[test]
    fn every_matrix_that_each_row_meets_is_counted_once() {
        // Heads as they are; a router beside experts; a shared expert; latents, with one as well.
        for preset in [Preset::Tiny, Preset::TinyMixtral, Preset::TinyGlm4Moe, Preset::TinyDeepSeek2] {
            let (counted, stored) = counted_and_stored(preset);
            assert_eq!(counted, stored as f64, "{preset:?}");
        }
    }

    #[test]
    fn latents_are_read_once_for_keys_and_values() {
        let file = to_vec(&SynthOptions::new(Preset::TinyDeepSeek2), &byte_tokenizer()).unwrap();
        let config = read_config(&Checkpoint::Gguf(Gguf::from_vec(file).unwrap())).unwrap();
        let latent = config.latent.unwrap();
        let found = dimensions(&config, WeightType::F32, KvType::F16);
        assert_eq!(found.kv_bytes, 2.0 * (latent.rank + latent.rotated) as f64);
        assert_eq!(found.attention_width, config.heads as f64 * (latent.rank as f64 + latent.rotated as f64 / 2.0));
    }
}
