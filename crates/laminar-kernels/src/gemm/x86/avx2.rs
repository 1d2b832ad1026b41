//! AVX2: eight outputs in a vector, so a panel is two halves; products of bytes are summed in i16 as far as
//! they fit, or widened to i16 first.

use std::arch::x86_64::*;

use super::super::OutTile;
use super::{FLOATS_AT_ONCE, Job, Table, four_codes, order, prefetch, tables};
use crate::WeightType;
use crate::panel::{
    Codes, Format, LANES, Mxfp4, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Scales, VECTOR, factors_at,
};
use crate::quant::mx;
use crate::tiles::{TILE, TileBlock, WideBlock};

/// Outputs of half a panel.
const HALF: usize = LANES / 2;

pub(super) fn table(ty: WeightType) -> Table {
    tables!(ty, floats, blocks)
}

/// Loads eight float weights.
trait Loader {
    const BYTES: usize;
    /// # Safety
    /// `at` must have `8 * BYTES` readable bytes, and the machine AVX2 and F16C.
    unsafe fn load(at: *const u8) -> __m256;
}

struct F32Loader;
impl Loader for F32Loader {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> __m256 {
        // SAFETY: by this function's contract.
        unsafe { _mm256_loadu_ps(at.cast()) }
    }
}

struct F16Loader;
impl Loader for F16Loader {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> __m256 {
        // SAFETY: by this function's contract.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
    }
}

struct Bf16Loader;
impl Loader for Bf16Loader {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> __m256 {
        // SAFETY: by this function's contract. A bfloat16 is the upper half of an f32.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
}

/// More than the rows of a tile don't fit the registers.
///
/// # Safety
/// AVX2, FMA and F16C; `job` as its type says, with tiles of floats.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn floats<L: Loader, const R: usize>(job: &Job, out: &mut OutTile) {
    // SAFETY: passed on; the second tile has `R - TILE` rows.
    unsafe {
        if R <= TILE {
            tile_of_floats::<L, R>(job, &mut out[..R]);
        } else {
            tile_of_floats::<L, TILE>(job, &mut out[..TILE]);
            let second = Job { floats: [job.floats[1]; 2], ahead_step: 0, ..*job };
            // One of these four.
            match R - TILE {
                1 => tile_of_floats::<L, 1>(&second, &mut out[TILE..R]),
                2 => tile_of_floats::<L, 2>(&second, &mut out[TILE..R]),
                3 => tile_of_floats::<L, 3>(&second, &mut out[TILE..R]),
                _ => tile_of_floats::<L, 4>(&second, &mut out[TILE..R]),
            }
        }
    }
}

/// The rows of one tile.
///
/// # Safety
/// As `floats`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile_of_floats<L: Loader, const R: usize>(job: &Job, out: &mut [[f32; LANES]]) {
    let mut acc = [[_mm256_setzero_ps(); 2]; R];
    for k in 0..job.steps {
        if k % FLOATS_AT_ONCE == 0 {
            prefetch(job, k / FLOATS_AT_ONCE);
        }
        // SAFETY: `steps` columns are in the panel and in the tile.
        unsafe {
            let at = job.panel.add(k * LANES * L::BYTES);
            let weights = [L::load(at), L::load(at.add(HALF * L::BYTES))];
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*job.floats[0].add(k * TILE + r));
                for p in 0..2 {
                    acc[p] = _mm256_fmadd_ps(weights[p], x, acc[p]);
                }
            }
        }
    }
    store(&acc, 0, out);
}

#[inline]
#[target_feature(enable = "avx2")]
fn store<const R: usize, const P: usize>(acc: &[[__m256; P]; R], half: usize, out: &mut [[f32; LANES]]) {
    for (acc, out) in acc.iter().zip(out) {
        for (acc, out) in acc.iter().zip(out[half * HALF..].chunks_exact_mut(HALF)) {
            // SAFETY: `out` is eight floats.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), *acc) };
        }
    }
}

/// With sixteen registers, more than four rows don't fit, and of four rows and both halves only the 6-bit and
/// 8-bit weights', where more of the work is shared: else one half after the other is faster.
///
/// # Safety
/// AVX2, FMA and F16C; `job` as its type says, with wide blocks if `F::SUMS` is 0.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn blocks<F: Format, const R: usize>(job: &Job, out: &mut OutTile) {
    // SAFETY: passed on; the second tile has `R - TILE` rows.
    unsafe {
        if R <= TILE {
            tile::<F, R>(job, &mut out[..R]);
        } else {
            tile::<F, TILE>(job, &mut out[..TILE]);
            let second = Job { blocks: [job.blocks[1]; 2], wide: [job.wide[1]; 2], ahead_step: 0, ..*job };
            // One of these four.
            match R - TILE {
                1 => tile::<F, 1>(&second, &mut out[TILE..R]),
                2 => tile::<F, 2>(&second, &mut out[TILE..R]),
                3 => tile::<F, 3>(&second, &mut out[TILE..R]),
                _ => tile::<F, 4>(&second, &mut out[TILE..R]),
            }
        }
    }
}

