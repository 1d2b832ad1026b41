//! Hidden rows of prompts that have stopped between two layers.

use laminar_schedule::SequenceId;
use std::collections::HashMap;

/// The rows of each prompt that is part way through the layers, `rows * width` values each.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    rows: HashMap<SequenceId, Vec<f32>>,
    /// Emptied buffers for reuse: a deep prompt parks once a layer group.
    spare: Vec<Vec<f32>>,
}

impl Parked {
    /// Keeps a copy of a sequence's rows.
    pub fn park(&mut self, sequence: SequenceId, rows: &[f32]) {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(rows);
        self.rows.insert(sequence, buffer);
    }

    /// Moves a sequence's rows to the end of `hidden`; returns their number of values, if there are any.
    pub fn restore(&mut self, sequence: SequenceId, hidden: &mut Vec<f32>) -> Option<usize> {
        let buffer = self.rows.remove(&sequence)?;
        hidden.extend_from_slice(&buffer);
        let values = buffer.len();
        self.spare.push(buffer);
        Some(values)
    }

    /// Drops a sequence's rows. The memory goes with the last of them.
    pub fn forget(&mut self, sequence: SequenceId) {
        self.rows.remove(&sequence);
        if self.rows.is_empty() {
            self.spare.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_once_and_unchanged() {
        let mut parked = Parked::default();
        parked.park(SequenceId(1), &[1.0, 2.0]);
        parked.park(SequenceId(2), &[3.0]);
        let mut hidden = vec![0.0];
        assert_eq!(parked.restore(SequenceId(2), &mut hidden), Some(1));
        assert_eq!(parked.restore(SequenceId(1), &mut hidden), Some(2));
        assert_eq!(hidden, [0.0, 3.0, 1.0, 2.0]);
        assert_eq!(parked.restore(SequenceId(1), &mut hidden), None);
    }

    #[test]
    fn forgotten_rows_are_gone() {
        let mut parked = Parked::default();
        parked.park(SequenceId(1), &[1.0]);
        parked.forget(SequenceId(1));
        assert_eq!(parked.restore(SequenceId(1), &mut Vec::new()), None);
    }
}
