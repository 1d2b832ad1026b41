//! Whether there is time for one more piece of a tile.
//!
//! A tile is as long as predictions say that there is time. Sometimes they are wrong: a neighbour takes a core for a while,
//! or the experts at hand have more rows than others. So where streams wait, tiles run in pieces, and each piece begins only
//! if it should end in time at the speed of the one before it.

use crate::executor::StepEnd;
use laminar_schedule::{CohortId, Cursor, Extent, Part, ROW_STEP};
use std::time::{Duration, Instant};

/// Pieces of a part: enough for a step to end within a few percent of its time, so few that what each of them costs beside
/// its work does not count.
const PIECES: usize = 8;

/// Rows that a piece of an attention stage has at least: fewer would read the layer's weights for too little.
const LEAST_ROWS: usize = 32;

/// Steps one after the other in which nothing of the prompts may run for want of time, before something does.
const PATIENCE: u32 = 4;

/// The pace of steps, one after the other.
#[derive(Default)]
pub(crate) struct Pace {
    end: Option<StepEnd>,
    /// Steps since a prompt has moved, where there was one to move.
    still: u32,
    moved: bool,
    /// Whose rates these are: the time of a layer, a row or an expert depends on the cohort's rows.
    cohort: Option<CohortId>,
    /// Seconds for each layer, row and unit of the newest pieces of each kind.
    rates: [Option<f64>; 3],
}

impl Pace {
    /// A step begins.
    pub fn begin(&mut self, end: Option<StepEnd>) {
        self.end = end;
        self.moved = false;
    }

    /// A step is over; whether it had prompts to move.
    pub fn ends(&mut self, had_tiles: bool) {
        self.still = if had_tiles && !self.moved { self.still + 1 } else { 0 };
    }

    /// A cohort's tile is next.
    pub fn meets(&mut self, cohort: CohortId) {
        if self.cohort.replace(cohort) != Some(cohort) {
            self.rates = [None; 3];
        }
    }

    /// What the decode rows take alone when they are slow; nothing where nobody minds.
    pub fn decode(&self) -> Duration {
        self.end.map_or(Duration::ZERO, |end| end.decode)
    }

    /// Whether there is time for a piece, and for `after` behind it.
    pub fn allows(&self, piece: &Part, after: Duration) -> bool {
        let Some(end) = self.end else { return true };
        let (kind, size) = size(piece);
        let seconds = self.rates[kind].map_or(0.0, |rate| rate * size);
        let needed = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).saturating_add(after);
        let must_move = !self.moved && self.still + 1 >= PATIENCE;
        must_move || end.at.saturating_duration_since(Instant::now()) > needed
    }

    /// A piece has run, since a moment.
    pub fn ran(&mut self, piece: &Part, since: Instant) {
        let (kind, size) = size(piece);
        self.moved = true;
        self.rates[kind] = Some(since.elapsed().as_secs_f64() / size.max(1.0));
    }

    /// The pieces of a part: the part itself where nobody minds.
    pub fn pieces(&self, part: &Part, is_mixture: bool) -> Vec<Part> {
        if self.end.is_none() {
            return vec![part.clone()];
        }
        match part.clone() {
            Part::Layers(layers) => layers.map(|layer| Part::Layers(layer..layer + 1)).collect(),
            Part::Attention { layer, rows } => {
                let step = rows.len().div_ceil(PIECES).max(LEAST_ROWS).next_multiple_of(ROW_STEP);
                let piece = |start| Part::Attention { layer, rows: start..rows.end.min(start + step) };
                rows.clone().step_by(step).map(piece).collect()
            }
            Part::FeedForward { layer, units } => {
                let step = units.len().div_ceil(PIECES).max(1);
                let step = if is_mixture { step } else { step.max(LEAST_ROWS).next_multiple_of(ROW_STEP) };
                let piece = |start| Part::FeedForward { layer, units: start..units.end.min(start + step) };
                units.clone().step_by(step).map(piece).collect()
            }
        }
    }
}

/// Place of a part's kind in an array over all kinds, and how much there is of it.
fn size(part: &Part) -> (usize, f64) {
    match part {
        Part::Layers(layers) => (0, layers.len() as f64),
        Part::Attention { rows, .. } => (1, rows.len() as f64),
        Part::FeedForward { units, .. } => (2, units.len() as f64),
    }
}

