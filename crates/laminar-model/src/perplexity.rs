//! How well a model predicts a text: the perplexity of its tokens, as llama.cpp measures it.
//!
//! The text is cut into chunks of one length, each run on its own; the first token of each is replaced by the one that
//! begins texts, if the model has texts begin with one. The second half of a chunk is scored: its tokens are predicted
//! from at least half a chunk. (Hugging Face's recipe strides by less than a chunk instead and gives lower numbers.)

use laminar_kernels::Pool;
use serde::Serialize;

use crate::error::ModelError;
use crate::{BLOCK_LEN, ExpertLoads, KvCache, KvType, Model, RowSpan, Scratch, StateSlots};

/// Rows whose logits are held at once.
const ROWS: usize = 16;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Tokens of a chunk, at least 4.
    pub context: usize,
    /// Chunks to score; the text has at least so many.
    pub chunks: usize,
    /// What takes the place of each chunk's first token.
    pub bos: Option<u32>,
    /// Element type of keys and values; that which the model was loaded for.
    pub kv: KvType,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scores {
    /// Chunks that were run.
    pub chunks: usize,
    /// Tokens that were scored.
    pub scored_tokens: usize,
    /// Mean of the negative logarithms of their probabilities, in nats.
    pub mean_nll: f64,
    /// Its standard error, as if tokens were independent.
    pub mean_nll_error: f64,
    /// The exponential of the mean.
    pub perplexity: f64,
    /// Its standard error.
    pub perplexity_error: f64,
}

/// Sums over scored tokens.
#[derive(Default)]
struct Sums {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, nll: f64) {
        self.count += 1;
        self.sum += nll;
        self.squares += nll * nll;
    }

    fn scores(&self, chunks: usize) -> Scores {
        let count = self.count.max(1) as f64;
        let mean = self.sum / count;
        let variance = (self.squares / count - mean * mean).max(0.0);
        let error = (variance / (count - 1.0).max(1.0)).sqrt();
        let perplexity = mean.exp();
        Scores {
            chunks,
            scored_tokens: self.count,
            mean_nll: mean,
            mean_nll_error: error,
            perplexity,
            perplexity_error: error * perplexity,
        }
    }
}

/// Scores a text given as token ids. `progress` is told the chunks done so far.
///
/// # Errors
/// A token outside the vocabulary, or fewer than the `chunks` that are asked for.
pub fn perplexity(
    model: &Model,
    pool: &Pool,
    ids: &[u32],
    options: &Options,
    progress: &mut dyn FnMut(usize),
) -> Result<Scores, ModelError> {
    let Options { context, chunks, bos, kv } = *options;
    if context < 4 || ids.len() / context < chunks {
        return Err(ModelError::Call(format!("{chunks} chunks of {context} out of {} tokens", ids.len())));
    }
    let count = context.div_ceil(BLOCK_LEN);
    let blocks: Vec<u32> = (0..count as u32).collect();
    let mut memory = KvCache::new(model.config(), count, BLOCK_LEN, kv);
    let (mut scratch, mut loads) = (Scratch::default(), ExpertLoads::default());
    let (mut hidden, mut logits) = (Vec::new(), Vec::new());
    let mut sums = Sums::default();
    let width = model.config().row_width();
    for (number, chunk) in ids.chunks_exact(context).take(chunks).enumerate() {
        let mut tokens = chunk.to_vec();
        if let Some(bos) = bos {
            tokens[0] = bos;
        }
        hidden.clear();
        model.embed(&tokens, &mut hidden)?;
        let span = RowSpan {
            first_row: 0,
            rows: context,
            first_pos: 0,
            blocks: &blocks,
            state: StateSlots::own(0),
            prefill: true,
        };
        model.forward(pool, &mut memory, &mut scratch, 0..model.layers(), &[span], &mut hidden, &mut loads)?;
        // The row of a token predicts the next one; the last row predicts what is not there.
        let first = context / 2;
        for (piece, hidden) in hidden[first * width..(context - 1) * width].chunks(ROWS * width).enumerate() {
            model.logits(pool, &mut scratch, hidden, &mut logits)?;
            let next = first + piece * ROWS + 1;
            for (row, token) in logits.chunks_exact(model.vocab_size()).zip(&tokens[next..]) {
                sums.add(surprise(row, *token));
            }
        }
        progress(number + 1);
    }
    Ok(sums.scores(chunks))
}

