//! The short convolution that rows of recurrent layers pass first: each channel for itself, then SiLU.

use super::{StateLayer, StateSpan, check_spans};
use crate::Pool;
use crate::elementwise::silu;
use crate::isa::{Isa, isa, multiversion};
use crate::pool::SharedMut;
use crate::short_conv::{CHANNELS, FEW, add_tap};

/// `out = silu(bias + sum of weight * input over taps, the oldest first)` of every channel of the spans' rows; keeps of them
/// what later rows need.
///
/// `inputs` and `out` are rows of [`StateShape::channels`](super::StateShape) numbers. `weights` is `taps` rows of as many,
/// the oldest tap first. Before a sequence are zeros. Rows of `out` outside every span are left alone.
///
/// # Panics
///
/// If lengths don't fit together, or a span names a slot that is not there.
pub fn causal_conv(
    pool: &Pool,
    inputs: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    spans: &[StateSpan],
    layer: &mut StateLayer,
    out: &mut [f32],
) {
    causal_conv_for(isa(), pool, inputs, weights, bias, spans, layer, out);
}

#[allow(clippy::too_many_arguments)] // Those of `causal_conv`, and the path to take.
fn causal_conv_for(
    isa: Isa,
    pool: &Pool,
    inputs: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    spans: &[StateSpan],
    layer: &mut StateLayer,
    out: &mut [f32],
) {
    let (shape, slots) = (layer.shape(), layer.slots());
    let (width, kept) = (shape.channels, shape.kept());
    let rows = out.len() / width;
    assert!(out.len() == rows * width && inputs.len() == out.len(), "inputs and output are not the same rows");
    let fits = weights.len() == shape.taps * width && bias.is_none_or(|bias| bias.len() == width);
    assert!(fits, "weights of another shape");
    check_spans(spans, rows, slots);
    let state = SharedMut::new(layer.floats());
    let out = SharedMut::new(out);
    let task = |task: usize| {
        let first = task * CHANNELS;
        let channels = first..width.min(first + CHANNELS);
        let count = channels.len();
        let input = |row: usize| &inputs[row * width..][channels.clone()];
        let place = |slot: u32, position: usize| slot as usize * shape.slot() + position % kept.max(1) * width + first;
        // SAFETY: a task has channels of its own. At most two parts are in use at a time, of different slots.
        let part = |slot: u32, position: usize| unsafe { state.slice(place(slot, position), count) };
        for span in spans {
            if let Some(from) = span.copied_from() {
                (0..kept).for_each(|position| part(span.slot, position).copy_from_slice(part(from, position)));
            }
            for i in 0..span.rows {
                let row = span.first_row + i;
                // SAFETY: a task has channels of its own, and uses one row of them at a time.
                let sums = unsafe { out.slice(row * width + first, count) };
                match bias {
                    Some(bias) => sums.copy_from_slice(&bias[channels.clone()]),
                    None => sums.fill(0.0),
                }
                for (tap, weights) in weights.chunks_exact(width).enumerate() {
                    let (back, weights) = (kept - tap, &weights[channels.clone()]);
                    if back <= i {
                        add_tap(isa, sums, weights, input(row - back));
                    } else if back <= span.first_pos + i {
                        add_tap(isa, sums, weights, part(span.slot, span.first_pos + i - back));
                    }
                }
                silu_values(isa, sums);
            }
            if let Some((rows, slot)) = span.kept_behind() {
                let end = span.first_pos + rows;
                for position in end.saturating_sub(kept)..end {
                    match position.checked_sub(span.first_pos) {
                        Some(i) => part(slot, position).copy_from_slice(input(span.first_row + i)),
                        None => part(slot, position).copy_from_slice(part(span.slot, position)),
                    }
                }
            }
            for i in span.rows.saturating_sub(kept)..span.rows {
                part(span.slot, span.first_pos + i).copy_from_slice(input(span.first_row + i));
            }
        }
    };
    let tasks = width.div_ceil(CHANNELS);
    if rows * width < FEW {
        (0..tasks).for_each(task);
    } else {
        pool.run(tasks, &task);
    }
}

multiversion! {
    fn silu_values(x: &mut [f32]) = silu_values_body;
}

#[inline(always)]
fn silu_values_body(x: &mut [f32]) {
    for x in x {
        *x = silu(*x);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::StateShape;
    use super::super::tests::cut_and_copied;
    use super::*;
    use crate::testing::{cases, noise};

    /// The definition, in f64.
    fn naive(inputs: &[f32], weights: &[f32], bias: Option<&[f32]>, width: usize) -> Vec<f64> {
        let taps = weights.len() / width;
        let mut out = Vec::new();
        for row in 0..inputs.len() / width {
            for c in 0..width {
                let mut sum = bias.map_or(0.0, |bias| f64::from(bias[c]));
                for tap in (0..taps).filter(|tap| row + tap + 1 >= taps) {
                    let input = inputs[(row + tap + 1 - taps) * width + c];
                    sum += f64::from(weights[tap * width + c]) * f64::from(input);
                }
                out.push(sum / (1.0 + (-sum).exp()));
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(cases(48)))]

        #[test]
        fn rows_have_the_same_bits_however_their_sequence_is_cut_and_wherever_it_was_copied(
            width in prop::sample::select(vec![5, 128, 300]),
            taps in 1..6usize,
            with_bias in any::<bool>(),
            len in 2..60usize,
            cuts in prop::collection::vec(1..20usize, 1..5),
            kept in 1..59usize,
            seed in 0..1000u32,
        ) {
            let shape = StateShape { channels: width, taps, numbers: 0 };
            let (inputs, weights) = (noise(len * width, seed), noise(taps * width, seed + 1));
            let bias = with_bias.then(|| noise(width, seed + 2));
            let exact = naive(&inputs, &weights, bias.as_deref(), width);
            let kept = 1 + kept % (len - 1);
            let mut first: Option<Vec<u32>> = None;
            for isa in Isa::available() {
                let mut layer = StateLayer::new(shape, 3);
                let run = |layer: &mut StateLayer, span: StateSpan| {
                    let inputs = &inputs[span.first_pos * width..][..span.rows * width];
                    let mut out = vec![0.0; inputs.len()];
                    causal_conv_for(isa, &Pool::new(3), inputs, &weights, bias.as_deref(), &[span], layer, &mut out);
                    out
                };
                let out = cut_and_copied(&mut layer, len, &cuts, kept, width, run)?;
                for (found, exact) in out.iter().zip(&exact) {
                    prop_assert!((f64::from(*found) - exact).abs() < 1e-5, "{found} {exact}");
                }
                let bits: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                prop_assert_eq!(&bits, first.get_or_insert(bits.clone()), "{:?}", isa);
            }
        }
    }
}
