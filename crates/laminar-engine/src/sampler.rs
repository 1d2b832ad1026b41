//! Choosing a token from logits.
//!
//! The order is that of Hugging Face: logit bias, penalties, grammar, temperature, top-k, top-p, min-p, draw. (llama.cpp applies
//! the temperature last, so its top-p and min-p cut at temperature 1.) Each cut works on the probabilities that the cuts
//! before it have left. Arithmetic on probabilities is in f64 and in a fixed order, so a token depends on the logits, the
//! parameters and the draw alone.

use crate::SamplingParams;
use crate::guide::Hint;
use crate::logprobs::by_rank;
use crate::penalties::Penalties;
use crate::ranking::{Falling, Ranking, largest};
use crate::rng::Draws;
use llguidance::toktrie::SimpleVob;

/// Candidates that are sorted at first when the cuts do not say how many they need.
const FIRST_SORTED: usize = 256;

/// Draws from all tokens before one from those that a mask allows, and how many of the tokens drawn are asked for: a draw takes
/// less than a question, and most tokens that are not asked for begin like one that was refused.
const DRAWN: usize = 64;
const ASKED: usize = 8;

/// Chooses the tokens of one request.
#[derive(Debug)]
pub(crate) struct Sampler {
    temperature: f32,
    top_k: usize,
    top_p: f64,
    min_p: f64,
    penalties: Penalties,
    draws: Draws,
    /// At which place a greedy choice has found the newest token that a mask allowed.
    place: Option<usize>,
    /// Buffers, kept between tokens.
    changed: Vec<f32>,
    ranking: Ranking,
    candidates: Vec<Candidate>,
}

/// A token that may still be drawn, and its probability relative to the most probable one's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    id: u32,
    weight: f64,
}

/// A row of logits from which the next token is chosen. What the tokens so far do to it is worked out when it is needed first,
/// and once.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    sampler: &'a mut Sampler,
    logits: &'a [f32],
    /// The sampler's buffer holds this row as it counts.
    is_weighed: bool,
}

impl Row<'_> {
    /// The sampler, ready for `values`.
    fn weigh(&mut self) -> &mut Sampler {
        let Self { sampler, logits, is_weighed } = self;
        if !*is_weighed && !sampler.penalties.are_none() {
            sampler.penalties.fill(logits, &mut sampler.changed);
        }
        *is_weighed = true;
        sampler
    }

    /// The next token. Of a mask, if there is one, at least one token is allowed; the logits of all others are not looked at,
    /// and where it allows one token alone nothing is drawn.
    pub fn sample(mut self, mask: Option<&SimpleVob>) -> u32 {
        if let Some(id) = mask.and_then(only) {
            return self.take(id);
        }
        let logits = self.logits;
        let sampler = self.weigh();
        let changed = std::mem::take(&mut sampler.changed);
        let values = if sampler.penalties.are_none() { logits } else { &changed };
        let id = match (sampler.temperature == 0.0, mask) {
            (true, None) => greedy(values),
            (true, Some(mask)) => {
                let best = greedy(values);
                let id = if allows(mask, best) { best } else { greedy_among(values, mask) };
                let logit = values.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
                sampler.place = Some(values.iter().filter(|other| **other > logit).count());
                id
            }
            (false, mask) => sampler.draw(values, mask),
        };
        sampler.changed = changed;
        self.take(id)
    }

    /// Tokens of which the first that the grammar allows may be chosen, if it allows any of them; none where a mask is needed. A
    /// greedy choice is the same with a mask. One that is drawn need not be, but has the probability that it has with a mask:
    /// a draw from all tokens, or from those `possible`, that is drawn anew while it is not allowed is one from those allowed.
    pub fn likely(&mut self, possible: Option<&SimpleVob>) -> Option<Likely<'_>> {
        let logits = self.logits;
        let sampler = self.weigh();
        if sampler.temperature > 0.0 && sampler.cuts() {
            return None;
        }
        let changed = std::mem::take(&mut sampler.changed);
        let values = if sampler.penalties.are_none() { logits } else { &changed };
        if sampler.temperature > 0.0 {
            sampler.candidates(values, possible);
        }
        sampler.changed = changed;
        let Sampler { temperature, penalties, changed, ranking, candidates, draws, .. } = sampler;
        Some(match *temperature == 0.0 {
            true => Likely::Falling(ranking.of(if penalties.are_none() { logits } else { changed })),
            false => Likely::Drawn { candidates, draws, left: DRAWN },
        })
    }

    /// Chooses this token, which joins the answer.
    pub fn take(self, id: u32) -> u32 {
        self.sampler.take(id);
        id
    }
}

