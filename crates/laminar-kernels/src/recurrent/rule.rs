//! States that rows change one after the other: gated delta rules (Yang et al., arXiv 2412.06464) and the selective state
//! spaces of Mamba 2 (Dao and Gu, arXiv 2405.21060).
//!
//! A head's state is a matrix that maps keys to values. A row first lets it fade, then adds its value under its key, and reads
//! the state with its query. By the delta rule it adds no more than is missing there:
//!
//! ```text
//! S *= decay;  S += key (share (value - S^T key))^T;  out = S^T query
//! S *= decay;  S += key (share value)^T;              out = S^T query + skip value
//! ```
//!
//! A column of the state depends on no other, so heads and groups of columns are tasks of their own. The sums over keys run
//! in ascending order, in one lane a column.

use super::{StateLayer, StateSpan, check_spans};
use crate::Pool;
use crate::isa::{Isa, isa, multiversion};
use crate::pool::SharedMut;
use crate::short_conv::add_tap;

/// Columns of a task: a key's numbers in them lie side by side, behind those of the key before.
const TILE: usize = 64;

/// Products below which a call is not worth other threads.
const FEW: usize = 1 << 15;

/// How a row changes a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecurrentRule {
    /// By a share of what its value is more than what the state has under its key.
    Delta,
    /// By a share of its value.
    Sum,
}

/// The heads of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrentShape {
    /// What rows do to states. It also tells how they are laid out: queries, keys and values ([`RecurrentRule::Delta`]), or
    /// values, keys and queries ([`RecurrentRule::Sum`]).
    pub rule: RecurrentRule,
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values, each with a state; a multiple of `key_heads`.
    pub value_heads: usize,
    /// Numbers of a query and of a key.
    pub key_dim: usize,
    /// Numbers of a value.
    pub value_dim: usize,
    /// Value heads that share a key head are `key_heads` apart, and not neighbours.
    pub in_turns: bool,
}

impl RecurrentShape {
    /// Numbers of a row: its queries, keys and values.
    pub fn channels(&self) -> usize {
        2 * self.key_heads * self.key_dim + self.value_width()
    }

