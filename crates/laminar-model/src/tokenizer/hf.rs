//! The tokenizer of a Hugging Face folder, through the `tokenizers` crate.
//!
//! Encoding is theirs. Decoding is ours: each token is turned into its bytes once, so that a stream of tokens needs no
//! second look at earlier ones. That works for the two families of decoders that language models use, byte-level and
//! SentencePiece; any other is refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::Tokenizer as Pipeline;

use crate::checkpoint::HfFolder;

use super::vocab::{Kind, MAX_TOKENS, Spelling, Vocab, byte_of};
use super::{EncodeOptions, Encoder, SpecialIds, Tokenizer, TokenizerError, ends};

/// A pipeline of `tokenizers`, twice: with control markers parsed, and (made when first needed) with them as text.
#[derive(Debug)]
pub(super) struct HfEncoder {
    parsing: Pipeline,
    plain: OnceLock<Box<Pipeline>>,
}

impl HfEncoder {
    pub(super) fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        let pipeline = if options.parse_special {
            &self.parsing
        } else {
            self.plain.get_or_init(|| {
                let mut plain = Box::new(self.parsing.clone());
                plain.set_encode_special_tokens(true);
                plain
            })
        };
        pipeline
            .encode_fast(text, options.add_special)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|error| TokenizerError::Encode(error.to_string()))
    }

    /// Whether the post-processor puts this token in front of a text.
    pub(super) fn adds(&self, token: Option<u32>) -> bool {
        token.is_some()
            && self.parsing.encode_fast("", true).is_ok_and(|encoding| encoding.get_ids().first().copied() == token)
    }
}

pub(super) fn read(folder: &HfFolder) -> Result<Tokenizer, TokenizerError> {
    let path = folder
        .tokenizer_json
        .as_ref()
        .ok_or_else(|| TokenizerError::Missing("the folder has no tokenizer.json".into()))?;
    let text = std::fs::read(path).map_err(|error| TokenizerError::Json(error.to_string()))?;
    check_merges(&text)?;
    // The crate has panics for other contradictions too; none may end the process.
    let mut pipeline = catch_unwind(AssertUnwindSafe(|| Pipeline::from_bytes(&text)))
        .unwrap_or_else(|_| Err("its vocabulary and merges contradict each other".into()))
        .map_err(|error| TokenizerError::Json(error.to_string()))?;
    pipeline.with_padding(None);
    pipeline.with_truncation(None).map_err(|error| TokenizerError::Json(error.to_string()))?;

    let decoder = Decoder::of(&pipeline)?;
    let (texts, mut kinds) = table(&pipeline, decoder)?;
    let mut stop_ids = ends::find(&texts, &mut kinds);
    let vocab = Vocab::new(texts, kinds, decoder.spelling)?;

    let config = folder.tokenizer_config.as_ref();
    let role = |key: &str| {
        let value = config?.get(key)?;
        let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
        pipeline.token_to_id(text)
    };
    let flag = |key: &str| config.and_then(|config| config.get(key)?.as_bool()).unwrap_or(false);
    // A post-processor already knows what to add.
    let bare = pipeline.get_post_processor().is_none();
    let ids = SpecialIds {
        bos: role("bos_token").or_else(|| first_id(&folder.config, "bos_token_id")),
        eos: role("eos_token").or_else(|| first_id(&folder.config, "eos_token_id")),
        pad: role("pad_token"),
        unk: role("unk_token"),
        add_bos: bare && flag("add_bos_token"),
        add_eos: bare && flag("add_eos_token"),
    };
    stop_ids.extend(ids.eos);
    stop_ids.extend(stated_ends(folder));
    stop_ids.sort_unstable();
    stop_ids.dedup();
    Ok(Tokenizer {
        vocab,
        encoder: Encoder::Hf(Box::new(HfEncoder { parsing: pipeline, plain: OnceLock::new() })),
        ids,
        space_prefix: decoder.strips_space,
        padded_rows: true,
        stop_ids,
        chat_template: folder.chat_template.clone(),
    })
}

/// The ids that a folder's configurations say a text ends with.
pub(super) fn stated_ends(folder: &HfFolder) -> impl Iterator<Item = u32> + '_ {
    let sources = [folder.generation_config.as_ref(), Some(&folder.config)];
    sources.into_iter().flatten().flat_map(|source| all_ids(source, "eos_token_id"))
}

