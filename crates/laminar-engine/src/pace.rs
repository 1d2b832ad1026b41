//! Whether there is time for one more piece of a tile.
//!
//! A tile is as long as predictions say that there is time. Sometimes they are wrong: a neighbour takes a core for a while,
//! or the experts at hand have more rows than others. So where streams wait, tiles run in pieces, and each piece begins only
//! if it should end in time at the speed of the one before it.

use crate::executor::StepEnd;
use laminar_schedule::{CohortId, Cursor, Extent, Part, ROW_STEP};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Share of the time left that a piece should take. What is left behind it decides how long the next one may be, so that a
/// step has a few long pieces and then shorter ones, the last of which is small beside the step.
const SHARE: f64 = 0.7;

/// Share of a piece that there must be time for.
const MOST: f64 = 0.5;

/// Whole layers that take so many times as long as the decode rows need for one are cut into their stages when time is short:
/// what the prompt's rows then no longer share with the decode rows is little beside them.
const WORTH_CUTTING: u32 = 4;

/// The same holds for so many rows as long as nothing is known of their pace.
const MANY_ROWS: usize = 256;

/// Rows that a piece has at least: fewer would read the layer's weights for too little, ..
const LEAST_ROWS: usize = 32;

/// .. but rows that attend to thousands of positions take a millisecond each, beside which these reads are little.
const LEAST_ATTENTION: f64 = 4e-3;

/// Rows that a piece of attention has at most. Their time goes up with the positions that they attend to, so that of a piece is
/// known only for one that is not much longer; and beyond so many, rows that pass together read a layer's weights no cheaper,
/// but need more memory, which takes its time to be had.
const MOST_ROWS: usize = 512;

/// An expert with so many rows runs in slices where there is no time for it as a whole.
const LONG_EXPERT: f64 = 256.0;

/// The share of a part that runs first where nothing is known of the cohort's pace, ..
const FIRST: usize = 8;

/// .. of the experts at most so many rows, which all of them have together, ..
const FIRST_ROWS: usize = 512;

/// .. and of attention so many, since nobody knows how many positions they attend to.
const FIRST_ATTENTION: usize = 128;

/// However much of a piece's time the decode rows would need anyway, it takes this share.
const LEAST_COST: f64 = 0.05;

/// Steps one after the other in which nothing of the prompts may run for want of time, before something does.
const PATIENCE: u32 = 4;

/// The pace of steps, one after the other.
#[derive(Default)]
pub(crate) struct Pace {
    end: Option<StepEnd>,
    /// Layers of the model.
    layers: usize,
    /// Steps since a prompt has moved, where there was one to move.
    still: u32,
    moved: bool,
    /// Whose rates these are: the time of a layer, a row or an expert depends on the cohort's rows.
    cohort: Option<CohortId>,
    /// Its rows.
    rows: usize,
    /// Seconds of its stages so far in a layer that it began with one.
    layer: Option<f64>,
    /// Seconds for each layer, row and unit (or each bit of an expert's weight) of the newest pieces of each kind.
    rates: [Option<f64>; 3],
}

impl Pace {
    /// A step of a model of so many layers begins.
    pub fn begin(&mut self, end: Option<StepEnd>, layers: usize) {
        self.end = end;
        self.layers = layers;
        self.moved = false;
    }

    /// A step is over; whether it had prompts to move.
    pub fn ends(&mut self, had_tiles: bool) {
        self.still = if had_tiles && !self.moved { self.still + 1 } else { 0 };
    }

    /// The tile of a cohort of so many rows is next.
    pub fn meets(&mut self, cohort: CohortId, rows: usize) {
        if self.cohort.replace(cohort) != Some(cohort) {
            self.rows = rows;
            self.layer = None;
            self.rates = [None; 3];
        }
    }

    /// Whether somebody minds how long the step takes.
    pub fn is_set(&self) -> bool {
        self.end.is_some()
    }

