//! Vectors in plain Rust: the definition of what the others must compute.

use half::f16;

use super::{Kernel, LANES, Lanes, operations};

/// Plain Rust.
pub(in crate::attention) struct Portable;

type V = [f32; LANES];

#[inline(always)]
fn each(mut a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    for (a, b) in a.iter_mut().zip(b) {
        *a = f(*a, b);
    }
    a
}

#[inline(always)]
fn fold(mut v: V, f: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            v[i] = f(v[i], v[i + half]);
        }
    }
    v[0]
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn half(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

impl Lanes for Portable {
    type V = V;
    const ROWS: usize = 4;
    const WIDE: usize = 1;

    unsafe fn vectorize<K: Kernel>(kernel: K) {
        // SAFETY: every machine has plain Rust.
        unsafe { kernel.run::<Portable>() };
    }

    operations! {
        splat(x: f32) -> V = [x; LANES];
        load(from: *const f32) -> V = from.cast::<V>().read_unaligned();
        store(to: *mut f32, v: V) = to.cast::<V>().write_unaligned(v);
        load_f16(from: *const u16) -> V = from.cast::<[u16; LANES]>().read_unaligned().map(half);
        splat_f16(from: *const u16) -> V = [half(*from); LANES];
        load_i8(from: *const i8) -> V = from.cast::<[i8; LANES]>().read_unaligned().map(f32::from);
        add(a: V, b: V) -> V = each(a, b, |a, b| a + b);
        sub(a: V, b: V) -> V = each(a, b, |a, b| a - b);
        mul(a: V, b: V) -> V = each(a, b, |a, b| a * b);
        div(a: V, b: V) -> V = each(a, b, |a, b| a / b);
        max(a: V, b: V) -> V = each(a, b, larger);
        abs(a: V) -> V = a.map(f32::abs);
        with_sign(a: V, b: V) -> V = each(a, b, f32::copysign);
        add_exponent(p: V, n: V) -> V = {
            each(p, n, |p, n| f32::from_bits(p.to_bits().wrapping_add(n.to_bits() << 23)))
        };
        sum(v: V) -> f32 = fold(v, |a, b| a + b);
        largest(v: V) -> f32 = fold(v, larger);
    }

    #[inline(always)]
    unsafe fn fma(a: V, b: V, mut c: V) -> V {
        for (c, (a, b)) in c.iter_mut().zip(a.into_iter().zip(b)) {
            *c = a.mul_add(b, *c);
        }
        c
    }

    #[inline(always)]
    unsafe fn zero_below(mut v: V, x: V, limit: V) -> V {
        for (v, (x, limit)) in v.iter_mut().zip(x.into_iter().zip(limit)) {
            if x < limit {
                *v = 0.0;
            }
        }
        v
    }

    #[inline(always)]
    fn prefetch<const NEAR: bool>(_: *const u8) {}
}