/// Refuses merges that are longer than the longest token, which the crate answers with a panic.
fn check_merges(text: &[u8]) -> Result<(), TokenizerError> {
    let file: Value = serde_json::from_slice(text).map_err(|error| TokenizerError::Json(error.to_string()))?;
    let model = file.get("model");
    let vocab = model.and_then(|model| model.get("vocab")?.as_object());
    let merges = model.and_then(|model| model.get("merges")?.as_array());
    let (Some(vocab), Some(merges)) = (vocab, merges) else {
        return Ok(());
    };
    let longest = vocab.keys().map(String::len).max().unwrap_or(0);
    for (rank, merge) in merges.iter().enumerate() {
        let length = match merge {
            Value::String(pair) => pair.len().saturating_sub(1),
            Value::Array(pair) => pair.iter().filter_map(Value::as_str).map(str::len).sum(),
            _ => 0,
        };
        if length > longest {
            return Err(TokenizerError::Json(format!("merge {rank} is longer than any token")));
        }
    }
    Ok(())
}

/// The ids under a key that holds one id or a list of them.
fn all_ids(config: &Value, key: &str) -> Vec<u32> {
    let value = config.get(key).or_else(|| config.get("text_config")?.get(key));
    let one = |value: &Value| u32::try_from(value.as_u64()?).ok();
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

fn first_id(config: &Value, key: &str) -> Option<u32> {
    all_ids(config, key).first().copied()
}

/// What the decoder of a pipeline does, as far as single tokens go.
#[derive(Debug, Clone, Copy)]
struct Decoder {
    spelling: Spelling,
    byte_tokens: bool,
    strips_space: bool,
}

impl Decoder {
    fn of(pipeline: &Pipeline) -> Result<Self, TokenizerError> {
        let whole =
            serde_json::to_value(pipeline.get_decoder()).map_err(|error| TokenizerError::Json(error.to_string()))?;
        let steps = match whole.get("decoders") {
            Some(Value::Array(steps)) => steps.clone(),
            _ => vec![whole],
        };
        let mut decoder = Self { spelling: Spelling::SentencePiece, byte_tokens: false, strips_space: false };
        let mut known = false;
        for step in &steps {
            match step.get("type").and_then(Value::as_str) {
                Some("ByteLevel") => {
                    decoder.spelling = Spelling::ByteLevel;
                    known = true;
                }
                Some("ByteFallback") => decoder.byte_tokens = true,
                Some("Replace") => known = true,
                Some("Metaspace") => {
                    known = true;
                    decoder.strips_space = step.get("prepend_scheme").and_then(Value::as_str) != Some("never");
                }
                Some("Strip") => {
                    decoder.strips_space = step.get("start").and_then(Value::as_u64).unwrap_or(0) > 0;
                }
                Some("Fuse") => {}
                other => {
                    return Err(TokenizerError::Json(format!(
                        "decoder {} is not supported; supported: ByteLevel, and Metaspace or Replace with ByteFallback, Fuse and Strip",
                        other.unwrap_or("null")
                    )));
                }
            }
        }
        if !known {
            return Err(TokenizerError::Json(
                "the decoder neither maps bytes nor restores spaces; supported: ByteLevel, Metaspace, Replace".into(),
            ));
        }
        Ok(decoder)
    }
}

type Table = (Vec<Box<str>>, Vec<Kind>);

/// The spelling and kind of every id; ids between that no token has are unused.
fn table(pipeline: &Pipeline, decoder: Decoder) -> Result<Table, TokenizerError> {
    let tokens = pipeline.get_vocab(true);
    let highest = tokens.values().copied().max().unwrap_or(0) as usize;
    if highest >= MAX_TOKENS {
        return Err(TokenizerError::Vocabulary(format!("id {highest} is higher than the {MAX_TOKENS} ids we accept")));
    }
    if tokens.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut texts: Vec<Box<str>> = vec!["".into(); highest + 1];
    let mut kinds = vec![Kind::Unused; highest + 1];
    for (text, id) in tokens {
        let index = id as usize;
        kinds[index] = if decoder.byte_tokens && byte_of(&text).is_some() { Kind::Byte } else { Kind::Normal };
        texts[index] = text.into();
    }
    for (id, token) in pipeline.get_added_tokens_decoder() {
        if let Some(kind) = kinds.get_mut(id as usize) {
            *kind = if token.special { Kind::Control } else { Kind::UserDefined };
        }
    }
    Ok((texts, kinds))
}
