//! The tokenizer in the metadata of a GGUF file.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::{Array, Metadata, Value};

use super::bpe::ByteLevelBpe;
use super::markers::Markers;
use super::pre::Rule;
use super::sentencepiece::SentencePiece;
use super::vocab::{Kind, MAX_TOKENS, Spelling, Vocab};
use super::{Encoder, SpecialIds, Tokenizer, TokenizerError, ends};

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";

pub(super) fn read(metadata: &Metadata) -> Result<Tokenizer, TokenizerError> {
    let model =
        metadata.str(MODEL)?.ok_or_else(|| TokenizerError::Missing(format!("{}: no key {MODEL}", metadata.file())))?;
    let spelling = match model {
        "gpt2" => Spelling::ByteLevel,
        "llama" => Spelling::SentencePiece,
        other => return Err(TokenizerError::UnsupportedModel(other.to_owned())),
    };
    let tokens = metadata.require_strings(TOKENS)?;
    // Before anything is copied: a vocabulary is held several times over.
    if tokens.len() > MAX_TOKENS {
        return Err(TokenizerError::Vocabulary(format!(
            "{TOKENS} has {} tokens; we accept {MAX_TOKENS}",
            tokens.len()
        )));
    }
    let mut kinds = kinds(metadata, tokens.len())?;
    refuse_duplicates(tokens)?;
    let mut stop_ids = ends::find(tokens, &mut kinds);
    let texts = tokens.iter().map(|token| token.as_str().into()).collect();
    let vocab = Vocab::new(texts, kinds, spelling)?;
    let mut ids = special_ids(metadata, &vocab, spelling)?;
    let mut space_prefix = false;
    let encoder = match spelling {
        Spelling::ByteLevel => {
            let rule = rule(metadata)?;
            ids.add_bos = flag(metadata, "tokenizer.ggml.add_bos_token", ids.bos, rule.add_bos)?;
            Encoder::Bpe {
                model: Box::new(byte_level(metadata, tokens, &vocab, rule)?),
                markers: Markers::new(&vocab)?,
            }
        }
        Spelling::SentencePiece => {
            ids.add_bos = flag(metadata, "tokenizer.ggml.add_bos_token", ids.bos, true)?;
            space_prefix = metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
            Encoder::SentencePiece {
                model: Box::new(SentencePiece::new(&vocab, &scores(metadata, vocab.len())?, ids.unk)?),
                markers: Markers::new(&vocab)?,
            }
        }
    };
    ids.add_eos = flag(metadata, "tokenizer.ggml.add_eos_token", ids.eos, false)?;
    stop_ids.extend(ids.eos);
    for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
        stop_ids.extend(id(metadata, key, &vocab)?);
    }
    stop_ids.sort_unstable();
    stop_ids.dedup();
    Ok(Tokenizer {
        vocab,
        encoder,
        ids,
        space_prefix,
        padded_rows: false,
        stop_ids,
        chat_template: metadata.str("tokenizer.chat_template")?.map(str::to_owned),
    })
}

fn kinds(metadata: &Metadata, tokens: usize) -> Result<Vec<Kind>, TokenizerError> {
    let Some(types) = metadata.i32s(TYPES)? else {
        return Ok(vec![Kind::Normal; tokens]);
    };
    same_length(TYPES, types.len(), tokens)?;
    types
        .iter()
        .enumerate()
        .map(|(token, &number)| {
            Kind::from_gguf(number).ok_or_else(|| {
                TokenizerError::Vocabulary(format!("{TYPES} of token {token} is {number}; types go from 1 to 6"))
            })
        })
        .collect()
}

fn scores(metadata: &Metadata, tokens: usize) -> Result<Vec<f32>, TokenizerError> {
    let scores = match metadata.get(SCORES) {
        // Some converters write whole numbers.
        Some(Value::Array(Array::I32(scores))) => scores.iter().map(|&score| score as f32).collect(),
        _ => metadata.f32s(SCORES)?.ok_or_else(|| metadata.missing(SCORES))?.to_vec(),
    };
    same_length(SCORES, scores.len(), tokens)?;
    Ok(scores)
}

fn same_length(key: &str, length: usize, tokens: usize) -> Result<(), TokenizerError> {
    if length == tokens {
        return Ok(());
    }
    Err(TokenizerError::Vocabulary(format!("{key} has {length} entries but {TOKENS} has {tokens}")))
}

fn refuse_duplicates(tokens: &[String]) -> Result<(), TokenizerError> {
    let mut seen = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        // Empty tokens only fill places; no text can become one.
        if token.is_empty() {
            continue;
        }
        if let Some(first) = seen.insert(token.as_str(), id) {
            return Err(TokenizerError::Vocabulary(format!("{TOKENS}: {first} and {id} are both {token:?}")));
        }
    }
    Ok(())
}

fn rule(metadata: &Metadata) -> Result<&'static Rule, TokenizerError> {
    match metadata.str(PRE)? {
        Some(name) => Rule::named(name),
        None => {
            tracing::warn!(
                file = metadata.file(),
                "no key {PRE}: words are cut by the rule \"default\", which may not be the model's"
            );
            Rule::named("default")
        }
    }
}

fn byte_level(
    metadata: &Metadata,
    tokens: &[String],
    vocab: &Vocab,
    rule: &Rule,
) -> Result<ByteLevelBpe, TokenizerError> {
    let mut plain = HashMap::with_capacity(tokens.len());
    let mut control = HashSet::new();
    for (id, token) in (0..).zip(tokens) {
        if vocab.kind(id).is_some_and(Kind::is_control) {
            control.insert(token.as_str());
        } else if !token.is_empty() {
            plain.insert(token.clone(), id);
        }
    }
    ByteLevelBpe::new(plain, &control, metadata.require_strings(MERGES)?, rule)
}

/// The value of a flag; if it is set, the token it speaks of must be known.
fn flag(metadata: &Metadata, key: &str, token: Option<u32>, default: bool) -> Result<bool, TokenizerError> {
    match metadata.bool(key)? {
        Some(true) if token.is_none() => {
            Err(TokenizerError::Vocabulary(format!("{key} is true but the file names no such token")))
        }
        Some(value) => Ok(value),
        None => Ok(default && token.is_some()),
    }
}

fn id(metadata: &Metadata, key: &str, vocab: &Vocab) -> Result<Option<u32>, TokenizerError> {
    let id = metadata.u32(key)?;
    match id {
        Some(id) if id as usize >= vocab.len() => {
            Err(TokenizerError::Vocabulary(format!("{key} is {id} but there are only {} tokens", vocab.len())))
        }
        id => Ok(id),
    }
}

fn special_ids(metadata: &Metadata, vocab: &Vocab, spelling: Spelling) -> Result<SpecialIds, TokenizerError> {
    // SentencePiece models that name no ids use those of the original Llama.
    let fallback =
        |number: u32, text: &str| (spelling == Spelling::SentencePiece && vocab.text(number) == text).then_some(number);
    Ok(SpecialIds {
        bos: id(metadata, "tokenizer.ggml.bos_token_id", vocab)?.or_else(|| fallback(1, "<s>")),
        eos: id(metadata, "tokenizer.ggml.eos_token_id", vocab)?.or_else(|| fallback(2, "</s>")),
        unk: id(metadata, "tokenizer.ggml.unknown_token_id", vocab)?.or_else(|| fallback(0, "<unk>")),
        pad: id(metadata, "tokenizer.ggml.padding_token_id", vocab)?,
        add_bos: false,
        add_eos: false,
    })
}
