//! How packed weights lie in memory: panels of sixteen outputs, for the matrix kernels.
//!
//! Sixteen output rows form a *panel*. A vector holds one value (or four consecutive codes) of each of the
//! sixteen, so one lane is one output: a dot product needs no sum across lanes, and its value can't depend on
//! how many rows are computed together. A matrix is its panels one after the other, and a panel its blocks of
//! columns in order with their scales among them: whoever multiplies reads one sequential stream.
//!
//! A panel of a block format is a sequence of groups: a block of 32 columns, or a super-block of eight. A
//! group is a head of scales, then the codes of its blocks. In a head, every scale is sixteen numbers:
//!
//! | [`Scales`] | head |
//! |---|---|
//! | `Half` | f16 `d` |
//! | `HalfAndOffset` | f16 `d`, f16 offsets |
//! | `Super` | f16 `d`, f16 `dmin`, then for each block factor bytes of `d` and of `dmin` |
//! | `SuperHalves` | f16 `d`, then for each block signed factor bytes of its two halves |
//! | `Powers` | bytes of which each stands for a power of two |
//!
//! The codes of a block are vectors of 64 bytes, four columns of each lane: vector `step` holds the columns
//! `4 step .. 4 step + 4`.
//!
//! | [`Codes`] | vectors |
//! |---|---|
//! | `Bytes` | eight, a code a byte |
//! | `Nibbles` | four: low nibbles are vector `step`, high ones vector `step + 4` |
//! | `Table` | those of `Nibbles`, where a nibble is an index into the sixteen codes there are |
//! | `Five` | those of `Nibbles`, then one whose bit `step` is the fifth bit of vector `step` |
//! | `Six` | those of `Nibbles`, then two with the fifth and sixth bits: bits `2 (step % 4) ..` of vector `step / 4` |
//!
//! A panel of a float format is, for each column, the sixteen values. The last panel is filled up with zeros.

use crate::WeightType;
use crate::quant::{Block, MinKind, min_kind, mx};

/// Output rows in a panel.
pub(crate) const LANES: usize = 16;
/// Columns in a block of codes.
pub(crate) const BLOCK: usize = 32;
/// Bytes of a vector of codes.
pub(crate) const VECTOR: usize = LANES * 4;

/// How a panel stores codes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codes {
    Bytes,
    Nibbles,
    Table,
    Five,
    Six,
}

/// How a panel stores scales.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scales {
    Half,
    HalfAndOffset,
    Super,
    SuperHalves,
    Powers,
}

/// A block format, as the kernels see it.
pub(crate) trait Format {
    const CODES: Codes;
    /// The code that stands for zero.
    const ZERO: i32;
    const SCALES: Scales;
    /// How many products of neighbouring codes with 8-bit activations an i16 can sum
    /// (each is at most `2 * largest code * 127`); 0 if not even one fits.
    const SUMS: usize;
    const LAYOUT: Layout = Layout::of(Self::CODES, Self::SCALES);
}

macro_rules! format {
    ($name:ident, $codes:ident, $zero:literal, $scales:ident, $sums:literal) => {
        pub(crate) struct $name;
        impl Format for $name {
            const CODES: Codes = Codes::$codes;
            const ZERO: i32 = $zero;
            const SCALES: Scales = Scales::$scales;
            const SUMS: usize = $sums;
        }
    };
}

format!(Q8_0, Bytes, 128, Half, 0);
format!(Q4_0, Nibbles, 8, Half, 8);
format!(Q4_1, Nibbles, 0, HalfAndOffset, 8);
format!(Q5_0, Five, 16, Half, 4);
format!(Q5_1, Five, 0, HalfAndOffset, 4);
format!(Q4K, Nibbles, 0, Super, 8);
format!(Q5K, Five, 0, Super, 4);
format!(Q6K, Six, 32, SuperHalves, 2);
format!(Mxfp4, Table, 12, Powers, 4);

