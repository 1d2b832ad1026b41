//! The parser of one answer: what it allows, what it forces, what it has taken.
//!
//! Most tokens are asked for one by one, and a question costs as much as the bytes of the token that the parser has not met in
//! this place before. So all questions about one place are one session with the parser, in which a token is walked byte by byte:
//! how far it came says whether others of the same beginning need be asked for. Whether anything is forced is found out the same
//! way where two bytes are likely to be possible, which is nearly always.
//!
//! The `llguidance` crate means its parsers to be used through a type that knows none of this, so what that type promises is kept
//! here: a panic of the parser becomes an error, and after an error nothing else is asked.

use std::panic::AssertUnwindSafe;

use llguidance::TokenParser;
use llguidance::api::StopReason;
use llguidance::earley::regexvec::NextByte;
use llguidance::earley::{BiasComputer, ParserRecognizer};
use llguidance::panic_utils::catch_unwind;
use llguidance::toktrie::{Recognizer, SimpleVob, TokEnv, TokTrie};

/// Tokens refused in one place that are remembered, so that they are not asked for again when they are drawn again.
const REMEMBERED: usize = 16;

/// Stands for the bytes that a mask begins with, so that the empty mask that renews an allowance is not taken for a real one.
const NO_MASK: &[u8] = b" ";

/// The parser of one answer.
pub(crate) struct Parser {
    parser: TokenParser,
    env: TokEnv,
    /// Whether the bytes that look possible are possible.
    is_plain: bool,
    /// Why nothing can be asked any more.
    failed: Option<String>,
}

/// How tokens are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Questions {
    /// Most tokens to ask for.
    pub asks: usize,
    /// Whether a token is allowed for its bytes alone; then those that begin with a byte that was refused are not asked for.
    pub by_bytes: bool,
    /// Whether tokens that end the text may come where the answer is complete and nowhere else.
    pub ends_when_complete: bool,
}

/// What comes of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    Refused,
    /// Whatever begins with the same byte is refused as well.
    RefusedAtOnce,
}

/// Computes masks that allow nothing, and takes no time for it.
struct Idle<'a>(&'a TokTrie);

impl BiasComputer for Idle<'_> {
    fn compute_bias(&self, _: &mut ParserRecognizer<'_>, _: &[u8]) -> SimpleVob {
        self.0.alloc_token_set()
    }

    fn trie(&self) -> &TokTrie {
        self.0
    }
}

/// What an error says on its first line: the others are about the parser's insides.
pub(crate) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

impl Parser {
    /// A parser at the beginning of an answer. Its grammar is plain if it is one regular expression: nothing in it is the meet of
    /// two expressions or what another one does not match, so every way in leads somewhere.
    pub fn new(mut parser: TokenParser, is_plain: bool) -> Self {
        if parser.is_fresh() {
            parser.start_without_prompt();
        }
        let env = parser.token_env.clone();
        Self { parser, env, is_plain, failed: None }
    }

    /// A parser in the same place that shares nothing that changes.
    pub fn copy(&self) -> Self {
        let Self { parser, env, is_plain, failed } = self;
        Self { parser: parser.deep_clone(), env: env.clone(), is_plain: *is_plain, failed: failed.clone() }
    }

