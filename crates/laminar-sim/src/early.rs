//! Tiles that end before their plan, as an executor ends them when a step's time is over.

use crate::{Cost, Roofline};
use laminar_schedule::{CohortId, Cursor, Extent, Part, ROW_STEP, Step, Tile};

/// Steps one after the other in which nothing of the prompts may run for want of time, before something does.
const PATIENCE: u32 = 4;

/// Ends a step within one of its tiles, at a place that the number chooses; the tiles behind it do not run.
pub(crate) fn ends(step: &Step, experts: Option<usize>, choice: u64) -> Vec<(CohortId, Cursor)> {
    let Some(number) = choice.checked_rem(step.tiles.len() as u64) else { return Vec::new() };
    let number = usize::try_from(number).unwrap_or(0);
    let place = |(index, tile): (usize, &Tile)| match index == number {
        true => (tile.cohort, stop(tile, experts, choice / 7)),
        false => (tile.cohort, tile.from),
    };
    step.tiles.iter().enumerate().skip(number).map(place).collect()
}

/// One of the places where the tile may stop, from its first to its last.
fn stop(tile: &Tile, experts: Option<usize>, choice: u64) -> Cursor {
    let parts = tile.parts(experts);
    let pick = |count: usize, choice: u64| usize::try_from(choice.checked_rem(count as u64).unwrap_or(0)).unwrap_or(0);
    match parts.get(pick(parts.len(), choice)) {
        None => tile.from,
        Some(part) => {
            let count = length(part) + usize::from(matches!(part, Part::Layers(_)));
            within(part, pick(count, choice / 64), tile, experts)
        }
    }
}

/// How much there is of a part: layers, rows or units.
fn length(part: &Part) -> usize {
    match part {
        Part::Layers(layers) => layers.len(),
        Part::Attention { rows, .. } => rows.len(),
        Part::FeedForward { units, .. } => units.len(),
    }
}

/// The place behind so much of a part of a tile, or the nearest one before it where the tile may stop.
fn within(part: &Part, count: usize, tile: &Tile, experts: Option<usize>) -> Cursor {
    let extent = Extent { rows: tile.rows(), units: experts.unwrap_or(tile.rows()) };
    let aligned = |at: usize, end: usize| if at < end { at / ROW_STEP * ROW_STEP } else { at };
    match part {
        Part::Layers(layers) => Cursor::at_layer(layers.start + count),
        Part::Attention { layer, rows } => {
            Cursor::after_attention(*layer, aligned(rows.start + count, rows.end), extent)
        }
        Part::FeedForward { layer, units } => {
            let at = units.start + count;
            Cursor::after_feed_forward(*layer, if experts.is_some() { at } else { aligned(at, units.end) }, extent)
        }
    }
}

/// What has run of a step.
pub(crate) fn ran(step: &Step, reached: &[(CohortId, Cursor)]) -> Step {
    let mut step = step.clone();
    for (cohort, at) in reached {
        step.tiles.iter_mut().filter(|tile| tile.cohort == *cohort).for_each(|tile| tile.to = *at);
    }
    step.tiles.retain(|tile| tile.from < tile.to);
    step
}

/// An executor that ends tiles when a step's deadline comes: it goes on with a layer, a row or an expert only if the step, its
/// decode rows included, is then still over in time. How long the next one takes it knows from the one before, which is
/// exact here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// Steps since a prompt has moved, where there was one to move.
    still: u32,
}

impl Watch {
    /// What runs of a step and what that costs; and the places where cohorts stand that have not come as far as planned.
    pub fn run(&mut self, roofline: &Roofline, step: Step) -> (Step, Cost, Vec<(CohortId, Cursor)>) {
        let cost = roofline.step(&step);
        let until = step.deadline.map_or(f64::INFINITY, |deadline| deadline.until.as_secs_f64());
        if cost.seconds() <= until || step.tiles.is_empty() {
            self.still = 0;
            return (step, cost, Vec::new());
        }
        let mut reached = in_time(roofline, &step, until);
        let moved = reached.iter().zip(&step.tiles).any(|((_, at), tile)| *at > tile.from);
        self.still = if moved { 0 } else { self.still + 1 };
        if self.still >= PATIENCE {
            self.still = 0;
            let experts = experts(roofline);
            if let Some(((_, at), tile)) = reached.first_mut().zip(step.tiles.first())
                && let Some(part) = tile.parts(experts).first()
            {
                let least = if matches!(part, Part::Layers(_)) { 1 } else { ROW_STEP.min(length(part)) };
                *at = within(part, least, tile, experts);
            }
        }
        let ran = ran(&step, &reached);
        let cost = roofline.step(&ran);
        reached.retain(|(cohort, at)| step.tiles.iter().any(|tile| tile.cohort == *cohort && *at < tile.to));
        (ran, cost, reached)
    }
}

