//! Rows that are several streams side by side, of which a layer computes one, while the others are predicted and corrected
//! by sums of few terms: alternating updates (Baykal et al., arXiv 2301.13310). Gemma 3n has them.

use crate::Pool;
use crate::elementwise::tanh;
use crate::isa::{Isa, isa, multiversion};
use crate::pool::for_each_row;

/// Values that are worked on together. Each has its own sum, so the width of vectors changes no bit.
const LANES: usize = 16;

/// How the rows of a model with several streams lie: the streams one behind the other, and whatever else behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamShape {
    /// Streams; at most [`StreamShape::MOST`].
    pub count: usize,
    /// Values of a stream.
    pub hidden: usize,
    /// Values of a row.
    pub width: usize,
}

impl StreamShape {
    /// The most streams of a row.
    pub const MOST: usize = 8;

    fn check(&self, rows: &[f32], router: &[f32]) {
        let Self { count, hidden, width } = *self;
        assert!((1..=Self::MOST).contains(&count), "{count} streams");
        assert!(count * hidden <= width, "{count} streams of {hidden} values are no row of {width}");
        assert!(rows.len() / width * count == router.len(), "rows and what routes them differ in number");
    }
}

/// `tanh` of what a row is routed by.
#[inline(always)]
fn modes(router: &[f32]) -> [f32; StreamShape::MOST] {
    let mut modes = [0.0; StreamShape::MOST];
    for (mode, x) in modes.iter_mut().zip(router) {
        *mode = tanh(*x);
    }
    modes
}

#[inline(always)]
fn product(weights: &[f32], modes: &[f32; StreamShape::MOST]) -> f32 {
    weights.iter().zip(modes).fold(0.0, |sum, (w, x)| w.mul_add(*x, sum))
}

/// Up to [`LANES`] values from `at` on.
#[inline(always)]
fn lanes(x: &[f32], at: usize) -> [f32; LANES] {
    let mut values = [0.0; LANES];
    match x.get(at..at + LANES) {
        Some(whole) => values.copy_from_slice(whole),
        None => values.iter_mut().zip(&x[at..]).for_each(|(value, x)| *value = *x),
    }
    values
}

/// The other way round.
#[inline(always)]
fn put_lanes(values: &[f32; LANES], x: &mut [f32], at: usize) {
    match x.get_mut(at..at + LANES) {
        Some(whole) => whole.copy_from_slice(values),
        None => x[at..].iter_mut().zip(values).for_each(|(x, value)| *x = *value),
    }
}

multiversion! {
    fn predict_row(row: &mut [f32], shape: StreamShape, router: &[f32], weights: &[f32]) = predict_row_body;
}

#[inline(always)]
fn predict_row_body(row: &mut [f32], shape: StreamShape, router: &[f32], weights: &[f32]) {
    let StreamShape { count, hidden, .. } = shape;
    let modes = modes(router);
    let mut factors = [[0f32; StreamShape::MOST]; StreamShape::MOST];
    for (factor, weights) in factors.iter_mut().flat_map(|of| &mut of[..count]).zip(weights.chunks_exact(count)) {
        *factor = product(weights, &modes);
    }
    let mut old = [[0f32; LANES]; StreamShape::MOST];
    for at in (0..hidden).step_by(LANES) {
        for (old, stream) in old.iter_mut().zip(row.chunks_exact(hidden)).take(count) {
            *old = lanes(stream, at);
        }
        for (k, stream) in row.chunks_exact_mut(hidden).enumerate().take(count) {
            let mut sums = [0f32; LANES];
            for (factor, old) in factors[k][..count].iter().zip(&old) {
                for (sum, x) in sums.iter_mut().zip(old) {
                    *sum = factor.mul_add(*x, *sum);
                }
            }
            for (sum, x) in sums.iter_mut().zip(&old[k]) {
                *sum += x;
            }
            put_lanes(&sums, stream, at);
        }
    }
}

