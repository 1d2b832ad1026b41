//! The tokens that an answer to a grammar may have at all, wherever in the answer.
//!
//! A regular expression of letters and spaces never allows a comma. Whoever knows that does not ask the parser for tokens with
//! a comma, and does not draw them: what is allowed in one place is among what is allowed anywhere, so a draw from those tokens,
//! drawn anew while the parser refuses it, has the probabilities that a mask gives.

use llguidance::toktrie::{SimpleVob, TokTrie};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::Grammar;

/// Bytes, each possible or not.
struct Bytes([bool; 256]);

/// The tokens that answers to a grammar may have, and those that end a text; none where nothing is known. A token is allowed for
/// its bytes alone. Be they few that are impossible: a model may well want one of them above all others.
pub(crate) fn possible(grammar: &Grammar, trie: &TokTrie) -> Option<SimpleVob> {
    let bytes = bytes(grammar)?;
    let mut tokens = trie.alloc_token_set();
    for id in 0..trie.vocab_size() as u32 {
        let token = trie.token(id);
        if !token.is_empty() && token.iter().all(|byte| bytes.0[usize::from(*byte)]) {
            tokens.allow_token(id);
        }
    }
    trie.eos_tokens().iter().for_each(|id| tokens.allow_token(*id));
    (tokens.num_set() < trie.vocab_size()).then_some(tokens)
}

/// The bytes that answers may have, or more; none where that is not known.
fn bytes(grammar: &Grammar) -> Option<Bytes> {
    let mut bytes = Bytes([false; 256]);
    match grammar {
        // What the parser of grammars makes of it as well.
        Grammar::Regex(regex) => bytes.add(&regex_syntax::parse(regex).ok()?),
        Grammar::Choice(choices) => choices.iter().for_each(|choice| bytes.add_all(choice.as_bytes())),
        Grammar::Json(_) | Grammar::Lark(_) | Grammar::Nested { .. } => return None,
    }
    Some(bytes)
}

impl Bytes {
    fn add_all(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0[usize::from(*byte)] = true);
    }

    fn add_range(&mut self, first: u8, last: u8) {
        (first..=last).for_each(|byte| self.0[usize::from(byte)] = true);
    }

    /// Adds what texts that match may have. Nesting is limited where expressions are parsed.
    fn add(&mut self, expression: &Hir) {
        match expression.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => self.add_all(&literal.0),
            HirKind::Class(Class::Bytes(class)) => {
                class.iter().for_each(|range| self.add_range(range.start(), range.end()));
            }
            HirKind::Class(Class::Unicode(class)) => {
                for range in class.iter() {
                    let (first, last) = (u32::from(range.start()), u32::from(range.end()));
                    if let Ok(first) = u8::try_from(first)
                        && first.is_ascii()
                    {
                        self.add_range(first, last.min(0x7f) as u8);
                    }
                    if last > 0x7f {
                        // Several bytes spell such a character.
                        self.add_range(0x80, 0xff);
                    }
                }
            }
            HirKind::Repetition(repetition) => self.add(&repetition.sub),
            HirKind::Capture(capture) => self.add(&capture.sub),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().for_each(|part| self.add(part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(grammar: &Grammar) -> Option<Vec<u8>> {
        bytes(grammar).map(|bytes| (0..=255).filter(|byte| bytes.0[usize::from(*byte)]).collect())
    }

    #[test]
    fn bytes_of_expressions_are_all_that_they_may_match() {
        let regex = |text: &str| of(&Grammar::Regex(text.into()));
        assert_eq!(regex("(ab){2,3}(?:[x-z]|/)?").unwrap(), b"/abxyz");
        assert_eq!(regex("(?i)k").unwrap()[..2], *b"Kk");
        assert_eq!(regex("ä").unwrap(), [0xa4, 0xc3]);
        assert_eq!(regex("[^a]").unwrap().len(), 255);
        assert_eq!(regex("a{0}(?i:[b-c])").unwrap(), b"BCbc");
        assert_eq!(regex("("), None);
        assert_eq!(of(&Grammar::Choice(vec!["no".into(), "on".into()])).unwrap(), b"no");
        assert_eq!(of(&Grammar::Lark("start: \"a\"".into())), None);
    }
}
