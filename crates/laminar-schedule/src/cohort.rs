//! A cohort's walk through the layers.

use crate::queues::Slot;
use crate::{CohortId, Cursor, Tile, TileRows};
use std::ops::Range;

/// Sequences that prefill together, and how deep they are.
#[derive(Debug)]
pub(crate) struct Cohort {
    id: CohortId,
    members: Vec<Member>,
    cursor: Cursor,
    /// Layers at which its steps end, if that is fixed from the start.
    borders: Vec<usize>,
}

/// Some rows of one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub slot: Slot,
    pub rows: TileRows,
}

impl Cohort {
    /// A cohort before the first layer. With `borders`, its steps end at these layers.
    pub fn new(id: CohortId, members: Vec<Member>, borders: Vec<usize>) -> Self {
        Self { id, members, cursor: Cursor::at_layer(0), borders }
    }

    /// Where its next step ends, if that is fixed.
    pub fn next_border(&self) -> Option<Cursor> {
        self.borders.iter().map(|layer| Cursor::at_layer(*layer)).find(|border| *border > self.cursor)
    }

    /// Its name.
    pub fn id(&self) -> CohortId {
        self.id
    }

    /// Where it stands.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The rows that walk together, those of dropped members included.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Rows of all members.
    pub fn rows(&self) -> usize {
        self.members.iter().map(|member| member.rows.rows).sum()
    }

    /// The walk from here to there.
    pub fn tile(&self, to: Cursor) -> Tile {
        let members = self.members.iter().map(|member| member.rows).collect();
        Tile { cohort: self.id, members, from: self.cursor, to }
    }

    /// Moves on. At a border between layers those who have left vanish.
    pub fn advance(&mut self, to: Cursor) {
        self.cursor = to;
        if to.is_between_layers() {
            self.members.retain(|member| !member.rows.dropped);
        }
    }

    /// A sequence leaves. In the middle of a layer its rows keep their places, so that those of the others keep theirs.
    pub fn drop_member(&mut self, slot: Slot) {
        if self.cursor.is_between_layers() {
            self.members.retain(|member| member.slot != slot);
        }
        for member in &mut self.members {
            member.rows.dropped |= member.slot == slot;
        }
    }

    /// Whether somebody has left since the layer began.
    pub fn has_dropped(&self) -> bool {
        self.members.iter().any(|member| member.rows.dropped)
    }

    /// Whether nobody is left.
    pub fn is_over(&self) -> bool {
        self.members.iter().all(|member| member.rows.dropped)
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
