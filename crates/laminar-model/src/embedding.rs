//! Tables with a row for each token, left where they are in the checkpoint and dequantised a piece of a row at a time.

use std::ops::Range;
use std::sync::Arc;

use laminar_kernels::{WeightType, dequantize};

use crate::checkpoint::bytes::Bytes;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::weights::Weights;

pub(crate) struct Embedding {
    name: &'static str,
    ty: WeightType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    /// The file, which stays open, and where the rows begin. A text needs few of them, so few become resident.
    file: Arc<Bytes>,
    at: usize,
}

impl Embedding {
    /// The token embedding.
    pub(crate) fn load(weights: &Weights<'_>, config: &ModelConfig) -> Result<Self, ModelError> {
        let table = Self::table(weights, "token_embd.weight", config.vocab_size, config.hidden)?;
        if config.vocab_size != 0 && config.vocab_size != table.rows {
            let message = format!("is {}, but the embedding has {} rows", config.vocab_size, table.rows);
            return Err(ModelError::config("vocab_size", message));
        }
        Ok(table)
    }

    /// A table with rows of `cols` values; the number of `rows` is for the message about another shape.
    pub(crate) fn table(
        weights: &Weights<'_>,
        name: &'static str,
        rows: usize,
        cols: usize,
    ) -> Result<Self, ModelError> {
        let tensor = weights.require(name)?;
        let rows = match tensor.shape.as_slice() {
            &[rows, found] if found == cols && rows > 0 && rows < u32::MAX as usize => rows,
            found => {
                return Err(ModelError::Shape {
                    name: tensor.name.to_owned(),
                    expected: vec![rows, cols],
                    found: found.to_vec(),
                });
            }
        };
        let (file, at) = tensor.place();
        let row_bytes = tensor.data.len() / rows;
        Ok(Self { name, ty: tensor.ty, rows, cols, row_bytes, file: Arc::clone(file), at })
    }

    /// Bytes in the file.
    pub(crate) fn bytes(&self) -> usize {
        self.rows * self.row_bytes
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a block of its type: pieces of rows begin and end where blocks do.
    pub(crate) fn block_len(&self) -> usize {
        self.ty.block_len()
    }

    /// Appends a row of `width` values for each token: that of the table, and zeros behind it.
    pub(crate) fn append(
        &self,
        tokens: &[u32],
        factor: Option<f32>,
        width: usize,
        hidden: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= self.rows) {
            return Err(ModelError::TokenOutOfRange { id, vocab_size: self.rows });
        }
        let start = hidden.len();
        hidden.resize(start + tokens.len() * width, 0.0);
        for (row, &id) in hidden[start..].chunks_exact_mut(width).zip(tokens) {
            self.read(id as usize, 0..self.cols, factor, &mut row[..self.cols])?;
        }
        Ok(())
    }

    /// Values `part` of a row that there is, each times `factor`.
    pub(crate) fn read(
        &self,
        row: usize,
        part: Range<usize>,
        factor: Option<f32>,
        out: &mut [f32],
    ) -> Result<(), ModelError> {
        let bytes = |cols: usize| self.at + row * self.row_bytes + cols / self.ty.block_len() * self.ty.block_bytes();
        dequantize(self.ty, &self.file[bytes(part.start)..bytes(part.end)], out)
            .map_err(|source| ModelError::Kernel { name: self.name.to_owned(), source })?;
        if let Some(factor) = factor {
            out.iter_mut().for_each(|x| *x *= factor);
        }
        Ok(())
    }
}
