//! Rotary frequencies and what families do to them so that a model reaches further than it was trained for.
//!
//! All of it is computed once, in f64, when a model is loaded. Sources: linear (Chen et al., arXiv 2306.15595), NTK and
//! YaRN (Peng et al., arXiv 2309.00071), LongRoPE (Ding et al., arXiv 2402.13753), and Llama 3.1's rule as
//! `transformers` has it.

use std::f64::consts::TAU;

/// One turn rate a pair, in radians: `theta^(-2i/d)` for the `d` values of a head that are rotated.
pub(super) fn plain(theta: f32, rotated: usize) -> Vec<f32> {
    pairs(theta, rotated).map(|frequency| frequency as f32).collect()
}

/// The rates of a whole head, of which only those of `rotated` values turn at all (Gemma 4).
pub(super) fn part_of(theta: f32, head_dim: usize, rotated: usize) -> Vec<f32> {
    let mut frequencies = plain(theta, head_dim);
    frequencies.iter_mut().skip(rotated / 2).for_each(|frequency| *frequency = 0.0);
    frequencies
}

fn pairs(theta: f32, rotated: usize) -> impl Iterator<Item = f64> {
    (0..rotated / 2).map(move |i| 1.0 / f64::from(theta).powf(2.0 * i as f64 / rotated as f64))
}

/// Every pair turns `factor` times slower.
pub(super) fn linear(frequencies: &mut [f32], factor: f32) {
    frequencies.iter_mut().for_each(|f| *f /= factor);
}

/// The base that "dynamic NTK" scaling gives a text of `length` tokens where the model knows `known`.
pub(super) fn ntk_theta(theta: f32, rotated: usize, factor: f32, length: usize, known: usize) -> f32 {
    let rotated = rotated as f64;
    let stretch = f64::from(factor) * length as f64 / known as f64 - (f64::from(factor) - 1.0);
    (f64::from(theta) * stretch.powf(rotated / (rotated - 2.0))) as f32
}

/// The settings of YaRN.
#[derive(Debug, Clone, Copy)]
pub(super) struct Yarn {
    /// How many times further the model reaches.
    pub factor: f32,
    /// Tokens it was trained for.
    pub original_context: f32,
    /// Pairs that turn at least so often within the original context stay as they are.
    pub beta_fast: f32,
    /// Pairs that turn at most so often turn `factor` times slower.
    pub beta_slow: f32,
    /// Whether the ramp between them begins and ends at whole pairs.
    pub truncate: bool,
}

impl Yarn {
    /// Between its two borders a linear ramp over the pairs.
    pub fn frequencies(&self, theta: f32, rotated: usize) -> Vec<f32> {
        let border = |turns: f32| {
            let ratio = f64::from(self.original_context) / (f64::from(turns) * TAU);
            rotated as f64 * ratio.ln() / (2.0 * f64::from(theta).ln())
        };
        let (mut low, mut high) = (border(self.beta_fast), border(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        low = low.max(0.0);
        high = high.min(rotated as f64 - 1.0);
        if low == high {
            high += 0.001;
        }
        let blend = |(i, frequency): (usize, f64)| {
            let slowed = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            (frequency / f64::from(self.factor) * slowed + frequency * (1.0 - slowed)) as f32
        };
        pairs(theta, rotated).enumerate().map(blend).collect()
    }

    /// The factor on rotated values that the paper recommends.
    pub fn attention_factor(&self) -> f32 {
        mscale(self.factor, 1.0)
    }
}

/// `0.1 m ln(factor) + 1`, 1 where nothing is stretched.
pub(super) fn mscale(factor: f32, m: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { (0.1 * f64::from(m) * f64::from(factor).ln() + 1.0) as f32 }
}

/// Each pair turns slower by a divisor of its own.
pub(super) fn divided(frequencies: &[f32], divisors: &[f32]) -> Vec<f32> {
    frequencies.iter().zip(divisors).map(|(frequency, divisor)| frequency / divisor).collect()
}

/// LongRoPE's factor on rotated values for a context that is `factor` times the original one.
pub(super) fn long_attention_factor(factor: f32, original_context: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { (1.0 + f64::from(factor).ln() / f64::from(original_context).ln()).sqrt() as f32 }
}

/// The settings of Llama 3.1's scaling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Llama3 {
    pub factor: f32,
    pub low: f32,
    pub high: f32,
    pub original_context: f32,
}

impl Llama3 {
    /// Slow pairs turn `factor` times slower, fast ones as before, with a linear blend between.
    pub fn apply(&self, frequencies: &mut [f32]) {
        frequencies.iter_mut().for_each(|frequency| *frequency = self.scaled(*frequency));
    }

