//! Regular expressions that count how often a part comes.
//!
//! An automaton that counts has its states once for each number that it counts to, and a parser that makes them as they are met
//! meets new ones all through an answer. Where a part shows its own end, as a line does, a rule can count instead, and all
//! repetitions share the automaton of one.

use llguidance::derivre::Regex;
use llguidance::panic_utils::catch_unwind;
use llguidance::regex_to_lark;
use regex_syntax::hir::HirKind;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;

/// Fewest repetitions that are worth it.
const FEWEST: u32 = 4;
/// Most bytes of the part, states of its automaton and work to make them.
const MOST_BYTES: usize = 4096;
const MOST_STATES: usize = 512;
const MOST_WORK: u64 = 100_000;

/// The Lark grammar of a regular expression that repeats one part; none if it does not, or if the part does not show its end.
pub(crate) fn as_rule(regex: &str) -> Option<String> {
    let expression = regex_syntax::parse(regex).ok()?;
    let HirKind::Repetition(repetition) = expression.kind() else {
        return None;
    };
    let (least, most) = (repetition.min, repetition.max);
    let part = repetition.sub.to_string();
    if most.unwrap_or(least) < FEWEST || part.len() > MOST_BYTES {
        return None;
    }
    // Expressions are anybody's, and a panic over one is not to be more than a rule that is not made.
    if !catch_unwind(AssertUnwindSafe(|| Ok(shows_its_end(&part)))).unwrap_or(false) {
        return None;
    }
    let most = most.map_or(String::new(), |most| most.to_string());
    Some(format!("start: PART{{{least},{most}}}\nPART: /{}/", regex_to_lark(&part, "")))
}

/// Whether no match begins with a shorter one: then a text has at most one division into matches, and whoever reads it byte by
/// byte knows where each ends. Whoever takes long to find out counts as one that does not.
fn shows_its_end(part: &str) -> bool {
    let Ok(mut automaton) = Regex::new(part) else {
        return false;
    };
    let first = automaton.initial_state();
    if automaton.is_accepting(first) {
        return false;
    }
    let (mut met, mut waiting) = (HashSet::from([first]), vec![first]);
    while let Some(state) = waiting.pop() {
        let ends = automaton.is_accepting(state);
        for byte in 0..=u8::MAX {
            let next = automaton.transition(state, byte);
            if next.is_dead() {
                continue;
            }
            if ends || automaton.cost() > MOST_WORK {
                return false;
            }
            if met.insert(next) {
                waiting.push(next);
            }
        }
        if met.len() > MOST_STATES {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Draws;
    use crate::testing::tokenizer;
    use crate::{Grammar, GrammarCompiler};

    #[test]
    fn a_rule_allows_and_forces_what_the_expression_does() {
        let compiler = GrammarCompiler::new(&tokenizer()).unwrap();
        let (mut complete, mut forces) = (0, 0);
        for regex in [
            "([A-Z][a-z]{2,9}( [a-z]{1,12}){2,9}[.!?] ){400}",
            "([a-c]{1,3}(ab|ac)*;(x|yz)){4,6}",
            "(?:[0-9]{1,3}/[a-z]+\n){5,}",
            "(?:(?i:ja|nein)[,.] ){0,4}",
            "([ab]{1,3};){900,30000}",
            "([ab]{1,3};){0,1000000}",
            "(?:the end|ä)(?:){1}",
            "(the end of (a|the) (hen|fox)\n){4,5}",
        ] {
            let by_rule = compiler.compile(&Grammar::Regex(regex.into())).unwrap();
            let lark = format!("start: /{}/", regex_to_lark(regex, ""));
            let by_expression = compiler.compile(&Grammar::Lark(lark)).unwrap();
            for seed in 0..12 {
                let mut draws = Draws::new(Some(seed));
                let ((mut rule, ahead), (mut expression, _)) = (by_rule.begin(), by_expression.begin());
                forces += ahead.forced.len();
                for _ in 0..90 {
                    assert_eq!(rule.is_stopped(), expression.is_stopped(), "{regex}");
                    if rule.is_stopped() {
                        complete += 1;
                        break;
                    }
                    let allowed = rule.mask().unwrap();
                    assert_eq!(allowed, expression.mask().unwrap(), "{regex}");
                    let allowed: Vec<u32> = allowed.iter().collect();
                    let id = allowed[(draws.uniform() * allowed.len() as f64) as usize];
                    forces += usize::from(allowed.len() == 1);
                    rule.consume(id).unwrap();
                    expression.consume(id).unwrap();
                }
            }
        }
        assert!(complete > 20 && forces > 20, "{complete} complete, {forces} forced");
    }

    #[test]
    fn what_shows_its_end_is_counted_by_a_rule() {
        assert!(as_rule("([a-z]{1,3};){5,9}").unwrap().starts_with("start: PART{5,9}\nPART: /"));
        assert_eq!(as_rule("(?:a/|b\n){7}").unwrap().lines().next(), Some("start: PART{7,7}"));
        assert!(as_rule("(?:a/|b\n){7,}").unwrap().starts_with("start: PART{7,}\n"));
        // It may go on behind its end, it may be empty, it need not be counted, or it is not alone.
        for regex in ["([a-z]{1,3}){5,9}", "(a|ab){9}", "(a?){9}", "(a;)*", "(a;)+", "(a;){2}", "(a;){9}b", "a{,", ""] {
            assert_eq!(as_rule(regex), None, "{regex}");
        }
    }

    #[test]
    fn large_parts_are_left_alone() {
        assert_eq!(as_rule("([a-z]{1000};){9}"), None);
        assert_eq!(as_rule(&format!("({};){{9}}", "a".repeat(MOST_BYTES))), None);
    }
}
