//! The token embedding, kept in the checkpoint's own format and dequantised a row at a time.

use laminar_kernels::{WeightType, dequantize};

use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::weights::Weights;

pub(crate) struct Embedding {
    ty: WeightType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    data: Vec<u8>,
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
        Ok(Self {
            ty: tensor.ty,
            rows,
            cols: config.hidden,
            row_bytes: tensor.data.len() / rows,
            data: tensor.data.to_vec(),
        })
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
            let at = id as usize * self.row_bytes;
            dequantize(self.ty, &self.data[at..at + self.row_bytes], row)
                .map_err(|source| ModelError::Kernel { name: "token_embd.weight".to_owned(), source })?;
            if let Some(factor) = factor {
                row.iter_mut().for_each(|x| *x *= factor);
            }
        }
        Ok(())
    }
}
