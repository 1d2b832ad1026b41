//! Damaged headers of both formats, for as long as is asked for: `headers SECONDS [SEED]`.
//!
//! Files of the project's own fixtures and small ones made here are damaged in a few places a time: bits, numbers, lengths,
//! whole pieces moved, doubled or cut. Each must end as a checkpoint or an error; a panic ends the run with the seed and the
//! number of the case. An allocator counts: reading a header may not ask for a piece of memory larger than twice the file
//! (64 KiB for small files). The numbers follow from the seed, so a case can be had again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use laminar_fuzz::{SCHEMES, look, open_gguf, open_safetensors};
use laminar_model::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};

/// The system's allocator, with the largest request and the most memory in use at once written down.
struct Counting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(size: usize) {
    LARGEST.fetch_max(size, Relaxed);
    PEAK.fetch_max(LIVE.fetch_add(size, Relaxed) + size, Relaxed);
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Relaxed);
        count(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A piece of memory that is fine for any file.
const SMALL: usize = 64 << 10;

/// SplitMix64 (Steele et al., *Fast splittable pseudorandom number generators*, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Numbers that break things.
const NUMBERS: [u64; 14] =
    [0, 1, 2, 3, 255, 256, 0xffff, 1 << 20, u32::MAX as u64, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX, u64::MAX - 7];

/// Damages the first `head` bytes of a file in some places.
fn damage(bytes: &mut Vec<u8>, head: usize, random: &mut Random) {
    for _ in 0..1 + random.below(8) {
        let head = head.min(bytes.len());
        let at = random.below(head);
        let length = (1 << random.below(10)).min(head - at.min(head));
        match random.below(10) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 | 3 => {
                // A number of four or eight bytes in the place of another.
                let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
                let size = [4, 8][random.below(2)].min(bytes.len() - at);
                bytes[at..at + size].copy_from_slice(&number[..size]);
            }
            4 => {
                // A number a little off.
                let size = 8.min(bytes.len() - at);
                let mut word = [0; 8];
                word[..size].copy_from_slice(&bytes[at..at + size]);
                let off = random.below(65) as u64;
                let number = u64::from_le_bytes(word).wrapping_add(off).wrapping_sub(32).to_le_bytes();
                bytes[at..at + size].copy_from_slice(&number[..size]);
            }
            5 => {
                let piece = bytes[at..at + length].to_vec();
                let to = random.below(head);
                for byte in piece.into_iter().rev() {
                    bytes.insert(to, byte);
                }
            }
            6 => drop(bytes.drain(at..at + length)),
            7 => {
                let from = random.below(head - length.min(head));
                bytes.copy_within(from..from + length, at);
            }
            8 => {
                // The same short piece over and over: many equal things where there was one.
                let unit = 1 + random.below(48);
                let piece: Vec<u8> = bytes[at..(at + unit).min(head)].to_vec();
                let most = 1 << random.below(12);
                let times = random.below(most);
                let many: Vec<u8> = piece.iter().copied().cycle().take(piece.len() * times).collect();
                bytes.splice(at..at, many);
            }
            _ => bytes.truncate(at.max(random.below(bytes.len()))),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

/// A file to begin from, and how much of it is header.
struct Seed {
    gguf: bool,
    bytes: Vec<u8>,
    head: usize,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/laminar-model/tests/fixtures")
}

fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for preset in [Preset::Tiny, Preset::TinyDense, Preset::TinyPhi3, Preset::TinyGptOss] {
        let bytes = to_vec(&SynthOptions { layers: Some(2), ..SynthOptions::new(preset) }, &byte_tokenizer())
            .expect("a preset can be made");
        // Tensor data is the end of the file; names of tensors are the end of the header.
        let last = bytes.windows(4).rposition(|four| four == b"blk.").unwrap_or(bytes.len());
        seeds.push(Seed { gguf: true, head: last + 64, bytes });
    }
    let mut folders: Vec<_> =
        std::fs::read_dir(fixtures()).expect("fixtures").flatten().map(|entry| entry.path()).collect();
    folders.sort();
    for folder in folders {
        let Ok(bytes) = std::fs::read(folder.join("model.safetensors")) else { continue };
        let length = bytes.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length)) as usize;
        seeds.push(Seed { gguf: false, head: 8 + length, bytes });
    }
    seeds
}

/// What the cases came to.
#[derive(Default)]
struct Counts {
    cases: [u64; 2],
    accepted: [u64; 2],
    /// The largest request beyond [`SMALL`], and the most in use at once, in hundredths of the file.
    largest: usize,
    peak: usize,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().and_then(|text| text.parse().ok()).expect("usage: headers SECONDS [SEED]");
    let seed: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let seeds = seeds();
    let mut random = Random(seed);
    let mut counts = Counts::default();
    let began = Instant::now();
    // A caught panic is told about below.
    std::panic::set_hook(Box::new(|_| {}));
    while began.elapsed() < Duration::from_secs(seconds) {
        let start = random.0;
        let seed = &seeds[random.below(seeds.len())];
        let mut bytes = seed.bytes.clone();
        damage(&mut bytes, seed.head, &mut random);
        if random.below(8) == 0 {
            // Without most of the data, so that the header is most of the file.
            bytes.truncate(seed.head.max(64));
        }
        let scheme = SCHEMES[random.below(SCHEMES.len())];
        run(seed.gguf, bytes, scheme, start, &mut counts);
    }
    let [gguf, safetensors] = counts.cases;
    println!(
        "{gguf} GGUF headers ({} accepted), {safetensors} safetensors headers ({} accepted) in {seconds} s: no panic; largest \
         allocation above 64 KiB {:.2} of the file, most memory in use {:.2} of it",
        counts.accepted[0],
        counts.accepted[1],
        counts.largest as f64 / 100.0,
        counts.peak as f64 / 100.0,
    );
}

fn run(gguf: bool, bytes: Vec<u8>, scheme: &str, start: u64, counts: &mut Counts) {
    let kind = usize::from(!gguf);
    let length = bytes.len();
    let copy = bytes.clone();
    counts.cases[kind] += 1;
    LARGEST.store(0, Relaxed);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let opened = if gguf { open_gguf(copy) } else { open_safetensors(copy, scheme) };
        let (largest, peak) = (LARGEST.load(Relaxed), PEAK.load(Relaxed).saturating_sub(before));
        if let Some(checkpoint) = &opened {
            look(checkpoint);
        }
        (opened.is_some(), largest, peak)
    }));
    let fail = |what: &str| {
        let path = std::env::temp_dir().join("laminar-headers-failure");
        let _ = std::fs::write(&path, &bytes);
        eprintln!("{what}: case of seed {start}, {length} bytes, kept in {}", path.display());
        std::process::exit(1);
    };
    match result {
        Err(_) => fail("panic"),
        Ok((accepted, largest, peak)) => {
            counts.accepted[kind] += u64::from(accepted);
            if largest > SMALL {
                counts.largest = counts.largest.max(largest * 100 / length);
                counts.peak = counts.peak.max(peak * 100 / length);
                if largest > 2 * length {
                    fail(&format!("an allocation of {largest} bytes"));
                }
            }
        }
    }
}
