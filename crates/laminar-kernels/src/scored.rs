//! The routers of DeepSeek's line: scores with a correction that counts for the choice alone, limits by group, and a factor.

use std::cell::RefCell;

use crate::exp::exp;
use crate::{Pool, Routing};

/// How logits become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scoring {
    /// Each expert for itself.
    Sigmoid,
    /// All experts together.
    Softmax,
}

/// How experts are chosen by their scores, and weighted.
#[derive(Debug, Clone, Copy)]
pub struct ScoredRule<'a> {
    /// Experts a row goes to.
    pub top_k: usize,
    /// How logits become scores.
    pub scoring: Scoring,
    /// Added to the scores for the choice, not in the weights; one for each expert.
    pub correction: Option<&'a [f32]>,
    /// Neighbouring experts form so many groups of equal size, and
    pub groups: usize,
    /// only those in so many of them are chosen from: the groups whose
    pub groups_used: usize,
    /// so many best experts have the largest sum.
    pub group_best: usize,
    /// Whether the weights of a row are divided by their sum.
    pub normalise: bool,
    /// Factor on the weights.
    pub scale: f32,
}

/// Chooses experts for the rows of `logits` and adds them behind the rows that `routing` holds.
///
/// Equal scores go to the lower expert number, and equal groups to the lower one. NaN is as good as nothing.
///
/// # Panics
///
/// If the rule does not fit `experts`, `logits` is not whole rows, or the rows so far go to another number of experts.
pub fn append_scored(pool: &Pool, logits: &[f32], experts: usize, rule: &ScoredRule<'_>, routing: &mut Routing) {
    let &ScoredRule { top_k, groups, groups_used, group_best, .. } = rule;
    assert!(
        groups > 0 && experts.is_multiple_of(groups) && (1..=groups).contains(&groups_used),
        "{groups_used} of {groups} groups of {experts} experts"
    );
    let of_group = experts / groups;
    assert!((1..=of_group).contains(&group_best), "the {group_best} best of {of_group} experts");
    assert!(
        (1..=of_group * groups_used).contains(&top_k) && logits.len().is_multiple_of(experts),
        "{top_k} of {experts} experts, {} logits",
        logits.len()
    );
    assert!(rule.correction.is_none_or(|values| values.len() == experts), "a correction for other experts");
    // A row takes a few microseconds.
    routing.append(pool, logits.len() / experts, top_k, 16, |row, ids, weights| {
        MEMORY.with_borrow_mut(|memory| memory.route(&logits[row * experts..][..experts], rule, ids, weights));
    });
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// What a row needs, kept for the next of the same thread.
#[derive(Default)]
struct Memory {
    scores: Vec<f32>,
    /// Scores for the choice; those that cannot be chosen any more are negative infinity.
    choice: Vec<f32>,
    /// Of a group what is not counted yet; of all groups their sums and whether they are used.
    group: Vec<f32>,
    sums: Vec<f32>,
    used: Vec<bool>,
}

impl Memory {
    fn route(&mut self, logits: &[f32], rule: &ScoredRule<'_>, ids: &mut [u32], weights: &mut [f32]) {
        self.scores.clear();
        match rule.scoring {
            Scoring::Sigmoid => self.scores.extend(logits.iter().map(|logit| 1.0 / (1.0 + exp(-logit)))),
            Scoring::Softmax => {
                let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                self.scores.extend(logits.iter().map(|logit| exp(logit - max)));
                let sum: f32 = self.scores.iter().sum();
                self.scores.iter_mut().for_each(|score| *score /= sum);
            }
        }
        self.choice.clear();
        match rule.correction {
            Some(values) => self.choice.extend(self.scores.iter().zip(values).map(|(score, value)| score + value)),
            None => self.choice.extend_from_slice(&self.scores),
        }
        if rule.groups_used < rule.groups {
            self.limit_groups(rule);
        }
        for chosen in 0..ids.len() {
            let best = best_of(&self.choice, |expert| !ids[..chosen].contains(&(expert as u32)));
            ids[chosen] = best as u32;
        }
        for (weight, id) in weights.iter_mut().zip(&*ids) {
            *weight = self.scores[*id as usize];
        }
        if rule.normalise {
            // The smallest of what can be divided by, for rows whose scores are all zero.
            let sum = weights.iter().sum::<f32>() + 1e-20;
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        weights.iter_mut().for_each(|weight| *weight *= rule.scale);
    }

    /// Takes the experts of all but the best groups out of the choice.
    fn limit_groups(&mut self, rule: &ScoredRule<'_>) {
        let of_group = self.choice.len() / rule.groups;
        self.sums.clear();
        for group in self.choice.chunks_exact(of_group) {
            self.group.clear();
            self.group.extend_from_slice(group);
            let mut sum = 0.0;
            for _ in 0..rule.group_best {
                let best = best_of(&self.group, |_| true);
                sum += self.group[best];
                self.group[best] = f32::NEG_INFINITY;
            }
            self.sums.push(sum);
        }
        self.used.clear();
        self.used.resize(rule.groups, false);
        for _ in 0..rule.groups_used {
            let best = best_of(&self.sums, |group| !self.used[group]);
            self.used[best] = true;
        }
        for (group, used) in self.choice.chunks_exact_mut(of_group).zip(&self.used) {
            if !used {
                group.fill(f32::NEG_INFINITY);
            }
        }
    }
}

/// The number of the largest allowed value, the first among equals; the first allowed one if none is a number.
fn best_of(values: &[f32], allowed: impl Fn(usize) -> bool) -> usize {
    let mut best: Option<usize> = None;
    for (i, value) in values.iter().enumerate().filter(|(i, _)| allowed(*i)) {
        let better = match best {
            None => true,
            Some(best) => *value > values[best] || (values[best].is_nan() && !value.is_nan()),
        };
        if better {
            best = Some(i);
        }
    }
    best.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: ScoredRule<'static> = ScoredRule {
        top_k: 2,
        scoring: Scoring::Sigmoid,
        correction: None,
        groups: 1,
        groups_used: 1,
        group_best: 1,
        normalise: false,
        scale: 1.0,
    };

    fn route(logits: &[f32], experts: usize, rule: &ScoredRule<'_>) -> Routing {
        let mut routing = Routing::default();
        append_scored(&Pool::new(2), logits, experts, rule, &mut routing);
        routing
    }

    fn sigmoid(x: f32) -> f32 {
        (1.0 / (1.0 + (-f64::from(x)).exp())) as f32
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn the_correction_changes_the_choice_and_no_weight() {
        let logits = [0.0, 2.0, -1.0, 1.0];
        let plain = route(&logits, 4, &RULE);
        assert_eq!(plain.ids, [1, 3]);
        assert_close(&plain.weights, &[sigmoid(2.0), sigmoid(1.0)]);
        let rule = ScoredRule { correction: Some(&[0.0, -0.5, 0.7, 0.0]), scale: 2.5, ..RULE };
        let corrected = route(&logits, 4, &rule);
        assert_eq!(corrected.ids, [2, 3]);
        assert_close(&corrected.weights, &[2.5 * sigmoid(-1.0), 2.5 * sigmoid(1.0)]);
        let normalised = route(&logits, 4, &ScoredRule { normalise: true, ..rule });
        assert_close(&[normalised.weights.iter().sum()], &[2.5]);
    }

    #[test]
    fn only_the_best_groups_are_chosen_from() {
        // By their best expert the second group wins, by their two best the first.
        let logits = [1.0, 1.1, -9.0, 2.0, -9.0, -9.0];
        let by_one = ScoredRule { groups: 2, ..RULE };
        assert_eq!(route(&logits, 6, &by_one).ids, [3, 4]);
        assert_eq!(route(&logits, 6, &ScoredRule { group_best: 2, ..by_one }).ids, [1, 0]);
        assert_eq!(route(&logits, 6, &ScoredRule { groups_used: 2, ..by_one }).ids, [3, 1]);
    }

    #[test]
    fn softmax_scores_sum_to_one_over_all_experts() {
        let logits: Vec<f32> = (0..50 * 8).map(|i| ((i * 7919) % 613) as f32 / 100.0 - 3.0).collect();
        let all = route(&logits, 8, &ScoredRule { top_k: 8, scoring: Scoring::Softmax, ..RULE });
        for weights in all.weights.chunks(8) {
            assert_close(&[weights.iter().sum()], &[1.0]);
            assert!(weights.is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn rows_routed_as_they_come_are_routed_alike_and_ids_stay_distinct() {
        let (experts, rows) = (12, 70);
        let logits: Vec<f32> = (0..rows * experts).map(|i| ((i * 7919) % 613) as f32 / 100.0 - 3.0).collect();
        let rule = ScoredRule { top_k: 3, groups: 4, groups_used: 2, group_best: 2, normalise: true, ..RULE };
        let whole = route(&logits, experts, &rule);
        let mut parts = Routing::default();
        for part in [0..20, 20..21, 21..70] {
            let logits = &logits[part.start * experts..part.end * experts];
            append_scored(&Pool::new(3), logits, experts, &rule, &mut parts);
        }
        assert_eq!(parts, whole);
        let lost = route(&[f32::NAN; 12], 12, &rule);
        assert!(lost.ids[0] != lost.ids[1] && lost.ids[1] != lost.ids[2] && lost.ids[0] != lost.ids[2]);
    }
}
