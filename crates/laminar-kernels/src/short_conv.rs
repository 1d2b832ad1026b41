//! Short causal convolutions along a sequence, each channel for itself, between two gates (LFM2).
//!
//! A row's output needs the inputs of a few rows before it. They are kept beside the KV blocks: of each block the inputs of
//! its last positions, since a sequence goes on either behind its newest position or behind a whole block that it shares.
//! So what a sequence needs is found by its block table like keys and values, and can be shared and given back with them.

use std::alloc::{Layout, handle_alloc_error};

use crate::Pool;
use crate::attention::Span;
use crate::isa::{Isa, isa, multiversion};
use crate::pool::SharedMut;
use crate::storage::{LINE, Memory};

/// The sizes of a layer's convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Positions in a block.
    pub block_len: usize,
    /// Channels.
    pub width: usize,
    /// Rows that an output is made of, its own included.
    pub taps: usize,
}

impl ConvShape {
    /// Positions of a block whose inputs are kept.
    fn kept(&self) -> usize {
        self.taps - 1
    }

    /// Bytes that a block takes.
    pub fn block_bytes(&self) -> usize {
        (4 * self.kept() * self.width).next_multiple_of(LINE)
    }
}

/// What a layer's convolution keeps of each block. Numbers are kept as they are, so outputs have the same bits wherever a
/// sequence is cut.
pub struct ConvLayer {
    shape: ConvShape,
    blocks: usize,
    memory: Memory,
}

impl ConvLayer {
    /// Memory for `blocks` blocks, zeros, which takes no memory before it is used.
    ///
    /// # Panics
    ///
    /// If a size is zero or a block has fewer positions than an output needs.
    pub fn new(shape: ConvShape, blocks: usize) -> ConvLayer {
        let ConvShape { block_len, width, taps } = shape;
        assert!(width > 0 && (1..=block_len).contains(&taps), "{taps} taps over blocks of {block_len} positions");
        let bytes = blocks * shape.block_bytes() + LINE;
        match Memory::zeroed(bytes) {
            Ok(memory) => ConvLayer { shape, blocks, memory },
            // As every other allocation that the system refuses.
            Err(_) => handle_alloc_error(Layout::array::<u8>(bytes).unwrap_or(Layout::new::<u8>())),
        }
    }

    /// Sizes.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }

    /// Blocks; their ids are `0 .. blocks()`.
    pub fn blocks(&self) -> usize {
        self.blocks
    }
}

/// Channels of a task.
pub(crate) const CHANNELS: usize = 128;

/// Numbers below which a call is not worth other threads.
pub(crate) const FEW: usize = 8192;