    /// Numbers of all values of a row.
    pub fn value_width(&self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Numbers of all states.
    pub fn numbers(&self) -> usize {
        self.value_heads * self.tiles() * self.key_dim * TILE
    }

    fn tiles(&self) -> usize {
        self.value_dim.div_ceil(TILE)
    }

    /// The head whose queries and keys a value head has.
    fn key_head(&self, value_head: usize) -> usize {
        if self.in_turns { value_head % self.key_heads } else { value_head / (self.value_heads / self.key_heads) }
    }

    /// Where the queries, keys and values of a row begin.
    fn places(&self) -> (usize, usize, usize) {
        let (keys, values) = (self.key_heads * self.key_dim, self.value_width());
        match self.rule {
            RecurrentRule::Delta => (0, keys, 2 * keys),
            RecurrentRule::Sum => (values + keys, values, 0),
        }
    }

    pub(super) fn check(&self, mixed: &[f32]) -> usize {
        assert!(self.value_heads.is_multiple_of(self.key_heads), "value heads without a key head");
        assert!(mixed.len().is_multiple_of(self.channels()), "queries, keys and values are not whole rows");
        mixed.len() / self.channels()
    }
}

/// Changes and reads the states of every value head with the spans' rows.
///
/// `mixed` is rows of [`RecurrentShape::channels`] numbers; `decays` and `shares` have a number for each value head of a row,
/// and `out` gets [`RecurrentShape::value_width`] numbers. `skips` are a head's factors on values that are added to its
/// outputs. Rows of `out` outside every span are left alone.
///
/// # Panics
///
/// If lengths don't fit together, or a span names a slot that is not there.
#[allow(clippy::too_many_arguments)] // Each is one thing the caller owns.
pub fn recur(
    pool: &Pool,
    shape: &RecurrentShape,
    mixed: &[f32],
    decays: &[f32],
    shares: &[f32],
    skips: Option<&[f32]>,
    spans: &[StateSpan],
    layer: &mut StateLayer,
    out: &mut [f32],
) {
    recur_for(isa(), pool, shape, mixed, decays, shares, skips, spans, layer, out);
}

#[allow(clippy::too_many_arguments)] // Those of `recur`, and the path to take.
fn recur_for(
    isa: Isa,
    pool: &Pool,
    shape: &RecurrentShape,
    mixed: &[f32],
    decays: &[f32],
    shares: &[f32],
    skips: Option<&[f32]>,
    spans: &[StateSpan],
    layer: &mut StateLayer,
    out: &mut [f32],
) {
    let rows = shape.check(mixed);
    let &RecurrentShape { rule, value_heads, key_dim, value_dim, .. } = shape;
    let (query_at, key_at, value_at) = shape.places();
    let (channels, width, tiles) = (shape.channels(), shape.value_width(), shape.tiles());
    assert!(out.len() == rows * width, "inputs and output are not the same rows");
    assert!(decays.len() == rows * value_heads && shares.len() == decays.len(), "gates of other rows");
    assert!(skips.is_none_or(|skips| skips.len() == value_heads), "factors for another number of heads");
    assert!(layer.shape().numbers == shape.numbers(), "states of another shape");
    check_spans(spans, rows, layer.slots());
    let (slot, numbers_at) = (layer.shape().slot(), layer.shape().numbers_at());
    let state = SharedMut::new(layer.floats());
    let out = SharedMut::new(out);
    let task = |task: usize| {
        let (head, first) = (task / tiles, task % tiles * TILE);
        let columns = TILE.min(value_dim - first);
        let key_head = shape.key_head(head);
        let place = |of: u32| of as usize * slot + numbers_at + task * key_dim * TILE;
        // SAFETY: a task has a head's columns of its own. At most two parts are in use at a time, of different slots.
        let part = |of: u32| unsafe { state.slice(place(of), key_dim * TILE) };
        let mut sums = [0.0; TILE];
        let mut value = [0.0; TILE];
        for span in spans {
            let own = part(span.slot);
            match span.copied_from() {
                Some(from) => own.copy_from_slice(part(from)),
                None if span.first_pos == 0 => own.fill(0.0),
                None => {}
            }
            let kept = span.kept_behind();
            for i in 0..span.rows {
                let row = span.first_row + i;
                let inputs = &mixed[row * channels..][..channels];
                let query = &inputs[query_at + key_head * key_dim..][..key_dim];
                let key = &inputs[key_at + key_head * key_dim..][..key_dim];
                value[..columns].copy_from_slice(&inputs[value_at + head * value_dim + first..][..columns]);
                let gate = row * value_heads + head;
                step(isa, rule, own.as_chunks_mut().0, key, query, &value, decays[gate], shares[gate], &mut sums);
                if let Some(skips) = skips {
                    add_tap(isa, &mut sums, &[skips[head]; TILE], &value);
                }
                // SAFETY: a task has columns of its own, and uses one row of them at a time.
                let out = unsafe { out.slice(row * width + head * value_dim + first, columns) };
                out.copy_from_slice(&sums[..columns]);
                if let Some((rows, to)) = kept
                    && rows == i + 1
                {
                    part(to).copy_from_slice(own);
                }
            }
        }
    };
    let tasks = value_heads * tiles;
    if rows * width * key_dim < FEW {
        (0..tasks).for_each(task);
    } else {
        pool.run(tasks, &task);
    }
}

multiversion! {
    fn step(
        rule: RecurrentRule,
        state: &mut [[f32; TILE]],
        key: &[f32],
        query: &[f32],
        value: &[f32; TILE],
        decay: f32,
        share: f32,
        out: &mut [f32; TILE],
    ) = step_body;
}

#[inline(always)]
#[allow(clippy::too_many_arguments)] // Each is one of the rule's.
fn step_body(
    rule: RecurrentRule,
    state: &mut [[f32; TILE]],
    key: &[f32],
    query: &[f32],
    value: &[f32; TILE],
    decay: f32,
    share: f32,
    out: &mut [f32; TILE],
) {
    let mut change = *value;
    let mut sums = [0.0; TILE];
    match rule {
        RecurrentRule::Delta => {
            let mut found = [0.0; TILE];
            for (numbers, key) in state.iter_mut().zip(key) {
                for (number, found) in numbers.iter_mut().zip(&mut found) {
                    *number *= decay;
                    *found = key.mul_add(*number, *found);
                }
            }
            for (change, found) in change.iter_mut().zip(&found) {
                *change = (*change - found) * share;
            }
            for ((numbers, key), query) in state.iter_mut().zip(key).zip(query) {
                for ((number, change), sum) in numbers.iter_mut().zip(&change).zip(&mut sums) {
                    *number = key.mul_add(*change, *number);
                    *sum = query.mul_add(*number, *sum);
                }
            }
        }
        RecurrentRule::Sum => {
            change.iter_mut().for_each(|change| *change *= share);
            for ((numbers, key), query) in state.iter_mut().zip(key).zip(query) {
                for ((number, change), sum) in numbers.iter_mut().zip(&change).zip(&mut sums) {
                    *number = key.mul_add(*change, *number * decay);
                    *sum = query.mul_add(*number, *sum);
                }
            }
        }
    }
    *out = sums;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::cut_and_copied;
    use super::super::{StateShape, delta_gates, unit_heads};
    use super::*;
    use crate::testing::{cases, noise};

    /// The definition, in f64.
    fn naive(shape: &RecurrentShape, mixed: &[f32], decays: &[f32], shares: &[f32], skips: &[f32]) -> Vec<f64> {
        let &RecurrentShape { rule, key_heads, value_heads, key_dim, value_dim, .. } = shape;
        let (keys, delta) = (key_heads * key_dim, rule == RecurrentRule::Delta);
        let [query_at, key_at, value_at] =
            if delta { [0, keys, 2 * keys] } else { [value_heads * value_dim + keys, value_heads * value_dim, 0] };
        let mut states = vec![vec![0.0; key_dim * value_dim]; value_heads];
        let mut out = Vec::new();
        for (row, inputs) in mixed.chunks_exact(shape.channels()).enumerate() {
            for (head, state) in states.iter_mut().enumerate() {
                let key_head = match shape.in_turns {
                    true => head % key_heads,
                    false => head * key_heads / value_heads,
                };
                let key = |i: usize| f64::from(inputs[key_at + key_head * key_dim + i]);
                let query = |i: usize| f64::from(inputs[query_at + key_head * key_dim + i]);
                let value = |i: usize| f64::from(inputs[value_at + head * value_dim + i]);
                let gate = row * value_heads + head;
                state.iter_mut().for_each(|x| *x *= f64::from(decays[gate]));
                for v in 0..value_dim {
                    let found: f64 = (0..key_dim).map(|k| state[k * value_dim + v] * key(k)).sum();
                    let change = (value(v) - if delta { found } else { 0.0 }) * f64::from(shares[gate]);
                    (0..key_dim).for_each(|k| state[k * value_dim + v] += key(k) * change);
                    let sum: f64 = (0..key_dim).map(|k| state[k * value_dim + v] * query(k)).sum();
                    out.push(sum + f64::from(skips[head]) * value(v));
                }
            }
        }
        out
    }

    fn shapes() -> impl Strategy<Value = RecurrentShape> {
        let rules = prop::sample::select(vec![RecurrentRule::Delta, RecurrentRule::Sum]);
        let heads = prop::sample::select(vec![(1, 1), (2, 1), (2, 3)]);
        let sizes = prop::sample::select(vec![(4, 4), (16, 70), (32, 64)]);
        (rules, heads, sizes, any::<bool>()).prop_map(|(rule, (key_heads, times), (key_dim, value_dim), in_turns)| {
            RecurrentShape { rule, key_heads, value_heads: key_heads * times, key_dim, value_dim, in_turns }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(cases(32)))]

        #[test]
        fn rows_have_the_same_bits_however_their_sequence_is_cut_and_wherever_it_was_copied(
            shape in shapes(),
            len in 2..40usize,
            cuts in prop::collection::vec(1..20usize, 1..5),
            kept in 1..39usize,
            threads in 1..4usize,
            seed in 0..1000u32,
        ) {
            let (channels, heads, width) = (shape.channels(), shape.value_heads, shape.value_width());
            let mut mixed = noise(len * channels, seed);
            let pool = Pool::new(threads);
            unit_heads(&pool, &shape, &mut mixed);
            let (mut decays, mut shares) = (noise(len * heads, seed + 1), noise(len * heads, seed + 2));
            let rates: Vec<f32> = noise(heads, seed + 3).iter().map(|x| -x.abs()).collect();
            delta_gates(&pool, &rates, &noise(heads, seed + 4), &mut decays, &mut shares);
            let skips = noise(heads, seed + 5);
            let exact = naive(&shape, &mixed, &decays, &shares, &skips);
            let kept = 1 + kept % (len - 1);
            let mut first: Option<Vec<u32>> = None;
            for isa in Isa::available() {
                let state = StateShape { channels, taps: 1, numbers: shape.numbers() };
                let mut layer = StateLayer::new(state, 3);
                let run = |layer: &mut StateLayer, span: StateSpan| {
                    let rows = span.first_pos..span.first_pos + span.rows;
                    let mut out = vec![0.0; span.rows * width];
                    let part = |x: &[f32], width: usize| x[rows.start * width..rows.end * width].to_vec();
                    let (mixed, decays, shares) = (part(&mixed, channels), part(&decays, heads), part(&shares, heads));
                    recur_for(isa, &pool, &shape, &mixed, &decays, &shares, Some(&skips), &[span], layer, &mut out);
                    out
                };
                let out = cut_and_copied(&mut layer, len, &cuts, kept, width, run)?;
                for (found, exact) in out.iter().zip(&exact) {
                    prop_assert!((f64::from(*found) - exact).abs() < 1e-5 * (1.0 + exact.abs()), "{found} {exact}");
                }
                let bits: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                prop_assert_eq!(&bits, first.get_or_insert(bits.clone()), "{:?}", isa);
            }
        }
    }

    #[test]
    fn rows_of_several_sequences_meet_in_one_call() {
        let shape = RecurrentShape {
            rule: RecurrentRule::Delta,
            key_heads: 2,
            value_heads: 4,
            key_dim: 8,
            value_dim: 8,
            in_turns: false,
        };
        let (channels, heads, width) = (shape.channels(), 4, shape.value_width());
        let rows = 9;
        let (mixed, decays, shares) = (noise(rows * channels, 1), noise(rows * heads, 2), noise(rows * heads, 3));
        let state = StateShape { channels, taps: 1, numbers: shape.numbers() };
        let span =
            |first_row, rows, first_pos, slot| StateSpan { first_row, rows, first_pos, slot, from: None, keep: None };
        let pool = Pool::new(2);
        let run = |layer: &mut StateLayer, spans: &[StateSpan]| {
            let mut out = vec![7.0; rows * width];
            recur(&pool, &shape, &mixed, &decays, &shares, None, spans, layer, &mut out);
            out
        };
        // Rows 0, 1 and 2 of one sequence, the last in a span of its own; 4 to 8 of another. Row 3 is nobody's.
        let together = run(&mut StateLayer::new(state, 2), &[span(0, 2, 0, 1), span(2, 1, 2, 1), span(4, 5, 0, 0)]);
        let alone = run(&mut StateLayer::new(state, 2), &[span(0, 3, 0, 0)]);
        let other = run(&mut StateLayer::new(state, 2), &[span(4, 5, 0, 0)]);
        assert_eq!(together[..3 * width], alone[..3 * width]);
        assert_eq!(together[4 * width..], other[4 * width..]);
        assert!(together[3 * width..4 * width].iter().all(|x| *x == 7.0));
    }
}
