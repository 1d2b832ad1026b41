//! What each policy promises of its tiles, beside what all of them do.

use super::Auditor;
use super::sequence::Name;
use crate::violation::{Broken, ensure};
use laminar_schedule::{Cursor, Policy, ROW_STEP, Tile};

impl Auditor {
    /// A tile of the cohort at this place, which has not moved yet.
    pub(super) fn check_policy(&mut self, tile: &Tile, place: usize) -> Result<(), Broken> {
        let layers = self.config.layers;
        let whole_layers = tile.from.is_between_layers() && tile.to.is_between_layers();
        if self.follows_strictly() {
            ensure!(whole_layers, Policy, "the tile stops within a layer: {:?}", tile.to);
        }
        let all_layers = tile.from == Cursor::at_layer(0) && tile.to == Cursor::at_layer(layers);
        if let Policy::Whole
        | Policy::Chunked { .. }
        | Policy::ChunkedReleased { .. }
        | Policy::ChunkedDeadline { .. } = self.config.policy
        {
            ensure!(all_layers, Policy, "the tile runs from {:?} to {:?}", tile.from, tile.to);
        }
        match self.config.policy {
            Policy::Whole => self.check_uncut(tile, usize::MAX),
            Policy::Chunked { tokens }
            | Policy::ChunkedReleased { tokens }
            | Policy::ChunkedDeadline { tokens, .. } => {
                ensure!(tile.rows() <= tokens, Policy, "a chunk has {} rows", tile.rows());
                Ok(())
            }
            Policy::Layered { group_tokens, cohort_tokens, groups } => {
                ensure!(tile.rows() <= cohort_tokens, Policy, "a cohort has {} rows", tile.rows());
                self.check_uncut(tile, cohort_tokens)?;
                self.check_groups(tile, place, |rows| groups.unwrap_or(rows.div_ceil(group_tokens)))
            }
            Policy::LayeredReleased { cohort_tokens, groups } => {
                ensure!(tile.rows() <= cohort_tokens, Policy, "a cohort has {} rows", tile.rows());
                // The next power of two of each 512 rows, but half of all groups at most before all of them.
                let doubled = |rows: usize| rows.div_ceil(512).next_power_of_two();
                self.check_groups(tile, place, |rows| match doubled(rows) {
                    8 => (groups / 2).clamp(4, 8).min(groups),
                    16.. => groups,
                    few => few.min(groups),
                })
            }
            Policy::Adaptive { cohort_tokens, .. } => {
                // Chunks are cut where rows are bundled.
                let cohort_tokens = cohort_tokens.next_multiple_of(ROW_STEP);
                ensure!(tile.rows() <= cohort_tokens, Policy, "a cohort has {} rows", tile.rows());
                Ok(())
            }
        }
    }

    /// Equal groups of layers, as many as `count` says for the rows that set out.
    fn check_groups(&mut self, tile: &Tile, place: usize, count: impl Fn(usize) -> usize) -> Result<(), Broken> {
        let layers = self.config.layers;
        let cohort = &mut self.cohorts[place];
        cohort.groups.push(tile.to.layer - tile.from.layer);
        if tile.to.layer < layers {
            return Ok(());
        }
        let count = count(cohort.first_rows).clamp(1, layers);
        let sizes = || cohort.groups.iter().copied();
        let uneven = sizes().max().unwrap_or(0) - sizes().min().unwrap_or(0);
        ensure!(
            cohort.groups.len() == count && uneven <= 1,
            Policy,
            "{} rows walk in groups of {:?} layers, not in {count} equal ones",
            cohort.first_rows,
            cohort.groups
        );
        Ok(())
    }

    /// Invariant 3: a prompt that fits a cohort is in one, so each of its rows meets each layer in the same tile.
    fn check_uncut(&self, tile: &Tile, most: usize) -> Result<(), Broken> {
        for member in tile.members.iter().filter(|member| !member.dropped) {
            let to_run = self.living.get(&member.sequence).map_or(0, |sequence| sequence.to_run());
            let uncut = to_run > most || member.rows == to_run;
            ensure!(uncut, Policy, "{} runs {} of {to_run} rows", Name(member.sequence), member.rows);
        }
        Ok(())
    }
}
