//! The next token of an answer that keeps to a grammar.

use crate::guide::{Guide, MaskThreads, Next};
use crate::sampler::Sampler;

/// Chooses a token that the grammar allows, which joins the answer. A greedy choice is the same whether there is a mask or not,
/// and one that is drawn has the same probability.
///
/// # Errors
/// The parser has reached one of its limits.
pub(crate) fn choose(
    sampler: &mut Sampler,
    guide: &mut Guide,
    logits: &[f32],
    masks: &MaskThreads,
) -> Result<u32, String> {
    let mut row = sampler.row(logits);
    if let Next::Open = guide.next(masks)? {
        let found = row.likely(guide.possible()).and_then(|tokens| {
            let worth = tokens.worth();
            guide.first_allowed(tokens, worth)
        });
        if let Some(id) = found {
            return Ok(row.take(id));
        }
        guide.compute()?;
    }
    match guide.next(masks)? {
        Next::Among(mask) => Ok(row.sample(Some(mask))),
        Next::Forced(id) => Ok(row.take(id)),
        Next::Open => Err("the mask is missing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::Advance;
    use crate::rng::Draws;
    use crate::testing::tokenizer;
    use crate::{Constraint, Grammar, GrammarCompiler, SamplingParams};
    use serde_json::json;

    /// Longest answer.
    const TOKENS: usize = 150;

    fn grammars() -> Vec<Grammar> {
        let record = json!({"type": "object", "additionalProperties": false, "required": ["name", "size", "kind"],
            "properties": {"name": {"type": "string", "maxLength": 20}, "size": {"type": "integer", "maximum": 9999},
            "kind": {"enum": ["animal", "plant", "stone"]}, "note": {"type": "string", "pattern": "^[a-f ]{3,9}$"}}});
        vec![
            Grammar::Json(json!({"type": "object"})),
            Grammar::Json(json!({"type": "array", "items": record, "minItems": 3})),
            Grammar::Json(json!({"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]})),
            Grammar::Regex("([A-Z][a-z]{2,9}( [a-z]{1,12}){2,9}[.!?] ){40}".into()),
            Grammar::Regex("[0-9]{3}-(abc|abd|xyz)+, and so it went on until the end\\.".into()),
            Grammar::Lark("start: /(.|\\n)*/".into()),
            Grammar::Lark("start: word (\" \" word)*\nword[stop=\"\"]: /[a-z]+/".into()),
            Grammar::Lark("start: (text call)* text\ntext: /[^<]*/\ncall[suffix=\"</call>\"]: \"<call>\" /.*/".into()),
            Grammar::Choice(vec!["Once".into(), "Once upon".into(), "Once upon a time there was a hen".into()]),
        ]
    }

    /// Where the rows of logits of an answer come from.
    struct Rows {
        seed: u64,
        vocab: usize,
        /// Different logits: with few of them most are equal.
        kinds: f64,
        /// Tokens that are above all others half of the time.
        favourites: Vec<u32>,
    }

    impl Rows {
        /// The row behind so many tokens of the answer.
        fn row(&self, place: usize) -> Vec<f32> {
            let mut draws = Draws::new(Some(self.seed * TOKENS as u64 + place as u64));
            let mut logits: Vec<f32> = (0..self.vocab).map(|_| (draws.uniform() * self.kinds).floor() as f32).collect();
            for id in &self.favourites {
                if draws.uniform() < 0.5 {
                    logits[*id as usize] += self.kinds as f32;
                }
            }
            logits
        }
    }

    /// The answer of the parser alone: the mask of every token, and of those allowed the largest logit, the lowest id first.
    fn by_masks(constraint: &Constraint, rows: &Rows) -> Vec<u32> {
        let (mut parser, ahead) = constraint.begin();
        let mut ids = ahead.forced;
        while ids.len() < TOKENS && !parser.is_stopped() {
            let mask = parser.mask().unwrap();
            let is_possible = |id| constraint.possible().is_none_or(|possible| possible.is_allowed(id));
            assert!(mask.iter().all(is_possible), "a mask allows what is not possible");
            let logits = rows.row(ids.len());
            let allowed = (0..rows.vocab as u32).filter(|id| mask.is_allowed(*id));
            let better = |best: u32, id: u32| if logits[id as usize] > logits[best as usize] { id } else { best };
            let id = allowed.reduce(better).unwrap();
            parser.consume(id).unwrap();
            ids.push(id);
        }
        ids
    }

    /// The answer as the engine makes it, and how many of its tokens were found without a mask.
    fn as_served(constraint: &Constraint, rows: &Rows, masks: &MaskThreads) -> (Vec<u32>, usize) {
        let mut sampler = Sampler::new(&SamplingParams::greedy(), &[]);
        let mut guide = Guide::new(constraint);
        let (mut ids, mut found) = (Vec::new(), 0);
        while ids.len() < TOKENS {
            let id = match guide.forced() {
                Some(id) => id,
                None => {
                    let open = matches!(guide.next(masks).unwrap(), Next::Open);
                    let id = choose(&mut sampler, &mut guide, &rows.row(ids.len()), masks).unwrap();
                    found += usize::from(open && guide.is_open());
                    id
                }
            };
            ids.push(id);
            if guide.accept(id, sampler.hint(), masks).unwrap() == Advance::Complete {
                break;
            }
        }
        (ids, found)
    }

    #[test]
    fn greedy_choices_are_those_of_the_masks() {
        let tokenizer = tokenizer();
        let compiler = GrammarCompiler::new(&tokenizer).unwrap();
        let mut masks = MaskThreads::default();
        masks.start(1);
        let (mut tokens, mut unmasked) = (0, 0);
        for grammar in grammars() {
            let constraint = compiler.compile(&grammar).unwrap();
            for seed in 0..6 {
                for kinds in [2.0, 40.0, 1e6] {
                    let vocab = tokenizer.vocab_size();
                    // Those that end a text, and some others.
                    let mut favourites: Vec<u32> =
                        (0..12).map(|n| (seed as u32 * 131 + n * 337) % vocab as u32).collect();
                    favourites.extend_from_slice(tokenizer.stop_ids());
                    let rows = Rows { seed, vocab, kinds, favourites };
                    let (served, found) = as_served(&constraint, &rows, &masks);
                    assert_eq!(served, by_masks(&constraint, &rows), "{grammar:?}, seed {seed}, {kinds} logits");
                    tokens += served.len();
                    unmasked += found;
                }
            }
        }
        // Both ways are common.
        assert!(unmasked > tokens / 5 && unmasked < tokens * 9 / 10, "{unmasked} of {tokens}");
    }

    #[test]
    fn tokens_that_are_drawn_have_the_probabilities_that_masks_give_them() {
        let tokenizer = tokenizer();
        let constraint =
            GrammarCompiler::new(&tokenizer).unwrap().compile(&Grammar::Regex("[a-z]{3}[a-z ]{70,80}".into())).unwrap();
        let (mut parser, _) = constraint.begin();
        let mask = parser.mask().unwrap();
        let possible = constraint.possible().unwrap();
        let (allowed, refused): (Vec<u32>, Vec<u32>) = (500..tokenizer.vocab_size() as u32)
            .filter(|id| possible.is_allowed(*id))
            .partition(|id| mask.is_allowed(*id));
        for (weight_refused, masks_expected) in [(1.0f32, false), (1000.0, true)] {
            let mut logits = vec![-50.0; tokenizer.vocab_size()];
            let weights = [(allowed[0], 1.0f32), (allowed[1], 2.0), (allowed[2], 5.0)];
            weights.iter().for_each(|(id, weight)| logits[*id as usize] = weight.ln());
            refused[..4].iter().for_each(|id| logits[*id as usize] = weight_refused.ln());
            let mut sampler = Sampler::new(&SamplingParams { seed: Some(1), ..Default::default() }, &[]);
            let (rounds, mut masked, mut counts) = (6000, 0, [0.0; 3]);
            for _ in 0..rounds {
                let mut guide = Guide::new(&constraint);
                guide.forget_mask();
                let id = choose(&mut sampler, &mut guide, &logits, &MaskThreads::default()).unwrap();
                let place = weights.iter().position(|(other, _)| *other == id).expect("an allowed token");
                counts[place] += 1.0 / f64::from(rounds);
                masked += usize::from(!guide.is_open());
            }
            for ((_, weight), count) in weights.iter().zip(counts) {
                assert!((count - f64::from(*weight) / 8.0).abs() < 0.02, "{counts:?}");
            }
            // Where next to nothing of the probability is allowed, a mask is needed nearly always.
            assert_eq!(masked > rounds as usize / 2, masks_expected, "{masked}");
        }
    }
}
