//! The matrix kernels for x86: AVX2 with FMA and F16C, and AVX-512 VNNI on 256-bit vectors.
//!
//! Both compute the integer dot product of a block exactly, so how they get there is free; the float steps
//! after it are the same instructions. `R` rows of the tile times `P` panels are kept in registers.

mod avx2;
mod vnni;

use std::arch::x86_64::*;

use super::OutTile;
use super::format::{Format, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Scales, scale_offsets};
use crate::WeightType;
use crate::isa::Isa;
use crate::matrix::{LANES, Matrix};
use crate::tiles::{TILE, TileBlock, TileRef, WideBlock};

/// Where a kernel reads. `R`, `P` and the format of the kernel it is given to must match:
/// `panels` bytes of codes and scales as `Matrix` lays them out, and `blocks` blocks (or columns) in the tile.
struct Job {
    codes: *const u8,
    scales: *const u8,
    /// Bytes from a panel to the next.
    stride: usize,
    /// Blocks of 32 columns, or columns for float weights.
    steps: usize,
    blocks: *const TileBlock,
    wide: *const WideBlock,
    floats: *const f32,
    /// What to prefetch, and how many cache lines of it with each block; only an address, never read.
    ahead: *const u8,
    lines: usize,
    /// Where the first panel's outputs go.
    column: usize,
}

type Kernel = unsafe fn(&Job, &mut OutTile);

/// `out[row][8 * i ..]` = rows of the tile times panel `first + i`, for `count` panels.
#[allow(clippy::too_many_arguments)] // As `multiply_tile`.
pub(super) fn tile(
    isa: Isa,
    matrix: &Matrix,
    first: usize,
    count: usize,
    tile: TileRef<'_>,
    rows: usize,
    ahead: &[u8],
    out: &mut OutTile,
) {
    assert!((1..=TILE).contains(&rows) && (1..=2).contains(&count));
    let ty = matrix.weight_type();
    let (codes, scales) = matrix.panel(first);
    // Panels lie one behind the other, so the last one being there means all are.
    let (_, _) = matrix.panel(first + count - 1);
    let steps = if ty.is_float() {
        assert!(tile.floats.len() == matrix.cols() * TILE);
        matrix.cols()
    } else {
        let blocks = matrix.cols() / crate::matrix::BLOCK;
        assert!(tile.blocks.len() == blocks);
        assert!(isa != Isa::Avx2 || ty != WeightType::Q8_0 || tile.wide.len() == blocks);
        blocks
    };
    let job = Job {
        codes: codes.as_ptr(),
        scales: scales.as_ptr(),
        stride: matrix.panel_bytes(),
        steps,
        blocks: tile.blocks.as_ptr(),
        wide: tile.wide.as_ptr(),
        floats: tile.floats.as_ptr(),
        ahead: ahead.as_ptr(),
        lines: (ahead.len() / 64).div_ceil(steps),
        column: 0,
    };
    let kernel = match ty {
        WeightType::F32 => kernels(float_kernels::<F32Loader>, rows, count),
        WeightType::F16 => kernels(float_kernels::<F16Loader>, rows, count),
        WeightType::Bf16 => kernels(float_kernels::<Bf16Loader>, rows, count),
        WeightType::Q8_0 => pick::<Q8_0>(isa, rows, count),
        WeightType::Q4_0 => pick::<Q4_0>(isa, rows, count),
        WeightType::Q4_1 => pick::<Q4_1>(isa, rows, count),
        WeightType::Q5_0 => pick::<Q5_0>(isa, rows, count),
        WeightType::Q5_1 => pick::<Q5_1>(isa, rows, count),
        WeightType::Q4K => pick::<Q4K>(isa, rows, count),
        WeightType::Q5K => pick::<Q5K>(isa, rows, count),
        WeightType::Q6K => pick::<Q6K>(isa, rows, count),
    };
    // SAFETY: an `Isa` other than `Portable` exists only where the machine has it; the assertions above and
    // the layout of `Matrix` give the kernel everything it reads.
    unsafe { kernel(&job, out) }
}

fn kernels(table: fn() -> Table, rows: usize, count: usize) -> Kernel {
    table()[rows - 1][count - 1]
}

fn pick<F: Format>(isa: Isa, rows: usize, count: usize) -> Kernel {
    match isa {
        Isa::Vnni => kernels(vnni::table::<F>, rows, count),
        _ => kernels(avx2::table::<F>, rows, count),
    }
}

/// The kernels of one kind for 1 to `TILE` rows and 1 or 2 panels.
type Table = [[Kernel; 2]; TILE];

