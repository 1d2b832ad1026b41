//! What can keep a model from being written as a GGUF file.

use crate::checkpoint::CheckpointError;
use crate::error::ModelError;
use crate::tokenizer::TokenizerError;

/// Why a model could not be converted. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The model is not one that this build knows, or contradicts itself.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The folder's tokenizer does what GGUF files have no words for.
    #[error("tokenizer.json: {0}; GGUF files cannot say that")]
    Vocabulary(String),
    /// A tensor that the family does not name.
    #[error("tensor {name:?}: no GGUF name is known for it in models of {family:?}")]
    UnknownTensor {
        /// The tensor's name in the folder.
        name: String,
        /// The family.
        family: &'static str,
    },
    /// Parts of a tensor that do not fit each other or the configuration.
    #[error("tensor {name:?}: {problem}")]
    Tensor {
        /// The tensor's name in the folder, or in the new file.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The family has no form in GGUF that is known here.
    #[error("models of {0:?} cannot be written as GGUF files from folders")]
    Family(&'static str),
    /// A hyper-parameter would be lost.
    #[error("{what} of this model cannot be said in a GGUF file of {family:?}")]
    NotCarried {
        /// The hyper-parameter.
        what: String,
        /// The family.
        family: &'static str,
    },
}

impl ConvertError {
    pub(crate) fn tensor(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), problem: problem.into() }
    }
}
