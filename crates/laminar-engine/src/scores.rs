//! Log-probabilities of prompts: for each token but the first, how probable the model finds it behind those before it.

use crate::TokenLogprobs;
use crate::logprobs::logprobs;
use laminar_schedule::SequenceId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows whose logits are computed at once: a row has as many as the vocabulary, so a whole prompt's would be gigabytes.
pub(crate) const ROWS_AT_ONCE: usize = 16;

/// The prompts that are being scored.
#[derive(Debug, Default)]
pub(crate) struct Scores(BTreeMap<SequenceId, Scored>);

#[derive(Debug)]
struct Scored {
    prompt: Arc<[u32]>,
    /// Most probable tokens that are told at each place.
    top: usize,
    found: Vec<TokenLogprobs>,
}

impl Scores {
    /// Scores the prompt of a sequence from its first row on.
    pub fn begin(&mut self, sequence: SequenceId, prompt: Arc<[u32]>, top: usize) {
        self.0.insert(sequence, Scored { prompt, top, found: Vec::new() });
    }

    /// How many of `rows` rows from position `start` on are scored: all but that of the prompt's last token, which nothing
    /// of the prompt follows.
    pub fn wanted(&self, sequence: SequenceId, start: usize, rows: usize) -> usize {
        let last = self.0.get(&sequence).map_or(0, |scored| scored.prompt.len().saturating_sub(1));
        last.saturating_sub(start).min(rows)
    }

    /// Takes the logits of the row at a position, `vocab` of them. Rows come in order.
    pub fn add(&mut self, sequence: SequenceId, position: usize, logits: &[f32]) {
        if let Some(scored) = self.0.get_mut(&sequence)
            && let Some(next) = scored.prompt.get(position + 1)
        {
            scored.found.push(logprobs(logits, *next, scored.top));
        }
    }

    /// The scores of a sequence whose prompt has passed all layers.
    pub fn take(&mut self, sequence: SequenceId) -> Option<Vec<TokenLogprobs>> {
        self.0.remove(&sequence).map(|scored| scored.found)
    }

    /// Drops what is kept for a sequence.
    pub fn forget(&mut self, sequence: SequenceId) {
        self.0.remove(&sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_scores_the_token_behind_it_and_the_last_row_none() {
        let mut scores = Scores::default();
        let id = SequenceId(1);
        scores.begin(id, [2, 0, 1].into(), 1);
        assert_eq!((scores.wanted(id, 0, 2), scores.wanted(id, 1, 2), scores.wanted(id, 2, 1)), (2, 1, 0));
        assert_eq!(scores.wanted(SequenceId(2), 0, 2), 0);
        scores.add(id, 0, &[1.0, 1.0, 1.0]);
        scores.add(id, 1, &[0.0, 0.0, 0.0]);
        scores.add(id, 2, &[5.0, 0.0, 0.0]);
        let found = scores.take(id).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|score| (score.logprob - (1.0f32 / 3.0).ln()).abs() < 1e-6 && score.top.len() == 1));
        assert_eq!(scores.take(id), None);
    }
}
