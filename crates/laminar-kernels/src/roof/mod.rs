//! What this machine could do at best: how fast it reads memory, how fast it multiplies, and how fast it
//! dispatches instructions right now.
//!
//! A kernel's speed says little without the roof above it, and the roof of a shared machine moves: another
//! guest on a core's second hardware thread takes part of its width. Multiply roofs hardly show that, since a
//! chain of multiplies leaves most of the width unused, while real kernels need all of it. So
//! [`dispatch_rate`], which counts instructions that do nothing, is measured next to everything else; a
//! change of it between two measurements says that the machine changed, not the program.
//!
//! The multiply roofs are chains of the very instructions that the matrix kernels use ([`Form`]), on
//! registers alone and unrolled far enough that the loop costs nothing. The chains work on 256-bit
//! vectors: where processors split wider ones in two, 512-bit vectors multiply no more in the same time.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::isa::{Isa, isa};
use crate::panel::byte_sums;
use crate::pool::SharedMut;
use crate::{Pool, WeightType};

/// A way to multiply and add that the kernels use.
///
/// There is no public constructor: a `Form` exists only where the machine has its instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Form(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    PortableFloats,
    PortableBytes,
    Fma,
    /// Products of bytes; so many pairs are summed in i16 before they are widened.
    Maddubs(usize),
    /// Products of bytes that were widened to i16.
    Madd,
    Dpbusd,
}

impl Form {
    /// The forms this machine can run: f32 first, then those of 8-bit integers.
    pub fn available() -> Vec<Form> {
        let isas = Isa::available();
        let mut kinds = Vec::new();
        if isas.contains(&Isa::Avx2) {
            kinds.extend([Kind::Fma, Kind::Maddubs(8), Kind::Maddubs(4), Kind::Maddubs(2), Kind::Madd]);
        } else {
            kinds.extend([Kind::PortableFloats, Kind::PortableBytes]);
        }
        if isas.contains(&Isa::Vnni) {
            kinds.push(Kind::Dpbusd);
        }
        kinds.into_iter().map(Form).collect()
    }

    /// The form of f32 products: float weights and attention.
    pub fn of_floats() -> Form {
        Form(match isa() {
            // The kernels for aarch64 have no probes of their own yet.
            Isa::Portable | Isa::Dotprod => Kind::PortableFloats,
            Isa::Avx2 | Isa::Vnni => Kind::Fma,
        })
    }

    /// The form in which the matrix kernels in use multiply weights of a type.
    pub fn of(ty: WeightType) -> Form {
        let Some(sums) = byte_sums(ty) else {
            return Form::of_floats();
        };
        Form(match isa() {
            Isa::Portable | Isa::Dotprod => Kind::PortableBytes,
            Isa::Avx2 if sums == 0 => Kind::Madd,
            Isa::Avx2 => Kind::Maddubs(sums),
            Isa::Vnni => Kind::Dpbusd,
        })
    }

