//! What the matrix kernels need to know of each block format, as compile-time constants.

use crate::WeightType;

/// How a panel stores its scales; see the layout in `matrix.rs`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scales {
    /// f16 for each block.
    Half,
    /// f16 scale and f16 offset for each block.
    HalfAndOffset,
    /// f16 `d` and `dmin` for a super-block, factor bytes for each block.
    Super,
    /// f16 `d` for a super-block, signed factor bytes for each half block.
    SuperHalves,
}

/// A block format.
pub(super) trait Format {
    /// Two codes in a byte.
    const NIBBLES: bool;
    /// The code that stands for zero is `1 << shift`; `None` if it is 0.
    const ZERO_SHIFT: Option<u32>;
    const SCALES: Scales;
    /// How many products of neighbouring codes with 8-bit activations an i16 can sum
    /// (each is at most `2 * largest code * 127`); 0 if not even one fits.
    const SUMS: usize;
}

macro_rules! format {
    ($name:ident, $nibbles:literal, $zero:expr, $scales:ident, $sums:literal) => {
        pub(super) struct $name;
        impl Format for $name {
            const NIBBLES: bool = $nibbles;
            const ZERO_SHIFT: Option<u32> = $zero;
            const SCALES: Scales = Scales::$scales;
            const SUMS: usize = $sums;
        }
    };
}

format!(Q8_0, false, Some(7), Half, 0);
format!(Q4_0, true, Some(3), Half, 8);
format!(Q4_1, true, None, HalfAndOffset, 8);
format!(Q5_0, false, Some(4), Half, 4);
format!(Q5_1, false, None, HalfAndOffset, 4);
format!(Q4K, true, None, Super, 8);
format!(Q5K, false, None, Super, 4);
format!(Q6K, false, Some(5), SuperHalves, 2);

/// Offsets of the scales of a block in the scale bytes of a panel.
pub(super) struct ScaleOffsets {
    /// f16 `d`, then (where there are any) f16 offsets or `dmin` at +16.
    pub d: usize,
    /// Factor bytes of `d`; those of `dmin`, or of the second half of the block, at +8.
    pub factors: usize,
}

#[inline(always)]
pub(super) fn scale_offsets<F: Format>(block: usize) -> ScaleOffsets {
    match F::SCALES {
        Scales::Half => ScaleOffsets { d: block * 16, factors: 0 },
        Scales::HalfAndOffset => ScaleOffsets { d: block * 32, factors: 0 },
        Scales::Super => ScaleOffsets { d: block / 8 * 160, factors: block / 8 * 160 + 32 + block % 8 * 16 },
        Scales::SuperHalves => ScaleOffsets { d: block / 8 * 144, factors: block / 8 * 144 + 16 + block % 8 * 16 },
    }
}

/// [`Format::SUMS`] of a block format; `None` for floats.
pub(crate) fn byte_sums(ty: WeightType) -> Option<usize> {
    Some(match ty {
        WeightType::F32 | WeightType::F16 | WeightType::Bf16 => return None,
        WeightType::Q8_0 => Q8_0::SUMS,
        WeightType::Q4_0 => Q4_0::SUMS,
        WeightType::Q4_1 => Q4_1::SUMS,
        WeightType::Q5_0 => Q5_0::SUMS,
        WeightType::Q5_1 => Q5_1::SUMS,
        WeightType::Q4K => Q4K::SUMS,
        WeightType::Q5K => Q5K::SUMS,
        WeightType::Q6K => Q6K::SUMS,
    })
}
