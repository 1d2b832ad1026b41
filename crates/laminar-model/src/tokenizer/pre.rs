//! How text is cut into words before BPE looks at it.
//!
//! A byte-level BPE never merges across these cuts, so they are part of the vocabulary: with the wrong rule every
//! prompt still encodes, only to ids the model has hardly ever seen. A GGUF file names its rule in
//! `tokenizer.ggml.pre`; the regular expressions behind the names are those of the models' own `tokenizer.json` files.

use fancy_regex::{Regex, RegexBuilder};

use super::TokenizerError;

/// One rule: regular expressions applied in order, each cutting the pieces that the one before it left.
/// Both what a pattern matches and what lies between two matches become pieces.
#[derive(Debug)]
pub(super) struct Rule {
    /// The names in `tokenizer.ggml.pre` that mean this rule.
    names: &'static [&'static str],
    patterns: &'static [&'static str],
    /// A word that is a token as it stands is taken whole, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// BOS is added unless the file says otherwise.
    pub(super) add_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Cased letters as the DeepSeek LLM vocabulary counted them (an older Unicode, so no category says the same).
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const DEEPSEEK_CJK: &str = r"[一-龥ࠀ-一가-퟿]+";
const DEEPSEEK3_CJK: &str = r"[一-龥぀-ゟ゠-ヿ]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";

const fn rule(names: &'static [&'static str], patterns: &'static [&'static str]) -> Rule {
    Rule { names, patterns, ignore_merges: false, add_bos: false }
}

static RULES: &[Rule] = &[
    rule(&["default"], &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    rule(
        &[
            "gpt-2",
            "phi-2",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        &[GPT2],
    ),
    rule(
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[r"\p{N}", GPT2],
    ),
    Rule {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        patterns: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
    },
    rule(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3]),
    Rule { names: &["glm4", "glm5"], patterns: &[LLAMA3], ignore_merges: true, add_bos: false },
    rule(&["qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"], &[QWEN2]),
    rule(&["qwen35"], &[QWEN35]),
    rule(&["ufakzeka"], &[r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]),
    rule(&["laguna"], &[r"[^\n]+|[\n]+", QWEN2]),
    Rule {
        names: &["minicpm5"],
        patterns: &[
            r"\p{N}{1,3}",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ignore_merges: true,
        add_bos: false,
    },
    rule(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[O200K]),
    rule(&["tiny_aya", "cohere2moe"], &[r"\d{1,3}(?=(?:\d{3})*\b)", O200K]),
    Rule { names: &["tekken"], patterns: &[TEKKEN], ignore_merges: true, add_bos: true },
    rule(
        &["deepseek-llm"],
        &[r"[\r\n]", DEEPSEEK_LETTERS, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", DEEPSEEK_CJK, r"\p{N}+"],
    ),
    rule(&["deepseek-coder"], &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, r"\p{N}"]),
    rule(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[r"\p{N}{1,3}", DEEPSEEK3_CJK, DEEPSEEK3]),
    rule(&["falcon"], &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
    rule(&["bloom", "poro-chat", "gpt3-finnish"], &[BLOOM]),
    rule(&["viking"], &[BLOOM, r"\p{N}"]),
    rule(&["superbpe"], &[r"\p{N}+", r"(?=(\d{3})+(?!\d))"]),
    rule(
        &["bailingmoe", "bailingmoe2", "llada-moe"],
        &[r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"],
    ),
    rule(
        &["seed-coder"],
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
    ),
    rule(
        &["exaone-moe"],
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        ],
    ),
    rule(
        &["jais-2"],
        &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}",
        ],
    ),
];

impl Rule {
    /// The rule that a file names in `tokenizer.ggml.pre`.
    pub(super) fn named(name: &str) -> Result<&'static Self, TokenizerError> {
        RULES.iter().find(|rule| rule.names.contains(&name)).ok_or_else(|| {
            let mut known: Vec<&str> = RULES.iter().flat_map(|rule| rule.names).copied().collect();
            known.sort_unstable();
            TokenizerError::UnsupportedPreTokenizer { name: name.to_owned(), supported: known.join(", ") }
        })
    }
}

/// A rule ready to run.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    patterns: Vec<Regex>,
}

impl PreTokenizer {
    /// Compiles the patterns of a rule.
    pub(super) fn new(rule: &Rule) -> Result<Self, TokenizerError> {
        let patterns = rule
            .patterns
            .iter()
            .map(|pattern| {
                // Long runs of spaces cost one step of backtracking a char; the limit only has to end real explosions.
                RegexBuilder::new(pattern)
                    .backtrack_limit(1 << 30)
                    .build()
                    .map_err(|error| TokenizerError::Vocabulary(format!("pre-tokenizer: {error}")))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// The pieces of a text, in order and without gaps.
    pub(super) fn split<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, TokenizerError> {
        let mut pieces = vec![text];
        for pattern in &self.patterns {
            let mut next = Vec::with_capacity(pieces.len());
            for piece in pieces {
                cut(pattern, piece, &mut next)?;
            }
            pieces = next;
        }
        Ok(pieces)
    }
}

/// Cuts `piece` at both ends of every match.
fn cut<'t>(pattern: &Regex, piece: &'t str, out: &mut Vec<&'t str>) -> Result<(), TokenizerError> {
    let mut from = 0;
    for found in pattern.find_iter(piece) {
        let found = found.map_err(|error| TokenizerError::Encode(error.to_string()))?;
        for at in [found.start(), found.end()] {
            if let Some(part) = piece.get(from..at).filter(|part| !part.is_empty()) {
                out.push(part);
                from = at;
            }
        }
    }
    out.extend(piece.get(from..).filter(|part| !part.is_empty()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        let rule = Rule::named(name).unwrap();
        PreTokenizer::new(rule).unwrap().split(text).unwrap()
    }

    #[test]
    fn every_rule_compiles_and_loses_no_text() {
        let text = "I'm 12345 km\taway…\r\n  \n\nÉté 漢字かな 한국 ١٢٣ e\u{301} 👩‍👩‍👧 {x: 1}\u{a0} \u{85}end  ";
        for rule in RULES {
            let pieces = PreTokenizer::new(rule).unwrap().split(text).unwrap();
            assert_eq!(pieces.concat(), text, "{:?}", rule.names);
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
        }
    }

    #[test]
    fn no_name_means_two_rules() {
        let mut names: Vec<&str> = RULES.iter().flat_map(|rule| rule.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn digits_group_as_each_model_expects() {
        assert_eq!(split("gpt-2", "a 12345"), ["a", " 12345"]);
        assert_eq!(split("smollm", "a 12345"), ["a", " ", "1", "2", "3", "4", "5"]);
        assert_eq!(split("llama-bpe", "a 12345"), ["a", " ", "123", "45"]);
        assert_eq!(split("qwen2", "a 12345"), ["a", " ", "1", "2", "3", "4", "5"]);
        assert_eq!(split("superbpe", "1234567"), ["1", "234", "567"]);
        assert_eq!(split("tiny_aya", "1234567"), ["1", "234", "567"]);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Rule::named("llama9").unwrap_err().to_string();
        assert!(error.contains("\"llama9\"") && error.contains("qwen2"), "{error}");
    }
}