/// Where a cohort stands behind a part.
pub(crate) fn behind(part: &Part, extent: Extent) -> Cursor {
    match part {
        Part::Layers(layers) => Cursor::at_layer(layers.end),
        Part::Attention { layer, rows } => Cursor::after_attention(*layer, rows.end, extent),
        Part::FeedForward { layer, units } => Cursor::after_feed_forward(*layer, units.end, extent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(left: Duration) -> Pace {
        let mut pace = Pace::default();
        pace.begin(Some(StepEnd { at: Instant::now() + left, decode: Duration::ZERO }));
        pace
    }

    #[test]
    fn pieces_make_the_part_and_end_where_a_cohort_may_stop() {
        let pace = pace(Duration::ZERO);
        let extent = Extent { rows: 1001, units: 100 };
        for rows in [0..1001, 4..8, 0..32, 300..301, 996..1001] {
            let part = Part::Attention { layer: 1, rows: rows.clone() };
            let pieces = pace.pieces(&part, true);
            assert!(pieces.len() <= PIECES);
            let mut at = rows.start;
            for piece in &pieces {
                let Part::Attention { layer: 1, rows: piece } = piece else { panic!("{piece:?}") };
                assert!(piece.start == at && !piece.is_empty());
                at = piece.end;
                assert!(at == rows.end || at.is_multiple_of(ROW_STEP) == rows.start.is_multiple_of(ROW_STEP));
            }
            assert_eq!(at, rows.end);
            assert_eq!(behind(&pieces[pieces.len() - 1], extent), behind(&part, extent));
        }
        let part = Part::FeedForward { layer: 0, units: 3..100 };
        let units = |is_mixture| -> Vec<usize> {
            let end = |piece: &Part| match piece {
                Part::FeedForward { units, .. } => units.end,
                _ => panic!("{piece:?}"),
            };
            pace.pieces(&part, is_mixture).iter().map(end).collect()
        };
        assert_eq!(units(true), [16, 29, 42, 55, 68, 81, 94, 100]);
        assert_eq!(units(false), [35, 67, 99, 100]);
        assert_eq!(pace.pieces(&Part::Layers(2..4), true), [Part::Layers(2..3), Part::Layers(3..4)]);
    }

    #[test]
    fn without_an_end_a_part_is_one_piece_and_there_is_always_time() {
        let pace = Pace::default();
        let part = Part::Layers(0..9);
        assert_eq!(pace.pieces(&part, true), [part.clone()]);
        assert!(pace.allows(&part, Duration::MAX));
    }

    const PART: Part = Part::FeedForward { layer: 0, units: 0..4 };

    #[test]
    fn what_should_end_in_time_may_run() {
        let mut pace = pace(Duration::from_secs(3600));
        pace.meets(CohortId(1));
        assert!(pace.allows(&PART, Duration::from_secs(3599)), "nothing is known of experts");
        pace.ran(&PART, Instant::now() - Duration::from_secs(400));
        assert!(pace.allows(&PART, Duration::from_secs(3000)), "400 s of 3600");
        assert!(!pace.allows(&PART, Duration::from_secs(3400)));
        let more = Part::FeedForward { layer: 0, units: 4..44 };
        assert!(!pace.allows(&more, Duration::ZERO), "ten times as many units take 4000 s");
        assert!(pace.allows(&Part::Layers(1..2), Duration::ZERO), "nothing is known of whole layers");
        pace.meets(CohortId(1));
        assert!(!pace.allows(&more, Duration::ZERO), "what is known of a cohort stays known");
        pace.meets(CohortId(2));
        assert!(pace.allows(&more, Duration::ZERO), "another cohort has other rows");
    }

    #[test]
    fn however_little_time_there_is_something_runs_once_in_a_few_steps() {
        let mut pace = pace(Duration::ZERO);
        let end = pace.end;
        for _ in 0..3 {
            for _ in 1..PATIENCE {
                pace.begin(end);
                assert!(!pace.allows(&PART, Duration::ZERO));
                pace.ends(true);
            }
            pace.begin(end);
            pace.ends(false);
            // Without a prompt there is nobody to wait.
            for _ in 1..PATIENCE {
                pace.begin(end);
                assert!(!pace.allows(&PART, Duration::ZERO));
                pace.ends(true);
            }
            pace.begin(end);
            assert!(pace.allows(&PART, Duration::from_secs(1)));
            pace.ran(&PART, Instant::now());
            assert!(!pace.allows(&PART, Duration::ZERO), "once");
            pace.ends(true);
        }
    }
}
