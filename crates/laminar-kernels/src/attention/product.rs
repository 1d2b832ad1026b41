//! Small float matrix products over a [`Source`].
//!
//! Each output is accumulated over `k` in order by fused multiply-add, so neither the shape of a register tile nor
//! the number of rows shows in the result.

use super::lanes::{Kernel, LANES, Lanes};
use super::source::{PACKED, Source};
use super::tile::SPLIT;

/// The left matrix of a product.
pub(super) trait Left: Copy {
    /// The element of row `r` of `R` for `k`.
    ///
    /// # Safety
    /// It is inside the matrix.
    unsafe fn at<const R: usize>(&self, r: usize, k: usize) -> f32;
}

/// Queries: for each dimension those of all rows.
#[derive(Clone, Copy)]
pub(super) struct Queries(pub *const f32);

impl Left for Queries {
    #[inline(always)]
    unsafe fn at<const R: usize>(&self, r: usize, k: usize) -> f32 {
        // SAFETY: by the contract.
        unsafe { *self.0.add(k * R + r) }
    }
}

/// Weights: rows of a split's positions.
#[derive(Clone, Copy)]
pub(super) struct Weights(pub *const f32);

impl Left for Weights {
    #[inline(always)]
    unsafe fn at<const R: usize>(&self, r: usize, k: usize) -> f32 {
        // SAFETY: by the contract.
        unsafe { *self.0.add(r * SPLIT + k) }
    }
}

/// `c[r] = sum over k of a[r][k] * b[k]`, or `c[r] +=`, for `k` in `from .. to` in ascending order.
#[derive(Clone, Copy)]
pub(super) struct Job<A, B> {
    pub a: A,
    pub b: B,
    pub from: usize,
    pub to: usize,
    pub c: *mut f32,
    /// Floats between the rows of `c`.
    pub c_stride: usize,
    /// Whether to go on from what `c` holds.
    pub add: bool,
}

struct Product<A, B, const R: usize, const V: usize>(Job<A, B>);

impl<A: Left, B: Source, const R: usize, const V: usize> Kernel for Product<A, B, R, V> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Job { a, b, from, to, c, c_stride, add } = self.0;
        // SAFETY: by the contract of `product`.
        unsafe {
            let mut acc = [[L::splat(0.0); V]; R];
            if add {
                for (r, acc) in acc.iter_mut().enumerate() {
                    for (v, acc) in acc.iter_mut().enumerate() {
                        *acc = L::load(c.add(r * c_stride + v * LANES));
                    }
                }
            }
            let mut k = from;
            while k < to {
                let held = b.hold::<L, V>(k);
                let end = if B::STEP < to - k { k + B::STEP } else { to };
                while k < end {
                    let b = b.load::<L, V>(k, held);
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let a = L::splat(a.at::<R>(r, k));
                        for v in 0..V {
                            acc[v] = L::fma(a, b[v], acc[v]);
                        }
                    }
                    k += 1;
                }
            }
            for (r, acc) in acc.iter().enumerate() {
                for (v, acc) in acc.iter().enumerate() {
                    L::store(c.add(r * c_stride + v * LANES), *acc);
                }
            }
        }
    }
}

/// Rows that a product takes at once of `rest`, so that no small remainder is left.
pub(super) fn rows_at_once<L: Lanes>(rest: usize) -> usize {
    let rest = match rest {
        5 => 3,
        7 => 4,
        9 => 6,
        10 => 6,
        11 => 8,
        _ => rest,
    };
    [12, 8, 6, 4, 3, 2].into_iter().find(|&rows| rows <= rest && rows <= L::ROWS).unwrap_or(1)
}

/// Runs a product of `rows` (as [`rows_at_once`] gives) rows and one or two `vectors`.
///
/// # Safety
///
/// The machine has the instructions of `L`; all of `a`, `b` and `c` that the job names is inside their allocations,
/// and nobody else uses that part of `c`. Where `B` shares something between rows, `from` begins such rows.
pub(super) unsafe fn product<L: Lanes, A: Left, B: Source>(rows: usize, vectors: usize, job: Job<A, B>) {
    // SAFETY: passed on. Only shapes that fit the registers are compiled.
    unsafe {
        match rows {
            12 if L::ROWS >= 12 => wide::<L, A, B, 12>(vectors, job),
            8 if L::ROWS >= 8 => wide::<L, A, B, 8>(vectors, job),
            6 if L::ROWS >= 6 => wide::<L, A, B, 6>(vectors, job),
            4 => wide::<L, A, B, 4>(vectors, job),
            3 => wide::<L, A, B, 3>(vectors, job),
            2 => wide::<L, A, B, 2>(vectors, job),
            1 => wide::<L, A, B, 1>(vectors, job),
            _ => unreachable!("no product of {rows} rows"),
        }
    }
}

#[inline(always)]
unsafe fn wide<L: Lanes, A: Left, B: Source, const R: usize>(vectors: usize, job: Job<A, B>) {
    debug_assert!(vectors == 1 || vectors == 2 && L::WIDE == 2);
    // SAFETY: passed on.
    unsafe {
        if L::WIDE == 2 && vectors == 2 {
            L::vectorize(Product::<A, B, R, 2>(job));
        } else {
            L::vectorize(Product::<A, B, R, 1>(job));
        }
    }
}

struct Widen<B, const V: usize> {
    b: B,
    rows: usize,
    to: *mut f32,
}

impl<B: Source, const V: usize> Kernel for Widen<B, V> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: by the contract of `widen`.
        unsafe {
            let mut k = 0;
            while k < self.rows {
                let held = self.b.hold::<L, V>(k);
                let end = if B::STEP < self.rows - k { k + B::STEP } else { self.rows };
                while k < end {
                    for (v, vector) in self.b.load::<L, V>(k, held).into_iter().enumerate() {
                        L::store(self.to.add(k * PACKED + v * LANES), vector);
                    }
                    k += 1;
                }
            }
        }
    }
}

/// Writes the first `vectors` (one or two) of each of `rows` rows of `b` to rows of [`PACKED`] floats.
///
/// # Safety
///
/// The machine has the instructions of `L`; the rows are inside `b`, and inside `to`, which nobody else uses.
pub(super) unsafe fn widen<L: Lanes, B: Source>(b: B, vectors: usize, rows: usize, to: *mut f32) {
    // SAFETY: passed on.
    unsafe {
        match vectors {
            1 => L::vectorize(Widen::<B, 1> { b, rows, to }),
            _ => L::vectorize(Widen::<B, 2> { b, rows, to }),
        }
    }
}
