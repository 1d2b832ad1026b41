//! The matrix kernels for aarch64: NEON with the dot-product instructions.
//!
//! A vector is four outputs, so a panel is four quarters; `sdot` sums four products of signed bytes into an i32.
//! Codes are made signed by subtracting the zero code, which every format has room for, so a dot product starts from
//! nothing. The float steps are those of the portable path.

use std::arch::aarch64::*;
use std::arch::asm;

use super::OutTile;
use crate::WeightType;
use crate::matrix::Matrix;
use crate::panel::{
    BLOCK, Codes, Format, LANES, Mxfp4, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Scales, VECTOR, factors_at,
};
use crate::quant::mx;
use crate::tiles::{TILE, TileBlock, TileRef};

/// Outputs of a quarter of a panel.
const QUARTER: usize = LANES / 4;

/// Where a kernel reads: a panel in the kernel's format as `panel.rs` lays it out, and a tile with as many columns.
struct Job {
    panel: *const u8,
    /// Groups of blocks, or columns for float weights.
    steps: usize,
    blocks: *const TileBlock,
    floats: *const f32,
}

type Kernel = unsafe fn(&Job, &mut [[f32; LANES]]);

/// `out[row]` = row of the tiles times a panel, for `rows` rows of one or two tiles.
///
/// # Safety
/// The machine has the dot-product instructions.
pub(super) unsafe fn tile(matrix: &Matrix, panel: usize, tiles: [TileRef<'_>; 2], rows: usize, out: &mut OutTile) {
    let ty = matrix.weight_type();
    for (tile, out) in tiles.iter().zip(out[..rows].chunks_mut(TILE)) {
        let steps = if ty.is_float() {
            assert!(tile.floats.len() == matrix.cols() * TILE);
            matrix.cols()
        } else {
            assert!(tile.blocks.len() == matrix.cols() / BLOCK);
            matrix.cols() / ty.block_len()
        };
        let bytes = matrix.panel(panel);
        assert!(!bytes.is_empty());
        let job = Job { panel: bytes.as_ptr(), steps, blocks: tile.blocks.as_ptr(), floats: tile.floats.as_ptr() };
        // SAFETY: the instructions are there by the contract; the assertions and the layout of `Matrix` give the
        // kernel everything it reads, and it has as many rows as `out`, at most `TILE`.
        unsafe { table(ty)[out.len() - 1](&job, out) }
    }
}

/// The kernels of a type for 1 to `TILE` rows.
fn table(ty: WeightType) -> [Kernel; TILE] {
    macro_rules! rows {
        ($name:ident, $of:ty) => {
            [$name::<$of, 1>, $name::<$of, 2>, $name::<$of, 3>, $name::<$of, 4>]
        };
    }
    match ty {
        WeightType::F32 => rows!(floats, F32Loader),
        WeightType::F16 => rows!(floats, F16Loader),
        WeightType::Bf16 => rows!(floats, Bf16Loader),
        WeightType::Q8_0 => rows!(blocks, Q8_0),
        WeightType::Q4_0 => rows!(blocks, Q4_0),
        WeightType::Q4_1 => rows!(blocks, Q4_1),
        WeightType::Q5_0 => rows!(blocks, Q5_0),
        WeightType::Q5_1 => rows!(blocks, Q5_1),
        WeightType::Q4K => rows!(blocks, Q4K),
        WeightType::Q5K => rows!(blocks, Q5K),
        WeightType::Q6K => rows!(blocks, Q6K),
        WeightType::Mxfp4 => rows!(blocks, Mxfp4),
    }
}

/// Loads four float weights.
trait Loader {
    const BYTES: usize;
    /// # Safety
    /// `at` must have `4 * BYTES` readable bytes.
    unsafe fn load(at: *const u8) -> float32x4_t;
}

struct F32Loader;
impl Loader for F32Loader {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> float32x4_t {
        // SAFETY: by this function's contract.
        unsafe { vld1q_f32(at.cast()) }
    }
}

struct F16Loader;
impl Loader for F16Loader {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> float32x4_t {
        // SAFETY: by this function's contract.
        unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at.cast()))) }
    }
}

struct Bf16Loader;
impl Loader for Bf16Loader {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load(at: *const u8) -> float32x4_t {
        // SAFETY: by this function's contract. A bfloat16 is the upper half of an f32.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(at.cast()))) }
    }
}