impl Sampler {
    /// A sampler at the end of the prompt. The parameters have been checked.
    pub fn new(params: &SamplingParams, prompt: &[u32]) -> Self {
        Self {
            temperature: params.temperature,
            top_k: params.top_k.unwrap_or(0),
            top_p: f64::from(params.top_p),
            min_p: f64::from(params.min_p),
            penalties: Penalties::new(params, prompt),
            draws: Draws::new(params.seed),
            place: None,
            changed: Vec::new(),
            ranking: Ranking::default(),
            candidates: Vec::new(),
        }
    }

    /// A row of logits to choose the next token from. They are finite and at least one.
    pub fn row<'a>(&'a mut self, logits: &'a [f32]) -> Row<'a> {
        Row { sampler: self, logits, is_weighed: false }
    }

    /// What the newest choice by a mask says of the next one.
    pub fn hint(&self) -> Hint {
        match self.place {
            Some(place) => Hint::Place(place),
            None if self.temperature == 0.0 || self.cuts() => Hint::Mask,
            None => Hint::Drawn,
        }
    }

    /// Whether some tokens are not drawn in any case; which ones they are depends on all that are allowed.
    fn cuts(&self) -> bool {
        self.top_k > 0 || self.top_p < 1.0 || self.min_p > 0.0
    }

    /// A token joins the answer that was not drawn.
    pub fn take(&mut self, id: u32) {
        self.penalties.count(id);
    }

    fn draw(&mut self, logits: &[f32], mask: Option<&SimpleVob>) -> u32 {
        let point = self.draws.uniform();
        self.candidates(logits, mask);
        pick(&self.candidates, point)
    }

    /// Finds the tokens that may be drawn; their weights become sums of those up to each.
    fn candidates(&mut self, logits: &[f32], mask: Option<&SimpleVob>) {
        let candidates = &mut self.candidates;
        candidates.clear();
        let candidate = |id| Candidate { id, weight: 0.0 };
        match mask {
            None => candidates.extend((0..logits.len() as u32).map(candidate)),
            Some(mask) => each_allowed(mask, logits.len(), |id| candidates.push(candidate(id))),
        }
        if self.top_k > 0 && self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, |a, b| by_rank(logits, a.id, b.id));
            candidates.truncate(self.top_k);
            // Selection leaves no defined order; the sums below need one.
            candidates.sort_unstable_by_key(|candidate| candidate.id);
        }

        let kept = candidates.iter().map(|candidate| logits[candidate.id as usize]);
        let max = f64::from(kept.fold(f32::NEG_INFINITY, f32::max));
        let temperature = f64::from(self.temperature);
        for candidate in candidates.iter_mut() {
            candidate.weight = ((f64::from(logits[candidate.id as usize]) - max) / temperature).exp();
        }
        if self.top_p < 1.0 {
            let target = self.top_p * total(candidates);
            cut_to_mass(candidates, logits, target);
        }
        if self.min_p > 0.0 {
            // The most probable token's weight is 1 and it is never cut.
            candidates.retain(|candidate| candidate.weight >= self.min_p);
        }

        let mut sum = 0.0;
        for candidate in candidates.iter_mut() {
            sum += candidate.weight;
            candidate.weight = sum;
        }
    }
}

/// Tokens to ask a grammar for, one after the other.
pub(crate) enum Likely<'a> {
    /// The most probable one first.
    Falling(Falling<'a>),
    /// Drawn from all that are possible.
    Drawn {
        /// They, with sums of weights.
        candidates: &'a [Candidate],
        /// Where the draws come from.
        draws: &'a mut Draws,
        /// How many there may still be.
        left: usize,
    },
}

impl Likely<'_> {
    /// How many of them are worth asking for.
    pub fn worth(&self) -> usize {
        match self {
            Likely::Falling(_) => usize::MAX,
            Likely::Drawn { .. } => ASKED,
        }
    }
}

impl Iterator for Likely<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match self {
            Likely::Falling(tokens) => tokens.next(),
            Likely::Drawn { candidates, draws, left } => {
                *left = left.checked_sub(1)?;
                Some(pick(candidates, draws.uniform()))
            }
        }
    }
}

/// The token that a point from 0 to 1 falls on. Weights are sums of those up to each.
fn pick(candidates: &[Candidate], point: f64) -> u32 {
    let total = candidates.last().map_or(0.0, |last| last.weight);
    let at = |target: f64, is_before: fn(f64, f64) -> bool| {
        candidates.get(candidates.partition_point(|candidate| is_before(candidate.weight, target)))
    };
    // Rounding may leave the sum at the target; then it is the last one of any weight.
    let found = at(point * total, |sum, target| sum <= target).or_else(|| at(total, |sum, total| sum < total));
    found.map_or(0, |candidate| candidate.id)
}

