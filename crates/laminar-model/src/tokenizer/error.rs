//! What can be wrong with a tokenizer or with a text given to it.

use crate::checkpoint::CheckpointError;

/// Everything that can go wrong while a tokenizer is built or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A metadata key is missing or has the wrong type.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint carries no tokenizer at all.
    #[error("the checkpoint has no tokenizer: {0}")]
    Missing(String),
    /// The vocabulary algorithm is not one of ours.
    #[error(
        "unsupported tokenizer.ggml.model {0:?}; supported: \"gpt2\" (byte-level BPE) and \"llama\" (SentencePiece)"
    )]
    UnsupportedModel(String),
    /// The name of the pre-tokenizer is not in our table.
    #[error(
        "unsupported tokenizer.ggml.pre {name:?}: splitting by a wrong rule would corrupt every prompt; supported: {supported}"
    )]
    UnsupportedPreTokenizer {
        /// The name the file gives.
        name: String,
        /// Every name we know, separated by commas.
        supported: String,
    },
    /// The vocabulary contradicts itself.
    #[error("broken vocabulary: {0}")]
    Vocabulary(String),
    /// `tokenizer.json` could not be read or used.
    #[error("tokenizer.json: {0}")]
    Json(String),
    /// The tokenizer and the weights do not belong together.
    #[error(
        "the tokenizer has {tokens} tokens but the embedding has {rows} rows; the tokenizer does not match this model"
    )]
    RowsMismatch {
        /// Tokens of the vocabulary.
        tokens: usize,
        /// Rows of the embedding matrix.
        rows: usize,
    },
    /// A text could not be split into tokens.
    #[error("cannot tokenize the text: {0}")]
    Encode(String),
}
