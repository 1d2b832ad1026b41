//! The tokenizer of a Hugging Face folder as the keys of a GGUF file.
//!
//! Byte-level vocabularies are carried with their merges, and the rule that cuts words by the name it has in GGUF files:
//! the one with the same regular expressions. SentencePiece vocabularies need scores where `tokenizer.json` has merges:
//! a token's score is how early a merge makes it, which orders merges as the list does.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::checkpoint::{HfFolder, Value};
use crate::convert::ConvertError;

use super::pre::{GPT2, Rule};
use super::vocab::Kind;
use super::{EncodeOptions, Tokenizer, tiktoken};

/// The keys for a model whose embedding has `rows` rows. A folder without `tokenizer.json` gives the keys of a file
/// without a tokenizer, unless it has Kimi's `tiktoken.model`.
///
/// # Errors
/// A tokenizer that GGUF files cannot describe, or that does not fit the embedding.
pub(crate) fn gguf_keys(folder: &HfFolder, rows: usize) -> Result<Vec<(String, Value)>, ConvertError> {
    let path = match (&folder.tokenizer_json, &folder.tiktoken) {
        (Some(path), _) => path,
        (None, Some(path)) => {
            Tokenizer::from_hf(folder)?.check_vocab(rows)?;
            let mut keys = tiktoken::keys(folder, path, rows)?;
            keys.extend(template(folder));
            return Ok(keys);
        }
        (None, None) => return Ok(vec![("tokenizer.ggml.model".to_owned(), "none".into())]),
    };
    let tokenizer = Tokenizer::from_hf(folder)?;
    tokenizer.check_vocab(rows)?;
    let text = std::fs::read(path).map_err(|e| crate::checkpoint::CheckpointError::io("read", path, e))?;
    let json: Json = serde_json::from_slice(&text).map_err(|e| ConvertError::Vocabulary(e.to_string()))?;
    let model = json.get("model").unwrap_or(&Json::Null);
    match model.get("type").and_then(Json::as_str) {
        Some("BPE") => {}
        // Old files leave it out.
        None if model.get("merges").is_some() => {}
        other => {
            return Err(ConvertError::Vocabulary(format!("its model is {}, not BPE", other.unwrap_or("unknown"))));
        }
    }
    let merges = merges(model);
    let mut keys: Vec<(String, Value)> = Vec::new();
    let mut set = |key: &str, value: Value| keys.push((format!("tokenizer.{key}"), value));
    let byte_level = json.get("decoder").is_some_and(|decoder| decoder.to_string().contains("\"ByteLevel\""));
    let (tokens, types) = table(&tokenizer, rows, byte_level);
    if byte_level {
        set("ggml.model", "gpt2".into());
        set("ggml.pre", rule(&json, model)?.into());
        set("ggml.tokens", tokens.into());
        set("ggml.token_type", types.into());
        set("ggml.merges", merges.iter().map(|(left, right)| format!("{left} {right}")).collect::<Vec<_>>().into());
    } else {
        set("ggml.model", "llama".into());
        set("ggml.pre", "default".into());
        set("ggml.scores", scores(&tokens, &merges).into());
        set("ggml.tokens", tokens.into());
        set("ggml.token_type", types.into());
        set("ggml.add_space_prefix", tokenizer.space_prefix.into());
    }
    for (key, id) in [
        ("ggml.bos_token_id", tokenizer.bos()),
        ("ggml.eos_token_id", tokenizer.eos()),
        ("ggml.unknown_token_id", tokenizer.unk()),
        ("ggml.padding_token_id", tokenizer.pad()),
    ] {
        if let Some(id) = id.filter(|id| (*id as usize) < rows) {
            set(key, id.into());
        }
    }
    let around = tokenizer.encode("", EncodeOptions { add_special: true, parse_special: false })?;
    set("ggml.add_bos_token", (tokenizer.bos().is_some() && around.first().copied() == tokenizer.bos()).into());
    let adds_eos = around.len() > 1 && around.last().copied() == tokenizer.eos();
    set("ggml.add_eos_token", adds_eos.into());
    keys.extend(template(folder));
    Ok(keys)
}

/// The key of a folder's chat template, if it has one.
fn template(folder: &HfFolder) -> Option<(String, Value)> {
    let template = folder.chat_template.as_deref()?;
    Some(("tokenizer.chat_template".to_owned(), template.into()))
}

/// Spelling and type of every row.
fn table(tokenizer: &Tokenizer, rows: usize, byte_level: bool) -> (Vec<String>, Vec<i32>) {
    let vocab = &tokenizer.vocab;
    (0..rows as u32)
        .map(|id| match vocab.kind(id) {
            Some(kind) if !vocab.text(id).is_empty() => {
                let unknown = !byte_level && tokenizer.unk() == Some(id);
                (vocab.text(id).to_owned(), if unknown { Kind::Unknown } else { kind }.to_gguf())
            }
            _ => (format!("[PAD{id}]"), Kind::Unused.to_gguf()),
        })
        .unzip()
}

