//! The tokenizer of Kimi's folders: `tiktoken.model` has the tokens, `tokenizer_config.json` the special ones behind them.
//!
//! A line is the bytes of a token in base64 and its rank, which is its id too. There is no list of merges, since any two
//! neighbours merge whose bytes together are a token, the lowest rank first. A byte-level BPE with the merge that makes
//! each token says the same: the two parts that are left of it when everything of lower rank has merged. How text is cut into
//! words is in a program of the folder, which is not run; the rule is known for the models that come with one program.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;

use super::bpe::char_of;
use super::vocab::{Kind, MAX_TOKENS};
use super::{Tokenizer, TokenizerError, gguf, hf};
use crate::checkpoint::{HfFolder, Metadata, Value};

/// The programs whose words are known (Kimi's and Moonlight's, which are the same), and the name that GGUF files have for
/// their rule.
const PROGRAMS: [&str; 2] = ["tokenization_kimi", "tokenization_moonshot"];
const RULE: &str = "kimi-k2";
/// Ids behind the ranks, with a meaning or kept free.
const SPECIAL: usize = 256;

/// Keys of GGUF files and what ids they name, by the fields of `tokenizer_config.json`.
const ROLES: [(&str, &str); 4] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
];

/// The tokenizer of a folder whose `tiktoken.model` is at `path`.
pub(super) fn read(folder: &HfFolder, path: &Path) -> Result<Tokenizer, TokenizerError> {
    let mut metadata = Metadata::new(path.display().to_string());
    for (key, value) in keys(folder, path, 0)? {
        metadata.set(key, value);
    }
    let mut tokenizer = gguf::read(&metadata)?;
    tokenizer.padded_rows = true;
    tokenizer.stop_ids.extend(hf::stated_ends(folder));
    tokenizer.stop_ids.sort_unstable();
    tokenizer.stop_ids.dedup();
    tokenizer.chat_template.clone_from(&folder.chat_template);
    Ok(tokenizer)
}

/// The same as the keys of a GGUF file with a token for each of at least `rows` rows.
///
/// # Errors
/// A file that cannot be read or is damaged, or a model that cuts words by a rule that is not known.
pub(super) fn keys(folder: &HfFolder, path: &Path, rows: usize) -> Result<Vec<(String, Value)>, TokenizerError> {
    let config = folder.tokenizer_config.as_ref();
    let program = config.and_then(|config| config.get("auto_map")).map(Json::to_string).unwrap_or_default();
    if !PROGRAMS.iter().any(|known| program.contains(known)) {
        let problem = format!("{}: how its text is cut into words is known for Kimi alone", path.display());
        return Err(TokenizerError::Missing(problem));
    }
    let text = std::fs::read_to_string(path).map_err(|e| crate::checkpoint::CheckpointError::io("read", path, e))?;
    let ranked = ranked(&text)?;
    let merges = merges(&ranked);
    let (mut tokens, mut types): (Vec<String>, Vec<i32>) =
        ranked.iter().map(|bytes| (shown(bytes), Kind::Normal.to_gguf())).unzip();
    let named = config.and_then(|config| config.get("added_tokens_decoder"));
    for id in tokens.len()..tokens.len() + SPECIAL {
        let token = named.and_then(|named| named.get(id.to_string()));
        let name = token.and_then(|token| token.get("content")?.as_str());
        tokens.push(name.map_or_else(|| format!("<|reserved_token_{id}|>"), str::to_owned));
        // Markers of calls are text that programs read.
        let text = token.and_then(|token| token.get("special")?.as_bool()) == Some(false);
        types.push(if text { Kind::UserDefined } else { Kind::Control }.to_gguf());
    }
    let special = |field: &str| {
        let value = config?.get(field)?;
        let name = value.as_str().or_else(|| value.get("content")?.as_str())?;
        let place = tokens[ranked.len()..].iter().position(|token| token == name)?;
        u32::try_from(ranked.len() + place).ok()
    };
    let roles: Vec<(String, Value)> =
        ROLES.iter().filter_map(|(field, key)| Some(((*key).to_owned(), special(field)?.into()))).collect();
    for id in tokens.len()..rows {
        tokens.push(format!("[PAD{id}]"));
        types.push(Kind::Unused.to_gguf());
    }
    let own: [(&str, Value); 7] = [
        ("model", "gpt2".into()),
        ("pre", RULE.into()),
        ("tokens", tokens.into()),
        ("token_type", types.into()),
        ("merges", merges.into()),
        ("add_bos_token", false.into()),
        ("add_eos_token", false.into()),
    ];
    let own = own.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
    Ok(own.chain(roles).collect())
}

