//! What steps of a model should cost before any was timed.

use laminar_kernels::WeightType;
use laminar_model::{BLOCK_LEN, KvCache, KvType, Model, ModelConfig};
use laminar_schedule::{CostPrior, MachineGuess, ModelDimensions};

/// The model's dimensions over a guess of the machine: CPU kernels multiply weights of few bits faster than others, and all
/// wait for the same memory.
pub(crate) fn prior(model: &Model, kv_type: KvType) -> CostPrior {
    let config = model.config();
    let weights = model.weight_type();
    let bytes_per_weight = weights.block_bytes() as f64 / weights.block_len() as f64;
    let hidden = config.hidden as f64;
    let feed_forward = config.experts.as_ref().map_or(config.ffn, |experts| experts.ffn);
    let router = config.experts.as_ref().map_or(0, |experts| experts.count) as f64 * hidden;
    let dimensions = ModelDimensions {
        layers: config.layers as f64,
        hidden,
        vocab: config.vocab_size as f64,
        attention_weights: mixing_weights(config) + router,
        attention_width: config.q_width() as f64,
        kv_bytes: KvCache::bytes_per_block(config, BLOCK_LEN, kv_type) as f64 / (BLOCK_LEN * config.layers) as f64,
        feed_forward_weights: 3.0 * hidden * feed_forward as f64,
        bytes_per_weight,
    };
    CostPrior::from_dimensions(&dimensions, &guess(weights))
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
