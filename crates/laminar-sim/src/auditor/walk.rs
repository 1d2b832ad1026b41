//! Invariant 3: each row of a cohort meets each layer's attention once and its feed-forward stage once, in order.

use super::Auditor;
use super::sequence::{Name, Place};
use crate::violation::{Broken, ensure};
use laminar_schedule::{CohortId, Cursor, Extent, Part, ROW_STEP, SequenceId, Stage, Step, Tile, TileRows};
use std::ops::Range;

/// A cohort under way.
#[derive(Debug)]
pub(super) struct Cohort {
    pub id: CohortId,
    members: Vec<TileRows>,
    cursor: Cursor,
    /// Rows it set out with.
    pub first_rows: usize,
    /// Layers of each of its tiles, while these are whole.
    pub groups: Vec<usize>,
}

impl Cohort {
    fn drop_member(&mut self, id: SequenceId) {
        if self.cursor.is_between_layers() {
            self.members.retain(|member| member.sequence != id);
        }
        for member in &mut self.members {
            member.dropped |= member.sequence == id;
        }
    }
}

/// How far a cohort is, counted from the parts that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    layer: usize,
    rows: usize,
    units: usize,
}

impl Auditor {
    pub(super) fn leave_cohort(&mut self, id: SequenceId) {
        self.cohorts.iter_mut().for_each(|cohort| cohort.drop_member(id));
        self.cohorts.retain(|cohort| cohort.members.iter().any(|member| !member.dropped));
    }

    /// A tile goes on where its cohort stands, and runs what lies between.
    pub(super) fn check_tile(&mut self, tile: &Tile) -> Result<(), Broken> {
        let number = tile.cohort.0;
        let place = match self.cohorts.iter().position(|cohort| cohort.id == tile.cohort) {
            Some(place) => place,
            None => {
                self.form_cohort(tile)?;
                self.cohorts.len() - 1
            }
        };
        let cohort = &self.cohorts[place];
        for (shown, expected) in tile.members.iter().zip(&cohort.members) {
            let name = Name(shown.sequence);
            ensure!(shown.dropped || !expected.dropped, Gone, "{name} has left but runs in cohort {number}");
        }
        ensure!(
            tile.members == cohort.members,
            Walk,
            "cohort {number} has the members {:?}, not {:?}",
            tile.members,
            cohort.members
        );
        ensure!(tile.from == cohort.cursor, Walk, "cohort {number} stands at {:?}, not {:?}", cohort.cursor, tile.from);
        ensure!(tile.from < tile.to, Walk, "cohort {number} does not move: {:?}", tile.to);
        self.check_parts(tile)?;
        self.check_policy(tile, place)?;
        let cohort = &mut self.cohorts[place];
        cohort.cursor = tile.to;
        if tile.to.is_between_layers() {
            cohort.members.retain(|member| !member.dropped);
        }
        Ok(())
    }

    /// Rows that set out together: of living sequences, the first that are not done.
    fn form_cohort(&mut self, tile: &Tile) -> Result<(), Broken> {
        let number = tile.cohort.0;
        ensure!(self.seen.insert(tile.cohort), Walk, "cohort {number} is over");
        ensure!(!tile.members.is_empty(), Walk, "cohort {number} has no members");
        for member in &tile.members {
            let name = Name(member.sequence);
            let Some(sequence) = self.living.get(&member.sequence) else {
                return Err(Broken(crate::Rule::Gone, format!("{name} prefills but has left")));
            };
            ensure!(!member.dropped, Walk, "{name} is dropped before its cohort begins");
            ensure!(sequence.place == Place::Prefilling, Walk, "{name} prefills but is {:?}", sequence.place);
            ensure!(sequence.cohort.is_none(), Walk, "{name} is in {:?} already", sequence.cohort);
            if sequence.hit.is_none() {
                self.begin(member)?;
            }
            let Some(sequence) = self.living.get_mut(&member.sequence) else { continue };
            let (end, tokens) = (member.start + member.rows, sequence.tokens());
            ensure!(member.start == sequence.done, Walk, "{name} goes on at {}, not {}", member.start, sequence.done);
            ensure!(member.rows > 0 && end <= tokens, Walk, "{name} runs {member:?} of {tokens} tokens");
            ensure!(member.ends_prompt == (end == tokens), Walk, "{name} has {tokens} tokens: {member:?}");
            sequence.cohort = Some(tile.cohort);
        }
        self.cohorts.push(Cohort {
            id: tile.cohort,
            members: tile.members.clone(),
            cursor: Cursor::at_layer(0),
            first_rows: tile.rows(),
            groups: Vec::new(),
        });
        Ok(())
    }

