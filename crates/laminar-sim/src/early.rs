//! Tiles that end before their plan, as an executor ends them when a step's time is over.

use laminar_schedule::{CohortId, Cursor, Extent, Part, ROW_STEP, Step, Tile};

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
    let extent = Extent { rows: tile.rows(), units: experts.unwrap_or(tile.rows()) };
    let parts = tile.parts(experts);
    let pick = |count: usize, choice: u64| usize::try_from(choice.checked_rem(count as u64).unwrap_or(0)).unwrap_or(0);
    let aligned = |rows: usize| rows / ROW_STEP * ROW_STEP;
    let within = choice / 64;
    match parts.get(pick(parts.len(), choice)) {
        None => tile.from,
        Some(Part::Layers(layers)) => Cursor::at_layer(layers.start + pick(layers.len() + 1, within)),
        Some(Part::Attention { layer, rows }) => {
            Cursor::after_attention(*layer, aligned(rows.start + pick(rows.len(), within)), extent)
        }
        Some(Part::FeedForward { layer, units }) => {
            let units = units.start + pick(units.len(), within);
            let units = if experts.is_some() { units } else { aligned(units) };
            Cursor::after_feed_forward(*layer, units, extent)
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
