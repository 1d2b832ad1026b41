//! Random numbers that are the same everywhere: SplitMix64 (Steele et al.,
//! *Fast splittable pseudorandom number generators*, OOPSLA 2014).

/// A generator of its own for each purpose and number, so that one request
/// more does not change the others.
#[derive(Debug, Clone)]
pub struct Random(u64);

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// The generator of item `number` of a `purpose` under a `seed`.
    pub fn new(seed: u64, purpose: Purpose, number: u64) -> Self {
        let start = mix(seed.wrapping_add(GAMMA)) ^ purpose as u64;
        Self(mix(start.wrapping_mul(GAMMA)) ^ mix(number.wrapping_add(GAMMA)))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The upper half of a 128-bit product: its bias is below 2^-32 for what is drawn here.
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// A number above 0 and at most 1.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

/// What numbers are drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The tokens of a prompt.
    Prompt = 1,
    /// Lengths of a request.
    Lengths = 2,
    /// Times between arrivals.
    Arrivals = 3,
    /// The seed that a request samples with.
    Sampling = 4,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_seed_purpose_and_number_alone() {
        let draw = |seed, purpose, number| Random::new(seed, purpose, number).bits();
        assert_eq!(draw(1, Purpose::Prompt, 2), draw(1, Purpose::Prompt, 2));
        let all = [
            draw(1, Purpose::Prompt, 2),
            draw(2, Purpose::Prompt, 2),
            draw(1, Purpose::Lengths, 2),
            draw(1, Purpose::Prompt, 3),
        ];
        assert!((1..4).all(|i| !all[..i].contains(&all[i])), "{all:?}");
    }

    #[test]
    fn draws_stay_in_range() {
        let mut random = Random::new(0, Purpose::Prompt, 0);
        for _ in 0..1000 {
            assert!(random.below(3) < 3);
            let unit = random.unit();
            assert!(unit > 0.0 && unit <= 1.0);
        }
        assert_eq!(random.below(0), 0);
    }
}
