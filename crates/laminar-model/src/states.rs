//! Which slots of recurrent layers a sequence's rows use, and where the states in them stand.
//!
//! As with KV blocks, which slot belongs to whom is the scheduler's business. What is checked here is that a state goes on
//! exactly where it stands: a row that is run twice, left out, or run on another sequence's state is an error and never a
//! wrong answer.

use laminar_kernels::StateSpan;

use crate::error::ModelError;
use crate::layer::RowSpan;

/// A state that a sequence leaves behind, or that another one goes on from: in a slot of its own, with all rows before a
/// position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The slot.
    pub slot: u32,
    /// The position.
    pub position: usize,
}

/// The slots of one sequence. Models without recurrent layers have no use for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateSlots {
    /// Its own: no other sequence that runs has it.
    pub own: u32,
    /// What its first rows go on from, if they are not at position 0. It must stay until these have passed all layers.
    pub begin: Option<Snapshot>,
    /// Where its state is to be copied when its rows come to that position.
    pub keep: Option<Snapshot>,
}

impl StateSlots {
    /// A sequence that begins at position 0 and leaves nothing behind.
    pub fn own(own: u32) -> Self {
        Self { own, begin: None, keep: None }
    }

    fn all(&self) -> impl Iterator<Item = u32> {
        let others = self.begin.iter().chain(&self.keep).map(|snapshot| snapshot.slot);
        std::iter::once(self.own).chain(others)
    }
}

/// The rows of a span, which begin at `first_row` of a batch, as kernels take them.
pub(crate) fn state_span(span: &RowSpan<'_>, first_row: usize) -> StateSpan {
    let StateSlots { own, begin, keep } = span.state;
    StateSpan {
        first_row,
        rows: span.rows,
        first_pos: span.first_pos,
        slot: own,
        from: begin.filter(|begin| begin.position == span.first_pos).map(|begin| begin.slot),
        keep: keep.map(|keep| (keep.position, keep.slot)),
    }
}

/// How many positions the states of each layer hold.
pub(crate) struct Places {
    slots: usize,
    /// For every slot of every layer, one layer after the other.
    positions: Vec<usize>,
}

impl Places {
    pub fn new(layers: usize, slots: usize) -> Self {
        Self { slots, positions: vec![0; layers * slots] }
    }

    /// That the rows of `spans` may pass a layer now.
    pub fn check(&self, layer: usize, spans: &[RowSpan<'_>]) -> Result<(), ModelError> {
        for (i, span) in spans.iter().enumerate() {
            let slots = span.state;
            let others = slots.all().skip(1).any(|slot| slot == slots.own);
            if others || slots.all().any(|slot| slot as usize >= self.slots) {
                return Err(ModelError::Call(format!("{slots:?} are no slots of {}", self.slots)));
            }
            // Spans of a sequence follow each other.
            let before = i.checked_sub(1).and_then(|before| spans.get(before)).filter(|b| b.state.own == slots.own);
            let at = match (state_span(span, 0).from, before) {
                _ if span.first_pos == 0 => 0,
                (Some(from), _) => self.position(layer, from),
                (None, Some(before)) => before.first_pos + before.rows,
                (None, None) => self.position(layer, slots.own),
            };
            if at != span.first_pos {
                let first = span.first_pos;
                return Err(ModelError::Call(format!("a state of layer {layer} holds {at} positions, not {first}")));
            }
        }
        Ok(())
    }

    /// The rows of `spans` pass a layer.
    pub fn advance(&mut self, layer: usize, spans: &[RowSpan<'_>]) {
        for span in spans {
            let end = span.first_pos + span.rows;
            self.set(layer, span.state.own, end);
            if let Some(keep) = span.state.keep.filter(|keep| span.first_pos < keep.position && keep.position <= end) {
                self.set(layer, keep.slot, keep.position);
            }
        }
    }

    fn position(&self, layer: usize, slot: u32) -> usize {
        self.positions.get(layer * self.slots + slot as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, layer: usize, slot: u32, position: usize) {
        if let Some(place) = self.positions.get_mut(layer * self.slots + slot as usize) {
            *place = position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first_pos: usize, rows: usize, state: StateSlots) -> RowSpan<'static> {
        RowSpan { first_row: 0, rows, first_pos, blocks: &[], state, prefill: true }
    }

    #[test]
    fn states_go_on_where_they_stand() {
        let mut places = Places::new(2, 4);
        let own = StateSlots::own(2);
        let check = |places: &Places, spans: &[RowSpan<'_>]| places.check(1, spans).is_ok();
        assert!(!check(&places, &[span(3, 1, own)]));
        assert!(check(&places, &[span(0, 3, own), span(3, 2, own)]));
        assert!(!check(&places, &[span(0, 3, own), span(4, 2, own)]));
        places.advance(1, &[span(0, 3, own), span(3, 2, own)]);
        assert!(check(&places, &[span(5, 1, own)]) && check(&places, &[span(0, 1, own)]));
        assert!(!check(&places, &[span(3, 1, own)]) && !check(&places, &[span(5, 1, StateSlots::own(1))]));
        assert!(places.check(0, &[span(5, 1, own)]).is_err(), "another layer");
    }

    #[test]
    fn a_sequence_begins_behind_what_another_left() {
        let mut places = Places::new(1, 3);
        let leaves = |position| StateSlots { keep: Some(Snapshot { slot: 2, position }), ..StateSlots::own(0) };
        let takes = |position| StateSlots { begin: Some(Snapshot { slot: 2, position }), ..StateSlots::own(1) };
        places.advance(0, &[span(0, 4, leaves(5))]);
        assert!(places.check(0, &[span(5, 1, takes(5))]).is_err(), "nothing was left there yet");
        places.advance(0, &[span(4, 4, leaves(5))]);
        assert!(places.check(0, &[span(5, 1, takes(5))]).is_ok());
        assert!(places.check(0, &[span(6, 1, takes(6))]).is_err());
        assert!(places.check(0, &[span(8, 1, StateSlots::own(0))]).is_ok());
    }

    #[test]
    fn slots_that_are_not_there_or_are_the_own_one_are_errors() {
        let places = Places::new(1, 2);
        let keep = |own, slot| StateSlots { keep: Some(Snapshot { slot, position: 1 }), ..StateSlots::own(own) };
        for state in [StateSlots::own(2), keep(0, 2), keep(1, 1)] {
            assert!(places.check(0, &[span(0, 1, state)]).is_err(), "{state:?}");
        }
    }
}
