//! The matrix kernels for x86: AVX2 with FMA and F16C on 256-bit vectors, AVX-512 VNNI on 512-bit vectors.
//!
//! Both compute the integer dot product of a block exactly, so how they get there is free; the float steps
//! after it are the same operations. `R` rows of the tile times sixteen outputs are kept in registers.

mod avx2;
mod avx512;

use std::arch::x86_64::*;

use super::{AHEAD_BYTES, Ahead, OutTile, ROWS};
use crate::WeightType;
use crate::isa::Isa;
use crate::matrix::Matrix;
use crate::panel::{BLOCK, Codes, Format};
use crate::tiles::{TILE, TileBlock, TileRef, WideBlock};

/// Where a kernel reads: a panel in the kernel's format as `panel.rs` lays it out, and two tiles with as many
/// columns, of which the second is read only if the kernel has more rows than a tile.
struct Job {
    panel: *const u8,
    /// Groups of blocks, or columns for float weights.
    steps: usize,
    blocks: [*const TileBlock; 2],
    wide: [*const WideBlock; 2],
    floats: [*const f32; 2],
    /// What to prefetch with the first block (or few columns), and how many bytes with each; only an address, never read.
    ahead: *const u8,
    ahead_step: usize,
    /// How many lines from each address on that is a multiple of how many bytes.
    lines: usize,
    every: usize,
}

impl Job {
    /// A block of columns of the tiles.
    ///
    /// # Safety
    /// The tiles that `R` rows need have the block.
    #[inline(always)]
    unsafe fn rows<const R: usize>(&self, block: usize) -> [&TileBlock; 2] {
        // SAFETY: by the contract.
        unsafe {
            let first = &*self.blocks[0].add(block);
            [first, if R > TILE { &*self.blocks[1].add(block) } else { first }]
        }
    }
}

type Kernel = unsafe fn(&Job, &mut OutTile);

