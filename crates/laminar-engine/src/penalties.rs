//! What the tokens so far do to the next token's logits.

use crate::SamplingParams;
use std::collections::BTreeMap;

/// Logit bias and penalties of one request.
#[derive(Debug)]
pub(crate) struct Penalties {
    bias: Vec<(u32, f32)>,
    repetition: f32,
    frequency: f32,
    presence: f32,
    /// Tokens of the prompt and the answer, with their number in the answer. Empty when no penalty is on.
    seen: BTreeMap<u32, u32>,
    counting: bool,
}

impl Penalties {
    /// Starts with the prompt.
    pub fn new(params: &SamplingParams, prompt: &[u32]) -> Self {
        let (repetition, frequency, presence) =
            (params.repetition_penalty, params.frequency_penalty, params.presence_penalty);
        let counting = repetition != 1.0 || frequency != 0.0 || presence != 0.0;
        let seen = if counting { prompt.iter().map(|id| (*id, 0)).collect() } else { BTreeMap::new() };
        Self { bias: params.logit_bias.clone(), repetition, frequency, presence, seen, counting }
    }

    /// Whether logits count as they are.
    pub fn are_none(&self) -> bool {
        self.bias.is_empty() && !self.counting
    }

    /// Fills the buffer with the logits as they count.
    pub fn fill(&self, logits: &[f32], buffer: &mut Vec<f32>) {
        buffer.clear();
        buffer.extend_from_slice(logits);
        self.apply(buffer);
    }

    /// Changes the logits: bias first, then the repetition penalty (over prompt and answer, as Hugging Face and vLLM
    /// count), then frequency and presence (over the answer, as OpenAI counts).
    fn apply(&self, logits: &mut [f32]) {
        for (id, bias) in &self.bias {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit += bias;
            }
        }
        for (id, count) in &self.seen {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit = if *logit > 0.0 { *logit / self.repetition } else { *logit * self.repetition };
                if *count > 0 {
                    *logit -= self.frequency * *count as f32 + self.presence;
                }
            }
        }
    }

    /// A token joined the answer.
    pub fn count(&mut self, id: u32) {
        if self.counting {
            *self.seen.entry(id).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(params: SamplingParams, prompt: &[u32], answer: &[u32]) -> Vec<f32> {
        let mut penalties = Penalties::new(&params, prompt);
        answer.iter().for_each(|id| penalties.count(*id));
        let mut logits = vec![2.0, -2.0, 4.0, 0.0];
        penalties.apply(&mut logits);
        logits
    }

    #[test]
    fn repetition_counts_the_prompt_too() {
        let params = SamplingParams { repetition_penalty: 2.0, ..Default::default() };
        assert_eq!(apply(params, &[0, 1], &[2, 2]), [1.0, -4.0, 2.0, 0.0]);
    }

    #[test]
    fn frequency_and_presence_count_the_answer_alone() {
        let params = SamplingParams { frequency_penalty: 0.5, presence_penalty: 0.25, ..Default::default() };
        assert_eq!(apply(params, &[0, 1], &[2, 2, 3]), [2.0, -2.0, 2.75, -0.75]);
    }

    #[test]
    fn bias_comes_before_the_penalties() {
        let logit_bias = vec![(0, 2.0), (3, -100.0)];
        let params = SamplingParams { logit_bias, repetition_penalty: 2.0, ..Default::default() };
        assert_eq!(apply(params, &[0], &[]), [2.0, -2.0, 4.0, -100.0]);
    }
}