/// Predicts the streams of each row from all of them: `s[k] += sum over i of c[k][i] * s[i]`, where `c` is the product of
/// `weights` (`count * count` rows of `count` values, those of `k = 0` first) and the `tanh` of the row's `count` values
/// in `router`.
///
/// # Panics
///
/// If the numbers of values do not fit the shape.
pub fn predict_streams(pool: &Pool, rows: &mut [f32], shape: &StreamShape, router: &[f32], weights: &[f32]) {
    predict_streams_for(isa(), pool, rows, shape, router, weights);
}

pub(crate) fn predict_streams_for(
    isa: Isa,
    pool: &Pool,
    rows: &mut [f32],
    shape: &StreamShape,
    router: &[f32],
    weights: &[f32],
) {
    shape.check(rows, router);
    let count = shape.count;
    assert!(weights.len() == count.pow(3), "{} weights predict {count} streams", weights.len());
    for_each_row(pool, rows, shape.width, &|row, values| {
        predict_row(isa, values, *shape, &router[row * count..][..count], weights);
    });
}

multiversion! {
    fn correct_row(row: &mut [f32], shape: StreamShape, active: usize, computed: &[f32], router: &[f32], weights: &[f32])
        = correct_row_body;
}

#[inline(always)]
fn correct_row_body(
    row: &mut [f32],
    shape: StreamShape,
    active: usize,
    computed: &[f32],
    router: &[f32],
    weights: &[f32],
) {
    let StreamShape { count, hidden, .. } = shape;
    let modes = modes(router);
    let mut factors = [0f32; StreamShape::MOST];
    for (factor, weights) in factors.iter_mut().zip(weights.chunks_exact(count)) {
        *factor = product(weights, &modes) + 1.0;
    }
    for at in (0..hidden).step_by(LANES) {
        let mut change = lanes(computed, at);
        for (change, x) in change.iter_mut().zip(lanes(&row[active * hidden..][..hidden], at)) {
            *change -= x;
        }
        for (factor, stream) in factors[..count].iter().zip(row.chunks_exact_mut(hidden)) {
            let mut values = lanes(stream, at);
            for (x, change) in values.iter_mut().zip(&change) {
                *x = factor.mul_add(*change, *x);
            }
            put_lanes(&values, stream, at);
        }
    }
}

/// Corrects the streams of each row by what one of them, `active`, was computed to be: `s[k] += (1 + c[k]) * (computed -
/// s[active])`, where `c` is the product of `weights` (`count` rows of `count` values) and the `tanh` of the row's `count`
/// values in `router`.
///
/// # Panics
///
/// If the numbers of values do not fit the shape.
pub fn correct_streams(
    pool: &Pool,
    rows: &mut [f32],
    shape: &StreamShape,
    active: usize,
    computed: &[f32],
    router: &[f32],
    weights: &[f32],
) {
    correct_streams_for(isa(), pool, rows, shape, active, computed, router, weights);
}

#[allow(clippy::too_many_arguments)] // Those of the function above, and the path to take.
pub(crate) fn correct_streams_for(
    isa: Isa,
    pool: &Pool,
    rows: &mut [f32],
    shape: &StreamShape,
    active: usize,
    computed: &[f32],
    router: &[f32],
    weights: &[f32],
) {
    shape.check(rows, router);
    let StreamShape { count, hidden, width } = *shape;
    assert!(active < count, "stream {active} of {count}");
    assert!(weights.len() == count.pow(2), "{} weights correct {count} streams", weights.len());
    assert!(computed.len() == rows.len() / width * hidden, "rows and what they are corrected by differ in number");
    for_each_row(pool, rows, width, &|row, values| {
        let (computed, router) = (&computed[row * hidden..][..hidden], &router[row * count..][..count]);
        correct_row(isa, values, *shape, active, computed, router, weights);
    });
}

/// Adds the rows of `summand` to every stream but the first.
///
/// # Panics
///
/// If the numbers of values do not fit the shape.
pub fn add_behind_first(pool: &Pool, rows: &mut [f32], shape: &StreamShape, summand: &[f32]) {
    let StreamShape { count, hidden, width } = *shape;
    assert!(summand.len() == rows.len() / width * hidden, "rows and summands differ in number");
    for_each_row(pool, rows, width, &|row, values| {
        for stream in values.chunks_exact_mut(hidden).take(count).skip(1) {
            for (x, y) in stream.iter_mut().zip(&summand[row * hidden..]) {
                *x += y;
            }
        }
    });
}

