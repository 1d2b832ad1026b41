//! How many rows set out together.

use super::reach::{PARTS_ARE_CHEAP, largest};
use crate::cohort::Member;
use crate::costs::{Batch, Costs, Rows};
use crate::cursor::ROW_STEP;
use crate::policy::limit::Limit;
use crate::queues::Slot;
use crate::state::State;

/// Of two walks that take about equally long, the one with fewer chunks reads fewer experts.
const ABOUT_EQUAL: f64 = 1.01;

/// How many times better a walk must be that is predicted roughly.
const CLEARLY: f64 = 1.04;

/// How many times better a walk of several chunks must be where tiles end with the clock: parts of layers then use all of the
/// time there is, whatever was predicted, and whole layers do not. Where little time is left, predictions of either differ by
/// half with the speed of the machine, while reads that are repeated are certain.
const COARSER: f64 = 2.0;

/// What stops inside the layers of a dense model may cost beyond the prediction.
const STOPS: f64 = 1.25;

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
    let mut together = Rows::of(start, rows);
    let mut shortest = state.costs.service(together);
    while let Some(next) = company(state, &members, together, shortest, cohort_tokens - together.rows) {
        if state.admit(next).is_none() && !state.queues.is_started(next) {
            break;
        }
        // What the prefix cache holds of it is known now.
        let Some(rows) = state.queues.next_rows(next, usize::MAX) else { break };
        let own = Rows::of(rows.start, rows.rows);
        let total = together.and(own);
        if choose(&state.costs, batch, limit, rows.start, total.rows, cohort_tokens) < total.rows {
            // It sets out later, alone.
            break;
        }
        members.push(Member { slot: next, rows });
        together = total;
        shortest = shortest.min(state.costs.service(own));
    }
    members
}

/// A prompt that may come along.
fn company(state: &State, members: &[Member], together: Rows, shortest: f64, room: usize) -> Option<Slot> {
    let queues = &state.queues;
    queues.unfinished().chain(queues.in_turn().take(LOOKED_AT)).find(|slot| {
        let Some(sequence) = queues.get(*slot) else { return false };
        let rows = if queues.is_started(*slot) { Some(sequence.remaining()) } else { queues.admissible(*slot) };
        let Some(rows) = rows else { return false };
        let own = Rows::of(sequence.tokens() - rows, rows);
        let alone = state.costs.service(own);
        members.iter().all(|member| member.slot != *slot)
            && own.rows <= room
            && state.costs.service(together.and(own)) <= COMPANY * shortest.min(alone)
    })
}

/// Rows of the first chunk, of the walk that is through first.
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
    let mut best = fewest;
    let mut seconds = walk.in_layers(fewest);
    let (rows, one_step) = walk.in_one_step(cohort_tokens);
    let coarser = if limit.is_watched && batch.rows > 0 { COARSER } else { 1.0 };
    // Chunks of a mixture read experts again. Those of a dense model share all of their passes with the decode rows, and
    // each stop inside a layer reads some weights again, which the prediction leaves out.
    let chunks_win = match costs.is_mixture() {
        true => one_step * ABOUT_EQUAL * coarser < seconds,
        false if batch.rows > 0 => one_step < seconds * STOPS,
        false => one_step < seconds * ABOUT_EQUAL,
    };
    let in_one_step = rows > 0 && rows < remaining.div_ceil(fewest) && chunks_win;
    if in_one_step {
        seconds = one_step * coarser;
    }
    // More chunks than that are never better: each of these passes all layers in a step of its own. What lies between the
    // two spares a mixture some reads, and must be clearly better, since its prediction is the roughest.
    let most = if in_one_step && !costs.is_mixture() { 0 } else { remaining.div_ceil(rows.max(1)) };
    let mut between = None;
    let mut chunks = fewest + 1;
    while chunks < most {
        let candidate = walk.in_layers(chunks);
        let candidate = candidate * CLEARLY * coarser;
        if candidate < seconds {
            (between, seconds) = (Some(chunks), candidate);
        }
        chunks += (chunks / 8).max(1);
    }
    match between {
        None if in_one_step => return rows,
        None => {}
        Some(chunks) => best = chunks,
    }
    let rows = remaining.div_ceil(best);
    // The last of several chunks may be smaller; the others are cut where rows are bundled.
    if rows < remaining { rows.next_multiple_of(ROW_STEP).min(remaining).min(cohort_tokens) } else { rows }
}

