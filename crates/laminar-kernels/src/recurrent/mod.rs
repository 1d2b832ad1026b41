//! Layers that keep a state of fixed size for each sequence instead of its keys and values.
//!
//! Such a layer reads rows one after the other, in order of position, and its state after a row depends on all rows before
//! it. A state belongs to a *slot*; which slot belongs to whom is the caller's business. Beside its numbers a slot holds the
//! last inputs of the short convolution that rows pass first. A state may begin as a copy of another slot and be copied to
//! another on its way, so that what was computed once can be gone on with later.
//!
//! Every number of a state is one chain of float operations over the rows in their order, so its bits do not depend on how
//! the rows are cut into calls, nor on threads, which share out heads and columns.

mod conv;
mod gates;
mod rule;

use std::alloc::{Layout, handle_alloc_error};

pub use conv::causal_conv;
pub use gates::{delta_gates, selective_gates, unit_heads};
pub use rule::{RecurrentRule, RecurrentShape, recur};

use crate::storage::{LINE, Memory};

/// Floats of a line.
const LINE_FLOATS: usize = LINE / size_of::<f32>();

/// What a layer keeps in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateShape {
    /// Channels of the convolution.
    pub channels: usize,
    /// Rows that an output of the convolution is made of, its own included.
    pub taps: usize,
    /// Numbers of the state.
    pub numbers: usize,
}

impl StateShape {
    /// Positions whose inputs are kept.
    fn kept(&self) -> usize {
        self.taps - 1
    }

    /// Where the numbers of a slot begin, in floats.
    fn numbers_at(&self) -> usize {
        (self.kept() * self.channels).next_multiple_of(LINE_FLOATS)
    }

    /// Floats of a slot.
    fn slot(&self) -> usize {
        self.numbers_at() + self.numbers.next_multiple_of(LINE_FLOATS)
    }

    /// Bytes that a slot takes.
    pub fn slot_bytes(&self) -> usize {
        self.slot() * size_of::<f32>()
    }
}

/// The states of one layer.
pub struct StateLayer {
    shape: StateShape,
    slots: usize,
    memory: Memory,
}

impl StateLayer {
    /// Memory for `slots` states, which takes none before it is used.
    ///
    /// # Panics
    ///
    /// If there are no channels or no taps.
    pub fn new(shape: StateShape, slots: usize) -> StateLayer {
        assert!(shape.channels > 0 && shape.taps > 0, "a convolution of {} taps", shape.taps);
        let bytes = slots.saturating_mul(shape.slot_bytes()).saturating_add(LINE);
        match Memory::zeroed(bytes) {
            Ok(memory) => StateLayer { shape, slots, memory },
            // As every other allocation that the system refuses.
            Err(_) => handle_alloc_error(Layout::array::<u8>(bytes).unwrap_or(Layout::new::<u8>())),
        }
    }

    /// Sizes.
    pub fn shape(&self) -> StateShape {
        self.shape
    }

    /// Slots; they are `0 .. slots()`.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// All slots as floats.
    fn floats(&mut self) -> &mut [f32] {
        // SAFETY: all bits are valid for a float.
        let (before, floats, _) = unsafe { self.memory.bytes_mut().align_to_mut::<f32>() };
        debug_assert!(before.is_empty(), "memory begins on a line");
        floats
    }
}

/// Consecutive rows of a batch that are consecutive positions of one sequence. Spans of one sequence follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateSpan {
    /// First row in the batch.
    pub first_row: usize,
    /// Rows.
    pub rows: usize,
    /// Position of the first row in its sequence. At 0 a state begins with zeros, whatever its slot holds.
    pub first_pos: usize,
    /// The sequence's slot.
    pub slot: u32,
    /// Another slot that holds the state behind the position before `first_pos`, which the sequence goes on from.
    pub from: Option<u32>,
    /// A position and another slot: the state behind all rows before that position is copied there, when it is a row of this
    /// span that comes last before it.
    pub keep: Option<(usize, u32)>,
}

