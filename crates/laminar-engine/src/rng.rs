//! Random draws that a seed fixes for ever.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::hash::{BuildHasher, RandomState};

/// The draws of one request.
///
/// The generator is ChaCha with 8 rounds (RFC 8439's layout with a 64-bit counter, stream 0). Its 32-byte key is the
/// request's seed in little-endian order followed by 24 zero bytes. The n-th draw takes the n-th 64-bit word of
/// the key stream: its upper 53 bits divided by 2^53.
#[derive(Debug)]
pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    /// The draws of a seed; without one, of a seed from the operating system.
    pub fn new(seed: Option<u64>) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.unwrap_or_else(fresh_seed).to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// The next draw, at least 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
        (self.0.next_u64() >> 11) as f64 * SCALE
    }
}

/// The standard library seeds its hash maps from the operating system; hashing nothing with fresh keys gives 64 such bits.
fn fresh_seed() -> u64 {
    RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draws_of_a_seed_never_change() {
        let mut draws = Draws::new(Some(0));
        let words: Vec<u64> = (0..3).map(|_| (draws.uniform() * (1u64 << 53) as f64) as u64).collect();
        // Key stream of ChaCha8 with an all-zero key: 3e00ef2f895f40d6 7f5bb8e81f09a5a1 2c840ec3ce9a7f3b ..
        let stream = [0xd640_5f89_2fef_003e_u64, 0xa1a5_091f_e8b8_5b7f, 0x3b7f_9ace_c30e_842c];
        assert_eq!(words, stream.map(|word| word >> 11));
    }

    #[test]
    fn no_seed_means_another_one_each_time() {
        assert_ne!(Draws::new(None).uniform(), Draws::new(None).uniform());
    }
}
