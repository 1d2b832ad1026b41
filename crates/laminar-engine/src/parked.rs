//! Rows of cohorts between two steps.
//!
//! A cohort's hidden rows live in one buffer from the embedding to the last layer. While a tile runs, the executor holds
//! it; between tiles it is parked here, with the place where it stands, so that no row is copied from step to step.

use crate::executor::{ExecuteError, MemberInput, TileInput};
use laminar_model::PartialLayer;
use laminar_schedule::{CohortId, Cursor, SequenceId};
use std::collections::BTreeMap;

/// The rows of a cohort.
#[derive(Default)]
pub(crate) struct CohortRows {
    /// `width` values a row, its members one after the other. In layer 0 those of the first rows may be all.
    pub hidden: Vec<f32>,
    /// What the layer it stands in needs besides.
    pub partial: PartialLayer,
    members: Vec<Member>,
}

/// Rows of one sequence.
#[derive(Debug)]
struct Member {
    sequence: SequenceId,
    start: usize,
    rows: usize,
    /// The sequence was forgotten. In the middle of a layer its rows keep their places, so that those of others keep theirs.
    left: bool,
}

impl Member {
    fn new(input: &MemberInput<'_>) -> Self {
        Self { sequence: input.sequence, start: input.start, rows: input.rows, left: input.dropped }
    }

    fn is(&self, input: &MemberInput<'_>) -> bool {
        (self.sequence, self.start, self.rows) == (input.sequence, input.start, input.rows)
            && (input.dropped || !self.left)
    }
}

impl CohortRows {
    /// Keeps the rows of `members`, who are some of those that are here, in their order; the others vanish. Returns the
    /// member whose rows are not here, if there is one.
    fn keep<'a, 'b>(&mut self, members: &'a [MemberInput<'b>], width: usize) -> Option<&'a MemberInput<'b>> {
        let mut wanted = members.iter().peekable();
        let (mut from, mut to) = (0, 0);
        let hidden = &mut self.hidden;
        self.members.retain(|member| {
            let end = hidden.len().min(from + member.rows * width);
            let values = std::mem::replace(&mut from, end)..end;
            let stays = wanted.next_if(|input| member.is(input)).is_some();
            if stays {
                hidden.copy_within(values.clone(), to);
                to += values.len();
            }
            stays
        });
        hidden.truncate(to);
        wanted.next()
    }
}

/// The cohorts that have begun and not ended.
#[derive(Default)]
pub(crate) struct Parked {
    cohorts: BTreeMap<CohortId, (Cursor, CohortRows)>,
    /// Buffers of cohorts that have ended, for the next ones.
    spare: Vec<CohortRows>,
}

impl Parked {
    /// The rows of a tile, to be parked again after it. Those of a cohort that begins are empty.
    ///
    /// # Errors
    /// The rows are not here, or not where the tile begins.
    pub fn take(&mut self, tile: &TileInput<'_>, width: usize) -> Result<CohortRows, ExecuteError> {
        let cohort = tile.cohort.0;
        if tile.from == Cursor::at_layer(0) {
            if self.cohorts.contains_key(&tile.cohort) {
                return Err(format!("cohort {cohort} begins a second time").into());
            }
            let mut rows = self.spare.pop().unwrap_or_default();
            rows.hidden.clear();
            rows.members.clear();
            rows.members.extend(tile.members.iter().map(Member::new));
            return Ok(rows);
        }
        let (at, mut rows) =
            self.cohorts.remove(&tile.cohort).ok_or_else(|| format!("the rows of cohort {cohort} were not kept"))?;
        if at != tile.from {
            return Err(format!("cohort {cohort} goes on at {:?} and was kept at {at:?}", tile.from).into());
        }
        if !at.is_between_layers() && tile.members.len() != rows.members.len() {
            return Err(format!("members of cohort {cohort} vanish in the middle of layer {}", at.layer).into());
        }
        match rows.keep(&tile.members, width) {
            Some(member) => Err(format!(
                "the {} rows of sequence {} in cohort {cohort} were not kept",
                member.rows, member.sequence.0
            )
            .into()),
            None => Ok(rows),
        }
    }

    /// Keeps the rows of a cohort, which stand at a place.
    pub fn park(&mut self, cohort: CohortId, at: Cursor, rows: CohortRows) {
        self.cohorts.insert(cohort, (at, rows));
    }

    /// Takes back the buffers of a cohort that has ended.
    pub fn recycle(&mut self, rows: CohortRows) {
        self.spare.push(rows);
    }

