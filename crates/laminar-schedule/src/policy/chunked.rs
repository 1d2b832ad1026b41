//! `chunked`: a step runs at most so many prompt tokens, through all layers.
//!
//! This is chunked prefill as in Sarathi-Serve (OSDI 2024): decode rows ride along with every chunk, so no stream waits
//! longer than one chunk takes. The price is that each chunk passes all layers and so reads the experts again: a prompt of
//! `n` tokens reads them up to `ceil(n / tokens)` times.

use super::adaptive::largest;
use super::limit::Limit;
use super::{take_newcomer, take_started};
use crate::cohort::Member;
use crate::costs::Rows;
use crate::queues::Queues;
use crate::state::State;

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

/// The same within a time: as many rows as let the step end within the limit, one at least. Without streams to protect,
/// `tokens` is the budget.
pub(super) fn gather_within(state: &mut State, limit: &Limit, tokens: usize) -> Vec<Member> {
    let batch = state.batch();
    if batch.rows == 0 {
        return gather(&mut state.queues, tokens);
    }
    let mut members: Vec<Member> = Vec::new();
    let mut taken = Rows { rows: 0, context: 0.0 };
    loop {
        let next = state.queues.unfinished().find(|slot| members.iter().all(|member| member.slot != *slot));
        let Some(slot) = next.or_else(|| state.queues.head().filter(|head| state.queues.admissible(*head).is_some()))
        else {
            break;
        };
        let Some(sequence) = state.queues.get(slot) else { break };
        let remaining = state.queues.admissible(slot).unwrap_or(sequence.remaining());
        let start = sequence.tokens() - remaining;
        let costs = &state.costs;
        let fits = |rows| {
            let tile = taken.and(Rows::of(start, rows));
            let layers = costs.seconds(&costs.shared_layer(batch, tile)) * costs.layers() as f64;
            let head = if rows == remaining { costs.seconds(&costs.more_heads(batch, members.len() + 1)) } else { 0.0 };
            tile.rows <= tokens && layers + head <= limit.room
        };
        let mut rows = largest(remaining, 1, fits);
        if rows == 0 {
            if !members.is_empty() {
                break;
            }
            rows = 1;
        }
        state.admit(slot);
        let Some(rows) = state.queues.next_rows(slot, rows) else { break };
        taken = taken.and(Rows::of(rows.start, rows.rows));
        let cut = rows.rows < remaining;
        members.push(Member { slot, rows });
        if cut {
            break;
        }
    }
    members
}