    /// A short name: the type, then the instruction.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::PortableFloats => "f32 portable",
            Kind::PortableBytes => "int8 portable",
            Kind::Fma => "f32 fma",
            Kind::Maddubs(2) => "int8 maddubs x2",
            Kind::Maddubs(4) => "int8 maddubs x4",
            Kind::Maddubs(_) => "int8 maddubs x8",
            Kind::Madd => "int8 madd",
            Kind::Dpbusd => "int8 dpbusd",
        }
    }

    /// Whether it multiplies floats; otherwise 8-bit integers.
    pub fn is_float(self) -> bool {
        matches!(self.0, Kind::PortableFloats | Kind::Fma)
    }

    /// Operations a second of all threads of the pool together, measured for about `window`. A multiplication
    /// and an addition are two operations.
    pub fn rate(self, pool: &Pool, window: Duration) -> f64 {
        rate(pool, window, &|| self.burst())
    }

    /// Some microseconds of work; the operations done.
    fn burst(self) -> u64 {
        match self.0 {
            Kind::PortableFloats => {
                black_box(portable::floats(portable::STEPS, 0.5, 0.25));
                portable::STEPS as u64 * portable::FLOAT_OPERATIONS
            }
            Kind::PortableBytes => {
                black_box(portable::bytes(portable::STEPS, &[3; 32], &[-5; 32]));
                portable::STEPS as u64 * portable::BYTE_OPERATIONS
            }
            // SAFETY: a form exists only where the machine has its instructions.
            #[cfg(target_arch = "x86_64")]
            Kind::Fma => unsafe { x86::fma_burst() },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Maddubs(sums) => unsafe { x86::maddubs_burst(sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Madd => unsafe { x86::madd_burst() },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Dpbusd => unsafe { x86::dpbusd_burst() },
            #[cfg(not(target_arch = "x86_64"))]
            Kind::Fma | Kind::Maddubs(_) | Kind::Madd | Kind::Dpbusd => 0,
        }
    }
}

/// A buffer to read from memory.
pub struct Reader {
    data: Vec<u64>,
    /// The next chunk to read, counted without end: a measurement goes on where the one before stopped, so
    /// that it never finds in the caches what that one has read.
    next: AtomicUsize,
}

/// Values a thread reads in one go: a mebibyte.
const CHUNK: usize = (1 << 20) / size_of::<u64>();

impl Reader {
    /// A buffer of at least `bytes` bytes (several times the last-level cache), written once by the threads
    /// of the pool.
    pub fn new(pool: &Pool, bytes: usize) -> Reader {
        let chunks = bytes.div_ceil(CHUNK * size_of::<u64>()).max(1);
        let mut data = vec![0u64; chunks * CHUNK];
        let shared = SharedMut::new(&mut data);
        pool.run(chunks, &|chunk| {
            // SAFETY: chunks are disjoint and each is filled by one task.
            let values = unsafe { shared.slice(chunk * CHUNK, CHUNK) };
            values.iter_mut().zip(chunk * CHUNK..).for_each(|(value, at)| *value = at as u64);
        });
        Reader { data, next: AtomicUsize::new(0) }
    }

    /// Bytes a second that all threads of the pool together read, measured for about `window`.
    pub fn rate(&self, pool: &Pool, window: Duration) -> f64 {
        rate(pool, window, &|| {
            black_box(self.read_chunk());
            (CHUNK * size_of::<u64>()) as u64
        })
    }

    /// The sum of the next chunk.
    fn read_chunk(&self) -> u64 {
        let chunk = self.next.fetch_add(1, Ordering::Relaxed) % (self.data.len() / CHUNK);
        sum(&self.data[chunk * CHUNK..][..CHUNK])
    }
}

/// The sum of a chunk, as fast as the machine reads it, whatever `LAMINAR_ISA` says.
fn sum(chunk: &[u64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2.
        return unsafe { x86::sum(chunk) };
    }
    portable::sum(chunk)
}

/// Instructions without effect that all threads of the pool together dispatch in a second, measured for about
/// `window`; `None` on processors for which there is no probe.
///
/// On a core that is alone this is its width times its clock, twice that where the processor dispatches two such
/// instructions as one.
pub fn dispatch_rate(pool: &Pool, window: Duration) -> Option<f64> {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64")).then(|| rate(pool, window, &nops))
}

/// Some microseconds of nothing; the instructions dispatched.
fn nops() -> u64 {
    const STEPS: u64 = 400;
    const REPEAT: u64 = 256;
    for _ in 0..STEPS {
        // Of four bytes: decoded instructions are cached by the bytes they come from, and of shorter ones too few fit.
        #[cfg(target_arch = "x86_64")]
        // SAFETY: nothing is done.
        unsafe {
            std::arch::asm!(
                ".rept {repeat}", ".byte 0x0f, 0x1f, 0x40, 0x00", ".endr",
                repeat = const REPEAT, options(nomem, nostack, preserves_flags)
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: nothing is done.
        unsafe {
            std::arch::asm!(
                ".rept {repeat}", "nop", ".endr",
                repeat = const REPEAT, options(nomem, nostack, preserves_flags)
            );
        }
    }
    STEPS * REPEAT
}

/// How long threads work before a measurement begins: waking takes them some ten microseconds.
const WARM: Duration = Duration::from_micros(300);

/// Calls `burst` on every thread for about `window` and adds up what the calls return, per second.
fn rate(pool: &Pool, window: Duration, burst: &(dyn Fn() -> u64 + Sync)) -> f64 {
    let begin = Instant::now() + WARM;
    let total = Mutex::new(0.0);
    pool.run(pool.threads(), &|_| {
        while Instant::now() < begin {
            burst();
        }
        // From the common begin, so that a thread that comes late counts for less, and one that is given a
        // second task for next to nothing. At least once, since on a machine that is full a thread may sleep
        // through the window.
        let mut units = 0;
        loop {
            units += burst();
            if begin.elapsed() >= window {
                break;
            }
        }
        let rate = units as f64 / begin.elapsed().as_secs_f64();
        *total.lock().unwrap_or_else(PoisonError::into_inner) += rate;
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