/// Convolutions of the spans' rows, and keeps of them what later rows need.
///
/// A row of `inputs` has three parts of [`ConvShape::width`]: the gate on inputs, the gate on outputs, the values. The input
/// of a channel is value times gate; its output is the sum over taps, the oldest first, of weight times input, times the other
/// gate. `weights` is `taps` rows of `width` numbers, the oldest tap first, and `bias`, if there is one, begins the sum. Before
/// a sequence are zeros. Rows of `out` outside every span are left alone.
///
/// # Panics
///
/// If lengths don't fit together, or a block table is too short or names a block beyond the memory.
pub fn short_conv(
    pool: &Pool,
    inputs: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    spans: &[Span<'_>],
    layer: &mut ConvLayer,
    out: &mut [f32],
) {
    short_conv_for(isa(), pool, inputs, weights, bias, spans, layer, out);
}

#[allow(clippy::too_many_arguments)] // Those of `short_conv`, and the path to take.
fn short_conv_for(
    isa: Isa,
    pool: &Pool,
    inputs: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    spans: &[Span<'_>],
    layer: &mut ConvLayer,
    out: &mut [f32],
) {
    let ConvLayer { shape, blocks, memory } = layer;
    let (shape, blocks) = (*shape, *blocks);
    let ConvShape { block_len, width, taps } = shape;
    let rows = out.len() / width;
    assert!(out.len() == rows * width && inputs.len() == rows * 3 * width, "inputs and output are not the same rows");
    assert!(weights.len() == taps * width && bias.is_none_or(|bias| bias.len() == width), "weights of another shape");
    for span in spans {
        let positions = span.first_pos + span.rows;
        assert!(span.first_row + span.rows <= rows, "a span has more rows than the batch");
        assert!(positions.div_ceil(block_len) <= span.blocks.len(), "{positions} positions need more blocks");
        assert!(span.blocks.iter().all(|block| (*block as usize) < blocks), "a block beyond the memory");
    }
    // SAFETY: all bits are valid for a float.
    let (before, numbers, _) = unsafe { memory.bytes_mut().align_to_mut::<f32>() };
    debug_assert!(before.is_empty(), "memory begins on a line");
    let state = SharedMut::new(numbers);
    let out = SharedMut::new(out);
    let block = shape.block_bytes() / 4;
    let task = |task: usize| {
        let first = task * CHANNELS;
        let channels = first..width.min(first + CHANNELS);
        let part = |row: usize, which: usize| &inputs[(3 * row + which) * width..][channels.clone()];
        for span in spans {
            let place = |position: usize| {
                let id = span.blocks[position / block_len] as usize;
                id * block + position % shape.kept().max(1) * width + first
            };
            for i in 0..span.rows {
                let row = span.first_row + i;
                // SAFETY: a task has channels of its own, and uses one part of them at a time.
                let sums = unsafe { out.slice(row * width + first, channels.len()) };
                match bias {
                    Some(bias) => sums.copy_from_slice(&bias[channels.clone()]),
                    None => sums.fill(0.0),
                }
                for (tap, weights) in weights.chunks_exact(width).enumerate() {
                    let (back, weights) = (shape.kept() - tap, &weights[channels.clone()]);
                    if back <= i {
                        add_gated_tap(isa, sums, weights, part(row - back, 0), part(row - back, 2));
                    } else if back <= span.first_pos + i {
                        // SAFETY: as above, and rows are written below.
                        let kept = unsafe { state.slice(place(span.first_pos + i - back), channels.len()) };
                        add_tap(isa, sums, weights, kept);
                    }
                }
                sums.iter_mut().zip(part(row, 1)).for_each(|(sum, gate)| *sum *= gate);
            }
            for i in 0..span.rows {
                let position = span.first_pos + i;
                if i + shape.kept() < span.rows && position % block_len + shape.kept() < block_len {
                    continue;
                }
                if shape.kept() > 0 {
                    let row = span.first_row + i;
                    // SAFETY: as above.
                    let kept = unsafe { state.slice(place(position), channels.len()) };
                    kept.iter_mut().zip(part(row, 0).iter().zip(part(row, 2))).for_each(|(kept, (b, x))| *kept = b * x);
                }
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
    fn add_gated_tap(sums: &mut [f32], weights: &[f32], gates: &[f32], values: &[f32]) = add_gated_tap_body;
}

#[inline(always)]
fn add_gated_tap_body(sums: &mut [f32], weights: &[f32], gates: &[f32], values: &[f32]) {
    for (((sum, weight), gate), value) in sums.iter_mut().zip(weights).zip(gates).zip(values) {
        *sum = weight.mul_add(gate * value, *sum);
    }
}

multiversion! {
    /// `sums += weights * inputs`, channel by channel.
    pub(crate) fn add_tap(sums: &mut [f32], weights: &[f32], inputs: &[f32]) = add_tap_body;
}

#[inline(always)]
fn add_tap_body(sums: &mut [f32], weights: &[f32], inputs: &[f32]) {
    for ((sum, weight), input) in sums.iter_mut().zip(weights).zip(inputs) {
        *sum = weight.mul_add(*input, *sum);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{cases, noise};

    /// The definition, in f64.
    fn naive(inputs: &[f32], weights: &[f32], bias: Option<&[f32]>, width: usize) -> Vec<f64> {
        let taps = weights.len() / width;
        let part = |row: usize, which: usize, c: usize| f64::from(inputs[(3 * row + which) * width + c]);
        let mut out = Vec::new();
        for row in 0..inputs.len() / (3 * width) {
            for c in 0..width {
                let taps = (0..taps).filter(|tap| row + tap + 1 >= taps).map(|tap| {
                    let from = row + tap + 1 - taps;
                    f64::from(weights[tap * width + c]) * part(from, 0, c) * part(from, 2, c)
                });
                out.push((taps.sum::<f64>() + bias.map_or(0.0, |bias| f64::from(bias[c]))) * part(row, 1, c));
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(cases(48)))]

        #[test]
        fn rows_have_the_same_bits_however_their_sequence_is_cut(
            width in prop::sample::select(vec![5, 128, 300]),
            taps in 1..5usize,
            with_bias in any::<bool>(),
            len in 1..90usize,
            cuts in prop::collection::vec(1..40usize, 1..5),
            seed in 0..1000u32,
        ) {
            let shape = ConvShape { block_len: 16, width, taps };
            let (inputs, weights) = (noise(len * 3 * width, seed), noise(taps * width, seed + 1));
            let bias = with_bias.then(|| noise(width, seed + 2));
            let exact = naive(&inputs, &weights, bias.as_deref(), width);
            // Two sequences: the second shares the first's whole blocks as far as they go.
            let shared = len / 16;
            let own: Vec<u32> = (0..len.div_ceil(16) as u32).map(|i| 7 + i).collect();
            let other: Vec<u32> = own.iter().enumerate().map(|(i, b)| if i < shared { *b } else { 0 }).collect();
            let mut first: Option<Vec<u32>> = None;
            for isa in Isa::available() {
                let mut layer = ConvLayer::new(shape, 20);
                let mut out = vec![0.0; len * width];
                let (mut from, mut sizes) = (0, cuts.iter().cycle());
                while from < len {
                    let rows = (*sizes.next().unwrap()).min(len - from);
                    let span = Span { first_row: 0, rows, first_pos: from, blocks: &own };
                    let these = from * width..(from + rows) * width;
                    let inputs = &inputs[3 * these.start..3 * these.end];
                    let (pool, out) = (Pool::new(3), &mut out[these]);
                    short_conv_for(isa, &pool, inputs, &weights, bias.as_deref(), &[span], &mut layer, out);
                    from += rows;
                }
                for (found, exact) in out.iter().zip(&exact) {
                    prop_assert!((f64::from(*found) - exact).abs() < 1e-5, "{found} {exact}");
                }
                let bits: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                prop_assert_eq!(&bits, first.get_or_insert(bits.clone()), "{:?}", isa);

                let start = shared * 16;
                if start < len {
                    let span = Span { first_row: 0, rows: len - start, first_pos: start, blocks: &other };
                    let inputs = &inputs[3 * start * width..];
                    let mut rest = vec![0.0; (len - start) * width];
                    short_conv_for(isa, &Pool::new(1), inputs, &weights, bias.as_deref(), &[span], &mut layer, &mut rest);
                    prop_assert!(rest == out[start * width..], "behind shared blocks");
                }
            }
        }
    }

    #[test]
    fn a_block_takes_the_bytes_of_its_last_inputs() {
        assert_eq!(ConvShape { block_len: 32, width: 2048, taps: 3 }.block_bytes(), 2 * 2048 * 4);
        assert_eq!(ConvShape { block_len: 32, width: 8, taps: 1 }.block_bytes(), 0);
    }
}