    /// What the decode rows take for one layer alone when they are slow; nothing where nobody minds.
    pub fn decode_layer(&self) -> Duration {
        self.end.map_or(Duration::ZERO, |end| end.decode) / self.layers.max(1) as u32
    }

    /// Whether whole layers of this cohort are so long that they are cut into their stages when time is short.
    pub fn cuts_layers(&self) -> bool {
        let least = (self.decode_layer() * WORTH_CUTTING).as_secs_f64();
        self.end.is_some() && self.rates[0].map_or(self.rows >= MANY_ROWS, |rate| rate >= least)
    }

    /// Seconds until the step should be over, with `after` to come; nothing where nobody minds.
    fn seconds_left(&self, after: Duration) -> Option<f64> {
        let left = self.end?.at.saturating_duration_since(Instant::now());
        Some(left.saturating_sub(after).as_secs_f64())
    }

    /// Whether something has to move however little time there is.
    fn must_move(&self) -> bool {
        !self.moved && self.still + 1 >= PATIENCE
    }

    /// The piece of what is left of a part that there is time for, with `after` behind it: all that is left where nobody
    /// minds; none if the time is over. Each layer, row or expert of it spares the step `spared` of the time `after`.
    /// `weights` says what each expert of a mixture costs beside the others; it is empty otherwise.
    pub fn piece(&self, left: &Part, after: Duration, spared: Duration, weights: &[f64]) -> Option<Part> {
        let Some(seconds) = self.seconds_left(after) else { return Some(left.clone()) };
        let (kind, count) = size(left);
        let (least, step) = match left {
            Part::Layers(_) => (1, 1),
            Part::Attention { .. } => (LEAST_ROWS, ROW_STEP),
            Part::FeedForward { .. } if !weights.is_empty() => (1, 1),
            Part::FeedForward { .. } => (LEAST_ROWS, ROW_STEP),
        };
        let rate = self.rates[kind].map(|rate| (rate - spared.as_secs_f64()).max(LEAST_COST * rate));
        let least = match (left, rate) {
            (Part::Attention { .. }, Some(rate)) => {
                ((LEAST_ATTENTION / rate) as usize).clamp(step, least).next_multiple_of(step)
            }
            _ => least,
        };
        let least = least.min(count);
        let largest = if kind == 1 { MOST_ROWS } else { usize::MAX };
        let cuts = kind == 0 && self.cuts_layers();
        let most = if cuts || is_long_expert(left, weights) { 1.0 } else { MOST };
        let count = match rate {
            _ if seconds <= 0.0 => 0,
            None if cuts || is_long_expert(left, weights) => 0,
            None => (count / FIRST).min(first(left, weights)).max(least),
            Some(rate) => match fitting(left, weights, SHARE * seconds / rate) {
                fits if fits >= least => fits.min(largest),
                // The smallest piece goes in if most of it does: streams keep a beat that can bear it, and what is not used at
                // the end of every step is lost to the prompts. But a long layer has smaller pieces.
                _ if rate * weight(&begin(left, least), weights) <= seconds / most => least,
                _ => 0,
            },
        };
        // A long layer moves by a part of a stage, a long expert by some of its slices.
        let count = if self.must_move() && !cuts && !is_long_expert(left, weights) { count.max(least) } else { count };
        (count > 0).then(|| begin(left, count.next_multiple_of(step)))
    }

    /// Slices of the next expert of a mixture that there is time for where it takes too long as a whole, with `after` behind
    /// them, of the `has` that it still has.
    pub fn slices(&self, left: &Part, after: Duration, weights: &[f64], has: usize) -> Option<usize> {
        let seconds = self.seconds_left(after)?;
        let Part::FeedForward { units, .. } = left else { return None };
        let rows = weights.get(units.start).filter(|_| is_long_expert(left, weights))?;
        let slices = |rows_at_once: f64| (rows_at_once * has as f64 / rows) as usize;
        let fits = match self.rates[2] {
            _ if seconds <= 0.0 => 0,
            Some(rate) => slices(SHARE * seconds / rate),
            None => slices(FIRST_ROWS as f64).max(1),
        };
        let fits = if self.must_move() { fits.max(1) } else { fits };
        Some(fits.min(has)).filter(|slices| *slices > 0)
    }