/// The negative logarithm of a token's probability under the softmax of `logits`.
fn surprise(logits: &[f32], token: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - max).exp())).sum();
    let chosen = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    f64::from(max - chosen) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadOptions;
    use crate::checkpoint::{Checkpoint, Gguf};
    use crate::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};

    #[test]
    fn surprise_is_that_of_the_softmax() {
        let logits = [0.0f32, 1.0, 2.0];
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        for (token, logit) in (0..).zip(logits) {
            assert!((surprise(&logits, token) - (sum.ln() - f64::from(logit))).abs() < 1e-6);
        }
    }

    #[test]
    fn the_error_is_that_of_a_mean() {
        let mut sums = Sums::default();
        for nll in [1.0, 2.0, 3.0, 4.0] {
            sums.add(nll);
        }
        let scores = sums.scores(1);
        assert!((scores.mean_nll - 2.5).abs() < 1e-12);
        // Variance of the four by n, over n - 1.
        assert!((scores.mean_nll_error - (1.25f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((scores.perplexity - 2.5f64.exp()).abs() < 1e-9);
        assert!((scores.perplexity_error - scores.perplexity * scores.mean_nll_error).abs() < 1e-12);
    }

    #[test]
    fn a_text_is_scored_as_its_rows_say_one_by_one() {
        let bytes = to_vec(&SynthOptions::new(Preset::TinyDense), &byte_tokenizer()).unwrap();
        let checkpoint = Checkpoint::Gguf(Gguf::from_vec(bytes).unwrap());
        let pool = Pool::new(2);
        let model = Model::load(&checkpoint, &pool, &LoadOptions::default()).unwrap();
        let context = 24;
        let ids: Vec<u32> = (0..3 * context as u32 + 5).map(|i| i * 37 % 251).collect();
        let options = Options { context, chunks: 3, bos: Some(1), kv: KvType::F16 };
        let mut steps = Vec::new();
        let scores = perplexity(&model, &pool, &ids, &options, &mut |done| steps.push(done)).unwrap();
        assert_eq!((scores.chunks, scores.scored_tokens, steps), (3, 3 * 11, vec![1, 2, 3]));

        let mut sums = Sums::default();
        for chunk in ids.chunks_exact(context) {
            let mut tokens = chunk.to_vec();
            tokens[0] = 1;
            let mut kv = KvCache::new(model.config(), 1, BLOCK_LEN, KvType::F16);
            let (mut scratch, mut loads) = (Scratch::default(), ExpertLoads::default());
            for (position, &id) in tokens.iter().enumerate() {
                let (mut hidden, mut logits) = (Vec::new(), Vec::new());
                model.embed(&[id], &mut hidden).unwrap();
                let span = RowSpan {
                    first_row: 0,
                    rows: 1,
                    first_pos: position,
                    blocks: &[0],
                    state: StateSlots::own(0),
                    prefill: true,
                };
                let layers = 0..model.layers();
                model.forward(&pool, &mut kv, &mut scratch, layers, &[span], &mut hidden, &mut loads).unwrap();
                model.logits(&pool, &mut scratch, &hidden, &mut logits).unwrap();
                if position >= context / 2 && position + 1 < context {
                    sums.add(surprise(&logits, tokens[position + 1]));
                }
            }
        }
        assert_eq!(sums.scores(3), scores);
        let more = Options { chunks: 4, ..options };
        assert!(perplexity(&model, &pool, &ids, &more, &mut |_| {}).is_err());
    }
}
