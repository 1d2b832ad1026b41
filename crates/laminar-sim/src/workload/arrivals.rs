//! When requests come.

use super::mersenne::Mersenne;
use crate::random::{Random, mix};

/// The times between requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// Independent of each other.
    Poisson,
    /// In bursts: times between them from a gamma distribution whose deviation is `variation` times its mean.
    Bursty {
        /// Above 1 for bursts; 1 is Poisson.
        variation: f64,
    },
    /// At the times of a trace, in seconds, ascending.
    Replay(Vec<f64>),
    /// As vLLM's serving benchmark sends requests, on which the layered prefill paper's is built: the first one at once, then
    /// independent gaps from NumPy's generator with a seed of its own (0 unless told otherwise). Their number is the rate times
    /// the seconds, so the last ones come somewhat earlier or later than that.
    Benchmark {
        /// The benchmark's seed.
        seed: u32,
    },
}

/// Separates the random numbers of arrivals from those of lengths.
const STREAM: u64 = 0x6172_7269_7661_6c73;

impl Arrivals {
    /// The times of `rate` requests a second for so many seconds, ascending. Those that are drawn from `seed` are scaled to the
    /// time there is, which is what Poisson arrivals look like when their number is known.
    pub(super) fn times(&self, rate: f64, seconds: f64, seed: u64) -> Vec<f64> {
        let shape = match self {
            Arrivals::Replay(times) => return times.iter().copied().filter(|time| *time < seconds).collect(),
            Arrivals::Benchmark { seed } => return benchmark(rate, seconds, *seed),
            Arrivals::Poisson => 1.0,
            Arrivals::Bursty { variation } => 1.0 / (variation * variation).clamp(1e-3, 1e3),
        };
        let mut random = Random::new(mix(seed, STREAM));
        let mut gap = || if shape == 1.0 { -random.unit().ln() } else { gamma(&mut random, shape) };
        let mut at = 0.0;
        let mut times: Vec<f64> = (0..(rate * seconds).round() as usize)
            .map(|_| {
                at += gap();
                at
            })
            .collect();
        // One gap more lies between the last one and the end.
        let scale = seconds / (at + gap()).max(f64::MIN_POSITIVE);
        times.iter_mut().for_each(|time| *time *= scale);
        times
    }
}

/// The times of the benchmark. Its script divides the seconds by a gap's mean to find how many requests there are.
fn benchmark(rate: f64, seconds: f64, seed: u32) -> Vec<f64> {
    let (mut random, mut at) = (Mersenne::new(seed), 0.0);
    let mut next = || {
        let time = at;
        at -= (1.0 - random.unit()).ln() / rate;
        time
    };
    (0..(seconds / (1.0 / rate)) as usize).map(|_| next()).collect()
}

/// A number from the gamma distribution of a shape and scale 1 (Marsaglia and Tsang, *A simple method for generating gamma
/// variables*, 2000).
fn gamma(random: &mut Random, shape: f64) -> f64 {
    if shape < 1.0 {
        // A larger shape, pulled towards 0.
        return gamma(random, shape + 1.0) * random.unit().powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = random.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && random.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}
