//! SentencePiece BPE, the `llama` model of GGUF files.
//!
//! There are no words: spaces become U+2581 and the whole text is one run of chars. Of all neighbours whose
//! concatenation is a token, the pair with the highest score merges first (the leftmost of equals), until none is left.
//! A char that ends without a token is spelled in byte tokens `<0xNN>`.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::TokenizerError;
use super::vocab::{Kind, SPACE_MARK, Vocab, byte_of};

/// A SentencePiece BPE ready to encode.
#[derive(Debug)]
pub(super) struct SentencePiece {
    /// Tokens that text may become, with their scores.
    tokens: HashMap<Box<str>, (u32, f32)>,
    longest: usize,
    bytes: [Option<u32>; 256],
    unknown: Option<u32>,
}

/// A run of bytes of the text that is one token or one char; a linked list over the text.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    /// 0: swallowed by its left neighbour.
    len: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that could merge, as they were when this was found.
#[derive(Debug)]
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then_with(|| other.left.cmp(&self.left))
            .then_with(|| self.len.cmp(&other.len))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl SentencePiece {
    /// Builds the model; `scores` runs over the ids of `vocab`.
    pub(super) fn new(vocab: &Vocab, scores: &[f32], unknown: Option<u32>) -> Result<Self, TokenizerError> {
        let mut tokens = HashMap::with_capacity(vocab.len());
        let mut longest = 0;
        let mut bytes = [None; 256];
        for (id, &score) in (0..).zip(scores) {
            // +0.0 and -0.0 are one score.
            let score = score + 0.0;
            if score.is_nan() {
                return Err(TokenizerError::Vocabulary(format!("the score of token {id} is not a number")));
            }
            let text = vocab.text(id);
            match vocab.kind(id) {
                Some(Kind::Byte) => match byte_of(text) {
                    Some(byte) => bytes[usize::from(byte)] = Some(id),
                    None => {
                        return Err(TokenizerError::Vocabulary(format!(
                            "token {id} ({text:?}) has the type of a byte but is not spelled <0xNN>"
                        )));
                    }
                },
                // Plain text must never turn into a control token.
                Some(Kind::Normal | Kind::UserDefined | Kind::Unused) if !text.is_empty() => {
                    longest = longest.max(text.len());
                    tokens.insert(text.into(), (id, score));
                }
                _ => {}
            }
        }
        Ok(Self { tokens, longest, bytes, unknown })
    }

    /// Appends the ids of a text without markers, with a space in front if `space_prefix`.
    pub(super) fn encode(&self, text: &str, space_prefix: bool, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut run = String::with_capacity(text.len() + SPACE_MARK.len_utf8());
        run.extend(space_prefix.then_some(SPACE_MARK));
        run.extend(text.chars().map(|char| if char == ' ' { SPACE_MARK } else { char }));
        for symbol in self.merge(&run) {
            let part = run.get(symbol.start..symbol.start + symbol.len).unwrap_or("");
            match self.tokens.get(part) {
                Some(&(id, _)) => out.push(id),
                None => self.spell(part, out)?,
            }
        }
        Ok(())
    }

    /// The symbols that are left when no pair of neighbours is a token any more.
    fn merge(&self, run: &str) -> impl Iterator<Item = Symbol> + use<> {
        let count = run.chars().count();
        let mut symbols: Vec<Symbol> = run
            .char_indices()
            .enumerate()
            .map(|(index, (start, char))| Symbol {
                start,
                len: char.len_utf8(),
                previous: index.checked_sub(1),
                next: (index + 1 < count).then_some(index + 1),
            })
            .collect();
        let mut queue = BinaryHeap::new();
        for right in 1..count {
            queue.extend(self.pair(run, &symbols, right - 1, right));
        }
        while let Some(pair) = queue.pop() {
            let (left, right) = (symbols[pair.left], symbols[pair.right]);
            // One of the two has merged since with another neighbour.
            if left.len == 0 || right.len == 0 || left.len + right.len != pair.len {
                continue;
            }
            symbols[pair.left].len = pair.len;
            symbols[pair.left].next = right.next;
            symbols[pair.right].len = 0;
            if let Some(next) = right.next {
                symbols[next].previous = Some(pair.left);
                queue.extend(self.pair(run, &symbols, pair.left, next));
            }
            if let Some(previous) = left.previous {
                queue.extend(self.pair(run, &symbols, previous, pair.left));
            }
        }
        symbols.into_iter().filter(|symbol| symbol.len > 0)
    }

    fn pair(&self, run: &str, symbols: &[Symbol], left: usize, right: usize) -> Option<Pair> {
        let start = symbols[left].start;
        let len = symbols[left].len + symbols[right].len;
        // The bound keeps long runs linear: nothing longer than a token is ever hashed.
        if len > self.longest {
            return None;
        }
        let &(_, score) = self.tokens.get(run.get(start..start + len)?)?;
        Some(Pair { score, left, right, len })
    }

    fn spell(&self, part: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let ids: Option<Vec<u32>> = part.bytes().map(|byte| self.bytes[usize::from(byte)]).collect();
        match (ids, self.unknown) {
            (Some(ids), _) => out.extend(ids),
            (None, Some(unknown)) => out.push(unknown),
            (None, None) => {
                return Err(TokenizerError::Encode(format!(
                    "the vocabulary can spell {part:?} neither as text nor in bytes, and has no unknown token"
                )));
            }
        }
        Ok(())
    }
}