    /// The parts of a tile follow each other without gaps, and their attention writes its rows.
    fn check_parts(&mut self, tile: &Tile) -> Result<(), Broken> {
        let layers = self.config.layers;
        let experts = self.config.experts.map(|experts| experts.count);
        let extent = Extent { rows: tile.rows(), units: experts.unwrap_or(tile.rows()) };
        let mut at = Progress { layer: tile.from.layer, rows: 0, units: 0 };
        match tile.from.stage {
            laminar_schedule::Stage::Attention { rows } => at.rows = rows,
            laminar_schedule::Stage::FeedForward { units } => (at.rows, at.units) = (extent.rows, units),
        }
        for part in tile.parts(experts) {
            let (before, from, end) = match &part {
                Part::Layers(range) => {
                    for layer in range.clone() {
                        self.write(tile, layer, 0..extent.rows)?;
                    }
                    let start = Progress { layer: range.start, rows: 0, units: 0 };
                    (at, start, Progress { layer: range.end, ..start })
                }
                Part::Attention { layer, rows } => {
                    self.write(tile, *layer, rows.clone())?;
                    let aligned = rows.end.is_multiple_of(ROW_STEP) || rows.end == extent.rows;
                    ensure!(aligned, Walk, "attention stops after row {} of {}", rows.end, extent.rows);
                    let start = Progress { layer: *layer, rows: rows.start, units: 0 };
                    (at, start, Progress { rows: rows.end, ..start })
                }
                Part::FeedForward { layer, units } => {
                    let aligned = experts.is_some() || units.end.is_multiple_of(ROW_STEP) || units.end == extent.units;
                    ensure!(aligned, Walk, "a dense network stops after row {} of {}", units.end, extent.units);
                    let start = Progress { layer: *layer, rows: extent.rows, units: units.start };
                    let end = Progress { units: units.end, ..start };
                    let next = Progress { layer: layer + 1, rows: 0, units: 0 };
                    (at, start, if units.end == extent.units { next } else { end })
                }
            };
            ensure!(before == from && from != end, Walk, "after {before:?} comes {part:?}");
            at = end;
        }
        let to = match at {
            Progress { layer, rows, units: 0 } if rows < extent.rows => Cursor::after_attention(layer, rows, extent),
            Progress { layer, units, .. } => Cursor::after_feed_forward(layer, units, extent),
        };
        ensure!(to == tile.to, Walk, "the parts end at {at:?}, not at {:?}", tile.to);
        ensure!(to <= Cursor::at_layer(layers), Walk, "the walk goes on behind the last layer: {to:?}");
        Ok(())
    }

    /// Some rows of a tile, counted over its members, write their keys and values.
    fn write(&mut self, tile: &Tile, layer: usize, rows: Range<usize>) -> Result<(), Broken> {
        for (id, places) in places(tile, rows) {
            let Some(sequence) = self.living.get(&id) else {
                return Err(Broken(crate::Rule::Gone, format!("{} writes but has left", Name(id))));
            };
            let written = self.kv.write(&sequence.table, layer, places.clone(), &sequence.rows);
            let written =
                written.and_then(|()| self.states.pass(&sequence.state, layer, places.clone(), &sequence.rows));
            written.map_err(|Broken(rule, message)| Broken(rule, format!("{}: {message}", Name(id))))?;
            self.written.push((id, layer, places));
        }
        Ok(())
    }

    /// Whether a tile of the step passes this place, or begins or ends there, and may stop there.
    pub(super) fn is_on_its_way(&self, step: &Step, cohort: CohortId, at: Cursor) -> bool {
        let Some(tile) = step.tiles.iter().find(|tile| tile.cohort == cohort) else { return false };
        let (rows, experts) = (tile.rows(), self.config.experts.map(|experts| experts.count));
        let may_stop = match at.stage {
            Stage::Attention { rows: done } => done.is_multiple_of(ROW_STEP) && (done == 0 || done < rows),
            Stage::FeedForward { units } => match experts {
                Some(experts) => units < experts,
                None => units < rows && units.is_multiple_of(ROW_STEP),
            },
        };
        may_stop && tile.from <= at && at <= tile.to
    }

    /// Whether a tile of the step in flight ended early.
    pub(super) fn is_cut(&self, tile: &Tile) -> bool {
        self.reached.iter().any(|(cohort, at)| *cohort == tile.cohort && *at < tile.to)
    }

    /// Tiles of the step in flight have come no farther than these places: what lies behind them has not been walked.
    pub(crate) fn ended_early(&mut self, reached: &[(CohortId, Cursor)]) -> Result<(), Broken> {
        let Some(step) = self.in_flight.clone() else { return Ok(()) };
        let experts = self.config.experts.map(|experts| experts.count);
        for (id, at) in reached {
            let Some(tile) = step.tiles.iter().find(|tile| tile.cohort == *id) else { continue };
            let left = Tile { from: *at, ..tile.clone() };
            for part in left.parts(experts) {
                match part {
                    Part::Layers(layers) => {
                        for layer in layers {
                            self.unwrite(tile, layer, 0..tile.rows())?;
                        }
                    }
                    Part::Attention { layer, rows } => self.unwrite(tile, layer, rows)?,
                    Part::FeedForward { .. } => {}
                }
            }
            if let Some(cohort) = self.cohorts.iter_mut().find(|cohort| cohort.id == *id) {
                cohort.cursor = *at;
                cohort.members.clone_from(&tile.members);
                if at.is_between_layers() {
                    cohort.members.retain(|member| !member.dropped);
                }
            }
        }
        self.reached = reached.to_vec();
        Ok(())
    }

    fn unwrite(&mut self, tile: &Tile, layer: usize, rows: Range<usize>) -> Result<(), Broken> {
        for (id, places) in places(tile, rows) {
            let Some(sequence) = self.living.get(&id) else { continue };
            self.kv.unwrite(&sequence.table, layer, places.clone())?;
            self.states.step_back(&sequence.state, layer, places.start, &sequence.rows);
            for (owner, of, written) in &mut self.written {
                if *owner == id && *of == layer && written.end > places.start {
                    written.end = places.start.max(written.start);
                }
            }
        }
        Ok(())
    }
}

/// The rows of a tile within a range, as places of the members' sequences; those of dropped ones left out.
fn places(tile: &Tile, rows: Range<usize>) -> Vec<(SequenceId, Range<usize>)> {
    let mut first = 0;
    let mut found = Vec::with_capacity(tile.members.len());
    for member in &tile.members {
        let start = rows.start.clamp(first, first + member.rows);
        let end = rows.end.clamp(start, first + member.rows);
        let places = member.start + start - first..member.start + end - first;
        first += member.rows;
        if !member.dropped && !places.is_empty() {
            found.push((member.sequence, places));
        }
    }
    found
}
