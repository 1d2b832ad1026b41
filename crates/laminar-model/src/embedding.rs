//! The token embedding, left where it is in the checkpoint and dequantised a row at a time.

use std::sync::Arc;

use laminar_kernels::{WeightType, dequantize};

use crate::checkpoint::bytes::Bytes;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::weights::Weights;

pub(crate) struct Embedding {
    ty: WeightType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    /// The file, which stays open, and where the rows begin. A text needs few of them, so few become resident.
    file: Arc<Bytes>,
    at: usize,
}

impl Embedding {
    pub(crate) fn load(weights: &Weights<'_>, config: &ModelConfig) -> Result<Self, ModelError> {
        let name = "token_embd.weight";
        let tensor = weights.require(name)?;
        let rows = match tensor.shape.as_slice() {
            &[rows, cols] if cols == config.hidden && rows > 0 && rows < u32::MAX as usize => rows,
            found => {
                return Err(ModelError::Shape {
                    name: tensor.name.to_owned(),
                    expected: vec![config.vocab_size, config.hidden],
                    found: found.to_vec(),
                });
            }
        };
        if config.vocab_size != 0 && config.vocab_size != rows {
            return Err(ModelError::config(
                "vocab_size",
                format!("is {}, but the embedding has {rows} rows", config.vocab_size),
            ));
        }
        let (file, at) = tensor.place();
        let row_bytes = tensor.data.len() / rows;
        Ok(Self { ty: tensor.ty, rows, cols: config.hidden, row_bytes, file: Arc::clone(file), at })
    }

    /// Bytes in the file.
    pub(crate) fn bytes(&self) -> usize {
        self.rows * self.row_bytes
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn append(&self, tokens: &[u32], factor: Option<f32>, hidden: &mut Vec<f32>) -> Result<(), ModelError> {
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= self.rows) {
            return Err(ModelError::TokenOutOfRange { id, vocab_size: self.rows });
        }
        let start = hidden.len();
        hidden.resize(start + tokens.len() * self.cols, 0.0);
        for (row, &id) in hidden[start..].chunks_exact_mut(self.cols).zip(tokens) {
            let at = self.at + id as usize * self.row_bytes;
            dequantize(self.ty, &self.file[at..at + self.row_bytes], row)
                .map_err(|source| ModelError::Kernel { name: "token_embd.weight".to_owned(), source })?;
            if let Some(factor) = factor {
                row.iter_mut().for_each(|x| *x *= factor);
            }
        }
        Ok(())
    }
}
