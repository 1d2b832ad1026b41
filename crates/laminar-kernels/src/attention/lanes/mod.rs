//! Vectors of 16 floats, on every machine.
//!
//! Attention is written once over [`Lanes`]; each instruction set implements the few operations below. All of them
//! work lane by lane or fold lanes in one fixed order, and none may be fused or reordered, so the bits of a result
//! are the same on every path.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
pub(super) mod portable;

/// Floats in a vector.
pub(super) const LANES: usize = 16;

/// Code to be compiled for an instruction set.
pub(super) trait Kernel {
    /// Does the work. Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `L`, and the caller was compiled for them ([`Lanes::vectorize`]). What a
    /// kernel's pointers must point to is said at the kernel.
    unsafe fn run<L: Lanes>(self);
}

/// Operations on vectors of 16 floats.
///
/// # Safety
///
/// Of all functions: the machine has the instructions, and the caller was compiled for them, as [`Kernel::run`] is.
/// Those with a pointer need what they load or store to be inside its allocation.
pub(super) trait Lanes: 'static {
    /// The vector.
    type V: Copy;
    /// Rows of a product that its registers can hold.
    const ROWS: usize;
    /// Vectors of each such row.
    const WIDE: usize;

    /// Runs a kernel as code of this instruction set.
    unsafe fn vectorize<K: Kernel>(kernel: K);

    /// The same value in all lanes.
    unsafe fn splat(x: f32) -> Self::V;
    /// Sixteen floats.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Writes all lanes.
    unsafe fn store(to: *mut f32, v: Self::V);
    /// Sixteen halves, widened.
    unsafe fn load_f16(from: *const u16) -> Self::V;
    /// One half, widened, in all lanes.
    unsafe fn splat_f16(from: *const u16) -> Self::V;
    /// Sixteen signed bytes.
    unsafe fn load_i8(from: *const i8) -> Self::V;
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a` where `a > b`, else `b`.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The magnitude.
    unsafe fn abs(a: Self::V) -> Self::V;
    /// `a`, not negative, with the sign of `b`.
    unsafe fn with_sign(a: Self::V, b: Self::V) -> Self::V;
    /// Adds the low bits of `n` to the exponents of `p`.
    unsafe fn add_exponent(p: Self::V, n: Self::V) -> Self::V;
    /// Zero where `x < limit`, else `v`.
    unsafe fn zero_below(v: Self::V, x: Self::V, limit: Self::V) -> Self::V;
    /// The sum of all lanes: halves are added to each other until one lane is left.
    unsafe fn sum(v: Self::V) -> f32;
    /// The largest lane, found in the same order.
    unsafe fn largest(v: Self::V) -> f32;
    /// Asks the first-level cache for a line if it is `NEAR`, or else the second: that one can wait for more lines at
    /// once.
    fn prefetch<const NEAR: bool>(at: *const u8);
}

/// Defines operations of [`Lanes`], whose contract is that the machine has the instructions.
macro_rules! operations {
    ($($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $body:expr;)*) => {
        $(
            #[inline(always)]
            unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
                #[allow(unused_unsafe)] // Some bodies are safe, such as those of the portable path.
                // SAFETY: the contract of the trait.
                unsafe {
                    $body
                }
            }
        )*
    };
}
pub(super) use operations;