/// A sum in [`LANES`] parts by position, which are added pairwise.
#[inline(always)]
fn sum_of(x: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    for chunk in x.chunks(LANES) {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum = of(*x, *sum);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

multiversion! {
    fn match_row(x: &mut [f32], like: &[f32]) = match_row_body;
}

#[inline(always)]
fn match_row_body(x: &mut [f32], like: &[f32]) {
    /// The mean square that a row is taken to have at least.
    const LEAST: f32 = 1e-5;
    let square = |x: &[f32]| sum_of(x, |x, sum| x.mul_add(x, sum)) / x.len() as f32;
    let factor = square(like).sqrt() / square(x).max(LEAST).sqrt();
    for x in x {
        *x *= factor;
    }
}

/// Gives each row of `x`, of `len` values, the root mean square of the first `len` values of its row of `like`, which are
/// `width` values each.
///
/// # Panics
///
/// If the numbers of rows differ, or `width` is less than `len`.
pub fn match_magnitude(pool: &Pool, x: &mut [f32], len: usize, like: &[f32], width: usize) {
    match_magnitude_for(isa(), pool, x, len, like, width);
}

pub(crate) fn match_magnitude_for(isa: Isa, pool: &Pool, x: &mut [f32], len: usize, like: &[f32], width: usize) {
    assert!(len <= width && x.len() / len == like.len() / width, "rows and their models differ");
    for_each_row(pool, x, len, &|row, x| match_row(isa, x, &like[row * width..][..len]));
}

multiversion! {
    fn keep_row(x: &mut [f32], deviations: f32) = keep_row_body;
}

#[inline(always)]
fn keep_row_body(x: &mut [f32], deviations: f32) {
    let count = x.len() as f32;
    let mean = sum_of(x, |x, sum| sum + x) / count;
    let variance = sum_of(x, |x, sum| (x - mean).mul_add(x - mean, sum)) / count;
    let cut = variance.sqrt().mul_add(deviations, mean);
    for x in x {
        // What is not a number stays so.
        *x = if *x < cut { 0.0 } else { *x - cut };
    }
}

/// Keeps of each row what lies above a border and takes the border off it; the rest becomes zero. The border is so many
/// standard deviations above the row's mean that, were the values normally distributed, a given share of them would be
/// kept.
///
/// # Panics
///
/// If `x` is not whole rows.
pub fn keep_largest(pool: &Pool, x: &mut [f32], row_len: usize, deviations: f32) {
    keep_largest_for(isa(), pool, x, row_len, deviations);
}

pub(crate) fn keep_largest_for(isa: Isa, pool: &Pool, x: &mut [f32], row_len: usize, deviations: f32) {
    for_each_row(pool, x, row_len, &|_, x| keep_row(isa, x, deviations));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 101) % 211) as f32 / 70.0 - 1.4).collect()
    }

    /// Every path's result, which is one.
    fn agreed(run: impl Fn(Isa) -> Vec<f32>) -> Vec<f32> {
        let mut all: Vec<Vec<f32>> = Isa::available().into_iter().map(run).collect();
        let last = all.pop().unwrap();
        assert!(all.iter().all(|found| *found == last), "paths differ");
        last
    }

    const ROWS: usize = 3;

    fn shapes() -> [StreamShape; 3] {
        [(4, 32, 128), (3, 21, 70), (1, 5, 9)].map(|(count, hidden, width)| StreamShape { count, hidden, width })
    }

    #[test]
    fn streams_are_predicted_by_all_of_them() {
        for shape in shapes() {
            let StreamShape { count, hidden, width } = shape;
            let (before, router) = (values(ROWS * width, 1), values(ROWS * count, 2));
            let weights = values(count.pow(3), 3);
            let found = agreed(|isa| {
                let mut rows = before.clone();
                predict_streams_for(isa, &Pool::new(2), &mut rows, &shape, &router, &weights);
                rows
            });
            for (at, found) in found.iter().enumerate() {
                let (row, place) = (at / width, at % width);
                let (k, j) = (place / hidden, place % hidden);
                let mut expected = f64::from(before[at]);
                for i in (0..count).filter(|_| k < count) {
                    let term = |m: usize| {
                        f64::from(weights[(k * count + i) * count + m]) * f64::from(router[row * count + m]).tanh()
                    };
                    let factor: f64 = (0..count).map(term).sum();
                    expected += factor * f64::from(before[row * width + i * hidden + j]);
                }
                assert!((f64::from(*found) - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{shape:?} {at}");
            }
        }
    }

    #[test]
    fn streams_are_corrected_by_the_one_that_was_computed() {
        for shape in shapes() {
            let StreamShape { count, hidden, width } = shape;
            let (before, router) = (values(ROWS * width, 4), values(ROWS * count, 5));
            let (computed, weights) = (values(ROWS * hidden, 6), values(count.pow(2), 7));
            let active = count - 1;
            let found = agreed(|isa| {
                let mut rows = before.clone();
                correct_streams_for(isa, &Pool::new(2), &mut rows, &shape, active, &computed, &router, &weights);
                rows
            });
            for (at, found) in found.iter().enumerate() {
                let (row, place) = (at / width, at % width);
                let (k, j) = (place / hidden, place % hidden);
                let mut expected = f64::from(before[at]);
                if k < count {
                    let term = |m: usize| f64::from(weights[k * count + m]) * f64::from(router[row * count + m]).tanh();
                    let factor = 1.0 + (0..count).map(term).sum::<f64>();
                    let was = before[row * width + active * hidden + j];
                    expected += factor * f64::from(computed[row * hidden + j] - was);
                }
                assert!((f64::from(*found) - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{shape:?} {at}");
            }
        }
    }

    #[test]
    fn all_streams_but_the_first_are_added_to() {
        for shape in shapes() {
            let StreamShape { count, hidden, width } = shape;
            let (before, summand) = (values(ROWS * width, 8), values(ROWS * hidden, 9));
            let mut rows = before.clone();
            add_behind_first(&Pool::new(1), &mut rows, &shape, &summand);
            for (at, found) in rows.iter().enumerate() {
                let (row, stream, j) = (at / width, at % width / hidden, at % width % hidden);
                let added = if (1..count).contains(&stream) { summand[row * hidden + j] } else { 0.0 };
                assert_eq!(*found, before[at] + added);
            }
        }
    }

    #[test]
    fn magnitudes_are_those_of_the_models() {
        let (len, width) = (21, 50);
        let (mut before, like) = (values(ROWS * len, 10), values(ROWS * width, 11));
        // Too small to be made larger by as much as it would take.
        before[..len].fill(1e-6);
        let found = agreed(|isa| {
            let mut x = before.clone();
            match_magnitude_for(isa, &Pool::new(2), &mut x, len, &like, width);
            x
        });
        let size = |x: &[f32]| (x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64).sqrt();
        for row in 0..ROWS {
            let (found, wanted) = (size(&found[row * len..][..len]), size(&like[row * width..][..len]));
            let expected = if row == 0 { wanted * 1e-6 / 1e-5f64.sqrt() } else { wanted };
            assert!((found - expected).abs() < 1e-5 * expected, "row {row}: {found}, {expected}");
        }
    }

    #[test]
    fn what_lies_below_the_border_is_zero() {
        let len = 53;
        let before = values(ROWS * len, 12);
        let found = agreed(|isa| {
            let mut x = before.clone();
            keep_largest_for(isa, &Pool::new(2), &mut x, len, 0.7);
            x
        });
        let mut zeros = 0;
        for (before, found) in before.chunks(len).zip(found.chunks(len)) {
            let mean = before.iter().map(|x| f64::from(*x)).sum::<f64>() / len as f64;
            let variance = before.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / len as f64;
            let cut = mean + 0.7 * variance.sqrt();
            for (x, found) in before.iter().zip(found) {
                assert!((f64::from(*found) - (f64::from(*x) - cut).max(0.0)).abs() < 1e-6);
                zeros += usize::from(*found == 0.0);
            }
        }
        assert!(zeros > ROWS * len / 2 && zeros < ROWS * len);
    }
}
