//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use laminar_kernels::KernelError;
use thiserror::Error;

/// An error in a checkpoint's files. Every message is one line that names the file, the key or tensor at fault, and
/// what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused an operation on a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason given by the operating system.
        source: std::io::Error,
    },
    /// The path is neither a GGUF file nor a model folder.
    #[error("{}: {problem}", path.display())]
    NotACheckpoint {
        /// The path that was given.
        path: PathBuf,
        /// What was found, and what would have been right.
        problem: String,
    },
    /// The bytes of a file do not follow its format.
    #[error("{file}: {place}: {problem}")]
    Malformed {
        /// The file, or `memory` for one that was never on a disk.
        file: String,
        /// The key, tensor or part of the file.
        place: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A tensor is stored in a type that Laminar does not read.
    #[error(
        "{file}: tensor {tensor:?} has type {type_name}, which is not supported; convert the model to one of {}",
        SUPPORTED_TYPES
    )]
    UnsupportedType {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The type's name in its format, for instance `IQ2_XS` or `F8_E4M3`.
        type_name: String,
    },
    /// A metadata key that the model needs is absent.
    #[error("{file}: missing key {key:?}; the file is incomplete, convert the model again")]
    MissingKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
    },
    /// A metadata key holds a value of another kind than the format prescribes.
    #[error("{file}: key {key:?} holds {found}, expected {expected}; convert the model again")]
    WrongKind {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// The kind that is needed, for instance `an unsigned 32-bit integer`.
        expected: &'static str,
        /// The kind (and, for numbers, the value) that is there.
        found: String,
    },
    /// A JSON file of a model folder could not be parsed.
    #[error("{}: not valid JSON: {source}; download the file again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's reason, with line and column.
        source: serde_json::Error,
    },
    /// A tensor's values could not be converted.
    #[error("{file}: tensor {tensor:?}: {source}")]
    Values {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The kernel's reason.
        source: KernelError,
    },
    /// A request for a synthetic model that cannot be met.
    #[error("cannot make a synthetic model: {0}")]
    Synth(String),
}

/// The types that [`crate::checkpoint`] reads, for messages.
const SUPPORTED_TYPES: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K, MXFP4";

impl CheckpointError {
    /// Shorthand for [`CheckpointError::Malformed`].
    pub(crate) fn malformed(file: impl Into<String>, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed { file: file.into(), place: place.into(), problem: problem.into() }
    }

    /// Shorthand for [`CheckpointError::Io`].
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}
