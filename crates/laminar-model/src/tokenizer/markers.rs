//! Finding whole tokens in a text: control markers and user-defined tokens.

use aho_corasick::{AhoCorasick, MatchKind};

use super::TokenizerError;
use super::vocab::{Kind, Vocab};

/// A piece of a text.
pub(super) enum Fragment<'t> {
    /// Plain text, never empty.
    Text(&'t str),
    /// A token that was spelled out.
    Token(u32),
}

/// Finds spelled-out tokens; of several that begin at one place the longest wins.
#[derive(Debug)]
pub(super) struct Markers {
    /// User-defined tokens: text that is always one token.
    user: Option<Search>,
    /// These and the control tokens.
    all: Option<Search>,
}

#[derive(Debug)]
struct Search {
    automaton: AhoCorasick,
    ids: Vec<u32>,
}

impl Search {
    fn new(vocab: &Vocab, wanted: impl Fn(Kind) -> bool) -> Result<Option<Self>, TokenizerError> {
        let ids: Vec<u32> = (0..u32::try_from(vocab.len()).unwrap_or(u32::MAX))
            .filter(|&id| vocab.kind(id).is_some_and(&wanted) && !vocab.text(id).is_empty())
            .collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(ids.iter().map(|&id| vocab.text(id)))
            .map_err(|error| TokenizerError::Vocabulary(format!("control tokens: {error}")))?;
        Ok(Some(Self { automaton, ids }))
    }
}

impl Markers {
    /// Collects the markers of a vocabulary.
    pub(super) fn new(vocab: &Vocab) -> Result<Self, TokenizerError> {
        Ok(Self {
            user: Search::new(vocab, |kind| kind == Kind::UserDefined)?,
            all: Search::new(vocab, |kind| kind == Kind::UserDefined || kind.is_control())?,
        })
    }

    /// Cuts a text; control markers count only if `parse_special`.
    pub(super) fn split<'t>(
        &self,
        text: &'t str,
        parse_special: bool,
        mut each: impl FnMut(Fragment<'t>) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        let search = if parse_special { &self.all } else { &self.user };
        let mut from = 0;
        if let Some(search) = search {
            for found in search.automaton.find_iter(text) {
                if let Some(before) = text.get(from..found.start()).filter(|part| !part.is_empty()) {
                    each(Fragment::Text(before))?;
                }
                if let Some(&id) = search.ids.get(found.pattern().as_usize()) {
                    each(Fragment::Token(id))?;
                }
                from = found.end();
            }
        }
        match text.get(from..) {
            Some(rest) if !rest.is_empty() => each(Fragment::Text(rest)),
            _ => Ok(()),
        }
    }
}
