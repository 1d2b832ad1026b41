//! A cohort's walk through the layers.

use crate::{CohortId, SequenceId, Tile, TileRows};
use std::ops::Range;

/// Sequences that prefill together, and how deep they are.
#[derive(Debug)]
pub(crate) struct Cohort {
    id: CohortId,
    members: Vec<TileRows>,
    groups: Vec<Range<usize>>,
    /// The group that runs next (or is in flight).
    cursor: usize,
}

impl Cohort {
    /// A cohort at the first of its layer groups.
    pub fn new(id: CohortId, members: Vec<TileRows>, groups: Vec<Range<usize>>) -> Self {
        Self { id, members, groups, cursor: 0 }
    }

    /// The tile to run now; none once the last group is done.
    pub fn tile(&self) -> Option<Tile> {
        let layers = self.groups.get(self.cursor)?.clone();
        Some(Tile { cohort: self.id, members: self.members.clone(), layers })
    }

    /// Moves one group deeper; returns whether the cohort has passed the last one.
    pub fn advance(&mut self) -> bool {
        self.cursor += 1;
        self.cursor >= self.groups.len()
    }

    /// Takes a sequence out; the others go on.
    pub fn remove(&mut self, id: SequenceId) {
        self.members.retain(|member| member.sequence != id);
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The rows that walk together.
    pub fn members(&self) -> &[TileRows] {
        &self.members
    }
}

/// Cuts `layers` into `groups` contiguous ranges whose sizes differ by at most one, the larger ones first.
pub(crate) fn split_layers(layers: usize, groups: usize) -> Vec<Range<usize>> {
    let groups = groups.clamp(1, layers.max(1));
    let (size, larger) = (layers / groups, layers % groups);
    let mut start = 0;
    (0..groups)
        .map(|group| {
            let end = start + size + usize::from(group < larger);
            let range = start..end;
            start = end;
            range
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_the_stack_and_differ_by_at_most_one_layer() {
        for layers in 1..50 {
            for groups in 1..=layers + 2 {
                let ranges = split_layers(layers, groups);
                assert_eq!(ranges.len(), groups.min(layers));
                assert_eq!(ranges[0].start, 0);
                assert_eq!(ranges[ranges.len() - 1].end, layers);
                assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                let sizes: Vec<usize> = ranges.iter().map(|range| range.len()).collect();
                assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]));
                assert!(sizes[0] - sizes[sizes.len() - 1] <= 1);
            }
        }
    }
}
