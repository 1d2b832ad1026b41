//! When requests come.

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
}

/// Separates the random numbers of arrivals from those of lengths.
const STREAM: u64 = 0x6172_7269_7661_6c73;

impl Arrivals {
    /// So many times below `seconds`, ascending. Gaps are drawn and scaled to the time there is, which is what Poisson arrivals
    /// look like when their number is known.
    pub(super) fn times(&self, count: usize, seconds: f64, seed: u64) -> Vec<f64> {
        let mut random = Random::new(mix(seed, STREAM));
        let mut gap = || match self {
            Arrivals::Replay(_) => 0.0,
            Arrivals::Poisson => -random.unit().ln(),
            Arrivals::Bursty { variation } => {
                let shape = 1.0 / (variation * variation).clamp(1e-3, 1e3);
                gamma(&mut random, shape)
            }
        };
        if let Arrivals::Replay(times) = self {
            return times.iter().copied().filter(|time| *time < seconds).collect();
        }
        let mut at = 0.0;
        let mut times: Vec<f64> = (0..count)
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
