//! `whole`: a prompt runs in one step, through all layers.
//!
//! This is iteration-level scheduling as in Orca (OSDI 2022). It is the fastest way to a prompt's first token and the
//! worst for everybody else: every stream stands still until the longest prompt is through. Waiting prompts share a step
//! while their sum is small, since a second pass over the weights would cost all of them more.

use super::take_newcomer;
use crate::cohort::Member;
use crate::queues::Queues;

/// Prompt tokens that a step takes from more than one prompt. It bounds the memory of a step; a single prompt may be longer.
const STEP_TOKENS: usize = 8192;

/// The waiting prompts in their order, each whole.
pub(super) fn gather(queues: &mut Queues) -> Vec<Member> {
    let mut members = Vec::new();
    let mut taken = 0;
    while let Some(head) = queues.head()
        && let Some(tokens) = queues.admissible(head)
        && (members.is_empty() || taken + tokens <= STEP_TOKENS)
        && take_newcomer(queues, head, &mut members, &mut { tokens }).is_some()
    {
        taken += tokens;
    }
    members
}
