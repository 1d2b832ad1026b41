//! The matrix kernels for x86: AVX2 with FMA and F16C, and AVX-512 VNNI on 256-bit vectors.
//!
//! Both compute the integer dot product of a block exactly, so how they get there is free; the float steps
//! after it are the same instructions. `R` rows of the tile times `P` panels are kept in registers.

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

fn kernels(table: fn() -> [[Kernel; 2]; TILE], rows: usize, count: usize) -> Kernel {
    table()[rows - 1][count - 1]
}

fn pick<F: Format>(isa: Isa, rows: usize, count: usize) -> Kernel {
    match isa {
        Isa::Vnni => kernels(vnni_kernels::<F>, rows, count),
        _ => kernels(avx2_kernels::<F>, rows, count),
    }
}

macro_rules! table {
    ($name:ident, $bound:ident, $kernel:ident) => {
        fn $name<F: $bound>() -> [[Kernel; 2]; TILE] {
            [
                [$kernel::<F, 1, 1>, $kernel::<F, 1, 2>],
                [$kernel::<F, 2, 1>, $kernel::<F, 2, 2>],
                [$kernel::<F, 3, 1>, $kernel::<F, 3, 2>],
                [$kernel::<F, 4, 1>, $kernel::<F, 4, 2>],
            ]
        }
    };
}
table!(vnni_kernels, Format, vnni);

/// With sixteen registers, four rows and two panels don't fit: one panel after the other is faster, except
/// for 6-bit and 8-bit weights, where more of the work is shared.
fn avx2_kernels<F: Format>() -> [[Kernel; 2]; TILE] {
    let both = F::SUMS < 4;
    [
        [avx2::<F, 1, 1>, avx2::<F, 1, 2>],
        [avx2::<F, 2, 1>, avx2::<F, 2, 2>],
        [avx2::<F, 3, 1>, if both { avx2::<F, 3, 2> } else { avx2_each::<F, 3> }],
        [avx2::<F, 4, 1>, if both { avx2::<F, 4, 2> } else { avx2_each::<F, 4> }],
    ]
}

/// # Safety
/// As `avx2` for two panels.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2_each<F: Format, const R: usize>(job: &Job, out: &mut OutTile) {
    let second = Job {
        // SAFETY: there is a second panel.
        codes: unsafe { job.codes.add(job.stride) },
        // SAFETY: as above.
        scales: unsafe { job.scales.add(job.stride) },
        column: LANES,
        lines: 0,
        ..*job
    };
    // SAFETY: passed on.
    unsafe {
        avx2::<F, R, 1>(job, out);
        avx2::<F, R, 1>(&second, out);
    }
}
table!(float_kernels, Loader, floats);

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

/// # Safety
/// AVX-512 VNNI and VL and what `avx2` needs; `job` as its type says.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq,avx512vnni")]
unsafe fn vnni<F: Format, const R: usize, const P: usize>(job: &Job, out: &mut OutTile) {
    let block_bytes = if F::NIBBLES { 128 } else { 256 };
    let halves = F::SCALES == Scales::SuperHalves;
    let mut acc = [[_mm256_setzero_ps(); P]; R];
    for b in 0..job.steps {
        // SAFETY: block `b` is in the tile and in each of `P` panels.
        unsafe {
            let x = &*job.blocks.add(b);
            prefetch(job, b);
            let mut dots = [[[_mm256_setzero_si256(); 2]; P]; R];
            for (r, dots) in dots.iter_mut().enumerate() {
                let (low, high) = start::<F>(x, r);
                for dots in dots {
                    *dots = [low, high];
                }
            }
            let codes = job.codes.add(b * block_bytes);
            for step in order::<F>() {
                // Columns 16.. have sums of their own where halves have their own scales.
                let half = if halves { step / 4 } else { 0 };
                let mut weights = [_mm256_setzero_si256(); P];
                for (p, weights) in weights.iter_mut().enumerate() {
                    *weights = load_codes::<F>(codes.add(p * job.stride), step);
                }
                for (r, dots) in dots.iter_mut().enumerate() {
                    let x = broadcast_codes(x, r, step);
                    for p in 0..P {
                        dots[p][half] = _mm256_dpbusd_epi32(dots[p][half], weights[p], x);
                    }
                }
            }
            for p in 0..P {
                let scales = block_scales::<F>(job.scales.add(p * job.stride), b);
                for r in 0..R {
                    let [low, high] = dots[r][p];
                    acc[r][p] = accumulate::<F>(acc[r][p], &scales, x, r, low, high);
                }
            }
        }
    }
    store(&acc, job.column, out);
}

/// # Safety
/// AVX2, FMA and F16C; `job` as its type says, with wide blocks if `F::SUMS` is 0.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<F: Format, const R: usize, const P: usize>(job: &Job, out: &mut OutTile) {
    let block_bytes = if F::NIBBLES { 128 } else { 256 };
    let mut acc = [[_mm256_setzero_ps(); P]; R];
    for b in 0..job.steps {
        // SAFETY: block `b` is in the tile and in each of `P` panels.
        unsafe {
            let x = &*job.blocks.add(b);
            prefetch(job, b);
            let codes = job.codes.add(b * block_bytes);
            let dots = if F::SUMS == 0 {
                dots_by_i16::<F, R, P>(codes, job.stride, x, &*job.wide.add(b))
            } else {
                dots_by_bytes::<F, R, P>(codes, job.stride, x)
            };
            for p in 0..P {
                let scales = block_scales::<F>(job.scales.add(p * job.stride), b);
                for r in 0..R {
                    let [low, high] = dots[r][p];
                    acc[r][p] = accumulate::<F>(acc[r][p], &scales, x, r, low, high);
                }
            }
        }
    }
    store(&acc, job.column, out);
}

/// The same value, in a register. Left alone, the compiler reorders the integer sums of a block to finish
/// one panel first and spills every activation vector for the second: a third of the speed.
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
/// `codes` is a block of codes in format `F` with others `stride` bytes apart for `P` panels.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dots_by_bytes<F: Format, const R: usize, const P: usize>(
    codes: *const u8,
    stride: usize,
    x: &TileBlock,
) -> Dots<R, P> {
    let halves = F::SCALES == Scales::SuperHalves;
    let mut dots = [[[_mm256_setzero_si256(); 2]; P]; R];
    let mut sums = [[_mm256_setzero_si256(); P]; R];
    // SAFETY: by the contract; steps are below 8.
    unsafe {
        if F::SUMS == 8 {
            for (i, step) in order::<F>().into_iter().enumerate() {
                add_step::<F, R, P>(codes, stride, x, step, i == 0, &mut sums);
            }
            flush::<F, R, P>(x, &sums, true, 0, &mut dots);
        } else {
            let mut from = 0;
            while from < 8 {
                for step in from..from + F::SUMS {
                    add_step::<F, R, P>(codes, stride, x, step, step == from, &mut sums);
                }
                let (half, first) = if halves { (from / 4, from % 4 == 0) } else { (0, from == 0) };
                flush::<F, R, P>(x, &sums, first, half, &mut dots);
                from += F::SUMS;
            }
        }
    }
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
    stride: usize,
    x: &TileBlock,
    step: usize,
    fresh: bool,
    sums: &mut [[__m256i; P]; R],
) {
    // SAFETY: by the contract.
    unsafe {
        let mut weights = [_mm256_setzero_si256(); P];
        for (p, weights) in weights.iter_mut().enumerate() {
            *weights = load_codes::<F>(codes.add(p * stride), step);
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let x = broadcast_codes(x, r, step);
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
    stride: usize,
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
                let codes = load_codes::<F>(codes.add(p * stride), step);
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
