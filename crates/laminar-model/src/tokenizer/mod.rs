//! Text to tokens and back.
//!
//! A [`Tokenizer`] comes out of a checkpoint, whatever its kind:
//! - a GGUF file carries the vocabulary in its metadata: byte-level BPE (`tokenizer.ggml.model = "gpt2"`) or
//!   SentencePiece BPE (`"llama"`);
//! - a Hugging Face folder carries a `tokenizer.json`, which the `tokenizers` crate reads, or Kimi's `tiktoken.model`.
//!
//! Tokens come in two classes. *Control* tokens (`<s>`, `<|im_end|>`) steer the model: they enter a prompt only through
//! [`EncodeOptions`], never by being typed, and they are not part of the text that leaves. All others are text, and
//! [`StreamDecoder`] hands it out one token at a time without ever cutting a character.

mod bpe;
mod ends;
mod error;
mod gguf;
mod gguf_keys;
mod hf;
mod markers;
mod pre;
mod sentencepiece;
mod stream;
mod tiktoken;
mod vocab;

pub use error::TokenizerError;
pub(crate) use gguf_keys::gguf_keys;
pub use stream::StreamDecoder;

use crate::checkpoint::{Checkpoint, HfFolder, Metadata};

use bpe::ByteLevelBpe;
use hf::HfEncoder;
use markers::{Fragment, Markers};
use sentencepiece::SentencePiece;
use vocab::{Kind, Vocab};

/// How [`Tokenizer::encode`] treats what is not plain text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Add BOS (and EOS) as the checkpoint says.
    pub add_special: bool,
    /// Control markers in the text, such as `<|im_end|>`, become control tokens; otherwise they are plain text.
    pub parse_special: bool,
}

/// A vocabulary with its rules; immutable, so it may be shared between threads.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    encoder: Encoder,
    ids: SpecialIds,
    /// SentencePiece puts a space before the first word; the text that comes back must not show it.
    space_prefix: bool,
    /// The embedding may have more rows than the vocabulary has tokens (padding).
    padded_rows: bool,
    stop_ids: Vec<u32>,
    chat_template: Option<String>,
}

#[derive(Debug)]
enum Encoder {
    Bpe { model: Box<ByteLevelBpe>, markers: Markers },
    SentencePiece { model: Box<SentencePiece>, markers: Markers },
    Hf(Box<HfEncoder>),
}

/// The tokens with a role.
#[derive(Debug, Default, Clone)]
struct SpecialIds {
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
    unk: Option<u32>,
    add_bos: bool,
    add_eos: bool,
}

impl Tokenizer {
    /// The tokenizer that a checkpoint carries.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf`] and [`Tokenizer::from_hf`].
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self, TokenizerError> {
        match checkpoint {
            Checkpoint::Gguf(file) => Self::from_gguf(file.metadata()),
            Checkpoint::HuggingFace(folder) => Self::from_hf(folder),
        }
    }