/// # Safety
/// `job` as its type says, with a tile of floats; `out` has `R` rows.
#[target_feature(enable = "neon")]
unsafe fn floats<L: Loader, const R: usize>(job: &Job, out: &mut [[f32; LANES]]) {
    let mut acc = [[vdupq_n_f32(0.0); 4]; R];
    for k in 0..job.steps {
        // SAFETY: `steps` columns are in the panel and in the tile.
        unsafe {
            let at = job.panel.add(k * LANES * L::BYTES);
            for q in 0..4 {
                let weights = L::load(at.add(q * QUARTER * L::BYTES));
                for (r, acc) in acc.iter_mut().enumerate() {
                    acc[q] = vfmaq_f32(acc[q], weights, vdupq_n_f32(*job.floats.add(k * TILE + r)));
                }
            }
        }
    }
    store(&acc, out);
}

#[inline]
#[target_feature(enable = "neon")]
fn store<const R: usize>(acc: &[[float32x4_t; 4]; R], out: &mut [[f32; LANES]]) {
    for (acc, out) in acc.iter().zip(out) {
        for (acc, out) in acc.iter().zip(out.chunks_exact_mut(QUARTER)) {
            // SAFETY: `out` is four floats.
            unsafe { vst1q_f32(out.as_mut_ptr(), *acc) };
        }
    }
}

/// # Safety
/// The dot-product instructions; `job` as its type says, `out` has `R` rows.
#[target_feature(enable = "neon,dotprod")]
unsafe fn blocks<F: Format, const R: usize>(job: &Job, out: &mut [[f32; LANES]]) {
    let layout = F::LAYOUT;
    let mut acc = [[vdupq_n_f32(0.0); 4]; R];
    for g in 0..job.steps {
        // SAFETY: group `g` is in the panel, its blocks are in the tile.
        unsafe {
            let head = job.panel.add(g * layout.group());
            for b in 0..layout.blocks {
                let x = &*job.blocks.add(g * layout.blocks + b);
                let codes = head.add(layout.head + b * layout.codes);
                for q in 0..4 {
                    let scales = block_scales::<F>(head, b, q);
                    let weights = load_codes::<F>(codes.add(q * VECTOR / 4));
                    for (r, acc) in acc.iter_mut().enumerate() {
                        acc[q] = accumulate::<F>(acc[q], &scales, x, r, dots(&weights, &x.codes[r]));
                    }
                }
            }
        }
    }
    store(&acc, out);
}

/// The codes of the eight steps of a block for four outputs, as signed numbers.
///
/// # Safety
/// `codes` points to a quarter of a block's first vector in format `F`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_codes<F: Format>(codes: *const u8) -> [int8x16_t; 8] {
    // SAFETY: one of the vectors of the block.
    let load = |vector: usize| unsafe { vld1q_u8(codes.add(vector * VECTOR)) };
    let mask = vdupq_n_u8(15);
    // SAFETY: the table is sixteen bytes.
    let table = unsafe { vld1q_u8(mx::CODES.as_ptr()) };
    let zero = vdupq_n_u8(F::ZERO as u8);
    std::array::from_fn(|step| {
        let low = || {
            let both = load(step % 4);
            if step < 4 { vandq_u8(both, mask) } else { vshrq_n_u8::<4>(both) }
        };
        // The bits from `place` on of the bytes of `high`, as bits 4 and up.
        let join = |high: uint8x16_t, place: usize, bits: u8| {
            let high = vshlq_u8(high, vdupq_n_s8(-(place as i8)));
            vorrq_u8(low(), vshlq_n_u8::<4>(vandq_u8(high, vdupq_n_u8(bits))))
        };
        let code = match F::CODES {
            Codes::Bytes => load(step),
            Codes::Nibbles => low(),
            Codes::Table => vqtbl1q_u8(table, low()),
            Codes::Five => join(load(4), step, 1),
            Codes::Six => join(load(4 + step / 4), step % 4 * 2, 3),
        };
        vreinterpretq_s8_u8(vsubq_u8(code, zero))
    })
}

