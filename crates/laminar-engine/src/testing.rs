//! What tests of several files need.

use laminar_model::checkpoint::Checkpoint;
use laminar_model::tokenizer::Tokenizer;
use std::path::Path;
use std::sync::Arc;

/// The tokenizer of the built-in model.
pub(crate) fn tokenizer() -> Arc<Tokenizer> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../laminar/assets/laminar-tiny.gguf");
    Arc::new(Tokenizer::from_checkpoint(&Checkpoint::open(Path::new(path)).unwrap()).unwrap())
}
