//! Which instructions the machine has, found once.

use std::sync::OnceLock;

/// An instruction set the kernels have a path for. All paths give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust; always there, and the oracle of the tests.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// The above and AVX-512 with VNNI, on 512-bit vectors.
    Vnni,
    /// NEON with the dot-product instructions, on aarch64.
    Dotprod,
}

impl Isa {
    /// The paths this machine can run, slowest first.
    pub(crate) fn available() -> Vec<Isa> {
        #[allow(unused_mut)] // Not every architecture has more than one.
        let mut list = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            let vnni = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            if avx2 {
                list.push(Isa::Avx2);
            }
            if avx2 && vnni {
                list.push(Isa::Vnni);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            list.push(Isa::Dotprod);
        }
        list
    }
}

/// The path in use: the fastest available, or the one named by `LAMINAR_ISA` (`portable`, `avx2`, `vnni`,
/// `dotprod`) if the machine has it.
pub(crate) fn isa() -> Isa {
    static CHOICE: OnceLock<Isa> = OnceLock::new();
    *CHOICE.get_or_init(|| {
        let available = Isa::available();
        let best = available.last().copied().unwrap_or(Isa::Portable);
        let wanted = match std::env::var("LAMINAR_ISA").as_deref() {
            Ok("portable") => Isa::Portable,
            Ok("avx2") => Isa::Avx2,
            Ok("vnni") => Isa::Vnni,
            Ok("dotprod") => Isa::Dotprod,
            _ => best,
        };
        if available.contains(&wanted) { wanted } else { best }
    })
}

/// Defines a function compiled once for each instruction set from one body.
///
/// The body is plain Rust over `f32` lanes; the compiler vectorises it within the wider instruction set.
/// It never reorders or fuses float operations, so the bits are the same. The body must be marked
/// `#[inline(always)]` and takes its arguments by value.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path;) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)] // The body's, and the path to take.
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)] // The body's.
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq")]
                #[allow(clippy::too_many_arguments)] // The body's.
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                match isa {
                    $crate::isa::Isa::Portable | $crate::isa::Isa::Dotprod => $body($($arg),*),
                    // SAFETY: an `Isa` other than `Portable` exists only where the machine has it.
                    $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                    // SAFETY: as above.
                    $crate::isa::Isa::Vnni => unsafe { avx512($($arg),*) },
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = isa;
                $body($($arg),*)
            }
        }
    };
}
pub(crate) use multiversion;
