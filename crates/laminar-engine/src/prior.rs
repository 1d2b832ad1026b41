//! What steps of a model should cost before any was timed.

use laminar_kernels::WeightType;
use laminar_model::{BLOCK_LEN, KvCache, KvType, Model};
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
        attention_weights: 2.0 * hidden * (config.q_width() + config.kv_width()) as f64 + router,
        attention_width: config.q_width() as f64,
        kv_bytes: KvCache::bytes_per_block(config, BLOCK_LEN, kv_type) as f64 / (BLOCK_LEN * config.layers) as f64,
        feed_forward_weights: 3.0 * hidden * feed_forward as f64,
        bytes_per_weight,
    };
    CostPrior::from_dimensions(&dimensions, &guess(weights))
}

fn guess(weights: WeightType) -> MachineGuess {
    let weight_operations = match weights {
        WeightType::F32 | WeightType::F16 | WeightType::Bf16 => 40e9,
        WeightType::Q4_0 | WeightType::Q4_1 | WeightType::Q4K => 170e9,
        _ => MachineGuess::CAUTIOUS.weight_operations,
    };
    MachineGuess { weight_operations, ..MachineGuess::CAUTIOUS }
}
