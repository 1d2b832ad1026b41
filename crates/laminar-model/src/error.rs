//! The error enum of this layer.

use crate::checkpoint::CheckpointError;
use laminar_kernels::KernelError;

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The checkpoint itself is unreadable or lacks a key.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// No architecture of this name is implemented.
    #[error("architecture \"{found}\" is not supported; the nearest is \"{nearest}\"; supported: {supported}")]
    UnsupportedArchitecture {
        /// The name in the checkpoint.
        found: String,
        /// The name that is most like it among those that are supported.
        nearest: &'static str,
        /// Comma-separated names this build knows.
        supported: String,
    },
    /// A hyper-parameter is missing or makes no sense.
    #[error("configuration key \"{key}\": {message}")]
    Config {
        /// GGUF metadata key or `config.json` field.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// A tensor the architecture needs is not in the checkpoint.
    #[error("tensor \"{name}\" is missing; the checkpoint does not fit architecture \"{architecture}\"")]
    MissingTensor {
        /// Name as the checkpoint would spell it.
        name: String,
        /// Architecture that asked for it.
        architecture: &'static str,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor \"{name}\" has shape {found:?}, the configuration needs {expected:?}")]
    Shape {
        /// Name as the checkpoint spells it.
        name: String,
        /// Outermost dimension first.
        expected: Vec<usize>,
        /// Outermost dimension first.
        found: Vec<usize>,
    },
    /// A tensor's bytes could not be packed for the kernels.
    #[error("tensor \"{name}\": {source}")]
    Kernel {
        /// Name as the checkpoint spells it.
        name: String,
        /// What the kernels refused.
        source: KernelError,
    },
    /// The KV type stores blocks of more values than a head is made of.
    #[error(
        "--kv-type {ty}: it stores blocks of 32 values, and the heads of this model have {head_dim}; use --kv-type f16"
    )]
    KvType {
        /// Name of the type.
        ty: &'static str,
        /// Values in a head.
        head_dim: usize,
    },
    /// A token id lies outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Rows of the embedding matrix.
        vocab_size: usize,
    },
    /// A caller asked for rows, layers or blocks that do not exist.
    #[error("forward pass: {0}")]
    Call(String),
}

impl ModelError {
    pub(crate) fn config(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config { key: key.into(), message: message.into() }
    }
}
