//! Checkpoints, tokenizers, architectures and KV memory for Laminar.
//!
//! [`checkpoint::Checkpoint`] opens a GGUF file or a Hugging Face folder, [`Model::load`] turns it into packed weights,
//! and [`Model::forward`] runs *some rows over some layers*: the operation layered prefill is made of. Hidden rows can be
//! kept between calls, so a prompt may stop after any layer while other sequences go on, and with [`Model::attend`] and
//! [`Model::feed_forward`] also inside one.

pub mod arch;
pub mod checkpoint;
pub mod config;
pub mod convert;
mod convolution;
mod delta;
mod embedding;
mod error;
mod expert_weights;
pub mod inspect;
mod kv;
mod latent;
mod layer;
mod layer_inputs;
mod layer_weights;
mod loads;
mod model;
mod packed;
mod partial;
pub mod perplexity;
mod rope;
mod scratch;
mod selective;
mod sentence;
mod states;
mod stored;
mod streams;
pub mod synth;
pub mod tokenizer;
mod weights;
mod wide;

pub use config::ModelConfig;
pub use error::ModelError;
pub use kv::{BLOCK_LEN, KvCache, KvType};
pub use layer::RowSpan;
pub use loads::ExpertLoads;
pub use model::{LoadOptions, Model};
pub use partial::PartialLayer;
pub use scratch::Scratch;
pub use sentence::{StatedPooling, stated_pooling};
pub use states::{Snapshot, StateSlots};