    /// Tokens of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.env.tok_trie().vocab_size()
    }

    /// Whether nothing may come any more.
    pub fn is_stopped(&self) -> bool {
        self.failed.is_some() || self.parser.stop_reason() != StopReason::NotStopped
    }

    /// Asks the parser for something, unless it has failed.
    fn ask<T, E: ToString>(&mut self, f: impl FnOnce(&mut TokenParser, &TokTrie) -> Result<T, E>) -> Result<T, String> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let Self { parser, env, .. } = self;
        let answer = match catch_unwind(AssertUnwindSafe(|| Ok(f(parser, env.tok_trie())))) {
            Ok(answer) => answer.map_err(|error| first_line(&error.to_string())),
            Err(panic) => Err(first_line(&panic.to_string())),
        };
        if let Err(error) = &answer {
            self.failed = Some(error.clone());
        }
        answer
    }

    /// The tokens that may come next.
    ///
    /// # Errors
    /// The parser has reached one of its limits.
    pub fn mask(&mut self) -> Result<SimpleVob, String> {
        self.ask(|parser, _| parser.compute_mask())
    }

    /// Has the next mask computed even if it is the newest one again: one that is remembered does not renew the allowance for
    /// work.
    pub fn forget_mask(&mut self) {
        self.parser.invalidate_bias_cache();
    }

    /// How much of the tree of tokens the newest mask has gone through.
    pub fn walked(&self) -> usize {
        self.parser.last_step_stats().trie_nodes_walked
    }

    /// Work done until the newest mask or until the allowance was renewed last.
    fn worked(&self) -> u64 {
        self.parser.parser.stats().lexer_cost
    }

    /// The work on the way to the newest mask.
    pub fn work_of_mask(&self) -> u64 {
        self.parser.last_step_stats().lexer_cost
    }

    /// Renews the allowance for work as a mask does, and says how much work was done since the last time.
    ///
    /// # Errors
    /// The parser has failed.
    pub fn renew(&mut self) -> Result<u64, String> {
        let before = self.worked();
        self.ask(|parser, trie| {
            parser.parser.compute_bias(&Idle(trie), NO_MASK);
            Ok::<_, String>(())
        })?;
        Ok(self.worked().saturating_sub(before))
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The parser has reached one of its limits, or does not allow the token.
    pub fn consume(&mut self, id: u32) -> Result<(), String> {
        self.consume_all(&[id])
    }

    fn consume_all(&mut self, ids: &[u32]) -> Result<(), String> {
        let went_back = self.ask(|parser, _| {
            let mut went_back = 0;
            for id in ids {
                went_back += parser.consume_token(*id)?;
            }
            // Notes whether nothing may follow.
            parser.check_stop().map(|_| went_back)
        })?;
        match went_back {
            0 => Ok(()),
            _ => Err("the grammar takes tokens back".to_owned()),
        }
    }

    /// Takes the parser past the tokens that it forces, until it forces none: then a mask allows what is allowed token by token.
    ///
    /// # Errors
    /// The parser has reached one of its limits.
    pub fn force(&mut self) -> Result<Vec<u32>, String> {
        let mut forced = Vec::new();
        while !self.is_stopped() {
            let more = self.ask(|parser, _| Ok::<_, String>(parser.compute_ff_tokens()))?;
            if more.is_empty() {
                break;
            }
            self.consume_all(&more)?;
            forced.extend(more);
        }
        Ok(forced)
    }

    /// Whether it is plain that nothing is forced here. The parser would look at the same bytes, and get ready for one that is
    /// forced before and after.
    ///
    /// # Errors
    /// The parser has failed.
    pub fn has_choice(&mut self) -> Result<bool, String> {
        let is_plain = self.is_plain;
        self.ask(|parser, _| {
            if !parser.parser.currently_forced_bytes().is_empty() {
                return Ok::<_, String>(false);
            }
            if parser.is_accepting() {
                // The answer may end here.
                return Ok(true);
            }
            Ok(parser.parser.with_recognizer(|place| {
                let state = place.lexer_state();
                let NextByte::SomeBytes2(bytes) = place.lexer_mut().next_byte(state) else {
                    return false;
                };
                if is_plain {
                    return true;
                }
                place.trie_started("choice");
                let both = bytes.iter().all(|byte| place.byte_allowed(*byte));
                place.trie_finished();
                both
            }))
        })
    }

    /// The first of these tokens that may come next; none if it is not among those that may be asked for.
    pub fn first_allowed(&mut self, tokens: impl Iterator<Item = u32>, questions: Questions) -> Option<u32> {
        self.ask(|parser, trie| {
            let is_accepting = parser.is_accepting();
            if !questions.by_bytes {
                let ask = |id: u32, _: &[u8]| match parser.validate_tokens_raw(&[id]).ok()? {
                    0 => Some(Answer::Refused),
                    _ => Some(Answer::Allowed),
                };
                return Ok::<_, String>(first_of(tokens, trie, is_accepting, questions, ask));
            }
            let pending = parser.parser.currently_forced_bytes().to_vec();
            Ok(parser.parser.with_recognizer(|place| {
                place.trie_started("tokens");
                let ask = |_: u32, bytes: &[u8]| Some(walk(place, bytes, &pending));
                let found = first_of(tokens, trie, is_accepting, questions, ask);
                place.trie_finished();
                found
            }))
        })
        .ok()
        .flatten()
    }
}

