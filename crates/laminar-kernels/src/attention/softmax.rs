//! From scores to weights, and how the parts of a row are merged.
//!
//! All of it is in powers of two: scores are multiplied by log2 e beforehand, so that a weight is `2^(score - max)`
//! and costs about half of what e to that power would.

use std::ops::Range;

use super::lanes::{Kernel, LANES, Lanes};
use super::tile::SPLIT;

/// Adding this rounds a small float to an integer (nearest even) in the low mantissa bits.
const ROUND: f32 = 12_582_912.0;
/// Below this the result is 0 (it would be subnormal).
const LOWEST: f32 = -126.0;
/// `2^r` over -0.5..=0.5 is 1 plus these times `r`, `r^2` ..., with the smallest greatest error (9e-8).
#[allow(clippy::approx_constant)] // The first is near ln 2, but fitted as the others are.
const POWERS: [f32; 5] = [0.693_147, 0.240_222_42, 0.055_507_336, 0.009_671_513, 0.001_326_472_7];

/// 2 to the power of `x`, not above 0: exactly 1 for 0, and 0 below -126.
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
pub(super) unsafe fn exp2<L: Lanes>(x: L::V) -> L::V {
    // SAFETY: by the contract.
    unsafe {
        let round = L::splat(ROUND);
        let shifted = L::add(x, round);
        let r = L::sub(x, L::sub(shifted, round));
        let mut p = L::splat(POWERS[4]);
        for power in [POWERS[3], POWERS[2], POWERS[1], POWERS[0], 1.0] {
            p = L::fma(p, r, L::splat(power));
        }
        L::zero_below(L::add_exponent(p, shifted), x, L::splat(LOWEST))
    }
}

/// The hyperbolic tangent, `(1 - e^-2|u|) / (1 + e^-2|u|)` with the sign of `u`; the absolute error is about 1e-7.
///
/// # Safety
/// That of [`Lanes`].
#[inline(always)]
unsafe fn tanh<L: Lanes>(u: L::V) -> L::V {
    // SAFETY: by the contract.
    unsafe {
        let one = L::splat(1.0);
        let e = exp2::<L>(L::mul(L::abs(u), L::splat(-2.0 * std::f32::consts::LOG2_E)));
        L::with_sign(L::div(L::sub(one, e), L::add(one, e)), u)
    }
}

/// Turns the scores of rows over a split into weights relative to their largest.
pub(super) struct Softmax<'a> {
    /// Rows of [`SPLIT`] scores. Those of the vectors around each visible range are computed.
    pub scores: *mut f32,
    /// Positions of the split that each row sees.
    pub visible: &'a [Range<usize>],
    /// Scores `u` become `cap * tanh(u)`.
    pub cap: Option<f32>,
    /// The largest score of each row.
    pub max: &'a mut [f32],
    /// The sum of its weights; 0 where a row sees nothing.
    pub total: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    /// Needs `visible.len()` rows of scores.
    ///
    /// Goes over all rows with one step at a time, so that the end of a row's chain doesn't hold up the next row.
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // Whole vectors: hidden positions weigh an exact zero, so it doesn't matter how many are computed.
        let vectors = |visible: &Range<usize>| visible.start / LANES..visible.end.div_ceil(LANES);
        for (r, visible) in self.visible.iter().enumerate() {
            self.max[r] = f32::NEG_INFINITY;
            if visible.is_empty() {
                continue;
            }
            let vectors = vectors(visible);
            // SAFETY: a row has SPLIT scores, whole vectors, of which these are a part; the rest by the contract.
            unsafe {
                let row = self.scores.add(r * SPLIT);
                if let Some(cap) = self.cap {
                    for v in vectors.clone() {
                        let at = row.add(v * LANES);
                        L::store(at, L::mul(tanh::<L>(L::load(at)), L::splat(cap)));
                    }
                }
                for hidden in (vectors.start * LANES..visible.start).chain(visible.end..vectors.end * LANES) {
                    *row.add(hidden) = f32::NEG_INFINITY;
                }
                let mut max = L::splat(f32::NEG_INFINITY);
                for v in vectors {
                    max = L::max(L::load(row.add(v * LANES)), max);
                }
                self.max[r] = L::largest(max);
            }
        }
        for (r, visible) in self.visible.iter().enumerate() {
            self.total[r] = 0.0;
            if visible.is_empty() {
                continue;
            }
            // SAFETY: as above.
            unsafe {
                let row = self.scores.add(r * SPLIT);
                let max = L::splat(self.max[r]);
                let mut total = L::splat(0.0);
                for v in vectors(visible) {
                    let at = row.add(v * LANES);
                    let weight = exp2::<L>(L::sub(L::load(at), max));
                    total = L::add(total, weight);
                    L::store(at, weight);
                }
                self.total[r] = L::sum(total);
            }
        }
    }
}

/// What a range of positions adds up to, for some queries.
pub(super) struct Part<'a> {
    /// The largest score of each query, padded to whole vectors.
    pub max: &'a mut [f32],
    /// The sum of its weights relative to that score, padded likewise; 0 if it sees none of the positions.
    pub total: &'a mut [f32],
    /// Weighted values of each query, whole vectors.
    pub sums: &'a mut [f32],
}

impl<'a> Part<'a> {
    /// Floats that `queries` of `width` sums take: whole vectors, if `width` is.
    pub(super) fn len(queries: usize, width: usize) -> usize {
        2 * queries.next_multiple_of(LANES) + queries * width
    }

