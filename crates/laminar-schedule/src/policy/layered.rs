//! `layered`: a step runs a whole cohort through one group of layers.
//!
//! This is layered prefill (Lee et al., arXiv 2510.08055, section numbers of our notes in brackets). The stack is cut
//! into contiguous groups; in every step all decode rows pass all layers while the cohort's prompt rows pass exactly one
//! group, one deeper each step [1.1]. A row meets each layer once, so a prompt reads each expert it needs once, and a
//! step is as short as that of a chunk of `group_tokens` tokens.
//!
//! - Groups: `max(1, ceil(tokens / group_tokens))` of the cohort's tokens, at most one a layer, sizes equal to within one
//!   layer, the larger ones first [1.2].
//! - One cohort is under way at a time. A new one takes started prompts first, then newcomers in their order, up to
//!   `cohort_tokens` rows [1.3].
//! - A prompt longer than that is chunked *and* layered: each chunk walks all groups before the next one starts [1.4].
//!
//! One rule is ours: a prompt that fits a cohort is never cut to fill up another one. The released code cuts it, and such a
//! prompt reads its experts twice. [`Policy::LayeredReleased`](super::Policy::LayeredReleased) follows the released code in
//! this and in its table of group counts.

use super::{take_newcomer, take_started};
use crate::cohort::Member;
use crate::queues::Queues;

/// The next cohort's rows.
pub(super) fn gather(queues: &mut Queues, cohort_tokens: usize) -> Vec<Member> {
    let mut members = Vec::new();
    let mut budget = cohort_tokens;
    take_started(queues, &mut members, &mut budget);
    while budget > 0
        && let Some(head) = queues.head()
        && let Some(tokens) = queues.admissible(head)
        && (members.is_empty() || tokens <= budget)
        && take_newcomer(queues, head, &mut members, &mut budget).is_some()
    {}
    members
}

/// The paper's number of layer groups for a cohort.
pub(super) fn group_count(tokens: usize, group_tokens: usize) -> usize {
    tokens.div_ceil(group_tokens).max(1)
}

/// The released code's number of layer groups: a table of powers of two up to 4096 tokens [1.2]. At most `cap` of them, and
/// in the table's last row but one no more than half of it.
pub(super) fn released_count(tokens: usize, cap: usize) -> usize {
    let count = match tokens {
        0..=512 => 1,
        513..=1024 => 2,
        1025..=2048 => 4,
        2049..=4096 => (cap / 2).clamp(4, 8),
        _ => cap,
    };
    count.min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_released_code() {
        let row = |cap| [512, 1024, 2048, 4096, 8192].map(|tokens| released_count(tokens, cap));
        assert_eq!(row(16), [1, 2, 4, 8, 16]);
        assert_eq!(row(12), [1, 2, 4, 6, 12]);
        assert_eq!(row(24), [1, 2, 4, 8, 24]);
        assert_eq!(row(4), [1, 2, 4, 4, 4]);
    }
}
