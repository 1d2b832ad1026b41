//! Tiny models with random weights.

use super::tokenizer;
use laminar_engine::{Engine, EngineConfig, Policy};
use laminar_kernels::{Pool, WeightType};
use laminar_model::checkpoint::{Checkpoint, Gguf};
use laminar_model::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};
use laminar_model::tokenizer::Tokenizer;
use laminar_model::{KvType, LoadOptions, Model};
use std::path::Path;
use std::sync::Arc;

/// A tiny model of a preset.
pub fn tiny(preset: Preset, quant: WeightType, seed: u64) -> Arc<Model> {
    let options = SynthOptions { quant, seed, ..SynthOptions::new(preset) };
    let file = to_vec(&options, &byte_tokenizer()).unwrap();
    let checkpoint = Checkpoint::Gguf(Gguf::from_vec(file).unwrap());
    Arc::new(Model::load(&checkpoint, &Pool::new(1), &LoadOptions::default()).unwrap())
}

/// A tiny model with what synthetic ones have not (recurrent layers, several streams), from the fixtures of the crate for models. Its vocabulary is that of the byte tokenizer.
pub fn hybrid(fixture: &str) -> Arc<Model> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../laminar-model/tests/fixtures").join(fixture);
    let checkpoint = Checkpoint::open(&folder).unwrap();
    Arc::new(Model::load(&checkpoint, &Pool::new(1), &LoadOptions::default()).unwrap())
}

/// The model that the command serves by default, with its tokenizer.
pub fn embedded() -> (Arc<Model>, Arc<Tokenizer>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../laminar/assets/laminar-tiny.gguf");
    let checkpoint = Checkpoint::open(Path::new(path)).unwrap();
    let model = Model::load(&checkpoint, &Pool::new(1), &LoadOptions::default()).unwrap();
    (Arc::new(model), Arc::new(Tokenizer::from_checkpoint(&checkpoint).unwrap()))
}

/// An engine over a tiny model.
pub fn engine(model: &Arc<Model>, policy: Policy, threads: usize) -> Engine {
    engine_with(model, &tokenizer(), policy, threads)
}

/// An engine over any model.
pub fn engine_with(model: &Arc<Model>, tokenizer: &Arc<Tokenizer>, policy: Policy, threads: usize) -> Engine {
    engine_of(model, tokenizer, threads, EngineConfig { policy, ..EngineConfig::default() })
}

/// An engine over any model with another KV type than the default.
pub fn engine_with_kv(model: &Arc<Model>, policy: Policy, threads: usize, kv_type: KvType) -> Engine {
    engine_of(model, &tokenizer(), threads, EngineConfig { policy, kv_type, ..EngineConfig::default() })
}

/// An engine that runs every prompt from its first token.
pub fn cold_engine(model: &Arc<Model>, tokenizer: &Arc<Tokenizer>, policy: Policy) -> Engine {
    engine_of(model, tokenizer, 1, EngineConfig { policy, prefix_cache: false, ..EngineConfig::default() })
}

fn engine_of(model: &Arc<Model>, tokenizer: &Arc<Tokenizer>, threads: usize, config: EngineConfig) -> Engine {
    let config = EngineConfig { context: 1024, kv_blocks: Some(16 * 32), ..config };
    Engine::start(Arc::clone(model), Arc::clone(tokenizer), Pool::new(threads), config).unwrap()
}