impl StateSpan {
    /// The rows behind which the state is copied, and to where.
    fn kept_behind(&self) -> Option<(usize, u32)> {
        let (position, slot) = self.keep?;
        let rows = position.checked_sub(self.first_pos)?;
        (1..=self.rows).contains(&rows).then_some((rows, slot))
    }

    /// The slot that a state is copied from before the first row.
    fn copied_from(&self) -> Option<u32> {
        self.from.filter(|_| self.first_pos > 0)
    }
}

/// That spans lie inside a batch of `rows` rows and name slots that exist, others than their own where they copy.
fn check_spans(spans: &[StateSpan], rows: usize, slots: usize) {
    for span in spans {
        assert!(span.first_row + span.rows <= rows, "a span has more rows than the batch");
        let others = [span.from, span.keep.map(|(_, slot)| slot)];
        let exists = |slot: u32| (slot as usize) < slots;
        assert!(exists(span.slot), "slot {} of {slots}", span.slot);
        let apart = others.into_iter().flatten().all(|slot| slot != span.slot && exists(slot));
        assert!(apart, "a state is copied to or from its own slot, or one of {slots} that is not there");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the rows of a sequence give when `run` takes them in spans of `cuts` rows in turn, after another sequence that goes
    /// on from a copy of the state before row `kept`, in two steps, was found to give the same from there on. The layer has
    /// three slots, and outputs are rows of `width` numbers.
    pub(super) fn cut_and_copied(
        layer: &mut StateLayer,
        len: usize,
        cuts: &[usize],
        kept: usize,
        width: usize,
        run: impl Fn(&mut StateLayer, StateSpan) -> Vec<f32>,
    ) -> Result<Vec<f32>, TestCaseError> {
        // Whatever was there before does not count.
        layer.floats().fill(f32::NAN);
        let (mut out, mut from, mut sizes) = (Vec::new(), 0, cuts.iter().cycle());
        while from < len {
            let rows = (*sizes.next().unwrap()).min(len - from);
            let keep = Some((kept, 0));
            out.extend(run(layer, StateSpan { first_row: 0, rows, first_pos: from, slot: 1, from: None, keep }));
            from += rows;
        }
        let copied = StateSpan { first_row: 0, rows: 1, first_pos: kept, slot: 2, from: Some(0), keep: None };
        let mut rest = run(layer, copied);
        if kept + 1 < len {
            let span = StateSpan { rows: len - kept - 1, first_pos: kept + 1, from: None, ..copied };
            rest.extend(run(layer, span));
        }
        prop_assert!(rest == out[kept * width..], "behind a copy");
        Ok(out)
    }

    #[test]
    fn a_slot_takes_the_bytes_of_its_inputs_and_numbers() {
        let shape = StateShape { channels: 8192, taps: 4, numbers: 32 * 128 * 128 };
        assert_eq!(shape.slot_bytes(), 4 * (3 * 8192 + 32 * 128 * 128));
        let small = StateShape { channels: 5, taps: 2, numbers: 7 };
        assert_eq!(small.slot_bytes(), 2 * LINE);
        let mut layer = StateLayer::new(small, 3);
        assert!(layer.floats().len() >= 3 * small.slot() && layer.slots() == 3 && layer.shape() == small);
    }

    #[test]
    fn a_state_is_kept_only_behind_a_row_of_the_span() {
        let span = StateSpan { first_row: 0, rows: 3, first_pos: 4, slot: 0, from: Some(1), keep: None };
        let kept = |position| StateSpan { keep: Some((position, 2)), ..span }.kept_behind();
        assert_eq!([4, 5, 7, 8].map(kept), [None, Some((1, 2)), Some((3, 2)), None]);
        assert_eq!((span.copied_from(), StateSpan { first_pos: 0, ..span }.copied_from()), (Some(1), None));
    }
}
