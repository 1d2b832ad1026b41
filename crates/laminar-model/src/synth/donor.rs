//! Fits the tokenizer of another model to a vocabulary of a given size.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::{Array, CheckpointError, Metadata, Value};

/// `tokenizer.ggml.token_type`: ordinary text.
pub(super) const TYPE_NORMAL: i32 = 1;
/// `tokenizer.ggml.token_type`: a control marker such as `<|im_end|>`.
pub(super) const TYPE_CONTROL: i32 = 3;
/// `tokenizer.ggml.token_type`: a place that no text encodes to.
const TYPE_UNUSED: i32 = 5;
/// The score of tokens that fill up a vocabulary of scored tokens: never preferred to anything.
const UNUSED_SCORE: f32 = -1e6;

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";

/// The number of tokens of a donor.
pub(super) fn vocab_size(donor: &Metadata) -> Result<usize, CheckpointError> {
    Ok(donor.require_strings(TOKENS)?.len())
}

/// The donor's `tokenizer.*` keys for a vocabulary of `size` tokens.
///
/// A larger vocabulary is filled up with unused tokens. A smaller one loses the last ordinary tokens and the merges that
/// need them; control tokens are kept, and move where they would be cut off.
pub(super) fn fit(donor: &Metadata, size: usize) -> Result<Vec<(String, Value)>, CheckpointError> {
    let tokens = donor.require_strings(TOKENS)?;
    let types = match donor.i32s(TYPES)? {
        Some(types) => types,
        None => vec![TYPE_NORMAL; tokens.len()],
    };
    let scores = donor.f32s(SCORES)?;
    if types.len() != tokens.len() || scores.is_some_and(|s| s.len() != tokens.len()) {
        return Err(CheckpointError::malformed(
            donor.file(),
            format!("key {TOKENS:?}"),
            "tokens, types and scores differ in number; use another model's tokenizer",
        ));
    }
    let kept = kept_ids(&types, size)?;
    let new_ids: HashMap<usize, usize> = kept.iter().enumerate().map(|(new, &old)| (old, new)).collect();

    let mut out = Vec::new();
    for (key, value) in donor.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
        let value = match key {
            TOKENS => fit_tokens(tokens, &kept, size).into(),
            TYPES => continue,
            SCORES => fit_values(scores.unwrap_or_default(), &kept, size, UNUSED_SCORE).into(),
            MERGES => fit_merges(donor.strings(MERGES)?.unwrap_or_default(), tokens, &kept).into(),
            // The whole tokenizer.json, which would contradict the fitted vocabulary.
            "tokenizer.huggingface.json" => continue,
            _ if key.ends_with("_token_id") => match value.as_integer().and_then(|id| renumber(id, &new_ids)) {
                Some(id) => Value::U32(id),
                None => continue,
            },
            _ if key.ends_with("_token_ids") => match value {
                Value::Array(ids) => renumber_all(ids, &new_ids),
                _ => continue,
            },
            _ => value.clone(),
        };
        out.push((key.to_string(), value));
        if key == TOKENS {
            out.push((TYPES.to_string(), fit_values(&types, &kept, size, TYPE_UNUSED).into()));
        }
    }
    Ok(out)
}

/// The donor's ids that remain, in their new order.
fn kept_ids(types: &[i32], size: usize) -> Result<Vec<usize>, CheckpointError> {
    if types.len() <= size {
        return Ok((0..types.len()).collect());
    }
    // Keeping one more control token from the end may push an ordinary token, never a control token, off the front part.
    let control: Vec<usize> = (0..types.len()).filter(|&id| types.get(id) == Some(&TYPE_CONTROL)).collect();
    if control.len() >= size {
        return Err(CheckpointError::Synth(format!(
            "a vocabulary of {size} tokens has no room for text beside the tokenizer's {} control tokens; ask for a \
             larger vocabulary",
            control.len()
        )));
    }
    let mut room = size - control.len();
    Ok((0..types.len())
        .filter(|&id| {
            if types.get(id) == Some(&TYPE_CONTROL) {
                return true;
            }
            let keep = room > 0;
            room = room.saturating_sub(1);
            keep
        })
        .collect())
}

fn fit_tokens(tokens: &[String], kept: &[usize], size: usize) -> Vec<String> {
    let mut out: Vec<String> = kept.iter().filter_map(|&id| tokens.get(id).cloned()).collect();
    let mut taken: HashSet<String> = out.iter().cloned().collect();
    let mut number = 0usize;
    while out.len() < size {
        let token = format!("<|unused_{number}|>");
        number += 1;
        if taken.insert(token.clone()) {
            out.push(token);
        }
    }
    out
}

fn fit_values<T: Copy>(values: &[T], kept: &[usize], size: usize, filler: T) -> Vec<T> {
    let mut out: Vec<T> = kept.iter().filter_map(|&id| values.get(id).copied()).collect();
    out.resize(size, filler);
    out
}

fn fit_merges(merges: &[String], tokens: &[String], kept: &[usize]) -> Vec<String> {
    if kept.len() == tokens.len() {
        return merges.to_vec();
    }
    let present: HashSet<&str> = kept.iter().filter_map(|&id| tokens.get(id).map(String::as_str)).collect();
    let usable = |merge: &&String| {
        merge.split_once(' ').is_some_and(|(left, right)| {
            present.contains(left) && present.contains(right) && present.contains(format!("{left}{right}").as_str())
        })
    };
    merges.iter().filter(usable).cloned().collect()
}

fn renumber(id: i128, new_ids: &HashMap<usize, usize>) -> Option<u32> {
    let new = new_ids.get(&usize::try_from(id).ok()?)?;
    u32::try_from(*new).ok()
}

fn renumber_all(ids: &Array, new_ids: &HashMap<usize, usize>) -> Value {
    let ids = ids.integers().unwrap_or_default();
    ids.into_iter().filter_map(|id| renumber(id, new_ids)).collect::<Vec<u32>>().into()
}