/// The rows of one tile.
///
/// # Safety
/// As `blocks`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<F: Format, const R: usize>(job: &Job, out: &mut [[f32; LANES]]) {
    // SAFETY: passed on; the halves of a panel are 0 and 1.
    unsafe {
        if R < 3 || F::SUMS < 4 {
            halves::<F, R, 2>(job, 0, out);
        } else {
            halves::<F, R, 1>(job, 0, out);
            halves::<F, R, 1>(&Job { ahead_step: 0, ..*job }, 1, out);
        }
    }
}

/// `P` halves of a panel, from `half` on.
///
/// # Safety
/// As `blocks`; `half + P` is at most 2.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn halves<F: Format, const R: usize, const P: usize>(job: &Job, half: usize, out: &mut [[f32; LANES]]) {
    let layout = F::LAYOUT;
    let mut acc = [[_mm256_setzero_ps(); P]; R];
    for g in 0..job.steps {
        // SAFETY: group `g` is in the panel, its blocks are in the tile.
        unsafe {
            let head = job.panel.add(g * layout.group());
            for b in 0..layout.blocks {
                let block = g * layout.blocks + b;
                prefetch(job, block);
                let x = &*job.blocks[0].add(block);
                let codes = head.add(layout.head + b * layout.codes + half * VECTOR / 2);
                let dots = if F::SUMS == 0 {
                    dots_by_i16::<F, R, P>(codes, x, &*job.wide[0].add(block))
                } else {
                    dots_by_bytes::<F, R, P>(codes, x)
                };
                for p in 0..P {
                    let scales = block_scales::<F>(head, b, half + p);
                    for r in 0..R {
                        let [low, high] = dots[r][p];
                        acc[r][p] = accumulate::<F>(acc[r][p], &scales, x, r, low, high);
                    }
                }
            }
        }
    }
    store(&acc, half, out);
}

/// Scales of a block for eight outputs.
struct BlockScales {
    /// Of the block, or of its first half.
    scale: __m256,
    /// Of the second half, where halves have their own.
    high: __m256,
    /// What is multiplied by the activations' sum and *added*.
    offset: __m256,
}

/// # Safety
/// `head` is that of a group in format `F` that has the block; `half` is 0 or 1.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn block_scales<F: Format>(head: *const u8, block: usize, half: usize) -> BlockScales {
    let factors = factors_at(F::SCALES, block) + half * HALF;
    // SAFETY: inside the head.
    unsafe {
        let floats = |at: usize| _mm256_cvtph_ps(_mm_loadu_si128(head.add(at + half * 2 * HALF).cast()));
        let unsigned = |at: usize| {
            let bytes = _mm_loadl_epi64(head.add(at).cast());
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
        };
        let signed = |at: usize| {
            let bytes = _mm_loadl_epi64(head.add(at).cast());
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
        };
        let zero = _mm256_setzero_ps();
        let d = match F::SCALES {
            Scales::Powers => powers(_mm256_cvtepu8_epi32(_mm_loadl_epi64(head.add(half * HALF).cast()))),
            _ => floats(0),
        };
        match F::SCALES {
            Scales::Half | Scales::Powers => BlockScales { scale: d, high: zero, offset: zero },
            Scales::HalfAndOffset => BlockScales { scale: d, high: zero, offset: floats(2 * LANES) },
            Scales::Super => {
                let min = _mm256_mul_ps(floats(2 * LANES), unsigned(factors + LANES));
                BlockScales {
                    scale: _mm256_mul_ps(d, unsigned(factors)),
                    high: zero,
                    offset: _mm256_xor_ps(min, _mm256_set1_ps(-0.0)),
                }
            }
            Scales::SuperHalves => BlockScales {
                scale: _mm256_mul_ps(d, signed(factors)),
                high: _mm256_mul_ps(d, signed(factors + LANES)),
                offset: zero,
            },
        }
    }
}

/// [`mx::half_scale`] of eight bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn powers(bytes: __m256i) -> __m256 {
    let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(bytes, _mm256_set1_epi32(1)));
    let small = _mm256_slli_epi32::<21>(_mm256_add_epi32(bytes, _mm256_set1_epi32(1)));
    _mm256_castsi256_ps(_mm256_max_epi32(normal, small))
}

