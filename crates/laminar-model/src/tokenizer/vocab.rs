//! The table of tokens: what each id is spelled like, what it means and which bytes it stands for.

use super::TokenizerError;

/// The mark that SentencePiece puts where a space was.
pub(super) const SPACE_MARK: char = '\u{2581}';

/// No real vocabulary comes near this; a larger one is a broken or hostile file.
pub(super) const MAX_TOKENS: usize = 1 << 24;

/// What a token is for; the six types of GGUF's `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Normal,
    /// Stands for text that the vocabulary cannot spell.
    Unknown,
    /// Steers the model; never text.
    Control,
    /// Text that is matched as a whole before anything else.
    UserDefined,
    /// A free place in the vocabulary.
    Unused,
    /// One raw byte, spelled `<0xNN>`.
    Byte,
}

impl Kind {
    /// The kind behind a number of `tokenizer.ggml.token_type`; 0 ("undefined") counts as normal.
    pub(super) fn from_gguf(number: i32) -> Option<Self> {
        Some(match number {
            0 | 1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }

    /// The number of the kind in `tokenizer.ggml.token_type`.
    pub(super) fn to_gguf(self) -> i32 {
        match self {
            Self::Normal => 1,
            Self::Unknown => 2,
            Self::Control => 3,
            Self::UserDefined => 4,
            Self::Unused => 5,
            Self::Byte => 6,
        }
    }

    /// Whether the token is no text: it is shown only on request and parsed only on request.
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Control | Self::Unknown)
    }
}

/// How the spelling of a normal token becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Each char stands for one byte, in GPT-2's alphabet of visible chars.
    ByteLevel,
    /// UTF-8 text in which U+2581 stands for a space; byte tokens are `<0xNN>`.
    SentencePiece,
}

/// All tokens by id.
#[derive(Debug)]
pub(super) struct Vocab {
    texts: Vec<Box<str>>,
    kinds: Vec<Kind>,
    /// The bytes of all tokens, one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Vocab {
    /// Builds the table; `texts` and `kinds` run over the ids.
    pub(super) fn new(texts: Vec<Box<str>>, kinds: Vec<Kind>, spelling: Spelling) -> Result<Self, TokenizerError> {
        if texts.is_empty() {
            return Err(TokenizerError::Vocabulary("it has no tokens".into()));
        }
        if texts.len() > MAX_TOKENS {
            return Err(TokenizerError::Vocabulary(format!(
                "{} tokens are more than the {MAX_TOKENS} we accept",
                texts.len()
            )));
        }
        if texts.len() != kinds.len() {
            return Err(TokenizerError::Vocabulary(format!("{} tokens but {} token types", texts.len(), kinds.len())));
        }
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(texts.len());
        for (text, &kind) in texts.iter().zip(&kinds) {
            append_bytes(text, kind, spelling, &mut bytes);
            ends.push(bytes.len());
        }
        Ok(Self { texts, kinds, bytes, ends })
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The spelling of a token; empty for ids out of range.
    pub(super) fn text(&self, id: u32) -> &str {
        self.texts.get(id as usize).map_or("", |text| text)
    }

    /// The kind of a token; `None` for ids out of range.
    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    /// The bytes a token stands for; empty for control tokens and ids out of range.
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        let index = id as usize;
        let Some(&end) = self.ends.get(index) else {
            return &[];
        };
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.bytes.get(start..end).unwrap_or(&[])
    }
}

fn append_bytes(text: &str, kind: Kind, spelling: Spelling, out: &mut Vec<u8>) {
    match (kind, spelling) {
        (Kind::Control | Kind::Unknown, _) => {}
        (Kind::UserDefined, Spelling::ByteLevel) => out.extend_from_slice(text.as_bytes()),
        (_, Spelling::ByteLevel) => super::bpe::append_decoded(text, out),
        (Kind::Byte, Spelling::SentencePiece) if byte_of(text).is_some() => out.extend(byte_of(text)),
        (_, Spelling::SentencePiece) => {
            for part in text.split_inclusive(SPACE_MARK) {
                match part.strip_suffix(SPACE_MARK) {
                    Some(word) => {
                        out.extend_from_slice(word.as_bytes());
                        out.push(b' ');
                    }
                    None => out.extend_from_slice(part.as_bytes()),
                }
            }
        }
    }
}

/// The byte that `<0xNN>` spells.
pub(super) fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}
