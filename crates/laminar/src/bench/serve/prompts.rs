//! Prompts that follow from a seed and the number of the request.
//!
//! They differ from their first token on, so a prefix cache finds nothing in them.

use serde_json::Value;

use super::random::{Purpose, Random};

/// Common English words that most tokenizers know whole.
const WORDS: [&str; 64] = [
    "the", "and", "that", "have", "with", "this", "from", "they", "will", "would", "there", "their", "what", "about",
    "which", "when", "make", "like", "time", "just", "know", "take", "people", "into", "year", "your", "good", "some",
    "could", "them", "other", "than", "then", "look", "only", "come", "over", "think", "also", "back", "after", "work",
    "first", "well", "even", "want", "because", "these", "give", "most", "water", "house", "world", "school", "never",
    "city", "tree", "cross", "farm", "start", "might", "story", "draw", "left",
];

/// What prompts are made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Material {
    /// Token ids from a range, both ends included.
    Ids {
        /// The lowest id.
        low: u32,
        /// The highest id.
        high: u32,
    },
    /// Words: a prompt of `n` words has about `base + per_word * n` tokens.
    Words {
        /// Tokens of a prompt without words: the chat template's.
        base: f64,
        /// Tokens of a word.
        per_word: f64,
    },
}

impl Material {
    /// Words as they are before the server has counted any.
    pub const UNCOUNTED: Self = Self::Words { base: 0.0, per_word: 1.0 };

    /// From two prompts of `words` words, counted by the server.
    pub fn counted(words: [usize; 2], tokens: [u64; 2]) -> Self {
        let per_word = (tokens[1] as f64 - tokens[0] as f64) / (words[1] as f64 - words[0] as f64);
        if !per_word.is_finite() || per_word <= 0.0 {
            return Self::UNCOUNTED;
        }
        Self::Words { base: tokens[0] as f64 - per_word * words[0] as f64, per_word }
    }

    /// The prompt of request `number`: exactly `tokens` ids, or words that make about so many tokens.
    pub fn prompt(&self, seed: u64, number: u64, tokens: usize) -> Value {
        let mut random = Random::new(seed, Purpose::Prompt, number);
        match *self {
            Self::Ids { low, high } => {
                let count = u64::from(high.saturating_sub(low)) + 1;
                (0..tokens).map(|_| Value::from(u64::from(low) + random.below(count))).collect()
            }
            Self::Words { base, per_word } => {
                let words = (((tokens as f64 - base) / per_word).round() as usize).max(1);
                let pick = |_| WORDS.get(random.below(WORDS.len() as u64) as usize).copied().unwrap_or("the");
                Value::from((0..words).map(pick).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_follow_from_seed_and_number() {
        for material in [Material::Ids { low: 10, high: 19 }, Material::UNCOUNTED] {
            assert_eq!(material.prompt(1, 2, 50), material.prompt(1, 2, 50));
            assert_ne!(material.prompt(1, 2, 50), material.prompt(1, 3, 50));
            assert_ne!(material.prompt(1, 2, 50), material.prompt(2, 2, 50));
        }
    }

    #[test]
    fn ids_are_exactly_as_many_as_asked_and_in_range() {
        let prompt = Material::Ids { low: 10, high: 12 }.prompt(1, 1, 500);
        let ids: Vec<u64> = prompt.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        assert_eq!(ids.len(), 500);
        assert!((10..=12).all(|id| ids.contains(&id)) && ids.iter().all(|id| (10..=12).contains(id)));
    }

    #[test]
    fn words_are_as_many_as_the_servers_count_demands() {
        let material = Material::counted([10, 110], [25, 175]);
        assert_eq!(material, Material::Words { base: 10.0, per_word: 1.5 });
        let words = |tokens| material.prompt(0, 0, tokens).as_str().unwrap().split(' ').count();
        assert_eq!((words(310), words(13), words(1)), (200, 2, 1));
        assert_eq!(Material::counted([10, 110], [5, 5]), Material::UNCOUNTED);
    }
}
