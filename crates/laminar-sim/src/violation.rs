//! What an auditor finds wrong.

use std::fmt;

/// A rule of the scheduler. The invariants have their numbers in ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Invariant 1: every decoding sequence, and nobody else, is in every step, one position further.
    Decode,
    /// Invariant 3: each row of a cohort meets each layer once, in order.
    Walk,
    /// Invariant 3, and what else a policy promises of its tiles.
    Policy,
    /// Invariant 4: what is found in the prefix cache is what would have been computed; nobody writes what others hold.
    Cache,
    /// Each row of a recurrent layer runs on the state behind the row before it; nobody writes what others read.
    State,
    /// Invariant 5: who has left holds nothing and runs no more.
    Gone,
    /// Invariant 6: the same calls give the same steps.
    Replay,
    /// Invariant 7: what must be refused is refused, and changes nothing.
    Refusal,
    /// Used, cached and free blocks are all blocks, and the gauges tell the truth.
    Books,
    /// A table covers what its sequence knows, and at most one block more.
    Table,
    /// Those who wait are admitted in their order, when there is room, and leave a reserve.
    Admission,
    /// Blocks are taken away only in need, from the most junior.
    Preemption,
    /// Tenants that both wait are served alike.
    Fairness,
    /// Whoever is accepted ends, with all its tokens.
    Starvation,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The newest step when it was found.
    pub step: u64,
    /// The rule.
    pub rule: Rule,
    /// What was seen.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "step {}: {:?}: {}", self.step, self.rule, self.message)
    }
}

impl std::error::Error for Violation {}

/// A broken rule, before somebody adds the step.
#[derive(Debug)]
pub(crate) struct Broken(pub Rule, pub String);

/// Returns an error from the enclosing function unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $rule:ident, $($message:tt)+) => {
        if !$condition {
            return Err($crate::violation::Broken($crate::Rule::$rule, format!($($message)+)));
        }
    };
}
pub(crate) use ensure;