    /// So much of an expert has run, since a moment, as is worth so many of its rows.
    pub fn ran_slices(&mut self, rows: f64, since: Instant) {
        let seconds = since.elapsed().as_secs_f64();
        self.moved = true;
        self.rates[2] = Some(seconds / rows.max(1.0));
        self.layer = self.layer.map(|sum| sum + seconds);
    }

    /// A piece has run, since a moment.
    pub fn ran(&mut self, piece: &Part, since: Instant, weights: &[f64]) {
        let seconds = since.elapsed().as_secs_f64();
        self.moved = true;
        self.rates[size(piece).0] = Some(seconds / weight(piece, weights).max(1.0));
        self.layer = match piece {
            Part::Layers(_) => None,
            Part::Attention { rows, .. } if rows.start == 0 => Some(seconds),
            _ => self.layer.map(|sum| sum + seconds),
        };
    }

    /// The newest piece has been the last one of its layer.
    pub fn layer_ends(&mut self) {
        if let Some(seconds) = self.layer.take() {
            self.rates[0] = Some(seconds);
        }
    }
}

/// Place of a part's kind in an array over all kinds, and how much there is of it.
fn size(part: &Part) -> (usize, usize) {
    match part {
        Part::Layers(layers) => (0, layers.len()),
        Part::Attention { rows, .. } => (1, rows.len()),
        Part::FeedForward { units, .. } => (2, units.len()),
    }
}

/// What a part costs beside others of its kind.
fn weight(part: &Part, weights: &[f64]) -> f64 {
    match part {
        Part::FeedForward { units, .. } if !weights.is_empty() => {
            weights.get(units.clone()).unwrap_or_default().iter().sum()
        }
        _ => size(part).1 as f64,
    }
}

/// Whether a part begins with an expert that runs in slices where there is no time for it as a whole.
fn is_long_expert(part: &Part, weights: &[f64]) -> bool {
    match part {
        Part::FeedForward { units, .. } => weights.get(units.start).is_some_and(|rows| *rows >= LONG_EXPERT),
        _ => false,
    }
}

/// The most of a part that runs before its pace is known.
fn first(part: &Part, weights: &[f64]) -> usize {
    match part {
        Part::Layers(_) => usize::MAX,
        Part::Attention { .. } => FIRST_ATTENTION,
        Part::FeedForward { .. } => fitting(part, weights, FIRST_ROWS as f64),
    }
}

/// How much of a part, from its begin, costs at most so much.
fn fitting(part: &Part, weights: &[f64], most: f64) -> usize {
    match part {
        Part::FeedForward { units, .. } if !weights.is_empty() => {
            let mut sum = 0.0;
            let fits = |weight: &&f64| {
                sum += **weight;
                sum <= most
            };
            weights.get(units.clone()).unwrap_or_default().iter().take_while(fits).count()
        }
        _ => size(part).1.min(most as usize),
    }
}

/// So much of a part, from its begin.
fn begin(part: &Part, count: usize) -> Part {
    let first = |range: &Range<usize>| range.start..range.end.min(range.start + count);
    match part {
        Part::Layers(layers) => Part::Layers(first(layers)),
        Part::Attention { layer, rows } => Part::Attention { layer: *layer, rows: first(rows) },
        Part::FeedForward { layer, units } => Part::FeedForward { layer: *layer, units: first(units) },
    }
}