    /// Drops what is kept for a sequence. The memory of a cohort goes with its last member, spare buffers with the last
    /// cohort.
    pub fn forget(&mut self, sequence: SequenceId) {
        self.cohorts.retain(|_, (_, rows)| {
            for member in rows.members.iter_mut().filter(|member| member.sequence == sequence) {
                member.left = true;
            }
            rows.members.iter().any(|member| !member.left)
        });
        if self.cohorts.is_empty() {
            self.spare.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laminar_schedule::{Stage, StateSlots};

    const TOKENS: [u32; 8] = [0; 8];

    fn member(sequence: u64, rows: usize) -> MemberInput<'static> {
        MemberInput {
            sequence: SequenceId(sequence),
            rows,
            tokens: &TOKENS[..rows],
            start: 0,
            blocks: &[],
            state: StateSlots::default(),
            ends_prompt: false,
            dropped: false,
        }
    }

    fn dropped(sequence: u64, rows: usize) -> MemberInput<'static> {
        MemberInput { tokens: &[], dropped: true, ..member(sequence, rows) }
    }

    fn tile<'a>(cohort: u64, members: &[MemberInput<'a>], from: Cursor) -> TileInput<'a> {
        let to = Cursor::at_layer(from.layer + 1);
        TileInput { cohort: CohortId(cohort), members: members.to_vec(), from, to, parts: Vec::new() }
    }

    /// Cohort 7 with rows 1 | 2 3 | 4 of sequences 1, 2 and 3, parked at a place.
    fn parked(at: Cursor) -> Parked {
        let mut parked = Parked::default();
        let members = [member(1, 1), member(2, 2), member(3, 1)];
        let mut rows = parked.take(&tile(7, &members, Cursor::at_layer(0)), 1).unwrap();
        rows.hidden.extend([1.0, 2.0, 3.0, 4.0]);
        parked.park(CohortId(7), at, rows);
        parked
    }

    const LAYER_1: Cursor = Cursor { layer: 1, stage: Stage::Attention { rows: 0 } };
    const IN_LAYER_1: Cursor = Cursor { layer: 1, stage: Stage::FeedForward { units: 2 } };

    #[test]
    fn rows_come_back_once_and_unchanged() {
        let mut parked = parked(LAYER_1);
        let tile = tile(7, &[member(1, 1), member(2, 2), member(3, 1)], LAYER_1);
        assert_eq!(parked.take(&tile, 1).unwrap().hidden, [1.0, 2.0, 3.0, 4.0]);
        assert!(parked.take(&tile, 1).is_err());
    }

    #[test]
    fn between_layers_the_rows_of_those_who_left_vanish() {
        let mut parked = parked(LAYER_1);
        parked.forget(SequenceId(2));
        let rows = parked.take(&tile(7, &[member(1, 1), member(3, 1)], LAYER_1), 1).unwrap();
        assert_eq!(rows.hidden, [1.0, 4.0]);
    }

    #[test]
    fn inside_a_layer_they_keep_their_places() {
        let mut parked = parked(IN_LAYER_1);
        parked.forget(SequenceId(2));
        let rows = parked.take(&tile(7, &[member(1, 1), dropped(2, 2), member(3, 1)], IN_LAYER_1), 1).unwrap();
        assert_eq!(rows.hidden, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn a_cohort_goes_with_its_last_member() {
        let mut parked = parked(IN_LAYER_1);
        parked.recycle(CohortRows::default());
        for id in 1..=3 {
            assert_eq!((parked.cohorts.len(), parked.spare.len()), (1, 1));
            parked.forget(SequenceId(id));
        }
        assert_eq!((parked.cohorts.len(), parked.spare.len()), (0, 0));
    }

    #[test]
    fn tiles_that_do_not_follow_what_is_parked_are_errors() {
        let all = [member(1, 1), member(2, 2), member(3, 1)];
        let error = |parked: &mut Parked, tile: TileInput<'_>| parked.take(&tile, 1).err().unwrap().to_string();
        assert!(error(&mut parked(LAYER_1), tile(8, &all, LAYER_1)).contains("cohort 8 were not kept"));
        assert!(error(&mut parked(LAYER_1), tile(7, &all, IN_LAYER_1)).contains("was kept at"));
        assert!(error(&mut parked(LAYER_1), tile(7, &all, Cursor::at_layer(0))).contains("second time"));
        assert!(error(&mut parked(IN_LAYER_1), tile(7, &all[1..], IN_LAYER_1)).contains("in the middle of layer 1"));
        assert!(error(&mut parked(LAYER_1), tile(7, &[all[1], all[0]], LAYER_1)).contains("1 rows of sequence 1"));
        assert!(error(&mut parked(LAYER_1), tile(7, &[member(2, 1)], LAYER_1)).contains("1 rows of sequence 2"));
        let mut forgotten = parked(IN_LAYER_1);
        forgotten.forget(SequenceId(3));
        assert!(error(&mut forgotten, tile(7, &all, IN_LAYER_1)).contains("rows of sequence 3"));
    }
}
