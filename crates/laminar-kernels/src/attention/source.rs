//! How stored keys and values become vectors.
//!
//! A [`Source`] is a matrix of rows `k`, of which a kernel reads the first one or two vectors: keys lie one dimension
//! after the other (a row holds that dimension of neighbouring positions), values one position after the other.

use super::lanes::{LANES, Lanes};

/// Values that share a scale in `q8_0`.
pub(super) const Q8_BLOCK: usize = 32;

/// Floats between the rows of a [`Packed`] matrix.
pub(super) const PACKED: usize = 2 * LANES;

/// Rows of vectors.
///
/// Reading needs `V` vectors in every row that is read to lie inside the matrix's allocation.
pub(super) trait Source: Copy {
    /// Rows that share what `hold` gives, counted from row 0.
    const STEP: usize;
    /// What rows share.
    type Held<L: Lanes, const V: usize>: Copy;
    /// What row `k` shares with its neighbours.
    ///
    /// # Safety
    /// That of [`Lanes`]; row `k` is inside the matrix.
    unsafe fn hold<L: Lanes, const V: usize>(&self, k: usize) -> Self::Held<L, V>;
    /// The first vectors of row `k`.
    ///
    /// # Safety
    /// As `hold`.
    unsafe fn load<L: Lanes, const V: usize>(&self, k: usize, held: Self::Held<L, V>) -> [L::V; V];
}

/// Floats in rows of [`PACKED`].
#[derive(Clone, Copy)]
pub(super) struct Packed(pub *const f32);

impl Source for Packed {
    const STEP: usize = usize::MAX;
    type Held<L: Lanes, const V: usize> = ();

    #[inline(always)]
    unsafe fn hold<L: Lanes, const V: usize>(&self, _: usize) {}

    #[inline(always)]
    unsafe fn load<L: Lanes, const V: usize>(&self, k: usize, (): ()) -> [L::V; V] {
        // SAFETY: by the contract.
        unsafe {
            let mut vectors = [L::splat(0.0); V];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = L::load(self.0.add(k * PACKED + v * LANES));
            }
            vectors
        }
    }
}

/// A number in its stored form.
pub(super) trait Number: Copy {
    /// Sixteen of them.
    ///
    /// # Safety
    /// That of [`Lanes`].
    unsafe fn lanes<L: Lanes>(from: *const Self) -> L::V;
}

impl Number for f32 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(from: *const f32) -> L::V {
        // SAFETY: by the contract.
        unsafe { L::load(from) }
    }
}

/// The bits of a half.
impl Number for u16 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(from: *const u16) -> L::V {
        // SAFETY: by the contract.
        unsafe { L::load_f16(from) }
    }
}

/// Numbers in rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Strided<T> {
    pub at: *const T,
    pub stride: usize,
    /// Bytes from here to the memory that will be read next.
    pub ahead: isize,
}

impl<T: Number> Source for Strided<T> {
    const STEP: usize = usize::MAX;
    type Held<L: Lanes, const V: usize> = ();

    #[inline(always)]
    unsafe fn hold<L: Lanes, const V: usize>(&self, _: usize) {}

    #[inline(always)]
    unsafe fn load<L: Lanes, const V: usize>(&self, k: usize, (): ()) -> [L::V; V] {
        // SAFETY: by the contract.
        unsafe {
            let row = self.at.add(k * self.stride);
            let mut vectors = [L::splat(0.0); V];
            for (v, vector) in vectors.iter_mut().enumerate() {
                let from = row.add(v * LANES);
                if (v * LANES * size_of::<T>()).is_multiple_of(64) {
                    L::prefetch::<false>(from.cast::<u8>().wrapping_offset(self.ahead));
                }
                *vector = T::lanes::<L>(from);
            }
            vectors
        }
    }
}

/// Keys in `q8_0`: codes in rows of dimensions, and for every 32 of these a row of scales.
#[derive(Clone, Copy)]
pub(super) struct KeyCodes {
    pub codes: *const i8,
    pub scales: *const u16,
    pub stride: usize,
    pub ahead: isize,
}

impl Source for KeyCodes {
    const STEP: usize = Q8_BLOCK;
    type Held<L: Lanes, const V: usize> = [L::V; V];

    #[inline(always)]
    unsafe fn hold<L: Lanes, const V: usize>(&self, k: usize) -> [L::V; V] {
        // SAFETY: by the contract.
        unsafe {
            let mut scales = [L::splat(0.0); V];
            for (v, scale) in scales.iter_mut().enumerate() {
                *scale = L::load_f16(self.scales.add(k / Q8_BLOCK * self.stride + v * LANES));
            }
            scales
        }
    }

    #[inline(always)]
    unsafe fn load<L: Lanes, const V: usize>(&self, k: usize, mut held: [L::V; V]) -> [L::V; V] {
        // SAFETY: by the contract.
        unsafe {
            let row = self.codes.add(k * self.stride);
            // So few bytes that the nearest cache can wait for all of them.
            L::prefetch::<true>(row.cast::<u8>().wrapping_offset(self.ahead));
            for (v, vector) in held.iter_mut().enumerate() {
                *vector = L::mul(L::load_i8(row.add(v * LANES)), *vector);
            }
            held
        }
    }
}

/// Values in `q8_0`: codes in rows of positions, of which those of 32 dimensions share a scale.
#[derive(Clone, Copy)]
pub(super) struct ValueCodes {
    pub codes: *const i8,
    pub scales: *const u16,
    pub stride: usize,
    pub ahead: isize,
}

impl Source for ValueCodes {
    const STEP: usize = 1;
    type Held<L: Lanes, const V: usize> = L::V;

    #[inline(always)]
    unsafe fn hold<L: Lanes, const V: usize>(&self, k: usize) -> L::V {
        // SAFETY: by the contract.
        unsafe { L::splat_f16(self.scales.add(k * (self.stride / Q8_BLOCK))) }
    }

    #[inline(always)]
    unsafe fn load<L: Lanes, const V: usize>(&self, k: usize, held: L::V) -> [L::V; V] {
        // SAFETY: by the contract.
        unsafe {
            let row = self.codes.add(k * self.stride);
            L::prefetch::<true>(row.cast::<u8>().wrapping_offset(self.ahead));
            let mut vectors = [held; V];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = L::mul(L::load_i8(row.add(v * LANES)), held);
            }
            vectors
        }
    }
}
