//! `chunked`: a step runs at most so many prompt tokens, through all layers.
//!
//! This is chunked prefill as in Sarathi-Serve (OSDI 2024): decode rows ride along with every chunk, so no stream waits
//! longer than one chunk takes. The price is that each chunk passes all layers and so reads the experts again: a prompt of
//! `n` tokens reads them up to `ceil(n / tokens)` times.

use super::{take_newcomer, take_started};
use crate::cohort::Member;
use crate::queues::Queues;

/// Fills the budget with started prompts first, then with newcomers, each in its order; the last one is cut to fit.
pub(super) fn gather(queues: &mut Queues, tokens: usize) -> Vec<Member> {
    let mut members = Vec::new();
    let mut budget = tokens;
    take_started(queues, &mut members, &mut budget);
    while budget > 0
        && let Some(head) = queues.head()
        && take_newcomer(queues, head, &mut members, &mut budget).is_some()
    {}
    members
}