/// The bytes of all tokens by rank.
fn ranked(text: &str) -> Result<Vec<Vec<u8>>, TokenizerError> {
    let fault = |line: usize, problem: &str| {
        TokenizerError::Vocabulary(format!("line {} of tiktoken.model: {problem}", line + 1))
    };
    let mut tokens: Vec<Vec<u8>> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let entry = line.split_once(' ').and_then(|(bytes, rank)| Some((base64(bytes)?, rank.parse().ok()?)));
        let (bytes, rank): (Vec<u8>, usize) = entry.ok_or_else(|| fault(number, "not base64 and a number"))?;
        if bytes.is_empty() || rank != tokens.len() || rank >= MAX_TOKENS {
            return Err(fault(number, "ranks must count up from 0"));
        }
        tokens.push(bytes);
    }
    Ok(tokens)
}

/// The merge that makes each token of several bytes, in the order of ranks, as GGUF files spell it.
fn merges(ranked: &[Vec<u8>]) -> Vec<String> {
    let ranks: HashMap<&[u8], usize> =
        ranked.iter().enumerate().map(|(rank, bytes)| (bytes.as_slice(), rank)).collect();
    let merge = |(rank, bytes): (usize, &Vec<u8>)| {
        let (left, right) = bytes.split_at_checked(seam(bytes, rank, &ranks)?)?;
        Some(format!("{} {}", shown(left), shown(right)))
    };
    ranked.iter().enumerate().filter_map(merge).collect()
}

/// Where the last two parts of a token meet; `None` for one that lower ranks do not make two parts of.
fn seam(token: &[u8], rank: usize, ranks: &HashMap<&[u8], usize>) -> Option<usize> {
    let mut borders: Vec<usize> = (0..=token.len()).collect();
    while borders.len() > 3 {
        let whole = |ends: &[usize]| ranks.get(token.get(*ends.first()?..*ends.last()?)?).copied();
        let pairs = borders.windows(3).enumerate().filter_map(|(place, ends)| Some((whole(ends)?, place)));
        let (_, place) = pairs.min().filter(|(lowest, _)| *lowest < rank)?;
        borders.remove(place + 1);
    }
    if borders.len() == 3 { borders.get(1).copied() } else { None }
}

/// Bytes in GPT-2's alphabet.
fn shown(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char_of(*byte)).collect()
}

/// The bytes that base64 stands for (RFC 4648).
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        for (text, bytes) in [("", ""), ("TQ==", "M"), ("TWE=", "Ma"), ("TWFu", "Man"), ("IHRoZQ==", " the")] {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(base64("/+8=").unwrap(), [0xff, 0xef]);
        assert_eq!(base64("a b"), None);
    }

    #[test]
    fn merges_follow_from_ranks() {
        let tokens = ["a", "b", "c", "bc", "ab", "abc", "abcabc"].map(|token| token.as_bytes().to_vec());
        // "bc" is before "ab", so "abc" is "a" and "bc". Nothing makes two parts of "xyz".
        assert_eq!(merges(&tokens), ["b c", "a b", "a bc", "abc abc"]);
        let apart = ["x", "y", "z", "xyz"].map(|token| token.as_bytes().to_vec());
        assert!(merges(&apart).is_empty());
    }

    #[test]
    fn damaged_lines_are_named() {
        for (text, line) in [("IQ== 0\nIg== 2\n", "line 2"), ("IQ==\n", "line 1"), ("IQ== 0\n\n?? 1\n", "line 3")] {
            let error = ranked(text).unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
        }
        assert_eq!(ranked("IQ== 0\nIg== 1\n").unwrap(), [b"!", b"\""]);
    }
}
