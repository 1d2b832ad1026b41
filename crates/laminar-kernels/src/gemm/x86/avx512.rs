//! AVX-512: sixteen outputs in one vector; VNNI sums four products of bytes into an i32 in one instruction.

use std::arch::x86_64::*;

use super::super::OutTile;
use super::{FLOATS_AT_ONCE, Job, Table, four_codes, order, prefetch, tables};
use crate::WeightType;
use crate::panel::{
    Codes, Format, LANES, Mxfp4, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Scales, VECTOR, factors_at,
};
use crate::quant::mx;
use crate::tiles::{TILE, TileBlock};

pub(super) fn table(ty: WeightType) -> Table {
    tables!(ty, floats, blocks)
}

/// Loads sixteen float weights.
trait Loader {
    const BYTES: usize;
    /// # Safety
    /// `at` must have `16 * BYTES` readable bytes, and the machine AVX-512.
    unsafe fn load(at: *const u8) -> __m512;
}

struct F32Loader;
impl Loader for F32Loader {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> __m512 {
        // SAFETY: by this function's contract.
        unsafe { _mm512_loadu_ps(at.cast()) }
    }
}

struct F16Loader;
impl Loader for F16Loader {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> __m512 {
        // SAFETY: by this function's contract.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
    }
}

struct Bf16Loader;
impl Loader for Bf16Loader {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> __m512 {
        // SAFETY: by this function's contract. A bfloat16 is the upper half of an f32.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
}

/// # Safety
/// AVX-512 as `blocks`; `job` as its type says, with a tile of floats.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq")]
unsafe fn floats<L: Loader, const R: usize>(job: &Job, out: &mut OutTile) {
    let mut acc = [_mm512_setzero_ps(); R];
    for k in 0..job.steps {
        if k % FLOATS_AT_ONCE == 0 {
            prefetch(job, k / FLOATS_AT_ONCE);
        }
        // SAFETY: `steps` columns are in the panel and in the tile.
        unsafe {
            let weights = L::load(job.panel.add(k * LANES * L::BYTES));
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = *job.floats[r / TILE].add(k * TILE + r % TILE);
                *acc = _mm512_fmadd_ps(weights, _mm512_set1_ps(x), *acc);
            }
        }
    }
    store(&acc, out);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<const R: usize>(acc: &[__m512; R], out: &mut OutTile) {
    for (acc, out) in acc.iter().zip(out) {
        // SAFETY: `out` is sixteen floats.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *acc) };
    }
}

/// # Safety
/// AVX-512 with VNNI and what `avx2` needs; `job` as its type says.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq,avx512vnni")]
unsafe fn blocks<F: Format, const R: usize>(job: &Job, out: &mut OutTile) {
    let layout = F::LAYOUT;
    let halves = F::SCALES == Scales::SuperHalves;
    // Few rows have two sums each, so that an instruction need not wait for the one before.
    let pairs = !halves && R <= 4;
    let mut acc = [_mm512_setzero_ps(); R];
    for g in 0..job.steps {
        // SAFETY: group `g` is in the panel, its blocks are in the tiles.
        unsafe {
            let head = job.panel.add(g * layout.group());
            let super_scales = SuperScales::load::<F>(head);
            for b in 0..layout.blocks {
                let block = g * layout.blocks + b;
                prefetch(job, block);
                let x = job.rows::<R>(block);
                let codes = head.add(layout.head + b * layout.codes);
                let mut dots = [[_mm512_setzero_si512(); 2]; R];
                for (r, dots) in dots.iter_mut().enumerate() {
                    *dots = start::<F>(x[r / TILE], r % TILE);
                }
                let vectors = Vectors::load::<F>(codes);
                // Written out: the compiler does not unroll this loop for every format, and an index into `dots`
                // that is not constant would keep them in memory.
                macro_rules! steps {
                    ($($i:literal)*) => {$(
                        let step = order::<F>()[$i];
                        let part = if halves { step / 4 } else if pairs { $i % 2 } else { 0 };
                        let weights = vectors.step::<F>(codes, step);
                        for (r, dots) in dots.iter_mut().enumerate() {
                            let x = _mm512_set1_epi32(four_codes(x[r / TILE], r % TILE, step));
                            dots[part] = _mm512_dpbusd_epi32(dots[part], weights, x);
                        }
                    )*};
                }
                steps!(0 1 2 3 4 5 6 7);
                let scales = super_scales.block::<F>(head, b);
                for r in 0..R {
                    if pairs {
                        dots[r][0] = _mm512_add_epi32(dots[r][0], dots[r][1]);
                    }
                    acc[r] = accumulate::<F>(acc[r], &scales, x[r / TILE], r % TILE, dots[r]);
                }
            }
        }
    }
    store(&acc, out);
}

/// Vectors that several steps of a block share.
struct Vectors {
    high: [__m512i; 2],
}

impl Vectors {
    /// # Safety
    /// `codes` are those of a block in format `F`; AVX-512.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn load<F: Format>(codes: *const u8) -> Vectors {
        let zero = _mm512_setzero_si512();
        // SAFETY: vectors 4 and 5 of the block.
        let load = |vector: usize| unsafe { _mm512_loadu_si512(codes.add(vector * VECTOR).cast()) };
        Vectors {
            high: match F::CODES {
                Codes::Bytes | Codes::Nibbles | Codes::Table => [zero; 2],
                Codes::Five => [load(4), zero],
                Codes::Six => [load(4), load(5)],
            },
        }
    }