/// The float steps of a block for one row and half.
///
/// # Safety
/// `row` is below `TILE`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn accumulate<F: Format>(
    acc: __m256,
    scales: &BlockScales,
    x: &TileBlock,
    row: usize,
    low: __m256i,
    high: __m256i,
) -> __m256 {
    let x_scale = _mm256_set1_ps(x.scale[row]);
    let scale = _mm256_mul_ps(scales.scale, x_scale);
    match F::SCALES {
        Scales::Half | Scales::Powers => _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(low), acc),
        Scales::HalfAndOffset | Scales::Super => {
            let acc = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(low), acc);
            _mm256_fmadd_ps(scales.offset, _mm256_set1_ps(x.scaled_sum[row]), acc)
        }
        Scales::SuperHalves => {
            let acc = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(low), acc);
            let scale = _mm256_mul_ps(scales.high, x_scale);
            _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(high), acc)
        }
    }
}

/// Where the dot products of a block start: minus the zero code times the sum of the activations, for the
/// whole block in the first value, or for its halves in both.
#[inline]
#[target_feature(enable = "avx2")]
fn start<F: Format>(x: &TileBlock, row: usize) -> (__m256i, __m256i) {
    let zero = _mm256_setzero_si256();
    if F::ZERO == 0 {
        return (zero, zero);
    }
    // Multiplied as a vector: a broadcast from memory is free, one from a register is not.
    let count = _mm_cvtsi32_si128(F::ZERO.ilog2() as i32);
    let spread = |sum: i32| {
        let sum = _mm256_set1_epi32(sum);
        if F::ZERO.count_ones() == 1 {
            _mm256_sll_epi32(sum, count)
        } else {
            // The sum of a block fits an i16, so its lower half is all of it.
            _mm256_madd_epi16(sum, _mm256_set1_epi32(F::ZERO))
        }
    };
    match F::SCALES {
        Scales::SuperHalves => {
            let low = x.neg_sum_low[row];
            let high = x.neg_sum[row] - low;
            (spread(low), spread(high))
        }
        _ => (spread(x.neg_sum[row]), zero),
    }
}

/// The codes of step 0..8 of eight outputs.
///
/// # Safety
/// `codes` points to the half of a block's first vector in format `F`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_codes<F: Format>(codes: *const u8, step: usize) -> __m256i {
    // SAFETY: one of the vectors of the block.
    let load = |vector: usize| unsafe { _mm256_loadu_si256(codes.add(vector * VECTOR).cast()) };
    if F::CODES == Codes::Bytes {
        return load(step);
    }
    let both = load(step % 4);
    let low = if step < 4 { both } else { _mm256_srli_epi16::<4>(both) };
    let low = _mm256_and_si256(low, _mm256_set1_epi8(15));
    let join = |high: __m256i, bits: i8| _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(bits)));
    match F::CODES {
        Codes::Bytes | Codes::Nibbles => low,
        Codes::Table => {
            // SAFETY: the table is sixteen bytes.
            let table = unsafe { _mm_loadu_si128(mx::CODES.as_ptr().cast()) };
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), low)
        }
        Codes::Five => {
            let high = load(4);
            let high = match step {
                0 => _mm256_slli_epi16::<4>(high),
                1 => _mm256_slli_epi16::<3>(high),
                2 => _mm256_slli_epi16::<2>(high),
                3 => _mm256_slli_epi16::<1>(high),
                4 => high,
                5 => _mm256_srli_epi16::<1>(high),
                6 => _mm256_srli_epi16::<2>(high),
                _ => _mm256_srli_epi16::<3>(high),
            };
            join(high, 0x10)
        }
        Codes::Six => {
            let high = load(4 + step / 4);
            let high = match step % 4 {
                0 => _mm256_slli_epi16::<4>(high),
                1 => _mm256_slli_epi16::<2>(high),
                2 => high,
                _ => _mm256_srli_epi16::<2>(high),
            };
            join(high, 0x30)
        }
    }
}

/// The same value, in a register. Left alone, the compiler reorders the integer sums of a block to finish
/// one half first and spills every activation vector for the second: a third of the speed.
#[inline]
#[target_feature(enable = "avx2")]
fn pin(mut value: __m256i) -> __m256i {
    // SAFETY: there is no instruction; the register is only named.
    unsafe {
        std::arch::asm!("/* {0} */", inout(ymm_reg) value, options(pure, nomem, nostack, preserves_flags));
    }
    value
}

type Dots<const R: usize, const P: usize> = [[[__m256i; 2]; P]; R];