/// `acc` plus, in each lane, the products of four codes of `weights` with the codes `4 STEP..` of `x`.
///
/// In assembly since the intrinsic is not stable yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const STEP: usize>(mut acc: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {x:v}.4b[{step}]",
            acc = inout(vreg) acc,
            w = in(vreg) weights,
            x = in(vreg) x,
            step = const STEP,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// Dot products of the two halves of a block with a row.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dots(weights: &[int8x16_t; 8], x: &[i8; BLOCK]) -> [int32x4_t; 2] {
    let half = |half: usize| {
        // SAFETY: sixteen of 32 codes.
        let x = unsafe { vld1q_s8(x.as_ptr().add(half * 16)) };
        let w = &weights[half * 4..half * 4 + 4];
        let dots = sdot::<1>(sdot::<0>(vdupq_n_s32(0), w[0], x), w[1], x);
        sdot::<3>(sdot::<2>(dots, w[2], x), w[3], x)
    };
    [half(0), half(1)]
}

/// Scales of a block for four outputs.
struct BlockScales {
    /// Of the block, or of its first half.
    scale: float32x4_t,
    /// Of the second half, where halves have their own.
    high: float32x4_t,
    /// What is multiplied by the activations' sum and *added*.
    offset: float32x4_t,
}

/// # Safety
/// `head` is that of a group in format `F` that has the block; `quarter` is below 4.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn block_scales<F: Format>(head: *const u8, block: usize, quarter: usize) -> BlockScales {
    let factors = factors_at(F::SCALES, block) + quarter * QUARTER;
    // SAFETY: inside the head.
    unsafe {
        let floats = |at: usize| F16Loader::load(head.add(at + quarter * 2 * QUARTER));
        let four = |at: usize| vreinterpret_u8_u32(vdup_n_u32(head.add(at).cast::<u32>().read_unaligned()));
        let integers = |at: usize| vmovl_u16(vget_low_u16(vmovl_u8(four(at))));
        let unsigned = |at: usize| vcvtq_f32_u32(integers(at));
        let signed = |at: usize| {
            let wide = vmovl_s8(vreinterpret_s8_u8(four(at)));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)))
        };
        let zero = vdupq_n_f32(0.0);
        match F::SCALES {
            Scales::Half => BlockScales { scale: floats(0), high: zero, offset: zero },
            Scales::HalfAndOffset => BlockScales { scale: floats(0), high: zero, offset: floats(2 * LANES) },
            Scales::Super => BlockScales {
                scale: vmulq_f32(floats(0), unsigned(factors)),
                high: zero,
                offset: vnegq_f32(vmulq_f32(floats(2 * LANES), unsigned(factors + LANES))),
            },
            Scales::SuperHalves => BlockScales {
                scale: vmulq_f32(floats(0), signed(factors)),
                high: vmulq_f32(floats(0), signed(factors + LANES)),
                offset: zero,
            },
            Scales::Powers => {
                // `mx::half_scale`.
                let bytes = vreinterpretq_s32_u32(integers(quarter * QUARTER));
                let normal = vshlq_n_s32::<23>(vsubq_s32(bytes, vdupq_n_s32(1)));
                let small = vshlq_n_s32::<21>(vaddq_s32(bytes, vdupq_n_s32(1)));
                BlockScales { scale: vreinterpretq_f32_s32(vmaxq_s32(normal, small)), high: zero, offset: zero }
            }
        }
    }
}

/// The float steps of a block for one row and quarter.
#[inline]
#[target_feature(enable = "neon")]
fn accumulate<F: Format>(
    acc: float32x4_t,
    scales: &BlockScales,
    x: &TileBlock,
    row: usize,
    [low, high]: [int32x4_t; 2],
) -> float32x4_t {
    let x_scale = vdupq_n_f32(x.scale[row]);
    let scale = vmulq_f32(scales.scale, x_scale);
    if F::SCALES == Scales::SuperHalves {
        let acc = vfmaq_f32(acc, scale, vcvtq_f32_s32(low));
        return vfmaq_f32(acc, vmulq_f32(scales.high, x_scale), vcvtq_f32_s32(high));
    }
    let acc = vfmaq_f32(acc, scale, vcvtq_f32_s32(vaddq_s32(low, high)));
    match F::SCALES {
        Scales::HalfAndOffset | Scales::Super => vfmaq_f32(acc, scales.offset, vdupq_n_f32(x.scaled_sum[row])),
        Scales::Half | Scales::SuperHalves | Scales::Powers => acc,
    }
}