    /// The codes of step 0..8.
    ///
    /// # Safety
    /// As `load`, of the same block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn step<F: Format>(&self, codes: *const u8, step: usize) -> __m512i {
        // SAFETY: one of the vectors of the block.
        let load = |vector: usize| unsafe { _mm512_loadu_si512(codes.add(vector * VECTOR).cast()) };
        if F::CODES == Codes::Bytes {
            return load(step);
        }
        let mask = _mm512_set1_epi8(15);
        let both = load(step % 4);
        let low = if step < 4 { both } else { _mm512_srli_epi16::<4>(both) };
        // low & mask | high & bits
        let join = |high: __m512i, bits: i8| {
            let low = _mm512_and_si512(low, mask);
            _mm512_ternarylogic_epi32::<0xf8>(low, high, _mm512_set1_epi8(bits))
        };
        match F::CODES {
            Codes::Bytes | Codes::Nibbles => _mm512_and_si512(low, mask),
            Codes::Table => {
                // SAFETY: the table is sixteen bytes.
                let table = unsafe { _mm_loadu_si128(mx::CODES.as_ptr().cast()) };
                _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), _mm512_and_si512(low, mask))
            }
            Codes::Five => {
                let high = self.high[0];
                let high = match step {
                    0 => _mm512_slli_epi16::<4>(high),
                    1 => _mm512_slli_epi16::<3>(high),
                    2 => _mm512_slli_epi16::<2>(high),
                    3 => _mm512_slli_epi16::<1>(high),
                    4 => high,
                    5 => _mm512_srli_epi16::<1>(high),
                    6 => _mm512_srli_epi16::<2>(high),
                    _ => _mm512_srli_epi16::<3>(high),
                };
                join(high, 0x10)
            }
            Codes::Six => {
                let high = self.high[step / 4];
                let high = match step % 4 {
                    0 => _mm512_slli_epi16::<4>(high),
                    1 => _mm512_slli_epi16::<2>(high),
                    2 => high,
                    _ => _mm512_srli_epi16::<2>(high),
                };
                join(high, 0x30)
            }
        }
    }
}

/// Where the dot products of a block start: minus the zero code times the sum of the activations, for the
/// whole block in the first value, or for its halves in both.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn start<F: Format>(x: &TileBlock, row: usize) -> [__m512i; 2] {
    let zero = _mm512_setzero_si512();
    if F::ZERO == 0 {
        return [zero; 2];
    }
    // Multiplied as a vector: a broadcast from memory is free, one from a register is not.
    let count = _mm_cvtsi32_si128(F::ZERO.ilog2() as i32);
    let spread = |sum: i32| {
        let sum = _mm512_set1_epi32(sum);
        if F::ZERO.count_ones() == 1 {
            _mm512_sll_epi32(sum, count)
        } else {
            // The sum of a block fits an i16, so its lower half is all of it.
            _mm512_madd_epi16(sum, _mm512_set1_epi32(F::ZERO))
        }
    };
    match F::SCALES {
        Scales::SuperHalves => {
            let low = x.neg_sum_low[row];
            [spread(low), spread(x.neg_sum[row] - low)]
        }
        _ => [spread(x.neg_sum[row]), zero],
    }
}