    fn scaled(&self, frequency: f32) -> f32 {
        let &Llama3 { factor, low, high, original_context } = self;
        let wavelength = std::f32::consts::TAU / frequency;
        if wavelength < original_context / high {
            frequency
        } else if wavelength > original_context / low {
            frequency / factor
        } else {
            let blend = (original_context / wavelength - low) / (high - low);
            (1.0 - blend) * frequency / factor + blend * frequency
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as a test prints, within the rounding of f32.
    fn assert_close(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) / expected - 1.0).abs() < 2e-6, "{found} {expected}");
        }
    }

    #[test]
    fn plain_frequencies_fall_from_one() {
        assert_close(&plain(10_000.0, 8), &[1.0, 0.1, 0.01, 0.001]);
        let mut slow = plain(10_000.0, 8);
        linear(&mut slow, 4.0);
        assert_close(&slow, &[0.25, 0.025, 0.0025, 0.00025]);
    }

    #[test]
    fn a_part_of_the_pairs_turns_at_the_rates_of_all() {
        let part = part_of(10_000.0, 8, 4);
        assert_close(&part[..2], &[1.0, 0.1]);
        assert_eq!(part[2..], [0.0, 0.0]);
    }

    #[test]
    fn ntk_keeps_the_base_within_the_known_context() {
        assert_eq!(ntk_theta(10_000.0, 16, 4.0, 4096, 4096), 10_000.0);
        // (4 * 2 - 3)^(16/14) times the base.
        assert!((ntk_theta(10_000.0, 16, 4.0, 8192, 4096) / 62_924.95 - 1.0).abs() < 1e-4);
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_slows_the_others() {
        let yarn = Yarn { factor: 4.0, original_context: 64.0, beta_fast: 4.0, beta_slow: 1.0, truncate: true };
        let before = plain(10_000.0, 16);
        let after = yarn.frequencies(10_000.0, 16);
        // Borders: 16 ln(64 / (4 tau)) / (2 ln 10000) = 0.81 and 16 ln(64 / tau) / (2 ln 10000) = 2.02.
        let slowed = [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        let expected: Vec<f64> =
            before.iter().zip(slowed).map(|(f, s)| f64::from(*f) * (s / 4.0 + (1.0 - s))).collect();
        assert_close(&after, &expected);
        assert!((yarn.attention_factor() - 1.138_629_4).abs() < 1e-6);
        let exact = Yarn { truncate: false, ..yarn }.frequencies(10_000.0, 16);
        assert!(exact[1] > after[1] && exact[7] == after[7]);
        assert_eq!(mscale(1.0, 1.0), 1.0);
    }

    #[test]
    fn long_rope_divides_and_weighs() {
        assert_eq!(divided(&[1.0, 0.5], &[2.0, 5.0]), [0.5, 0.1]);
        assert_eq!(long_attention_factor(1.0, 4096.0), 1.0);
        assert!((long_attention_factor(32.0, 4096.0) - 1.190_238).abs() < 1e-5);
    }

    #[test]
    fn llama3_keeps_fast_pairs_and_slows_the_others() {
        let rule = Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 8192.0 };
        assert_eq!(rule.scaled(1.0), 1.0);
        assert_eq!(rule.scaled(1e-5), 1e-5 / 8.0);
        let middle = std::f32::consts::TAU / 4096.0;
        let between = rule.scaled(middle);
        assert!(between < middle && between > middle / 8.0);
    }
}
