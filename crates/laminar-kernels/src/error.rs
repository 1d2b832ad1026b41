//! What can be wrong with data handed to the kernels.

use crate::WeightType;

/// Why weights could not be converted or packed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The row length is not a whole number of blocks of the type.
    #[error(
        "a row of {cols} values is not a whole number of {} blocks ({} values each)",
        .ty.name(),
        .ty.block_len()
    )]
    PartialBlock {
        /// The weight type.
        ty: WeightType,
        /// Values in a row.
        cols: usize,
    },
    /// The byte count does not belong to the number of values.
    #[error("{} data for {values} values must be {expected} bytes, found {found}", .ty.name())]
    ByteLength {
        /// The weight type.
        ty: WeightType,
        /// Values asked for.
        values: usize,
        /// Bytes these values take.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// A matrix without rows or without columns.
    #[error("a matrix of {rows} rows and {cols} columns has no values")]
    Empty {
        /// Rows (outputs).
        rows: usize,
        /// Columns (inputs).
        cols: usize,
    },
    /// A size that does not fit the address space.
    #[error("a matrix of {rows} rows and {cols} columns is too large for this machine")]
    TooLarge {
        /// Rows (outputs).
        rows: usize,
        /// Columns (inputs).
        cols: usize,
    },
    /// The system has no memory for the packed weights.
    #[error("the system has no memory for {bytes} bytes of packed weights")]
    Memory {
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// Packed weights that don't lie inside their file, or not on a boundary of 64 bytes.
    #[error("packed weights of {expected} bytes cannot lie at byte {at} of {found}")]
    Outside {
        /// Where they should begin.
        at: usize,
        /// Bytes they take.
        expected: usize,
        /// Bytes of the file.
        found: usize,
    },
}
