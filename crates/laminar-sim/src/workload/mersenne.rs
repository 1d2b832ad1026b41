//! The Mersenne Twister MT19937 (Matsumoto and Nishimura, *ACM TOMACS* 8, 1998), seeded as NumPy's `seed` does, so that times
//! which a published script drew can be drawn again.

/// Words of the state.
const WORDS: usize = 624;

/// How far ahead the word lies that a word is mixed with.
const AHEAD: usize = 397;

/// A stream of random numbers, fixed by its seed.
#[derive(Clone, Debug)]
pub(super) struct Mersenne {
    state: [u32; WORDS],
    next: usize,
}

impl Mersenne {
    /// The stream of a seed.
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; WORDS];
        for index in 1..WORDS {
            let last = state[index - 1];
            state[index] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(index as u32);
        }
        Self { state, next: WORDS }
    }

    /// A number of 32 bits.
    pub fn number(&mut self) -> u32 {
        if self.next == WORDS {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number in [0, 1) with 53 random bits: 27 of one number and 26 of the next.
    pub fn unit(&mut self) -> f64 {
        let (high, low) = (u64::from(self.number() >> 5), u64::from(self.number() >> 6));
        ((high << 26) | low) as f64 / (1u64 << 53) as f64
    }

    fn twist(&mut self) {
        for index in 0..WORDS {
            let joined = (self.state[index] & 0x8000_0000) | (self.state[(index + 1) % WORDS] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] = self.state[(index + AHEAD) % WORDS] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers() {
        // The C++ standard asks for this number of its generator with the authors' seed.
        let mut random = Mersenne::new(5489);
        let numbers: Vec<u32> = (0..10_000).map(|_| random.number()).collect();
        assert_eq!((numbers[0], numbers[9_999]), (3_499_211_612, 4_123_659_995));
    }

    #[test]
    fn seed_0_gives_what_numpy_gives() {
        let mut random = Mersenne::new(0);
        let first: Vec<f64> = (0..4).map(|_| random.unit()).collect();
        assert_eq!(
            first,
            [0.548_813_503_927_324_8, 0.715_189_366_372_419_5, 0.602_763_376_071_643_9, 0.544_883_182_996_896_9]
        );
    }
}