/// The token that a mask allows, if there is but one.
fn only(mask: &SimpleVob) -> Option<u32> {
    let mut words = mask.as_slice().iter().enumerate().filter(|(_, word)| **word != 0);
    let (place, word) = words.next()?;
    let alone = word.is_power_of_two() && words.next().is_none();
    alone.then(|| place as u32 * u32::BITS + word.trailing_zeros())
}

/// Calls `f` for the tokens below `vocab` that a mask allows, in ascending order.
fn each_allowed(mask: &SimpleVob, vocab: usize, mut f: impl FnMut(u32)) {
    for (place, word) in mask.as_slice().iter().enumerate() {
        let first = place as u32 * u32::BITS;
        let mut left = *word;
        if left == u32::MAX && first as usize + u32::BITS as usize <= vocab {
            (first..first + u32::BITS).for_each(&mut f);
            continue;
        }
        while left != 0 {
            let id = first + left.trailing_zeros();
            if id as usize >= vocab {
                return;
            }
            f(id);
            left &= left - 1;
        }
    }
}

/// The most probable token that a mask allows, the lowest id among equals.
fn greedy_among(logits: &[f32], mask: &SimpleVob) -> u32 {
    let mut best = None;
    each_allowed(mask, logits.len(), |id| {
        let logit = logits[id as usize];
        if best.is_none_or(|(_, most)| logit > most) {
            best = Some((id, logit));
        }
    });
    best.map_or(0, |(id, _)| id)
}

/// The sum of the weights.
fn total(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| candidate.weight).sum()
}

/// Whether a mask allows a token.
pub(crate) fn allows(mask: &SimpleVob, id: u32) -> bool {
    let word = mask.as_slice().get((id / u32::BITS) as usize);
    word.is_some_and(|word| word >> (id % u32::BITS) & 1 == 1)
}

/// The most probable token, the lowest id among equals.
fn greedy(logits: &[f32]) -> u32 {
    let max = largest(logits);
    logits.iter().position(|logit| *logit == max).unwrap_or(0) as u32
}