/// Dot products of a block by `maddubs`: pairs of products of bytes, summed in i16 as far as they fit.
///
/// # Safety
/// `codes` is a half of a block of codes in format `F`, with another behind it for `P` of 2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dots_by_bytes<F: Format, const R: usize, const P: usize>(codes: *const u8, x: &TileBlock) -> Dots<R, P> {
    let halves = F::SCALES == Scales::SuperHalves;
    let mut dots = [[[_mm256_setzero_si256(); 2]; P]; R];
    let mut sums = [[_mm256_setzero_si256(); P]; R];
    // Where halves of the block have sums of their own, its steps stay in order.
    let order = if halves { [0, 1, 2, 3, 4, 5, 6, 7] } else { order::<F>() };
    let fit = F::SUMS.max(1);
    // Written out: where the compiler keeps the loop, it chooses each step's vector and shift at run time, which
    // halves the speed.
    macro_rules! steps {
        ($($i:literal)*) => {$(
            // SAFETY: by the contract; steps are below 8.
            unsafe { add_step::<F, R, P>(codes, x, order[$i], $i % fit == 0, &mut sums) };
            if ($i + 1) % fit == 0 {
                let from = $i + 1 - fit;
                let (half, first) = if halves { (from / 4, from % 4 == 0) } else { (0, from == 0) };
                flush::<F, R, P>(x, &sums, first, half, &mut dots);
            }
        )*};
    }
    steps!(0 1 2 3 4 5 6 7);
    dots
}

/// Adds the products of a step to the i16 sums, or starts them.
///
/// # Safety
/// As `dots_by_bytes`; `step` is below 8.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_step<F: Format, const R: usize, const P: usize>(
    codes: *const u8,
    x: &TileBlock,
    step: usize,
    fresh: bool,
    sums: &mut [[__m256i; P]; R],
) {
    // SAFETY: by the contract.
    unsafe {
        let mut weights = [_mm256_setzero_si256(); P];
        for (p, weights) in weights.iter_mut().enumerate() {
            *weights = load_codes::<F>(codes.add(p * VECTOR / 2), step);
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let x = _mm256_set1_epi32(four_codes(x, r, step));
            for p in 0..P {
                let products = _mm256_maddubs_epi16(weights[p], x);
                sums[p] = pin(if fresh { products } else { _mm256_add_epi16(sums[p], products) });
            }
        }
    }
}

/// Adds full i16 sums to the dot products. Their start comes in here, not earlier: it would take registers.
#[inline]
#[target_feature(enable = "avx2")]
fn flush<F: Format, const R: usize, const P: usize>(
    x: &TileBlock,
    sums: &[[__m256i; P]; R],
    first: bool,
    half: usize,
    dots: &mut Dots<R, P>,
) {
    let ones = _mm256_set1_epi16(1);
    for r in 0..R {
        let (low, high) = start::<F>(x, r);
        for p in 0..P {
            let before = match (first, half) {
                (false, _) => dots[r][p][half],
                (true, 0) => low,
                (true, _) => high,
            };
            dots[r][p][half] = _mm256_add_epi32(before, _mm256_madd_epi16(sums[r][p], ones));
        }
    }
}

/// Dot products of a block of full bytes, even and odd bytes apart as i16.
///
/// # Safety
/// As `dots_by_bytes`; `wide` is the same activations as `x`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dots_by_i16<F: Format, const R: usize, const P: usize>(
    codes: *const u8,
    x: &TileBlock,
    wide: &WideBlock,
) -> Dots<R, P> {
    let even = _mm256_set1_epi16(0xff);
    let mut dots = [[[_mm256_setzero_si256(); 2]; P]; R];
    for (r, dots) in dots.iter_mut().enumerate() {
        let (low, _) = start::<F>(x, r);
        for dots in dots {
            dots[0] = low;
        }
    }
    for step in 0..8 {
        // SAFETY: by the contract; the activations of a step are 8 bytes of `wide`.
        unsafe {
            let mut weights = [[_mm256_setzero_si256(); 2]; P];
            for (p, weights) in weights.iter_mut().enumerate() {
                let codes = load_codes::<F>(codes.add(p * VECTOR / 2), step);
                *weights = [_mm256_and_si256(codes, even), _mm256_srli_epi16::<8>(codes)];
            }
            for (r, dots) in dots.iter_mut().enumerate() {
                let pairs: *const i32 = wide.0[r].as_ptr().add(step * 4).cast();
                let x_even = _mm256_set1_epi32(pairs.read_unaligned());
                let x_odd = _mm256_set1_epi32(pairs.add(1).read_unaligned());
                for p in 0..P {
                    let products = _mm256_madd_epi16(weights[p][0], x_even);
                    dots[p][0] = _mm256_add_epi32(dots[p][0], products);
                    let products = _mm256_madd_epi16(weights[p][1], x_odd);
                    dots[p][0] = pin(_mm256_add_epi32(dots[p][0], products));
                }
            }
        }
    }
    dots
}