/// `out[row]` = row of the tiles times a panel.
pub(super) fn tile(
    isa: Isa,
    matrix: &Matrix,
    panel: usize,
    tiles: [TileRef<'_>; 2],
    rows: usize,
    ahead: Ahead<'_>,
    out: &mut OutTile,
) {
    assert!((1..=ROWS).contains(&rows) && panel < matrix.panels());
    let ty = matrix.weight_type();
    let needed = &tiles[..rows.div_ceil(TILE)];
    let steps = if ty.is_float() {
        assert!(needed.iter().all(|tile| tile.floats.len() == matrix.cols() * TILE));
        matrix.cols()
    } else {
        let blocks = matrix.cols() / BLOCK;
        assert!(needed.iter().all(|tile| tile.blocks.len() == blocks));
        let wide = isa == Isa::Avx2 && ty == WeightType::Q8_0;
        assert!(!wide || needed.iter().all(|tile| tile.wide.len() == blocks));
        matrix.cols() / ty.block_len()
    };
    let bytes = matrix.panel(panel);
    let blocks = if ty.is_float() { steps.div_ceil(FLOATS_AT_ONCE) } else { matrix.cols() / BLOCK };
    let (ahead, ahead_step, (lines, every)) = match ahead {
        Ahead::Stream => {
            let is_plain = ty == WeightType::Q8_0 && rows <= ROWS_OF_A_PLAIN_STREAM;
            let lines = if is_plain { PAGE_BEGINS } else { ALL_LINES };
            (bytes.as_ptr().wrapping_add(AHEAD_BYTES), bytes.len().div_ceil(blocks), lines)
        }
        Ahead::Bytes(bytes) => (bytes.as_ptr(), (bytes.len() / LINE).div_ceil(blocks) * LINE, ALL_LINES),
    };
    let job = Job {
        panel: bytes.as_ptr(),
        steps,
        blocks: tiles.map(|tile| tile.blocks.as_ptr()),
        wide: tiles.map(|tile| tile.wide.as_ptr()),
        floats: tiles.map(|tile| tile.floats.as_ptr()),
        ahead,
        ahead_step,
        lines,
        every,
    };
    let table = match isa {
        Isa::Vnni => avx512::table(ty),
        _ => avx2::table(ty),
    };
    // SAFETY: an `Isa` other than `Portable` exists only where the machine has it; the assertions above and
    // the layout of `Matrix` give the kernel everything it reads.
    unsafe { table[rows - 1](&job, out) }
}

/// The kernels of one kind for 1 to `ROWS` rows.
type Table = [Kernel; ROWS];

/// Calls a macro-like choice: the table of a kernel that is generic over the block format, for a type.
macro_rules! tables {
    ($ty:expr, $floats:ident, $blocks:ident) => {{
        macro_rules! rows {
            ($name:ident, $of:ty) => {
                [
                    $name::<$of, 1>,
                    $name::<$of, 2>,
                    $name::<$of, 3>,
                    $name::<$of, 4>,
                    $name::<$of, 5>,
                    $name::<$of, 6>,
                    $name::<$of, 7>,
                    $name::<$of, 8>,
                ]
            };
        }
        match $ty {
            WeightType::F32 => rows!($floats, F32Loader),
            WeightType::F16 => rows!($floats, F16Loader),
            WeightType::Bf16 => rows!($floats, Bf16Loader),
            WeightType::Q8_0 => rows!($blocks, Q8_0),
            WeightType::Q4_0 => rows!($blocks, Q4_0),
            WeightType::Q4_1 => rows!($blocks, Q4_1),
            WeightType::Q5_0 => rows!($blocks, Q5_0),
            WeightType::Q5_1 => rows!($blocks, Q5_1),
            WeightType::Q4K => rows!($blocks, Q4K),
            WeightType::Q5K => rows!($blocks, Q5K),
            WeightType::Q6K => rows!($blocks, Q6K),
            WeightType::Mxfp4 => rows!($blocks, Mxfp4),
        }
    }};
}
use tables;

/// Asks for the next weights while these are in use, a few cache lines with each block.
///
/// Into the second-level cache: the few buffers for misses of the first level would hold the stream to half the
/// speed of the memory. Each line is asked for once: even a line that is there already takes one of those buffers for a
/// moment, and blocks begin anywhere in a line. The inner loop looks odd for one line, but a tight loop is slower, perhaps since loads of
/// later blocks then come sooner and take the buffers while their lines are still on the way.
#[inline]
#[target_feature(enable = "avx2")]
fn prefetch(job: &Job, block: usize) {
    let at = job.ahead.wrapping_add(block * job.ahead_step);
    let end = at.addr() + job.ahead_step;
    let mut line = (at.addr() + job.every - 1) & !(job.every - 1);
    while line < end {
        for i in 0..job.lines {
            _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(line.wrapping_sub(at.addr()) + i * LINE).cast());
        }
        line += job.every;
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Each line once.
const ALL_LINES: (usize, usize) = (1, LINE);

/// Two lines of each page: what the processor fetches by itself does not go beyond one.
const PAGE_BEGINS: (usize, usize) = (2, 4096);

/// Rows up to which a kernel for plain bytes is done with them as soon as they come. The processor sees such a stream and
/// fetches it better than instructions could, but for the begins of pages.
const ROWS_OF_A_PLAIN_STREAM: usize = 2;

/// Columns of floats after which the next weights are asked for.
const FLOATS_AT_ONCE: usize = 4;

/// The steps of a block, those that share a vector of nibbles next to each other.
const fn order<F: Format>() -> [usize; 8] {
    match F::CODES {
        Codes::Bytes => [0, 1, 2, 3, 4, 5, 6, 7],
        _ => [0, 4, 1, 5, 2, 6, 3, 7],
    }
}

/// Where the activation codes of a step of a row lie: four codes.
///
/// # Safety
/// `row` is below `TILE`, `step` below 8.
#[inline(always)]
unsafe fn four_codes(x: &TileBlock, row: usize, step: usize) -> i32 {
    let codes: *const i8 = x.codes.as_ptr().cast();
    // SAFETY: inside `codes`.
    unsafe { codes.add(row * BLOCK + step * 4).cast::<i32>().read_unaligned() }
}