/// Scales at the start of a group, as floats.
struct SuperScales {
    d: __m512,
    /// Offsets, or the scale of the minima.
    m: __m512,
}

/// Scales of a block.
struct BlockScales {
    /// Of the block, or of its first half.
    scale: __m512,
    /// Of the second half, where halves have their own.
    high: __m512,
    /// What is multiplied by the activations' sum and *added*.
    offset: __m512,
}

impl SuperScales {
    /// # Safety
    /// `head` is that of a group in format `F`; AVX-512.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load<F: Format>(head: *const u8) -> SuperScales {
        // SAFETY: inside the head.
        let half = |at: usize| unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(head.add(at).cast())) };
        let m = match F::SCALES {
            Scales::HalfAndOffset | Scales::Super => half(2 * LANES),
            Scales::Half | Scales::SuperHalves | Scales::Powers => _mm512_setzero_ps(),
        };
        let d = match F::SCALES {
            // SAFETY: the head is sixteen bytes.
            Scales::Powers => powers(_mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(head.cast()) })),
            _ => half(0),
        };
        SuperScales { d, m }
    }

    /// # Safety
    /// As `load`, and `block` is one of the group.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    unsafe fn block<F: Format>(&self, head: *const u8, block: usize) -> BlockScales {
        let at = factors_at(F::SCALES, block);
        // SAFETY: inside the head.
        let bytes = |at: usize| unsafe { _mm_loadu_si128(head.add(at).cast()) };
        let unsigned = |at: usize| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes(at)));
        let signed = |at: usize| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes(at)));
        let zero = _mm512_setzero_ps();
        match F::SCALES {
            Scales::Half | Scales::HalfAndOffset | Scales::Powers => {
                BlockScales { scale: self.d, high: zero, offset: self.m }
            }
            Scales::Super => {
                let min = _mm512_mul_ps(self.m, unsigned(at + LANES));
                BlockScales {
                    scale: _mm512_mul_ps(self.d, unsigned(at)),
                    high: zero,
                    offset: _mm512_xor_ps(min, _mm512_set1_ps(-0.0)),
                }
            }
            Scales::SuperHalves => BlockScales {
                scale: _mm512_mul_ps(self.d, signed(at)),
                high: _mm512_mul_ps(self.d, signed(at + LANES)),
                offset: zero,
            },
        }
    }
}

/// [`mx::half_scale`] of sixteen bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn powers(bytes: __m512i) -> __m512 {
    let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(bytes, _mm512_set1_epi32(1)));
    let small = _mm512_slli_epi32::<21>(_mm512_add_epi32(bytes, _mm512_set1_epi32(1)));
    _mm512_castsi512_ps(_mm512_max_epi32(normal, small))
}

/// The float steps of a block for one row.
#[inline]
#[target_feature(enable = "avx512f")]
fn accumulate<F: Format>(acc: __m512, scales: &BlockScales, x: &TileBlock, row: usize, dots: [__m512i; 2]) -> __m512 {
    let x_scale = _mm512_set1_ps(x.scale[row]);
    let acc = _mm512_fmadd_ps(_mm512_mul_ps(scales.scale, x_scale), _mm512_cvtepi32_ps(dots[0]), acc);
    match F::SCALES {
        Scales::Half | Scales::Powers => acc,
        Scales::HalfAndOffset | Scales::Super => _mm512_fmadd_ps(scales.offset, _mm512_set1_ps(x.scaled_sum[row]), acc),
        Scales::SuperHalves => _mm512_fmadd_ps(_mm512_mul_ps(scales.high, x_scale), _mm512_cvtepi32_ps(dots[1]), acc),
    }
}