/// Keeps the most probable tokens, in falling order, until their weights reach `target`; at least one.
///
/// Sorting stops where the cut is: a vocabulary has 100,000 entries, a nucleus a few hundred.
fn cut_to_mass(candidates: &mut Vec<Candidate>, logits: &[f32], target: f64) {
    let rank = |a: &Candidate, b: &Candidate| by_rank(logits, a.id, b.id);
    let mut sorted = 0;
    let mut sum = 0.0;
    while sorted < candidates.len() {
        let rest = &mut candidates[sorted..];
        let size = sorted.max(FIRST_SORTED).min(rest.len());
        if size < rest.len() {
            rest.select_nth_unstable_by(size, rank);
        }
        rest[..size].sort_unstable_by(rank);
        for (place, candidate) in rest[..size].iter().enumerate() {
            sum += candidate.weight;
            if sum >= target {
                candidates.truncate(sorted + place + 1);
                return;
            }
        }
        sorted += size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(params: SamplingParams) -> Sampler {
        Sampler::new(&params, &[])
    }

    /// Which tokens come up, and how often, in 20,000 draws.
    fn histogram(params: SamplingParams, logits: &[f32]) -> Vec<f64> {
        let mut sampler = sampler(SamplingParams { seed: Some(7), ..params });
        let mut counts = vec![0.0; logits.len()];
        (0..20_000).for_each(|_| counts[sampler.row(logits).sample(None) as usize] += 1.0 / 20_000.0);
        counts
    }

    fn close(found: &[f64], expected: &[f64]) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 0.02 && (*e > 0.0 || *f == 0.0), "{found:?} is not {expected:?}");
        }
    }

    /// Logits of these probabilities.
    fn logits(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    #[test]
    fn greedy_takes_the_lowest_id_among_equals() {
        assert_eq!(sampler(SamplingParams::greedy()).row(&[1.0, 3.0, 3.0, 2.0]).sample(None), 1);
        assert_eq!(sampler(SamplingParams::greedy()).row(&[0.0, 0.0]).sample(None), 0);
        let mut long = vec![0.5; 99];
        for place in [98, 70, 64, 63, 31, 0] {
            long[place] = 2.0;
            assert_eq!(greedy(&long), place as u32);
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        let probabilities = logits(&[0.5, 0.1, 0.3, 0.1]);
        close(&histogram(SamplingParams::default(), &probabilities), &[0.5, 0.1, 0.3, 0.1]);
    }

    #[test]
    fn temperature_sharpens_and_flattens() {
        let probabilities = logits(&[0.8, 0.2]);
        let cold = SamplingParams { temperature: 0.5, ..Default::default() };
        close(&histogram(cold, &probabilities), &[16.0 / 17.0, 1.0 / 17.0]);
        let frozen = SamplingParams { temperature: 1e-6, ..Default::default() };
        close(&histogram(frozen, &probabilities), &[1.0, 0.0]);
        let hot = SamplingParams { temperature: 1e6, ..Default::default() };
        close(&histogram(hot, &probabilities), &[0.5, 0.5]);
    }

    #[test]
    fn top_k_keeps_k_and_the_lower_id_among_equals() {
        let probabilities = logits(&[0.2, 0.4, 0.2, 0.2]);
        let params = SamplingParams { top_k: Some(2), ..Default::default() };
        close(&histogram(params, &probabilities), &[1.0 / 3.0, 2.0 / 3.0, 0.0, 0.0]);
        let all = SamplingParams { top_k: Some(0), ..Default::default() };
        close(&histogram(all, &probabilities), &[0.2, 0.4, 0.2, 0.2]);
    }

    #[test]
    fn top_p_keeps_the_token_that_crosses_the_line() {
        let probabilities = logits(&[0.1, 0.5, 0.1, 0.3]);
        let params = SamplingParams { top_p: 0.6, ..Default::default() };
        close(&histogram(params, &probabilities), &[0.0, 0.625, 0.0, 0.375]);
        let tiny = SamplingParams { top_p: 1e-6, ..Default::default() };
        close(&histogram(tiny, &probabilities), &[0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn top_p_is_exact_on_a_flat_large_vocabulary() {
        let flat = vec![0.0f32; 5000];
        let mut candidates: Vec<Candidate> = (0..5000).map(|id| Candidate { id, weight: 1.0 }).collect();
        cut_to_mass(&mut candidates, &flat, 1234.0);
        let ids: Vec<u32> = candidates.iter().map(|candidate| candidate.id).collect();
        assert_eq!(ids, (0..1234).collect::<Vec<u32>>());
    }

    #[test]
    fn min_p_is_relative_to_the_most_probable_token() {
        let probabilities = logits(&[0.6, 0.25, 0.1, 0.05]);
        let params = SamplingParams { min_p: 0.4, ..Default::default() };
        close(&histogram(params, &probabilities), &[0.6 / 0.85, 0.25 / 0.85, 0.0, 0.0]);
    }

    #[test]
    fn temperature_comes_before_the_cuts() {
        // At temperature 2 the probabilities are about 0.55, 0.27, 0.18: top-p 0.6 keeps two of them, not one.
        let probabilities = logits(&[0.75, 0.17, 0.08]);
        let params = SamplingParams { temperature: 2.0, top_p: 0.6, ..Default::default() };
        assert!(histogram(params, &probabilities)[1] > 0.2);
    }

    /// A mask that allows these of `size` tokens.
    fn mask(size: usize, allowed: impl IntoIterator<Item = u32>) -> SimpleVob {
        let mut mask = SimpleVob::alloc(size);
        allowed.into_iter().for_each(|id| mask.allow_token(id));
        mask
    }

    /// What a mask must do: the logits of the others are as low as can be.
    fn forbidden(logits: &[f32], mask: &SimpleVob) -> Vec<f32> {
        let allowed = |id: usize| id < mask.len() && mask.is_allowed(id as u32);
        logits.iter().enumerate().map(|(id, logit)| if allowed(id) { *logit } else { f32::NEG_INFINITY }).collect()
    }

    #[test]
    fn a_mask_gives_the_tokens_that_forbidden_logits_would_give() {
        let mut noise = Draws::new(Some(3));
        for round in 0..200 {
            let size = 40 + round;
            let logits: Vec<f32> = (0..size).map(|_| (noise.uniform() * 8.0) as f32).collect();
            let share = noise.uniform();
            let mut allowed: Vec<u32> = (0..size as u32).filter(|_| noise.uniform() < share).collect();
            allowed.extend([1, 37]);
            let mask = mask(size - round % 3, allowed.into_iter().filter(|id| (*id as usize) < size - round % 3));
            let barred = forbidden(&logits, &mask);
            for params in [
                SamplingParams::greedy(),
                SamplingParams::default(),
                SamplingParams { top_k: Some(7), ..Default::default() },
                SamplingParams { top_p: 0.7, ..Default::default() },
                SamplingParams { min_p: 0.2, temperature: 1.7, ..Default::default() },
                SamplingParams { top_k: Some(9), top_p: 0.9, min_p: 0.05, ..Default::default() },
            ] {
                let params = SamplingParams { seed: Some(round as u64), ..params };
                let found = sampler(params.clone()).row(&logits).sample(Some(&mask));
                assert_eq!(found, sampler(params.clone()).row(&barred).sample(None), "{params:?}");
            }
        }
    }

    #[test]
    fn tokens_fall_from_the_one_that_a_mask_would_give_first() {
        let mut greedy = sampler(SamplingParams { frequency_penalty: 2.0, ..SamplingParams::greedy() });
        let logits = [1.0, 3.0, 2.0, 0.0];
        assert_eq!(greedy.row(&logits).likely(None).unwrap().collect::<Vec<_>>(), [1, 2, 0, 3]);
        assert_eq!((greedy.row(&logits).sample(Some(&mask(4, [0, 2]))), greedy.hint()), (2, Hint::Place(1)));
        assert_eq!((greedy.row(&logits).sample(Some(&mask(4, [0, 1]))), greedy.hint()), (1, Hint::Place(0)));
        assert_eq!(greedy.row(&logits).likely(None).unwrap().collect::<Vec<_>>(), [0, 1, 2, 3]);
        let mut cut = sampler(SamplingParams { top_k: Some(3), ..Default::default() });
        assert!(cut.row(&logits).likely(None).is_none());
        cut.row(&logits).sample(Some(&mask(4, [0, 1])));
        assert_eq!(cut.hint(), Hint::Mask);
    }

    #[test]
    fn tokens_that_are_drawn_to_be_asked_for_follow_the_distribution() {
        let probabilities = logits(&[0.5, 0.1, 0.3, 0.1]);
        let mut drawn = sampler(SamplingParams { seed: Some(3), ..Default::default() });
        assert_eq!(drawn.hint(), Hint::Drawn);
        let mut counts = vec![0.0; 4];
        for _ in 0..2500 {
            let tokens: Vec<u32> = drawn.row(&probabilities).likely(None).unwrap().collect();
            assert_eq!(tokens.len(), DRAWN);
            tokens.iter().for_each(|id| counts[*id as usize] += 1.0 / (2500.0 * DRAWN as f64));
        }
        close(&counts, &[0.5, 0.1, 0.3, 0.1]);
    }

    #[test]
    fn a_row_is_weighed_once() {
        let mut greedy = sampler(SamplingParams { logit_bias: vec![(0, 4.0)], ..SamplingParams::greedy() });
        let mut row = greedy.row(&[1.0, 3.0, 2.0]);
        assert_eq!(row.likely(None).unwrap().collect::<Vec<_>>(), [0, 1, 2]);
        // Whoever weighed it again would not see this.
        row.sampler.changed[2] = 9.0;
        assert_eq!(row.likely(None).unwrap().next(), Some(2));
        assert_eq!(row.sample(Some(&mask(3, [0, 2]))), 2);
        // The next row is another one.
        assert_eq!(greedy.row(&[1.0, 3.0, 2.0]).sample(None), 0);
    }

    #[test]
    fn a_mask_of_one_token_draws_nothing() {
        let flat = vec![0.0f32; 100];
        let params = SamplingParams { seed: Some(5), ..Default::default() };
        let (mut forced, mut free) = (sampler(params.clone()), sampler(params));
        assert_eq!(forced.row(&flat).sample(Some(&mask(100, [64]))), 64);
        assert_eq!(forced.row(&flat).sample(None), free.row(&flat).sample(None));
    }

    #[test]
    fn forced_tokens_are_penalised_too() {
        let params = SamplingParams { frequency_penalty: 2.0, ..SamplingParams::greedy() };
        let mut sampler = sampler(params);
        sampler.take(1);
        assert_eq!(sampler.row(&[0.0, 1.0]).sample(None), 0);
    }

    #[test]
    fn a_seed_fixes_the_draws_and_no_seed_does_not() {
        let flat = vec![0.0f32; 1000];
        let run = |seed| {
            let mut sampler = sampler(SamplingParams { seed, ..Default::default() });
            (0..16).map(|_| sampler.row(&flat).sample(None)).collect::<Vec<_>>()
        };
        assert_eq!(run(Some(1)), run(Some(1)));
        assert_ne!(run(Some(1)), run(Some(2)));
        assert_ne!(run(None), run(None));
    }
}