fn experts(roofline: &Roofline) -> Option<usize> {
    roofline.model().experts().map(|experts| experts.count)
}

/// How far each tile gets until a moment.
fn in_time(roofline: &Roofline, step: &Step, until: f64) -> Vec<(CohortId, Cursor)> {
    let experts = experts(roofline);
    let mut reached: Vec<_> = step.tiles.iter().map(|tile| (tile.cohort, tile.from)).collect();
    let mut running = Step { tiles: Vec::new(), ..step.clone() };
    for (tile, (_, place)) in step.tiles.iter().zip(&mut reached) {
        running.tiles.push(Tile { to: tile.from, ..tile.clone() });
        for part in tile.parts(experts) {
            let mut fits = |count: usize| {
                let at = within(&part, count, tile, experts);
                if let Some(last) = running.tiles.last_mut() {
                    last.to = at;
                }
                (at, roofline.step(&running).seconds() <= until)
            };
            let (mut low, mut high) = (0, length(&part));
            if let (at, true) = fits(high) {
                *place = at;
                continue;
            }
            while low + 1 < high {
                let middle = low.midpoint(high);
                if let (at, true) = fits(middle) {
                    (*place, low) = ((*place).max(at), middle);
                } else {
                    high = middle;
                }
            }
            return reached;
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hardware, ModelProfile, Routing};
    use laminar_schedule::{Deadline, DecodeRow, SequenceId, TileRows};
    use std::time::Duration;

    fn machine() -> Roofline {
        let hardware = Hardware::named("h100-sxm").unwrap().with_devices(2);
        Roofline::new(hardware, ModelProfile::named("qwen3-30b-a3b").unwrap(), Routing::FITTED).unwrap()
    }

    /// Eight streams and a prompt of 8192 tokens, from one place to another, within so many seconds.
    fn step(from: Cursor, to: Cursor, seconds: f64) -> Step {
        let row = |id| DecodeRow { sequence: SequenceId(id), position: 4000 };
        let member = TileRows { sequence: SequenceId(9), start: 0, rows: 8192, ends_prompt: true, dropped: false };
        let tile = Tile { cohort: CohortId(1), members: vec![member], from, to };
        let deadline = Some(Deadline { until: Duration::from_secs_f64(seconds), decode: Duration::ZERO });
        Step { decode: (0..8).map(row).collect(), tiles: vec![tile], deadline, ..Step::default() }
    }

    #[test]
    fn a_tile_ends_at_the_last_place_from_which_the_step_ends_in_time() {
        let (machine, mut watch) = (machine(), Watch::default());
        let (first, last) = (Cursor::at_layer(0), Cursor::at_layer(48));
        let (ran, cost, reached) = watch.run(&machine, step(first, last, 0.1));
        let [(_, at)] = reached[..] else { panic!("{reached:?}") };
        assert!(at.is_between_layers() && (5..40).contains(&at.layer), "{at:?}");
        assert_eq!(ran.tiles[0].to, at);
        assert!(cost.seconds() <= 0.1);
        let one_more = step(first, Cursor::at_layer(at.layer + 1), 0.1);
        assert!(machine.step(&one_more).seconds() > 0.1);
        let (ran, _, reached) = watch.run(&machine, step(first, last, 1.0));
        assert_eq!((ran.tiles[0].to, reached), (last, Vec::new()), "there is time for all of it");
    }

    #[test]
    fn a_tile_ends_between_two_experts_where_it_was_to_end_inside_a_layer() {
        let (machine, mut watch) = (machine(), Watch::default());
        let extent = Extent { rows: 8192, units: 128 };
        let from = Cursor::after_feed_forward(3, 0, extent);
        let decode = machine.step(&Step { tiles: Vec::new(), ..step(from, from, 0.0) }).seconds();
        let until = decode + 2e-3;
        let (_, cost, reached) = watch.run(&machine, step(from, Cursor::after_feed_forward(3, 120, extent), until));
        let [(_, at)] = reached[..] else { panic!("{reached:?}") };
        assert!(from < at && at < Cursor::after_feed_forward(3, 120, extent));
        assert!(cost.seconds() <= until);
    }

    #[test]
    fn without_time_a_prompt_moves_every_fourth_step() {
        let (machine, mut watch) = (machine(), Watch::default());
        let mut moved =
            |_| !watch.run(&machine, step(Cursor::at_layer(0), Cursor::at_layer(48), 1e-3)).0.tiles.is_empty();
        assert_eq!([0; 8].map(&mut moved), [false, false, false, true, false, false, false, true]);
    }
}
