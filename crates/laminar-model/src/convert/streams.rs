//! Keys of models with several residual streams or inputs for each layer, and what their files have otherwise than folders.

use std::collections::BTreeMap;

use super::ConvertError;
use super::planned::{Order, Planned};
use crate::checkpoint::Value;
use crate::config::ModelConfig;
use crate::stored::Stored;

/// The table of the layers' inputs, which a file has a row of for every token.
pub(super) const TABLE: &str = "per_layer_token_embd.weight";

/// The keys, without the architecture's name; none for other models. Gemma 4's readers want them, also where there is
/// nothing of the kind.
pub(super) fn keys(config: &ModelConfig) -> Vec<(&'static str, Value)> {
    if config.layer_inputs.is_none() && config.global_heads.is_none() {
        return Vec::new();
    }
    let size = |value: usize| Value::from(value as u32);
    let shared = config.keys_from.iter().flatten().count();
    let mut keys = vec![
        ("embedding_length_per_layer_input", size(config.layer_inputs.unwrap_or(0))),
        ("attention.shared_kv_layers", size(shared)),
    ];
    let Some(streams) = &config.streams else { return keys };
    let borders: Vec<f32> = config.gate_borders.iter().map(|border| border.unwrap_or(f32::NEG_INFINITY)).collect();
    keys.extend([
        ("altup.num_inputs", size(streams.count)),
        ("altup.active_idx", size(streams.active)),
        ("activation_sparsity_scale", borders.into()),
    ]);
    keys
}

/// A tensor of matrices that a folder has one by one.
pub(super) fn stacked<'a>(name: &str, matrices: BTreeMap<usize, Stored<'a>>) -> Result<Planned<'a>, ConvertError> {
    let count = matrices.len();
    let whole = matrices.keys().copied().eq(0..count);
    let all: Vec<Stored<'a>> = matrices.into_values().collect();
    let first = all.first().map(|matrix| (matrix.ty(), matrix.shape()));
    match first {
        Some((ty, shape)) if whole && all.iter().all(|matrix| (matrix.ty(), matrix.shape()) == (ty, shape)) => {
            Ok(Planned::stored(name, vec![count, shape.0, shape.1], all))
        }
        _ => Err(ConvertError::tensor(name, "matrices are missing, or differ in type or shape")),
    }
}

/// The table with a row for each of `tokens`: those of images and sounds, behind the others, have the first token's row. They
/// are few; a number beyond all measure is left for the check of shapes to find.
pub(super) fn whole_table(mut table: Planned<'_>, tokens: usize) -> Planned<'_> {
    if let [rows, _] = table.shape.as_mut_slice()
        && (*rows + 1..=2 * *rows).contains(&tokens)
    {
        table.order = Order::Rows((0..*rows).chain(std::iter::repeat(0)).take(tokens).collect());
        *rows = tokens;
    }
    table
}
