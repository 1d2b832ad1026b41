//! Log-probabilities of the model's own distribution.

use crate::{TokenLogprobs, TopLogprob};
use std::cmp::Ordering;

/// The larger logit first, the lower id among equals.
pub(crate) fn by_rank(logits: &[f32], a: u32, b: u32) -> Ordering {
    logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b))
}

/// Log-softmax of raw logits at `chosen` and at the `count` most probable tokens. The logits are finite.
pub(crate) fn logprobs(logits: &[f32], chosen: u32, count: usize) -> TokenLogprobs {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    let norm = f64::from(max) + sum.ln();
    let logprob = |id: u32| (f64::from(logits[id as usize]) - norm) as f32;

    let count = count.min(logits.len());
    let mut ids: Vec<u32> = Vec::new();
    if count > 0 {
        ids.extend(0..logits.len() as u32);
        ids.select_nth_unstable_by(count - 1, |a, b| by_rank(logits, *a, *b));
        ids.truncate(count);
        ids.sort_unstable_by(|a, b| by_rank(logits, *a, *b));
    }
    TokenLogprobs {
        logprob: logprob(chosen),
        top: ids.into_iter().map(|id| TopLogprob { id, logprob: logprob(id) }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_sums_to_one() {
        let found = logprobs(&[0.0, 3.0, 1.0, 3.0], 2, 4);
        let ids: Vec<u32> = found.top.iter().map(|top| top.id).collect();
        assert_eq!(ids, [1, 3, 2, 0]);
        let sum: f32 = found.top.iter().map(|top| top.logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(found.logprob, found.top[2].logprob);
    }

    #[test]
    fn a_list_that_was_not_asked_for_is_empty() {
        let found = logprobs(&[0.0, 0.0], 0, 0);
        assert!(found.top.is_empty());
        assert_eq!(found.logprob, 0.5f32.ln());
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert_eq!(logprobs(&[1e30, 0.0], 0, 1).logprob, 0.0);
    }
}