/// Sizes of a group of blocks.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    /// Blocks in a group.
    pub blocks: usize,
    /// Bytes of the scales at its start.
    pub head: usize,
    /// Bytes of the codes of a block.
    pub codes: usize,
}

impl Layout {
    const fn of(codes: Codes, scales: Scales) -> Layout {
        let codes = match codes {
            Codes::Bytes => 8 * VECTOR,
            Codes::Nibbles | Codes::Table => 4 * VECTOR,
            Codes::Five => 5 * VECTOR,
            Codes::Six => 6 * VECTOR,
        };
        match scales {
            Scales::Half => Layout { blocks: 1, head: 2 * LANES, codes },
            Scales::HalfAndOffset => Layout { blocks: 1, head: 4 * LANES, codes },
            Scales::Super => Layout { blocks: 8, head: 4 * LANES + 8 * 2 * LANES, codes },
            Scales::SuperHalves => Layout { blocks: 8, head: 2 * LANES + 8 * 2 * LANES, codes },
            Scales::Powers => Layout { blocks: 1, head: LANES, codes },
        }
    }

    /// Bytes of a group.
    pub(crate) const fn group(&self) -> usize {
        self.head + self.blocks * self.codes
    }
}

/// Where, in a head, the factor bytes of a super-block's block lie: those of `d` or of the first half, then at
/// `+ LANES` those of `dmin` or of the second half.
#[inline(always)]
pub(crate) const fn factors_at(scales: Scales, block: usize) -> usize {
    let first = if matches!(scales, Scales::Super) { 4 * LANES } else { 2 * LANES };
    first + block * 2 * LANES
}

/// Codes and layout of a block format, and the sums of [`Format::SUMS`]; `None` for floats.
fn format_of(ty: WeightType) -> Option<(Codes, Layout, usize)> {
    fn of<F: Format>() -> Option<(Codes, Layout, usize)> {
        Some((F::CODES, F::LAYOUT, F::SUMS))
    }
    match ty {
        WeightType::F32 | WeightType::F16 | WeightType::Bf16 => None,
        WeightType::Q8_0 => of::<Q8_0>(),
        WeightType::Q4_0 => of::<Q4_0>(),
        WeightType::Q4_1 => of::<Q4_1>(),
        WeightType::Q5_0 => of::<Q5_0>(),
        WeightType::Q5_1 => of::<Q5_1>(),
        WeightType::Q4K => of::<Q4K>(),
        WeightType::Q5K => of::<Q5K>(),
        WeightType::Q6K => of::<Q6K>(),
        WeightType::Mxfp4 => of::<Mxfp4>(),
    }
}

/// [`Format::SUMS`] of a block format; `None` for floats.
pub(crate) fn byte_sums(ty: WeightType) -> Option<usize> {
    format_of(ty).map(|(_, _, sums)| sums)
}

/// Bytes of a panel, a multiple of 64; `None` if the number is too large.
pub(crate) fn panel_bytes(ty: WeightType, cols: usize) -> Option<usize> {
    let bytes = match format_of(ty) {
        None => cols.checked_mul(ty.block_bytes() * LANES)?,
        Some((_, layout, _)) => (cols / BLOCK / layout.blocks).checked_mul(layout.group())?,
    };
    bytes.checked_next_multiple_of(64)
}

/// Writes a row in the file's format into lane `lane` of a panel that was zero there.
pub(crate) fn pack_row(ty: WeightType, lane: usize, row: &[u8], panel: &mut [u8]) {
    match format_of(ty) {
        None => pack_floats(ty.block_bytes(), lane, row, panel),
        Some((codes, layout, _)) => pack_groups(ty, codes, layout, lane, row, panel),
    }
}

/// Floats of `size` bytes.
fn pack_floats(size: usize, lane: usize, row: &[u8], panel: &mut [u8]) {
    for (value, group) in row.chunks_exact(size).zip(panel.chunks_exact_mut(size * LANES)) {
        group[lane * size..][..size].copy_from_slice(value);
    }
}