    /// The tokenizer in the metadata of a GGUF file: the keys `tokenizer.ggml.*` and `tokenizer.chat_template` of the
    /// GGUF specification.
    ///
    /// # Errors
    /// No tokenizer, one of an unknown kind, or one that contradicts itself.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        gguf::read(metadata)
    }

    /// The tokenizer of a Hugging Face folder: `tokenizer.json` or Kimi's `tiktoken.model`, and the end tokens that `tokenizer_config.json`,
    /// `generation_config.json` and `config.json` name.
    ///
    /// # Errors
    /// Neither file, or one that the `tokenizers` crate or our decoder cannot handle.
    pub fn from_hf(folder: &HfFolder) -> Result<Self, TokenizerError> {
        match (&folder.tokenizer_json, &folder.tiktoken) {
            (None, Some(path)) => tiktoken::read(folder, path),
            _ => hf::read(folder),
        }
    }

    /// Splits a text into tokens. Linear in the length of the text but for a logarithm.
    ///
    /// # Errors
    /// A text that the vocabulary cannot spell.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        let parse = options.parse_special;
        let (model, markers) = match &self.encoder {
            Encoder::Hf(encoder) => return self.encode_hf(encoder, text, options),
            Encoder::Bpe { model, markers } => (Err(model), markers),
            Encoder::SentencePiece { model, markers } => (Ok(model), markers),
        };
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        if options.add_special && self.ids.add_bos {
            ids.extend(self.ids.bos);
        }
        // SentencePiece sees a fresh start after every marker.
        let mut fresh = true;
        markers.split(text, parse, |fragment| {
            match fragment {
                Fragment::Token(id) => {
                    ids.push(id);
                    fresh = true;
                }
                Fragment::Text(part) => {
                    match model {
                        Ok(pieces) => pieces.encode(part, self.space_prefix && fresh, &mut ids)?,
                        Err(bpe) => bpe.encode(part, &mut ids)?,
                    }
                    fresh = false;
                }
            }
            Ok(())
        })?;
        if options.add_special && self.ids.add_eos {
            ids.extend(self.ids.eos);
        }
        Ok(ids)
    }

    fn encode_hf(&self, encoder: &HfEncoder, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = encoder.encode(text, options)?;
        if options.add_special {
            if self.ids.add_bos {
                ids.splice(0..0, self.ids.bos);
            }
            if self.ids.add_eos {
                ids.extend(self.ids.eos);
            }
        }
        Ok(ids)
    }

    /// The text of some tokens, taken as the beginning of a text; bytes that are no UTF-8 become U+FFFD. Control tokens
    /// are shown by name, or left out if `skip_special`. Ids out of range are no text.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut bytes = Vec::new();
        let mut at_start = true;
        for &id in ids {
            self.append(id, skip_special, &mut at_start, &mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Appends what one token adds to a text. `at_start` says whether the text is still empty.
    fn append(&self, id: u32, skip_special: bool, at_start: &mut bool, out: &mut Vec<u8>) {
        if self.is_control(id) {
            if !skip_special {
                out.extend_from_slice(self.vocab.text(id).as_bytes());
                *at_start = false;
            }
            return;
        }
        let bytes = self.vocab.bytes(id);
        if bytes.is_empty() {
            return;
        }
        let hidden = self.space_prefix && *at_start && bytes.first() == Some(&b' ');
        out.extend_from_slice(bytes.get(usize::from(hidden)..).unwrap_or_default());
        *at_start = false;
    }

    /// The raw bytes of one token, perhaps a part of a character; empty for control tokens and ids out of range.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.vocab.bytes(id).to_vec()
    }

    /// The token as the vocabulary spells it (`Ġthe`, `▁the`, `<|im_end|>`); empty for ids out of range.
    pub fn token_text(&self, id: u32) -> String {
        self.vocab.text(id).to_owned()
    }

    /// Whether the token steers the model and is no text.
    pub fn is_control(&self, id: u32) -> bool {
        self.vocab.kind(id).is_some_and(Kind::is_control)
    }

    /// Number of ids: one more than the highest.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// Refuses a tokenizer that does not belong to a model whose embedding has `rows` rows. A GGUF file has one row a
    /// token; a Hugging Face model may pad its embedding by about an eighth, and its tokenizer may end in control tokens
    /// that text models have no row for (Gemma 3's image placeholder): plain text never becomes one.
    ///
    /// # Errors
    /// [`TokenizerError::RowsMismatch`].
    pub fn check_vocab(&self, rows: usize) -> Result<(), TokenizerError> {
        let tokens = self.vocab_size();
        let spare = if self.padded_rows { (tokens / 8).max(1024) } else { 0 };
        let fits = if rows < tokens {
            let unneeded = |id| self.is_control(id) && self.bos() != Some(id);
            self.padded_rows && (rows..tokens).all(|id| u32::try_from(id).is_ok_and(unneeded))
        } else {
            rows - tokens <= spare
        };
        if fits { Ok(()) } else { Err(TokenizerError::RowsMismatch { tokens, rows }) }
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.ids.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.ids.eos
    }

    /// The token that fills unused places of a batch.
    pub fn pad(&self) -> Option<u32> {
        self.ids.pad
    }

    /// The token for text that the vocabulary cannot spell.
    pub fn unk(&self) -> Option<u32> {
        self.ids.unk
    }

    /// Whether [`EncodeOptions::add_special`] puts BOS in front.
    pub fn adds_bos(&self) -> bool {
        match &self.encoder {
            Encoder::Hf(encoder) => self.ids.add_bos || encoder.adds(self.ids.bos),
            _ => self.ids.add_bos && self.ids.bos.is_some(),
        }
    }

    /// All tokens that end a generation, in ascending order: EOS, the end of a turn or message, and whatever the
    /// generation configuration adds.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The chat template (Jinja), if the checkpoint has one.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }
}
