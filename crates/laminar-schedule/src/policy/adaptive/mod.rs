//! `adaptive`: rows x layers of each step from the latency target.
//!
//! A step that prefills ends within the streams' target for the time between two tokens (TBT), as the live cost model sees
//! it; what the decode rows leave of that time is the prompt's. Four questions, one file each:
//!
//! - *Until when* (`../limit.rs`): the tightest target of the streams; without streams, a step short enough to interrupt.
//! - *Who* (`order.rs`): which prompt goes next, and whether it overtakes those under way.
//! - *How many rows* (`rows.rs`): all rows at once read each expert once; a prompt cut into chunks reads them once a chunk, but
//!   shares more of its passes with the decode rows. Whichever is through first; when equal, the larger one.
//! - *How far* (`reach.rs`): the farthest cursor that the time allows, inside a layer if need be: attention by rows, then
//!   experts by number, so that each expert is read once however little time a step has.
//!
//! What follows from it: with nobody to protect a prompt runs at the speed of `whole`, in steps of a tenth of a second; on
//! dense models the walk is `chunked` with the largest chunk that fits; on mixtures it is `layered` with groups balanced by
//! predicted time, several layers a step when there is slack and parts of one when there is little; a late chunk behind a
//! long prefix costs more and is cut smaller.

mod order;
mod reach;
mod rows;

use super::limit::Limit;
use crate::cohort::Cohort;
use crate::costs::Batch;
use crate::state::State;
use crate::{Targets, Tile};
use order::Next;
pub(super) use reach::largest;
use std::time::Duration;

/// Cohorts that may be under way at once: one that was overtaken waits with its rows in memory.
const MAX_COHORTS: usize = 4;

/// Where the executor ends tiles when the time is over, those inside a layer are planned longer than predictions say, by this
/// share of the step's time: a step that turns out fast is not over before its time.
const SLACK: f64 = 0.25;

/// Share of a step's time that must be left for another cohort to begin in it.
const WORTH_BEGINNING: f64 = 0.15;

/// The prefill tiles of the next step, newcomers admitted.
pub(super) fn tiles(state: &mut State, targets: Targets, cohort_tokens: usize, now: Duration) -> (Limit, Vec<Tile>) {
    let batch = state.batch();
    let limit = Limit::new(state, targets.tbt, batch, state.is_watched);
    let mut tiles: Vec<Tile> = Vec::new();
    let mut left = limit.room;
    let slack = if state.is_watched && batch.rows > 0 { SLACK * limit.until } else { 0.0 };
    while let Some(index) = next_cohort(state, targets, cohort_tokens, batch, &limit, now, &tiles)
        && let Some(cohort) = state.cohorts.get(index)
    {
        let first = tiles.is_empty();
        let Some(to) = reach::farthest(&state.costs, cohort, batch, first, left, limit.room, slack).or_else(|| {
            // However little time there is, a prompt moves.
            first.then(|| reach::least(&state.costs, cohort))
        }) else {
            break;
        };
        left -= state.costs.seconds(&state.costs.tile(cohort, to, batch, first));
        let through = to.layer >= state.costs.layers();
        tiles.push(cohort.tile(to));
        if !through || left < WORTH_BEGINNING * limit.room {
            break;
        }
    }
    (limit, tiles)
}

/// The cohort whose turn it is, a new one if a prompt that waits is to go first.
fn next_cohort(
    state: &mut State,
    targets: Targets,
    cohort_tokens: usize,
    batch: Batch,
    limit: &Limit,
    now: Duration,
    tiles: &[Tile],
) -> Option<usize> {
    let idle = |cohort: &Cohort| tiles.iter().all(|tile| tile.cohort != cohort.id());
    // The newest one has overtaken the others, so it is the shortest.
    let newest = state.cohorts.iter().rposition(idle);
    match order::next(state, newest, targets, limit, batch, now) {
        Next::Continue => newest,
        Next::Begin(slot) => {
            let members = rows::gather(state, slot, cohort_tokens, batch, limit);
            state.form_cohort(members, Vec::new())?;
            Some(state.cohorts.len() - 1)
        }
    }
}
