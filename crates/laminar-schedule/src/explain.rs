//! Why a step is what it is, in one line.

use crate::costs::{Costs, Estimate};
use crate::policy::Limit;
use crate::{CohortId, Cursor, Stage, Step};
use std::fmt;

/// What was decided and why; prints as one line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    step: u64,
    decode_rows: usize,
    preempted: usize,
    tiles: Vec<(CohortId, usize, Cursor, Cursor)>,
    /// Predicted milliseconds, median and tail.
    predicted: (f64, f64),
    limit: Option<Limit>,
}

impl Explanation {
    pub(crate) fn new(step: &Step, limit: Option<Limit>, costs: &Costs, estimate: &Estimate) -> Self {
        let seconds = costs.seconds(estimate);
        let tail = if step.tiles.is_empty() { 1.0 } else { costs.prefill_tail() };
        Self {
            step: step.number,
            decode_rows: step.decode.len(),
            preempted: step.preempted.len(),
            tiles: step.tiles.iter().map(|tile| (tile.cohort, tile.rows(), tile.from, tile.to)).collect(),
            predicted: (seconds * 1e3, seconds * tail * 1e3),
            limit,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: ", self.step)?;
        if let Some(limit) = &self.limit {
            write!(f, "{limit}; ")?;
        }
        if self.preempted > 0 {
            write!(f, "{} preempted to make room; ", self.preempted)?;
        }
        write!(f, "{} decode", self.decode_rows)?;
        for (cohort, rows, from, to) in &self.tiles {
            write!(f, ", cohort {} with {rows} rows from {} to {}", cohort.0, Place(*from), Place(*to))?;
        }
        let (median, tail) = self.predicted;
        write!(f, "; {median:.1} ms predicted, {tail:.1} ms when slow")
    }
}

/// A cursor in words.
struct Place(Cursor);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {}", self.0.layer)?;
        match self.0.stage {
            Stage::Attention { rows: 0 } => Ok(()),
            Stage::Attention { rows } => write!(f, " row {rows}"),
            Stage::FeedForward { units } => write!(f, " feed-forward {units}"),
        }
    }
}
