//! The tokens of a row of logits in falling order, as far as somebody asks for them.
//!
//! The row is cut into blocks, of each of which the largest logit that was not given yet is known. The next token is in the
//! block where that is largest, and only this block is looked at again. So the first token costs what a search for the largest
//! logit costs, each further one a look at the blocks and at one of them, and nothing is sorted.

/// Logits of a block.
const BLOCK: usize = 128;
/// Logits that are compared at once.
const LANES: usize = 32;

/// The buffer of a ranking, kept between rows.
#[derive(Debug, Default)]
pub(crate) struct Ranking {
    /// The largest logit of each block among those not given yet; negative infinity where there is none.
    peaks: Vec<f32>,
}

/// The tokens of one row, the largest logit first, and the lowest id among equals.
pub(crate) struct Falling<'a> {
    logits: &'a [f32],
    peaks: &'a mut [f32],
    /// The logit and the id of the newest token given, whose block has not been looked at again.
    given: Option<(f32, usize)>,
}

impl Ranking {
    /// Begins with a row. Its logits are finite.
    pub fn of<'a>(&'a mut self, logits: &'a [f32]) -> Falling<'a> {
        self.peaks.clear();
        self.peaks.extend(logits.chunks(BLOCK).map(largest));
        Falling { logits, peaks: &mut self.peaks, given: None }
    }
}

impl Falling<'_> {
    /// Looks at the newest token's block again. Nobody may ask for a token behind it, so this is left until somebody does.
    fn look_again(&mut self) -> Option<()> {
        if let Some((peak, id)) = self.given {
            let place = id / BLOCK;
            let block = self.logits.chunks(BLOCK).nth(place)?;
            self.peaks[place] = match position(&block[id % BLOCK + 1..], peak) {
                Some(_) => peak,
                None => largest_below(block, peak),
            };
        }
        Some(())
    }
}

impl Iterator for Falling<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.look_again()?;
        let peak = largest(self.peaks);
        if peak == f32::NEG_INFINITY {
            return None;
        }
        let place = position(self.peaks, peak)?;
        let first = place * BLOCK;
        let block = self.logits.chunks(BLOCK).nth(place)?;
        // Of equal logits those up to the newest one given have been given.
        let from = match self.given {
            Some((logit, id)) if logit == peak => (id + 1).saturating_sub(first),
            _ => 0,
        };
        let id = first + from + position(&block[from..], peak)?;
        self.given = Some((peak, id));
        Some(id as u32)
    }
}

/// Where a logit is first.
fn position(logits: &[f32], wanted: f32) -> Option<usize> {
    // Whether it is among so many is found out for all at once.
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let found = chunks.iter().position(|chunk| chunk.iter().fold(false, |found, logit| found | (*logit == wanted)));
    let (first, among) = match found {
        Some(number) => (number * LANES, chunks[number].as_slice()),
        None => (chunks.len() * LANES, rest),
    };
    Some(first + among.iter().position(|logit| *logit == wanted)?)
}

/// The largest of some logits.
pub(crate) fn largest(logits: &[f32]) -> f32 {
    // Infinity is below no logit, so none is left out.
    largest_below(logits, f32::INFINITY)
}

/// The largest of some logits that are less than `end`; negative infinity if there is none.
fn largest_below(logits: &[f32], end: f32) -> f32 {
    // In lanes, which compilers turn into vectors.
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, logit) in lanes.iter_mut().zip(chunk) {
            *lane = if *logit > *lane && *logit < end { *logit } else { *lane };
        }
    }
    for (lane, logit) in lanes.iter_mut().zip(rest) {
        *lane = if *logit > *lane && *logit < end { *logit } else { *lane };
    }
    // In halves: one after the other, each would wait for the one before.
    let mut left = LANES;
    while left > 1 {
        left /= 2;
        let (low, high) = lanes.split_at_mut(left);
        for (low, high) in low.iter_mut().zip(high) {
            *low = if *high > *low { *high } else { *low };
        }
    }
    lanes[0]
}

/// The first logit that is no finite number.
pub(crate) fn not_finite(logits: &[f32]) -> Option<usize> {
    // Nothing but a finite number is 0 if it is multiplied with 0.
    let mut lanes = [0.0; 32];
    let (chunks, rest) = logits.as_chunks::<32>();
    for chunk in chunks {
        for (lane, logit) in lanes.iter_mut().zip(chunk) {
            *lane += logit * 0.0;
        }
    }
    let are_finite = lanes.iter().all(|lane| *lane == 0.0) && rest.iter().all(|logit| logit.is_finite());
    if are_finite { None } else { logits.iter().position(|logit| !logit.is_finite()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Draws;
    use proptest::prelude::*;

    fn sorted(logits: &[f32]) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        // Not by the order of all floats, in which -0 is less than 0.
        let order = |a: &u32, b: &u32| logits[*b as usize].partial_cmp(&logits[*a as usize]).unwrap();
        ids.sort_by(|a, b| order(a, b).then(a.cmp(b)));
        ids
    }

    proptest! {
        /// Few different logits, so that there are many equals, of any number of tokens.
        #[test]
        fn tokens_come_in_the_order_of_a_sort(seed in 0u64..1 << 32, size in 0usize..700, kinds in 1u32..400) {
            let mut draws = Draws::new(Some(seed));
            let mut logit = || (draws.uniform() * f64::from(kinds)).floor() as f32 - 5.0;
            let logits: Vec<f32> = (0..size).map(|_| logit()).collect();
            let mut ranking = Ranking::default();
            prop_assert_eq!(ranking.of(&[1.0]).collect::<Vec<u32>>(), [0]);
            prop_assert_eq!(ranking.of(&logits).collect::<Vec<u32>>(), sorted(&logits));
        }
    }

    #[test]
    fn the_first_number_that_is_not_finite_is_found() {
        for size in [0, 1, 31, 64, 100] {
            let finite: Vec<f32> = (0..size).map(|place| f32::MAX / (place as f32 + 1.0)).collect();
            assert_eq!(not_finite(&finite), None);
            for place in 0..size {
                for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut logits = finite.clone();
                    logits[place] = wrong;
                    logits[size - 1] = f32::NAN;
                    assert_eq!(not_finite(&logits), Some(place));
                }
            }
        }
    }

    #[test]
    fn zeros_of_both_signs_are_equal() {
        let logits = [0.0, -0.0, 1.0, -0.0, 0.0, -1.0];
        assert_eq!(Ranking::default().of(&logits).collect::<Vec<u32>>(), [2, 0, 1, 3, 4, 5]);
    }
}