fn pack_groups(ty: WeightType, codes: Codes, layout: Layout, lane: usize, row: &[u8], panel: &mut [u8]) {
    let mut block = Block::new();
    for (source, group) in row.chunks_exact(ty.block_bytes()).zip(panel.chunks_exact_mut(layout.group())) {
        block.unpack(ty, source);
        let (head, vectors) = group.split_at_mut(layout.head);
        pack_head(ty, &block, lane, head);
        let blocks = block.codes.chunks_exact(BLOCK).zip(vectors.chunks_exact_mut(layout.codes));
        for (values, vectors) in blocks {
            pack_codes(codes, values, lane, vectors);
        }
    }
}

fn pack_head(ty: WeightType, block: &Block, lane: usize, head: &mut [u8]) {
    if ty == WeightType::Mxfp4 {
        head[lane] = block.exponent;
        return;
    }
    head[lane * 2..][..2].copy_from_slice(&block.d.to_le_bytes());
    let mut offset = |m: half::f16| head[2 * LANES + lane * 2..][..2].copy_from_slice(&m.to_le_bytes());
    match min_kind(ty) {
        MinKind::None if ty == WeightType::Q6K => {
            for (half, factor) in block.scales.iter().enumerate() {
                let at = factors_at(Scales::SuperHalves, half / 2) + half % 2 * LANES;
                head[at + lane] = *factor as u8;
            }
        }
        MinKind::None => {}
        MinKind::Added => offset(block.m),
        MinKind::Scaled => {
            offset(block.m);
            for (i, (factor, min)) in block.scales.iter().zip(&block.mins).enumerate() {
                let at = factors_at(Scales::Super, i);
                head[at + lane] = *factor as u8;
                head[at + LANES + lane] = *min;
            }
        }
    }
}

/// The 32 codes of a lane's block.
fn pack_codes(kind: Codes, values: &[u8], lane: usize, vectors: &mut [u8]) {
    // Four columns at a time, a byte each.
    let words = values.as_chunks::<4>().0;
    let four = |step: usize| {
        let mut word = words[step];
        if kind == Codes::Table {
            word.iter_mut().for_each(|code| *code = mx::NIBBLES[usize::from(*code)]);
        }
        u32::from_le_bytes(word)
    };
    let low = |step: usize| four(step) & 0x0f0f_0f0f;
    let high = |step: usize| four(step) >> 4 & 0x0f0f_0f0f;
    let mut put = |vector: usize, word: u32| {
        vectors[vector * VECTOR + lane * 4..][..4].copy_from_slice(&word.to_le_bytes());
    };
    if kind == Codes::Bytes {
        (0..8).for_each(|step| put(step, four(step)));
        return;
    }
    (0..4).for_each(|step| put(step, low(step) | low(step + 4) << 4));
    match kind {
        Codes::Five => put(4, (0..8).fold(0, |bits, step| bits | high(step) << step)),
        Codes::Six => {
            for half in 0..2 {
                put(4 + half, (0..4).fold(0, |bits, step| bits | high(half * 4 + step) << (step * 2)));
            }
        }
        Codes::Bytes | Codes::Nibbles | Codes::Table => {}
    }
}

/// The code of a column in a lane's block: what [`pack_codes`] was given.
pub(crate) fn code(kind: Codes, vectors: &[u8], lane: usize, column: usize) -> u8 {
    let (step, byte) = (column / 4, lane * 4 + column % 4);
    if kind == Codes::Bytes {
        return vectors[step * VECTOR + byte];
    }
    let low = vectors[step % 4 * VECTOR + byte] >> (step / 4 * 4) & 15;
    match kind {
        Codes::Five => low | (vectors[4 * VECTOR + byte] >> step & 1) << 4,
        Codes::Six => low | (vectors[(4 + step / 4) * VECTOR + byte] >> (step % 4 * 2) & 3) << 4,
        Codes::Table => mx::CODES[usize::from(low)],
        Codes::Bytes | Codes::Nibbles => low,
    }
}