/// What is left of a part behind a piece of it, if anything is.
pub(crate) fn rest(part: &Part, piece: &Part) -> Option<Part> {
    let rest = match (part, piece) {
        (Part::Layers(all), Part::Layers(done)) => Part::Layers(done.end..all.end),
        (Part::Attention { layer, rows }, Part::Attention { rows: done, .. }) => {
            Part::Attention { layer: *layer, rows: done.end..rows.end }
        }
        (Part::FeedForward { layer, units }, Part::FeedForward { units: done, .. }) => {
            Part::FeedForward { layer: *layer, units: done.end..units.end }
        }
        // A piece is of the kind of its part.
        _ => return None,
    };
    (size(&rest).1 > 0).then_some(rest)
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
    use laminar_schedule::Stage;

    fn pace(left: Duration) -> Pace {
        let mut pace = Pace::default();
        pace.begin(Some(StepEnd { at: Instant::now() + left, decode: Duration::from_secs(9) }), 9);
        pace
    }

    /// What a part is cut into when each piece takes so many seconds for each of its rows, experts or layers.
    fn cut(mut part: Part, seconds: f64, rate: f64, weights: &[f64]) -> Vec<usize> {
        let mut pieces = Vec::new();
        let mut left = seconds;
        loop {
            let mut pace = pace(Duration::from_secs_f64(left));
            pace.rates = [Some(rate); 3];
            let Some(piece) = pace.piece(&part, Duration::ZERO, Duration::ZERO, weights) else { return pieces };
            pieces.push(size(&piece).1);
            left = (left - weight(&piece, weights) * rate).max(0.0);
            match rest(&part, &piece) {
                Some(rest) => part = rest,
                None => return pieces,
            }
        }
    }

    #[test]
    fn a_step_has_a_few_long_pieces_and_then_short_ones() {
        let experts = Part::FeedForward { layer: 0, units: 3..103 };
        let equal = [1.0; 103];
        assert_eq!(cut(experts.clone(), 1000.0, 10.5, &equal), [66, 20, 6, 2, 1]);
        assert_eq!(cut(experts.clone(), 2000.0, 10.5, &equal), [100]);
        assert_eq!(cut(experts.clone(), 5.0, 10.5, &equal), [0; 0]);
        let mut unequal = equal;
        unequal[3..8].fill(10.0);
        assert_eq!(cut(experts.clone(), 1000.0, 10.5, &unequal), [21, 20, 6, 2, 1], "five of them are as fifty");
        assert_eq!(cut(experts, 50.0, 10.5, &unequal), [0; 0], "the first one takes too long");
        let attention = Part::Attention { layer: 1, rows: 300..1301 };
        assert_eq!(cut(attention.clone(), 1.0, 2.5e-3, &equal), [280, 84, 28, 8]);
        assert_eq!(cut(attention.clone(), 1.0, 1e-4, &equal), [512, 489]);
        assert_eq!(cut(attention.clone(), 0.01, 1e-4, &equal), [72, 32], "fewer would not be worth it");
        assert_eq!(cut(attention, 3000.0, 2.5, &equal), [512, 484, 5]);
        assert_eq!(cut(Part::Attention { layer: 1, rows: 4..8 }, 11.0, 2.5, &equal), [4]);
        assert_eq!(cut(Part::FeedForward { layer: 0, units: 0..100 }, 101.0, 1.01, &[]), [72, 28], "most of it does");
        assert_eq!(cut(Part::Layers(2..9), 10.0, 1.6, &[]), [4, 1, 1]);
    }

    #[test]
    fn pieces_end_where_a_cohort_may_stop() {
        let extent = Extent { rows: 1001, units: 100 };
        let part = Part::Attention { layer: 1, rows: 300..1001 };
        let mut pace = pace(Duration::from_secs(1000));
        let first = pace.piece(&part, Duration::ZERO, Duration::ZERO, WEIGHTS).unwrap();
        assert_eq!(first, Part::Attention { layer: 1, rows: 300..388 }, "an eighth of what nothing is known of");
        assert_eq!(behind(&first, extent), Cursor::after_attention(1, 388, extent));
        let many = Part::Attention { layer: 0, rows: 0..8192 };
        assert_eq!(pace.piece(&many, Duration::ZERO, Duration::ZERO, &[]).map(|first| size(&first).1), Some(128));
        let experts = Part::FeedForward { layer: 0, units: 0..128 };
        let first = pace.piece(&experts, Duration::ZERO, Duration::ZERO, &[200.0; 128]);
        assert_eq!(first.map(|first| size(&first).1), Some(2), "400 rows");
        let first = begin(&part, 88);
        pace.ran(&first, Instant::now(), WEIGHTS);
        let rest = rest(&part, &first).unwrap();
        let next = Part::Attention { layer: 1, rows: 388..388 + MOST_ROWS };
        assert_eq!(pace.piece(&rest, Duration::ZERO, Duration::ZERO, WEIGHTS), Some(next), "it was fast");
        assert_eq!(behind(&rest, extent), Cursor { layer: 1, stage: Stage::FeedForward { units: 0 } });
    }

    #[test]
    fn without_an_end_a_part_is_one_piece_and_there_is_always_time() {
        let part = Part::Layers(0..9);
        assert_eq!(Pace::default().piece(&part, Duration::MAX, Duration::ZERO, WEIGHTS), Some(part));
    }

    const WEIGHTS: &[f64] = &[1.0; 4];
    const PART: Part = Part::FeedForward { layer: 0, units: 0..4 };

    #[test]
    fn what_should_end_in_time_may_run() {
        let mut pace = pace(Duration::from_secs(3600));
        let count = |pace: &Pace, part: &Part, after: u64| {
            pace.piece(part, Duration::from_secs(after), Duration::ZERO, WEIGHTS).map_or(0, |piece| size(&piece).1)
        };
        pace.meets(CohortId(1), 4);
        assert_eq!(count(&pace, &PART, 3599), 1, "nothing is known of experts");
        assert_eq!(count(&pace, &PART, 3600), 0);
        pace.ran(&PART, Instant::now() - Duration::from_secs(400), WEIGHTS);
        assert_eq!(count(&pace, &PART, 3000), 4, "400 s of 600");
        assert_eq!(count(&pace, &PART, 3400), 1, "100 s of 200");
        assert_eq!(count(&pace, &PART, 3560), 0);
        let spared = Duration::from_secs(90);
        let more = pace.piece(&PART, Duration::from_secs(3550), spared, WEIGHTS);
        assert_eq!(more.map(|piece| size(&piece).1), Some(3), "10 s each of 50");
        pace.meets(CohortId(1), 4);
        assert_eq!(count(&pace, &PART, 3560), 0, "what is known of a cohort stays known");
        pace.meets(CohortId(2), 4);
        assert_eq!(count(&pace, &PART, 3550), 1, "another cohort has other rows");
    }

    #[test]
    fn long_layers_are_cut_into_their_stages_when_time_is_short() {
        let mut pace = pace(Duration::from_secs(1000));
        let whole =
            |pace: &Pace, part| pace.piece(&part, Duration::ZERO, Duration::ZERO, &[]).map(|piece| size(&piece).1);
        pace.meets(CohortId(1), MANY_ROWS - 1);
        assert_eq!((pace.cuts_layers(), whole(&pace, Part::Layers(2..9))), (false, Some(1)), "few rows are tried");
        pace.meets(CohortId(2), MANY_ROWS);
        assert_eq!((pace.cuts_layers(), whole(&pace, Part::Layers(2..9))), (true, None), "many rows are not");
        let extent = Extent { rows: MANY_ROWS, units: 4 };
        for part in Cursor::at_layer(1).parts(Cursor::after_feed_forward(1, 3, extent), extent) {
            pace.ran(&part, Instant::now() - Duration::from_secs(300), &[]);
        }
        assert_eq!(whole(&pace, Part::Layers(2..9)), None, "the layer is not over");
        pace.ran(&Part::FeedForward { layer: 1, units: 3..4 }, Instant::now() - Duration::from_secs(300), &[]);
        pace.layer_ends();
        assert_eq!(
            (pace.cuts_layers(), whole(&pace, Part::Layers(2..9))),
            (true, Some(1)),
            "900 s, 700 of which are 1"
        );
        pace.begin(Some(StepEnd { at: Instant::now() + Duration::from_secs(800), decode: Duration::from_secs(9) }), 9);
        assert_eq!(whole(&pace, Part::Layers(2..9)), None, "most of a long one is not enough");
        let expert = pace.piece(&PART, Duration::ZERO, Duration::ZERO, WEIGHTS);
        assert_eq!(expert, Some(Part::FeedForward { layer: 0, units: 0..1 }), "an expert fits");
        pace.ran(&Part::Layers(2..3), Instant::now() - Duration::from_secs(3), &[]);
        assert!(!pace.cuts_layers(), "three times a layer of the decode rows");
    }

    #[test]
    fn an_expert_that_so_many_rows_have_chosen_runs_in_slices() {
        let mut pace = pace(Duration::from_secs(1000));
        let weights = &[6000.0, 9.0, 6000.0, 9.0];
        let part = begin(&PART, 4);
        let whole = |pace: &Pace| pace.piece(&part, Duration::ZERO, Duration::ZERO, weights);
        let slices = |pace: &Pace, after, has| pace.slices(&part, Duration::from_secs(after), weights, has);
        assert_eq!((whole(&pace), slices(&pace, 0, 36)), (None, Some(3)), "nothing is known of it: 512 rows");
        assert_eq!((slices(&pace, 0, 3), slices(&pace, 0, 0)), (Some(1), None), "however long one is");
        pace.ran_slices(512.0, Instant::now() - Duration::from_secs(128));
        assert_eq!((whole(&pace), slices(&pace, 0, 36)), (None, Some(16)), "700 s of 1500 s");
        assert_eq!((slices(&pace, 945, 36), slices(&pace, 1000, 36)), (None, None), "38.5 s of 41.7 s");
        pace.begin(Some(StepEnd { at: Instant::now() + Duration::from_secs(2145), decode: Duration::ZERO }), 9);
        assert_eq!((whole(&pace), slices(&pace, 0, 36)), (Some(begin(&PART, 1)), Some(36)), "1500 s of 1501");
        let few = &[LONG_EXPERT - 1.0; 4];
        pace.begin(Some(StepEnd { at: Instant::now() + Duration::from_secs(50), decode: Duration::ZERO }), 9);
        assert_eq!(pace.piece(&part, Duration::ZERO, Duration::ZERO, few), Some(begin(&PART, 1)), "most of it fits");
        assert_eq!(pace.slices(&part, Duration::ZERO, few, 36), None);
        assert_eq!(pace.slices(&Part::Layers(0..2), Duration::ZERO, weights, 36), None);
        let no_end = Pace { rates: pace.rates, ..Pace::default() };
        assert_eq!(no_end.slices(&part, Duration::ZERO, weights, 36), None, "nobody minds");
    }

    #[test]
    fn however_little_time_there_is_something_runs_once_in_a_few_steps() {
        let mut pace = pace(Duration::ZERO);
        let end = pace.end;
        let runs = |pace: &Pace| pace.piece(&PART, Duration::ZERO, Duration::ZERO, WEIGHTS).is_some();
        for _ in 0..3 {
            for _ in 1..PATIENCE {
                pace.begin(end, 9);
                assert!(!runs(&pace));
                pace.ends(true);
            }
            pace.begin(end, 9);
            pace.ends(false);
            // Without a prompt there is nobody to wait.
            for _ in 1..PATIENCE {
                pace.begin(end, 9);
                assert!(!runs(&pace));
                pace.ends(true);
            }
            pace.begin(end, 9);
            assert!(runs(&pace));
            pace.ran(&PART, Instant::now(), WEIGHTS);
            assert!(!runs(&pace), "once");
            pace.ends(true);
        }
    }
}