    /// A part in memory of that length.
    pub(super) fn new(memory: &'a mut [f32], queries: usize) -> Self {
        let padded = queries.next_multiple_of(LANES);
        let (max, rest) = memory.split_at_mut(padded);
        let (total, sums) = rest.split_at_mut(padded);
        Part { max, total, sums }
    }
}

/// Adds the positions of `next`, which follow, to `all`. The queries and widths of both are the same.
pub(super) struct Merge<'a, 'b> {
    pub all: Part<'a>,
    pub next: Part<'b>,
    pub queries: usize,
}

impl Kernel for Merge<'_, '_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Merge { all, next, queries } = self;
        let width = all.sums.len() / queries;
        assert!(all.sums.len() == next.sums.len() && width.is_multiple_of(LANES));
        let (mut old, mut new) = ([0f32; LANES], [0f32; LANES]);
        for first in (0..queries).step_by(LANES) {
            let (all_max, next_max) = (&mut all.max[first..first + LANES], &next.max[first..first + LANES]);
            let count = LANES.min(queries - first);
            // SAFETY: all of these are slices of whole vectors; the rest by the contract.
            unsafe {
                let (a, b) = (L::load(all_max.as_ptr()), L::load(next_max.as_ptr()));
                let max = L::max(a, b);
                L::store(old.as_mut_ptr(), exp2::<L>(L::sub(a, max)));
                L::store(new.as_mut_ptr(), exp2::<L>(L::sub(b, max)));
                for i in 0..count {
                    let query = first + i;
                    if next.total[query] == 0.0 {
                        continue;
                    }
                    let sums = &mut all.sums[query * width..][..width];
                    let more = &next.sums[query * width..][..width];
                    if all.total[query] == 0.0 {
                        // What comes first is taken as it is.
                        all_max[i] = next_max[i];
                        all.total[query] = next.total[query];
                        sums.copy_from_slice(more);
                        continue;
                    }
                    all_max[i] = if all_max[i] > next_max[i] { all_max[i] } else { next_max[i] };
                    all.total[query] = all.total[query].mul_add(old[i], next.total[query] * new[i]);
                    let (old, new) = (L::splat(old[i]), L::splat(new[i]));
                    for v in (0..width).step_by(LANES) {
                        let (to, from) = (sums.as_mut_ptr().add(v), more.as_ptr().add(v));
                        L::store(to, L::fma(L::load(to), old, L::mul(L::load(from), new)));
                    }
                }
            }
        }
    }
}

/// Factors that make the sums of queries their attention, in place of the totals: `1 / total`, or with sinks
/// `2^(max - m) / (total * 2^(max - m) + 2^(sink - m))` with `m` the larger of `max` and `sink`.
pub(super) struct Normalise<'a> {
    pub max: &'a [f32],
    pub total: &'a mut [f32],
    /// The sink of each query, times log2 e; as long as the others.
    pub sinks: Option<&'a [f32]>,
}

impl Kernel for Normalise<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for first in (0..self.total.len()).step_by(LANES) {
            let total = &mut self.total[first..first + LANES];
            // SAFETY: all of these are slices of whole vectors; the rest by the contract.
            unsafe {
                let sum = L::load(total.as_ptr());
                let factor = match self.sinks {
                    None => L::div(L::splat(1.0), sum),
                    Some(sinks) => {
                        let max = L::load(self.max[first..first + LANES].as_ptr());
                        let sink = L::load(sinks[first..first + LANES].as_ptr());
                        let m = L::max(max, sink);
                        let own = exp2::<L>(L::sub(max, m));
                        L::div(own, L::fma(sum, own, exp2::<L>(L::sub(sink, m))))
                    }
                };
                L::store(total.as_mut_ptr(), factor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::portable::Portable;
    use super::*;

    fn all(f: impl Fn([f32; LANES]) -> [f32; LANES], x: f32) -> f32 {
        f([x; LANES])[3]
    }

    #[test]
    fn powers_of_two_are_within_two_units_in_the_last_place() {
        // SAFETY: every machine has plain Rust.
        let exp2 = |x| all(|x| unsafe { exp2::<Portable>(x) }, x);
        for i in 0..1_000_000 {
            let x = -126.0 + i as f32 * (126.0 / 1_000_000.0);
            let exact = f64::from(x).exp2();
            let unit = f64::from(f32::EPSILON) * 2f64.powi(exact.log2().floor() as i32);
            let error = (f64::from(exp2(x)) - exact).abs() / unit;
            assert!(error < 2.0, "{x}: {error} units");
        }
        assert_eq!(exp2(0.0), 1.0);
        assert_eq!((exp2(-126.5), exp2(-1e9), exp2(f32::NEG_INFINITY)), (0.0, 0.0, 0.0));
        assert!(exp2(f32::NAN).is_nan());
    }

    #[test]
    fn the_tangent_is_odd_and_close() {
        // SAFETY: every machine has plain Rust.
        let tanh = |x| all(|x| unsafe { tanh::<Portable>(x) }, x);
        for i in 0..100_000 {
            let x = i as f32 * (100.0 / 100_000.0);
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2.5e-7, "{x}");
            assert_eq!(tanh(-x).to_bits(), (-tanh(x)).to_bits());
        }
        assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
    }
}