/// The merges, first to last, in either of the forms that `tokenizer.json` has for them.
fn merges(model: &Json) -> Vec<(&str, &str)> {
    let list = model.get("merges").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(pair).collect()
}

fn pair(merge: &Json) -> Option<(&str, &str)> {
    match merge {
        Json::String(text) => text.split_once(' '),
        Json::Array(parts) => match parts.as_slice() {
            [left, right] => Some((left.as_str()?, right.as_str()?)),
            _ => None,
        },
        _ => None,
    }
}

/// A score for each token: minus the place of the first merge that makes it; tokens that no merge makes come last.
fn scores(tokens: &[String], merges: &[(&str, &str)]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    for (rank, (left, right)) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    let score = |token: &String| match ranks.get(token) {
        Some(rank) => -(*rank as f32),
        None => -(merges.len() as f32) - 1.0,
    };
    tokens.iter().map(score).collect()
}

/// The name of the rule that cuts words.
fn rule(json: &Json, model: &Json) -> Result<&'static str, ConvertError> {
    let mut patterns = Vec::new();
    patterns_of(json.get("pre_tokenizer").unwrap_or(&Json::Null), &mut patterns)?;
    let whole = model.get("ignore_merges").and_then(Json::as_bool).unwrap_or(false);
    Rule::of(&patterns, whole)
        .ok_or_else(|| ConvertError::Vocabulary(format!("no rule has the word patterns {patterns:?}")))
}

/// The regular expressions of a pre-tokenizer, in the order in which they cut.
fn patterns_of(step: &Json, out: &mut Vec<String>) -> Result<(), ConvertError> {
    let refused = |what: &str| Err(ConvertError::Vocabulary(format!("its pre-tokenizer has {what}")));
    match step.get("type").and_then(Json::as_str) {
        None => {}
        Some("Sequence") => {
            let steps = step.get("pretokenizers").and_then(Json::as_array);
            for step in steps.into_iter().flatten() {
                patterns_of(step, out)?;
            }
        }
        Some("ByteLevel") => {
            if step.get("add_prefix_space").and_then(Json::as_bool).unwrap_or(false) {
                return refused("a space before the first word");
            }
            if step.get("use_regex").and_then(Json::as_bool).unwrap_or(true) {
                out.push(GPT2.to_owned());
            }
        }
        Some("Digits") => {
            let single = step.get("individual_digits").and_then(Json::as_bool).unwrap_or(false);
            out.push(if single { r"\p{N}" } else { r"\p{N}+" }.to_owned());
        }
        Some("Split") => match step.get("pattern").and_then(|pattern| pattern.get("Regex")?.as_str()) {
            Some(pattern) => out.push(pattern.to_owned()),
            None => return refused("a split by a plain string"),
        },
        Some(other) => return refused(&format!("a step {other}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_found_by_their_patterns() {
        let name = |pre: Json| rule(&json!({ "pre_tokenizer": pre }), &json!({}));
        let digits = json!({"type": "Digits", "individual_digits": true});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
        assert_eq!(name(bytes.clone()).unwrap(), "gpt-2");
        assert_eq!(name(json!({"type": "Sequence", "pretokenizers": [digits, bytes]})).unwrap(), "starcoder");
        let split = |regex: &str| {
            let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
            let split = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
            json!({"type": "Sequence", "pretokenizers": [split, bytes]})
        };
        let qwen = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        assert_eq!(name(split(qwen)).unwrap(), "qwen2");
        let llama = qwen.replace(r"|\p{N}|", r"|\p{N}{1,3}|");
        let whole = json!({"ignore_merges": true});
        assert_eq!(rule(&json!({ "pre_tokenizer": split(&llama) }), &whole).unwrap(), "llama-bpe");
        assert_eq!(name(split(&llama)).unwrap(), "dbrx");
        assert!(name(split("x+")).unwrap_err().to_string().contains("x+"));
        assert!(name(json!({"type": "Punctuation"})).unwrap_err().to_string().contains("Punctuation"));
    }

    #[test]
    fn scores_order_tokens_as_merges_do() {
        let model = json!({"merges": ["a b", ["ab", "c"], "x abc"]});
        let merges = merges(&model);
        assert_eq!(merges, [("a", "b"), ("ab", "c"), ("x", "abc")]);
        let tokens: Vec<String> = ["abc", "a", "ab", "xabc"].map(str::to_owned).to_vec();
        assert_eq!(scores(&tokens, &merges), [-1.0, -4.0, 0.0, -2.0]);
    }
}