/// Asks for a token by its bytes, of which the first ones may be settled.
fn walk(place: &mut ParserRecognizer<'_>, bytes: &[u8], pending: &[u8]) -> Answer {
    let mut pushed = 0;
    for (number, byte) in bytes.iter().enumerate() {
        let goes_on = match pending.get(number) {
            Some(settled) => settled == byte,
            // What stands for control tokens is never a byte of a text.
            None => *byte != TokTrie::SPECIAL_TOKEN_MARKER && place.try_push_byte(*byte),
        };
        if !goes_on {
            place.pop_bytes(pushed);
            return if number == 0 { Answer::RefusedAtOnce } else { Answer::Refused };
        }
        pushed += usize::from(number >= pending.len());
    }
    place.pop_bytes(pushed);
    Answer::Allowed
}

/// The first token that may come next, by asking for one after the other.
fn first_of(
    tokens: impl Iterator<Item = u32>,
    trie: &TokTrie,
    is_accepting: bool,
    questions: Questions,
    mut ask: impl FnMut(u32, &[u8]) -> Option<Answer>,
) -> Option<u32> {
    let ends = trie.eos_tokens();
    let mut refused = [0; REMEMBERED];
    // A bit for each byte.
    let mut refused_bytes = [0u64; 4];
    let mut asked: usize = 0;
    for id in tokens {
        if ends.contains(&id) {
            if is_accepting {
                return Some(id);
            } else if !questions.ends_when_complete {
                return None;
            }
            continue;
        }
        let bytes = trie.token(id);
        let Some(first) = bytes.first() else {
            continue;
        };
        let (word, bit) = (usize::from(*first / 64), 1 << (*first % 64));
        if refused_bytes[word] & bit != 0 || refused[..asked.min(REMEMBERED)].contains(&id) {
            continue;
        }
        if asked >= questions.asks {
            return None;
        }
        match ask(id, bytes)? {
            Answer::Allowed => return Some(id),
            Answer::Refused => {}
            Answer::RefusedAtOnce => refused_bytes[word] |= bit,
        }
        refused[asked % REMEMBERED] = id;
        asked += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::rng::Draws;
    use crate::testing::tokenizer;
    use crate::{Grammar, GrammarCompiler};
    use serde_json::json;

    #[test]
    fn nothing_is_forced_where_there_is_a_choice() {
        let compiler = GrammarCompiler::new(&tokenizer()).unwrap();
        let regex = |text: &str| Grammar::Regex(text.into());
        let grammars = [
            regex("([A-Z][a-z]{2,9}( [a-z]{1,12}){2,9}[.!?] ){40}"),
            regex("([a-c]{1,3}(ab|ac)*;(x|yz)){4,60}"),
            regex("(?i:once|one|twice) (and|all|any|an old) ([a-c]|[b-d]x|é|ê){3,40} the end"),
            regex("((ab|a[bc]d?)*|(xyz){2,4}|[^a-z]{3}){1,9}\\.{3}"),
            regex("\\w{2,5}(-\\d{2}){4,9}(T[0-9:]{8}(Z|\\+00)?)?"),
            Grammar::Json(
                json!({"type": "object", "additionalProperties": {"type": "string", "pattern": "^(ab|ac)+$"},
                "properties": {"abc": {"type": "integer"}, "abd": {"enum": ["x", "xy", "z"]}}}),
            ),
            Grammar::Lark("start: WORD\nWORD: /[a-z]+/ & /b.*/ & ~/bb?/".into()),
        ];
        let (mut choices, mut forces) = (0, 0);
        for grammar in grammars {
            let constraint = compiler.compile(&grammar).unwrap();
            for seed in 0..20 {
                let mut draws = Draws::new(Some(seed));
                let (mut parser, _) = constraint.begin();
                for _ in 0..60 {
                    let has_choice = parser.has_choice().unwrap();
                    let forced = parser.force().unwrap();
                    assert!(!has_choice || forced.is_empty(), "{grammar:?} forces {forced:?}");
                    choices += usize::from(has_choice);
                    forces += usize::from(!forced.is_empty());
                    if parser.is_stopped() {
                        break;
                    }
                    let allowed: Vec<u32> = parser.mask().unwrap().iter().collect();
                    parser.consume(allowed[(draws.uniform() * allowed.len() as f64) as usize]).unwrap();
                    if parser.is_stopped() {
                        break;
                    }
                }
            }
        }
        assert!(choices > 500 && forces > 100, "{choices} choices, {forces} forced");
    }
}
