//! How text is cut into words before BPE looks at it.
//!
//! A byte-level BPE never merges across these cuts, so they are part of the vocabulary: with the wrong rule every
//! prompt still encodes, only to ids the model has hardly ever seen. A GGUF file names its rule in
//! `tokenizer.ggml.pre`; the regular expressions behind the names are those of the models' own `tokenizer.json` files.

use regex_automata::Input;
use regex_automata::meta::Regex;

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

pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Kimi's: runs of Han apart, and no other word with Han in it.
const KIMI: &str = concat!(
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// Cased letters as the DeepSeek LLM vocabulary counted them (an older Unicode, so no category says the same).
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-z",
    r"\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}",
    r"\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}",
    r"\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}",
    r"\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}",
    r"\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}",
    r"\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}",
    r"\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}",
    r"\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}",
    r"\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}",
    r"\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}",
    r"\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}",
    r"\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}",
    r"\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}",
    r"]+"
);
const DEEPSEEK_CJK: &str = r"[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+";
const DEEPSEEK3_CJK: &str = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const BLOOM: &str = r" ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+";

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
    Rule { names: &["kimi-k2"], patterns: &[KIMI], ignore_merges: true, add_bos: false },
    Rule { names: &["tekken"], patterns: &[TEKKEN], ignore_merges: true, add_bos: true },
    rule(
        &["deepseek-llm"],
        &[
            r"[\r\n]",
            DEEPSEEK_LETTERS,
            r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+",
            r"\s+$",
            DEEPSEEK_CJK,
            r"\p{N}+",
        ],
    ),
    rule(&["deepseek-coder"], &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, r"\p{N}"]),
    rule(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[r"\p{N}{1,3}", DEEPSEEK3_CJK, DEEPSEEK3]),
    rule(&["falcon"], &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
    rule(&["bloom", "poro-chat", "gpt3-finnish"], &[BLOOM]),
    rule(&["viking"], &[BLOOM, r"\p{N}"]),
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
];

impl Rule {
    /// The first name of the rule with exactly these patterns, in this order. `whole`: [`Rule::ignore_merges`].
    pub(super) fn of(patterns: &[String], whole: bool) -> Option<&'static str> {
        let same = |rule: &&Rule| rule.ignore_merges == whole && rule.patterns == patterns;
        RULES.iter().find(same).and_then(|rule| rule.names.first()).copied()
    }

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
    stages: Vec<Stage>,
}

/// One pattern of a rule.
///
/// The patterns end in `\s+(?!\S)|\s+`: a run of spaces leaves its last one to the word behind it. That look-ahead is
/// all that keeps them from being regular, and engines that have it backtrack, which a megabyte of spaces defeats. So
/// the pattern is compiled without it, into an automaton that knows which part matched, and the rule for spaces is
/// applied by hand.
#[derive(Debug)]
struct Stage {
    regex: Regex,
    /// The part of `regex` that matches plain runs of spaces, if it has one.
    spaces: Option<usize>,
}

const SPACES: &str = r"|\s+(?!\S)|\s+";

impl Stage {
    fn new(pattern: &str) -> Result<Self, TokenizerError> {
        let (regex, spaces) = match pattern.strip_suffix(SPACES) {
            Some(rest) => (Regex::new_many(&[rest, r"\s+"]), Some(1)),
            None => (Regex::new(pattern), None),
        };
        let regex = regex.map_err(|error| TokenizerError::Vocabulary(format!("pre-tokenizer: {error}")))?;
        Ok(Self { regex, spaces })
    }

    /// Cuts `piece` at both ends of every match.
    fn cut<'t>(&self, piece: &'t str, out: &mut Vec<&'t str>) {
        let mut push = |from: usize, to: usize| out.extend(piece.get(from..to).filter(|part| !part.is_empty()));
        let mut from = 0;
        while let Some(found) = self.regex.find(Input::new(piece).range(from..)) {
            let mut end = found.end();
            if Some(found.pattern().as_usize()) == self.spaces && end < piece.len() {
                let run = piece.get(found.range()).unwrap_or_default();
                let last = run.chars().next_back().map_or(0, char::len_utf8);
                if last < run.len() {
                    end -= last;
                }
            }
            push(from, found.start());
            push(found.start(), end);
            if end <= from {
                break;
            }
            from = end;
        }
        push(from, piece.len());
    }
}

impl PreTokenizer {
    /// Compiles the patterns of a rule.
    pub(super) fn new(rule: &Rule) -> Result<Self, TokenizerError> {
        let stages = rule.patterns.iter().map(|pattern| Stage::new(pattern)).collect::<Result<_, _>>()?;
        Ok(Self { stages })
    }

    /// The pieces of a text, in order and without gaps.
    pub(super) fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut pieces = vec![text];
        for stage in &self.stages {
            let mut next = Vec::with_capacity(pieces.len());
            for piece in pieces {
                stage.cut(piece, &mut next);
            }
            pieces = next;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        let rule = Rule::named(name).unwrap();
        PreTokenizer::new(rule).unwrap().split(text)
    }

    #[test]
    fn every_rule_compiles_and_loses_no_text() {
        let text = "I'm 12345 km\taway…\r\n  \n\nÉté 漢字かな 한국 ١٢٣ e\u{301} 👩‍👩‍👧 {x: 1}\u{a0} \u{85}end  ";
        for rule in RULES {
            let pieces = PreTokenizer::new(rule).unwrap().split(text);
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
    }

    #[test]
    fn a_run_of_spaces_leaves_its_last_to_the_next_word() {
        for name in ["gpt-2", "qwen2", "gpt-4o", "deepseek-v3"] {
            assert_eq!(split(name, "a   b"), ["a", "  ", " b"], "{name}");
            assert_eq!(split(name, "a b \u{3000}  "), ["a", " b", " \u{3000}  "], "{name}");
        }
        assert_eq!(split("gpt-2", "\n\n\nb"), ["\n\n", "\n", "b"]);
        assert_eq!(split("qwen2", "x \n\n\n  b"), ["x", " \n\n\n", " ", " b"]);
        assert_eq!(split("gpt-2", "\u{2003}\u{2003}1"), ["\u{2003}", "\u{2003}", "1"]);
    }

    #[test]
    fn kimi_cuts_words_at_case_and_around_han() {
        assert_eq!(split("kimi-k2", "getUserName IT'S"), ["get", "User", "Name", " IT'S"]);
        assert_eq!(split("kimi-k2", "abc漢字def かな"), ["abc", "漢字", "def", " かな"]);
        assert_eq!(split("kimi-k2", " 漢12345"), [" ", "漢", "123", "45"]);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Rule::named("llama9").unwrap_err().to_string();
        assert!(error.contains("\"llama9\"") && error.contains("qwen2"), "{error}");
    }
}
