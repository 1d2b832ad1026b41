//! How many rows set out together.

use super::reach::largest;
use crate::cohort::Member;
use crate::costs::{Batch, Costs, Rows};
use crate::cursor::ROW_STEP;
use crate::policy::limit::Limit;
use crate::queues::Slot;
use crate::state::State;

/// Of two walks that take about equally long, the one with fewer chunks reads fewer experts.
const ABOUT_EQUAL: f64 = 1.01;

/// How many times longer anybody's prefill may become for the company it keeps.
const COMPANY: f64 = 2.0;

/// Waiting prompts that are looked at for company.
const LOOKED_AT: usize = 16;

/// The rows that set out with this sequence, admitted if it waits: as many of its own as are through first, and, when these
/// are all it has, prompts that lose little by coming along.
pub(super) fn gather(state: &mut State, slot: Slot, cohort_tokens: usize, batch: Batch, limit: &Limit) -> Vec<Member> {
    let mut members = Vec::new();
    state.admit(slot);
    let Some(sequence) = state.queues.get(slot) else { return members };
    let (start, remaining) = (sequence.done(), sequence.remaining());
    let rows = choose(&state.costs, batch, limit, start, remaining, cohort_tokens);
    members.extend(state.queues.next_rows(slot, rows).map(|rows| Member { slot, rows }));
    if rows < remaining {
        return members;
    }
    let service = |state: &State, slot| {
        state.queues.get(slot).map_or(0.0, |sequence| state.costs.service(sequence.done(), sequence.remaining()))
    };
    let mut together = service(state, slot);
    let (mut shortest, mut total) = (together, rows);
    while let Some(next) = company(state, &members, together, shortest, cohort_tokens - total) {
        let own = service(state, next);
        if state.admit(next).is_none() && !state.queues.is_started(next) {
            break;
        }
        // What the prefix cache holds of it is known now.
        let Some(rows) = state.queues.next_rows(next, usize::MAX) else { break };
        if choose(&state.costs, batch, limit, rows.start, total + rows.rows, cohort_tokens) < total + rows.rows {
            // It sets out later, alone.
            break;
        }
        members.push(Member { slot: next, rows });
        total += rows.rows;
        together += own;
        shortest = shortest.min(own);
    }
    members
}

/// A prompt that may come along.
fn company(state: &State, members: &[Member], together: f64, shortest: f64, room: usize) -> Option<Slot> {
    let queues = &state.queues;
    let waiting = queues.in_turn().take(LOOKED_AT).filter(|slot| queues.admissible(*slot).is_some());
    queues.unfinished().chain(waiting).find(|slot| {
        let Some(sequence) = queues.get(*slot) else { return false };
        let own = state.costs.service(sequence.done(), sequence.remaining());
        members.iter().all(|member| member.slot != *slot)
            && sequence.remaining() <= room
            && together + own <= COMPANY * shortest.min(own)
    })
}

/// Rows of the first chunk: those of the number of chunks that are through first.
pub(super) fn choose(
    costs: &Costs,
    batch: Batch,
    limit: &Limit,
    start: usize,
    remaining: usize,
    cohort_tokens: usize,
) -> usize {
    let fewest = remaining.div_ceil(cohort_tokens).max(1);
    let walk = Walk { costs, batch, limit, start, remaining };
    // The fewest chunks that each pass all layers in one step: the deadline's own chunk size.
    let one_step = largest(remaining, 1, |rows| walk.whole_stack(rows) <= limit.room);
    let one_step = if one_step > 0 { remaining.div_ceil(one_step) } else { remaining };
    let mut best = (fewest, walk.seconds(fewest));
    let mut chunks = fewest;
    loop {
        chunks = (chunks + 1).max(chunks + chunks / 8).min(remaining);
        if chunks <= fewest {
            break;
        }
        for candidate in [chunks, one_step] {
            let seconds = walk.seconds(candidate);
            if candidate > fewest && seconds * ABOUT_EQUAL < best.1 {
                best = (candidate, seconds);
            }
        }
        if chunks >= remaining || chunks > one_step {
            break;
        }
    }
    let rows = remaining.div_ceil(best.0);
    // The last of several chunks may be smaller; the others are cut where rows are bundled.
    if rows < remaining { rows.next_multiple_of(ROW_STEP).min(remaining) } else { rows }
}

/// A prompt's way through the layers, in chunks of equal size.
struct Walk<'a> {
    costs: &'a Costs,
    batch: Batch,
    limit: &'a Limit,
    start: usize,
    remaining: usize,
}

impl Walk<'_> {
    /// Seconds that the first `rows` rows add to one step through all layers.
    fn whole_stack(&self, rows: usize) -> f64 {
        let layer = self.costs.shared_layer(self.batch, Rows::of(self.start, rows));
        self.costs.seconds(&layer) * self.costs.layers() as f64
    }

    /// Seconds until the prompt is through in so many chunks, decode rows included; infinite if a step cannot hold the
    /// smallest part of a layer.
    fn seconds(&self, chunks: usize) -> f64 {
        let Self { costs, batch, limit, start, remaining } = self;
        let rows = remaining.div_ceil(chunks.max(1));
        // An average chunk: half of the others are before it.
        let tile = Rows::of(start + (remaining - rows) / 2, rows);
        let layers = costs.layers() as f64;
        let room = limit.room;
        let shared = costs.seconds(&costs.shared_layer(*batch, tile));
        let (steps, prefill) = if layers * shared <= room {
            (1.0, layers * shared)
        } else if shared <= room {
            let own = costs.seconds(&costs.own_layer(tile));
            let whole_steps = (layers / (room / shared).floor()).ceil();
            let filled_steps = (layers * shared / room).ceil();
            (if own <= 1.1 * shared { filled_steps } else { whole_steps }, layers * shared)
        } else {
            let unit = costs.seconds(&costs.feed_forward(rows, if costs.is_mixture() { 1 } else { ROW_STEP }));
            let bundle = Rows::of(start + remaining - rows.min(ROW_STEP), rows.min(ROW_STEP));
            if unit.max(costs.seconds(&costs.attention(bundle))) > room {
                return f64::INFINITY;
            }
            let attention = costs.seconds(&costs.attention(tile));
            let feed_forward = costs.seconds(&costs.feed_forward(rows, costs.extent(rows).units));
            let units = (room / unit).floor() * unit;
            ((layers * (attention / room + feed_forward / units)).ceil(), layers * (attention + feed_forward))
        };
        chunks as f64 * (steps * limit.decode + prefill)
    }
}
