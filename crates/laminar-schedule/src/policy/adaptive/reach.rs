//! How far a cohort gets in the time there is.

use crate::cohort::Cohort;
use crate::costs::{Batch, Costs, Rows};
use crate::cursor::{Cursor, ROW_STEP, Stage};

/// Share of a step's time that must be left for a cohort to enter a layer that it will not finish: parts of a layer share no
/// weights with the decode rows.
const WORTH_A_PART: f64 = 0.1;

/// How many times dearer a layer may be in parts than whole for that.
pub(super) const PARTS_ARE_CHEAP: f64 = 1.1;

/// The farthest place that the cohort reaches within `left` seconds; none if it cannot even begin. `room` is what a step of
/// its own would have. Inside a layer it may go on for `slack` seconds more, for somebody watches the clock.
pub(super) fn farthest(
    costs: &Costs,
    cohort: &Cohort,
    batch: Batch,
    first: bool,
    mut left: f64,
    room: f64,
    mut slack: f64,
) -> Option<Cursor> {
    let members = cohort.members();
    let extent = costs.extent(cohort.rows());
    let rows = Rows::of_members(members);
    let last = costs.seconds(&costs.last_rows(cohort, batch));
    let mut at = cohort.cursor();
    loop {
        let layer = at.layer;
        match at.stage {
            // A border ends the walk of those who have left.
            Stage::Attention { rows: 0 } if at > cohort.cursor() && cohort.has_dropped() => break,
            Stage::Attention { rows: 0 } => {
                let own = costs.seconds(&costs.own_layer(rows));
                let whole = if first { costs.seconds(&costs.shared_layer(batch, rows)) } else { own };
                let layers = costs.layers() - layer;
                let mut fits = if whole > 0.0 { (left / whole) as usize } else { layers };
                if fits >= layers && left < whole * layers as f64 + last {
                    fits = layers - 1;
                }
                if fits >= layers {
                    return Some(Cursor::at_layer(costs.layers()));
                }
                at = Cursor::at_layer(layer + fits);
                left -= whole * fits as f64;
                let begun = at > cohort.cursor();
                if begun && (left < WORTH_A_PART * room || own > PARTS_ARE_CHEAP * whole) {
                    break;
                }
                let mut reached = rows_within(costs, cohort, 0, left);
                if reached == 0 {
                    break;
                }
                if reached < extent.rows {
                    left += std::mem::take(&mut slack);
                    reached = rows_within(costs, cohort, 0, left);
                }
                left -= costs.seconds(&costs.attention(Rows::in_range(members, 0..reached)));
                at = Cursor::after_attention(at.layer, reached, extent);
            }
            Stage::Attention { rows: done } => {
                let mut reached = rows_within(costs, cohort, done, left);
                if reached < extent.rows {
                    left += std::mem::take(&mut slack);
                    reached = rows_within(costs, cohort, done, left);
                }
                if reached == done {
                    break;
                }
                left -= costs.seconds(&costs.attention(Rows::in_range(members, done..reached)));
                at = Cursor::after_attention(layer, reached, extent);
            }
            Stage::FeedForward { units } => {
                let is_last = layer + 1 == costs.layers();
                let spare = if is_last { last } else { 0.0 };
                let price = |count| costs.seconds(&costs.feed_forward(extent.rows, count));
                let fits = |count: usize, left: f64| {
                    let ends = if units + count >= extent.units { spare } else { 0.0 };
                    price(count) + ends <= left
                };
                let most = extent.units - units;
                let step = if costs.is_mixture() { 1 } else { ROW_STEP };
                let mut count = largest(most, step, |count| fits(count, left));
                if count < most {
                    left += std::mem::take(&mut slack);
                    count = largest(most, step, |count| fits(count, left));
                }
                if count == 0 {
                    break;
                }
                left -= price(count);
                at = Cursor::after_feed_forward(layer, units + count, extent);
            }
        }
        if at.layer >= costs.layers() || !(at.is_between_layers() || at.stage == Stage::FeedForward { units: 0 }) {
            break;
        }
    }
    (at > cohort.cursor()).then_some(at)
}

/// The nearest place ahead of the cohort.
pub(super) fn least(costs: &Costs, cohort: &Cohort) -> Cursor {
    let extent = costs.extent(cohort.rows());
    let Cursor { layer, stage } = cohort.cursor();
    match stage {
        Stage::Attention { rows } => Cursor::after_attention(layer, rows + ROW_STEP, extent),
        Stage::FeedForward { units } => {
            let step = if costs.is_mixture() { 1 } else { ROW_STEP };
            Cursor::after_feed_forward(layer, units + step, extent)
        }
    }
}

/// The row up to which attention gets within so many seconds.
fn rows_within(costs: &Costs, cohort: &Cohort, done: usize, left: f64) -> usize {
    let price = |count| costs.seconds(&costs.attention(Rows::in_range(cohort.members(), done..done + count)));
    done + largest(cohort.rows() - done, ROW_STEP, |count| price(count) <= left)
}

/// The largest count up to `most` that fits, `most` itself or a multiple of `step`; 0 if none does. What fits for a count fits
/// for smaller ones.
pub(in crate::policy) fn largest(most: usize, step: usize, fits: impl Fn(usize) -> bool) -> usize {
    if fits(most) {
        return most;
    }
    let (mut low, mut high) = (0, most.div_ceil(step));
    // `low` steps fit (or are none), `high` do not.
    while low + 1 < high {
        let middle = (low + high) / 2;
        if fits(middle * step) { low = middle } else { high = middle }
    }
    low * step
}