fn float_kernels<L: Loader>() -> Table {
    [
        [floats::<L, 1, 1>, floats::<L, 1, 2>],
        [floats::<L, 2, 1>, floats::<L, 2, 2>],
        [floats::<L, 3, 1>, floats::<L, 3, 2>],
        [floats::<L, 4, 1>, floats::<L, 4, 2>],
    ]
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

/// # Safety
/// AVX2, FMA and F16C; `job` as its type says, with a tile of floats.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn floats<L: Loader, const R: usize, const P: usize>(job: &Job, out: &mut OutTile) {
    let mut acc = [[_mm256_setzero_ps(); P]; R];
    for k in 0..job.steps {
        // SAFETY: `steps` columns are in each of `P` panels and in the tile.
        unsafe {
            let mut weights = [_mm256_setzero_ps(); P];
            for (p, w) in weights.iter_mut().enumerate() {
                *w = L::load(job.codes.add(p * job.stride + k * LANES * L::BYTES));
            }
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*job.floats.add(k * TILE + r));
                for p in 0..P {
                    acc[p] = _mm256_fmadd_ps(weights[p], x, acc[p]);
                }
            }
        }
    }
    store(&acc, job.column, out);
}

/// Asks for the next weights while these are in use, a few cache lines with each block.
#[inline]
#[target_feature(enable = "avx2")]
fn prefetch(job: &Job, block: usize) {
    for line in 0..job.lines {
        let at = job.ahead.wrapping_add((block * job.lines + line) * 64);
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store<const R: usize, const P: usize>(acc: &[[__m256; P]; R], column: usize, out: &mut OutTile) {
    for (acc, out) in acc.iter().zip(out) {
        for (acc, out) in acc.iter().zip(out[column..].chunks_exact_mut(LANES)) {
            // SAFETY: `out` is eight floats.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), *acc) };
        }
    }
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
/// `scales` are the scale bytes of a panel in format `F` with more than `block` blocks.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn block_scales<F: Format>(scales: *const u8, block: usize) -> BlockScales {
    let at = scale_offsets::<F>(block);
    // SAFETY: the offsets are inside the panel's scale bytes for every block.
    unsafe {
        let half = |at: usize| _mm256_cvtph_ps(_mm_loadu_si128(scales.add(at).cast()));
        let unsigned = |at: usize| {
            let bytes = _mm_loadl_epi64(scales.add(at).cast());
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
        };
        let signed = |at: usize| {
            let bytes = _mm_loadl_epi64(scales.add(at).cast());
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
        };
        let zero = _mm256_setzero_ps();
        let d = half(at.d);
        match F::SCALES {
            Scales::Half => BlockScales { scale: d, high: zero, offset: zero },
            Scales::HalfAndOffset => BlockScales { scale: d, high: zero, offset: half(at.d + 16) },
            Scales::Super => {
                let min = _mm256_mul_ps(half(at.d + 16), unsigned(at.factors + 8));
                BlockScales {
                    scale: _mm256_mul_ps(d, unsigned(at.factors)),
                    high: zero,
                    offset: _mm256_xor_ps(min, _mm256_set1_ps(-0.0)),
                }
            }
            Scales::SuperHalves => BlockScales {
                scale: _mm256_mul_ps(d, signed(at.factors)),
                high: _mm256_mul_ps(d, signed(at.factors + 8)),
                offset: zero,
            },
        }
    }
}

/// The float steps of a block for one row and panel.
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
        Scales::Half => _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(low), acc),
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
    let Some(shift) = F::ZERO_SHIFT else {
        return (zero, zero);
    };
    // Shifted as a vector: a broadcast from memory is free, one from a register is not.
    let count = _mm_cvtsi32_si128(shift as i32);
    let spread = |sum: i32| _mm256_sll_epi32(_mm256_set1_epi32(sum), count);
    match F::SCALES {
        Scales::SuperHalves => {
            let low = x.neg_sum_low[row];
            let high = x.neg_sum[row] - low;
            (spread(low), spread(high))
        }
        _ => (spread(x.neg_sum[row]), zero),
    }
}

/// The steps of a block, those that share a vector of nibbles next to each other.
const fn order<F: Format>() -> [usize; 8] {
    if F::NIBBLES { [0, 4, 1, 5, 2, 6, 3, 7] } else { [0, 1, 2, 3, 4, 5, 6, 7] }
}

/// The vector of codes of step 0..8 (columns `4 step .. 4 step + 4` of eight outputs).
///
/// # Safety
/// `codes` points to a block of codes in format `F`; `step` is below 8.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_codes<F: Format>(codes: *const u8, step: usize) -> __m256i {
    // SAFETY: vectors 0..4 (nibbles) or 0..8 of the block.
    unsafe {
        if F::NIBBLES {
            let mask = _mm256_set1_epi8(15);
            let both = _mm256_loadu_si256(codes.add(step % 4 * 32).cast());
            if step < 4 { _mm256_and_si256(both, mask) } else { _mm256_and_si256(_mm256_srli_epi16::<4>(both), mask) }
        } else {
            _mm256_loadu_si256(codes.add(step * 32).cast())
        }
    }
}

/// Four activation codes of a row in every lane.
///
/// # Safety
/// `row` is below `TILE`, `step` below 8.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn broadcast_codes(x: &TileBlock, row: usize, step: usize) -> __m256i {
    let codes: *const i8 = x.codes.as_ptr().cast();
    // SAFETY: inside `codes`.
    unsafe {
        let four = codes.add(row * 32 + step * 4).cast::<i32>();
        _mm256_set1_epi32(four.read_unaligned())
    }
}