/// A prompt's way through the layers.
struct Walk<'a> {
    costs: &'a Costs,
    batch: Batch,
    limit: &'a Limit,
    start: usize,
    remaining: usize,
}

impl Walk<'_> {
    /// Seconds that `rows` rows from a position add to one step through all layers, and to its head if they are the last.
    fn whole_stack(&self, start: usize, rows: usize) -> f64 {
        let Self { costs, batch, .. } = *self;
        let layers = costs.seconds(&costs.shared_layer(batch, Rows::of(start, rows))) * costs.layers() as f64;
        let ends = start + rows >= self.start + self.remaining;
        if ends { layers + costs.seconds(&costs.more_heads(batch, 1)) } else { layers }
    }

    /// Chunks that each pass all layers in one step, as large as the limit allows: rows of the first one (0 if not even one
    /// row can), and seconds until the prompt is through.
    fn in_one_step(&self, cohort_tokens: usize) -> (usize, f64) {
        let Self { limit, start, remaining, .. } = *self;
        let most = remaining.min(cohort_tokens);
        let fitting = |start| largest(most, 1, |rows| self.whole_stack(start, rows) <= limit.room);
        let first = fitting(start);
        if first == 0 {
            return (0, f64::INFINITY);
        }
        if first == remaining {
            return (first, limit.decode + self.whole_stack(start, first));
        }
        // Later chunks attend to more and are smaller, down to a single row: chunks and seconds for each row are summed up
        // from those at the begin, in the middle and at the end (Simpson's rule).
        let last = start + remaining - fitting(start + remaining).clamp(1, remaining);
        let (mut chunks, mut seconds) = (0.0, 0.0);
        for (start, weight) in [(start, 1.0), (start.midpoint(last), 4.0), (last, 1.0)] {
            let rows = fitting(start).max(1);
            let share = weight / 6.0 * remaining as f64 / rows as f64;
            chunks += share;
            seconds += share * self.whole_stack(start, rows);
        }
        (first, chunks.ceil() * limit.decode + seconds)
    }

    /// Seconds until the prompt is through in so many equal chunks that pass some layers a step, or a part of one; decode
    /// rows included. Infinite if a step cannot hold the smallest part of a layer.
    fn in_layers(&self, chunks: usize) -> f64 {
        let Self { costs, batch, limit, start, remaining } = *self;
        let rows = remaining.div_ceil(chunks.max(1));
        // An average chunk: half of the others are before it.
        let tile = Rows::of(start + (remaining - rows) / 2, rows);
        let layers = costs.layers() as f64;
        let room = limit.room;
        let shared = costs.seconds(&costs.shared_layer(batch, tile));
        let (steps, prefill) = if layers * shared <= room {
            (1.0, layers * shared)
        } else if shared <= room {
            let own = costs.seconds(&costs.own_layer(tile));
            let whole_steps = (layers / (room / shared).floor()).ceil();
            let filled_steps = (layers * shared / room).ceil();
            (if own <= PARTS_ARE_CHEAP * shared { filled_steps } else { whole_steps }, layers * shared)
        } else {
            let unit = costs.seconds(&costs.feed_forward(rows, if costs.is_mixture() { 1 } else { ROW_STEP }));
            let bundle = rows.min(ROW_STEP);
            let bundle = Rows::of(start + remaining - bundle, bundle);
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
