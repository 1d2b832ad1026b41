//! Answers that must follow a grammar: JSON schemas, regular expressions, choices, Lark grammars.
//!
//! A [`Grammar`] says what an answer may look like. A [`GrammarCompiler`] turns it into a [`Constraint`], away from the
//! engine thread, and whatever is wrong with the grammar is told there. A request with a constraint gets tokens that keep
//! to the grammar and no others: before each token the ids that may come next are known as a mask, or the
//! likeliest ones are asked for one by one. Where the grammar leaves no choice at all, its tokens are taken as they are, in the
//! spelling that the tokenizer gives them.
//!
//! The masks depend on the grammar and the tokens so far alone, and every limit of the parser behind them counts work, not
//! time, so a constrained answer depends on its request alone as any other does.
//!
//! The parser is that of the `llguidance` crate; nothing outside this file, what it makes of grammars beforehand, the parser of an
//! answer and the vocabulary it is shown knows it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use laminar_model::tokenizer::Tokenizer;
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::toktrie::{SimpleVob, TokEnv};
use llguidance::{ParserFactory, TokenParser, regex_to_lark};
use serde_json::{Value, json};

use crate::guide::Ahead;
use crate::parser::Parser;
use crate::possible::possible;
use crate::repeats::as_rule;
use crate::schema::{narrow_formats, unsupported};
use crate::spelling::Spelling;

/// White space between the tokens of constrained JSON: one space, or a line break and the indentation behind it. A grammar
/// that allowed any amount would let a model that has lost its way write blanks for ever.
const WHITESPACE: &str = "[ ]|\n[ ]{0,60}|\n\t{0,15}";

/// Bytes of a grammar.
const MAX_BYTES: usize = 1 << 20;

/// What an answer may look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// JSON that a schema accepts.
    Json(Value),
    /// A text that a regular expression matches as a whole.
    Regex(String),
    /// A grammar in llguidance's variant of Lark, with a rule `start`.
    Lark(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A Lark grammar that refers to others by name, as `@name`.
    Nested {
        /// The outer grammar.
        outer: String,
        /// The inner ones with their names.
        inner: Vec<(String, Grammar)>,
    },
}

/// Why a grammar cannot be followed, in words for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GrammarError(String);

impl GrammarError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Compiles grammars for one vocabulary.
pub struct GrammarCompiler {
    factory: ParserFactory,
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarCompiler").finish_non_exhaustive()
    }
}

impl GrammarCompiler {
    /// Sorts the vocabulary into a tree; takes a while for a large one.
    ///
    /// # Errors
    /// A vocabulary without a token that ends a text.
    pub fn new(tokenizer: &Arc<Tokenizer>) -> Result<Self, GrammarError> {
        let env: TokEnv = Arc::new(Spelling::new(tokenizer)?);
        let mut factory = ParserFactory::new_simple(&env).map_err(|error| GrammarError::new(error.to_string()))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory })
    }

    fn parser(&self, grammars: Vec<GrammarWithLexer>) -> Result<TokenParser, GrammarError> {
        let top = TopLevelGrammar { grammars, max_tokens: None };
        self.factory.create_parser(top).map_err(|error| GrammarError(error.to_string()))
    }

    /// Compiles a grammar and computes its first mask.
    ///
    /// # Errors
    /// What is wrong with the grammar: it does not parse, uses a keyword that is not supported, can never match, or is too
    /// large.
    pub fn compile(&self, grammar: &Grammar) -> Result<Constraint, GrammarError> {
        let mut parts = Vec::new();
        lower(grammar, None, &mut parts)?;
        let size: usize = parts.iter().map(size_of_part).sum();
        if size > MAX_BYTES {
            return Err(GrammarError(format!("the grammar has {size} bytes; at most {MAX_BYTES} are accepted")));
        }
        let ends_when_complete = !parts.iter().any(may_end_a_rule);
        let is_of_bytes = !parts.iter().any(may_name_tokens);
        // What the parser makes of a rule instead is the same; if it makes nothing of it, it is asked for the expression.
        let counted = match grammar {
            Grammar::Regex(regex) => as_rule(regex).and_then(|rule| self.parser(vec![lark(rule)]).ok()),
            _ => None,
        };
        let parser = counted.map_or_else(|| self.parser(parts), Ok)?;
        let mut parser = Parser::new(parser, matches!(grammar, Grammar::Regex(_)));
        let ahead = Ahead::of(&mut parser).map_err(GrammarError)?;
        let parser = Mutex::new(parser);
        let possible = is_of_bytes.then(|| possible(grammar, self.factory.tok_env().tok_trie())).flatten();
        Ok(Constraint(Arc::new(Compiled { parser, ahead, ends_when_complete, is_of_bytes, possible })))
    }
}

fn lark(text: String) -> GrammarWithLexer {
    GrammarWithLexer { lark_grammar: Some(text), ..GrammarWithLexer::default() }
}

/// Appends the grammar, under a name if it has one, and then those nested in it.
fn lower(grammar: &Grammar, name: Option<&str>, parts: &mut Vec<GrammarWithLexer>) -> Result<(), GrammarError> {
    let part = match grammar {
        Grammar::Json(schema) => {
            GrammarWithLexer { json_schema: Some(with_whitespace(schema)?), ..GrammarWithLexer::default() }
        }
        Grammar::Regex(regex) => lark(format!("start: /{}/", regex_to_lark(regex, ""))),
        Grammar::Lark(text) => lark(text.clone()),
        Grammar::Choice(choices) => {
            if choices.is_empty() {
                return Err(GrammarError("there is nothing to choose from".to_owned()));
            }
            let quoted: Vec<String> = choices.iter().map(|choice| Value::from(choice.as_str()).to_string()).collect();
            lark(format!("start: {}", quoted.join(" | ")))
        }
        Grammar::Nested { outer, .. } => lark(outer.clone()),
    };
    parts.push(GrammarWithLexer { name: name.map(str::to_owned), ..part });
    if let Grammar::Nested { inner, .. } = grammar {
        for (name, grammar) in inner {
            lower(grammar, Some(name), parts)?;
        }
    }
    Ok(())
}

/// A schema with our white space; options that the sender may have put there are dropped.
fn with_whitespace(schema: &Value) -> Result<Value, GrammarError> {
    let mut schema = match schema {
        Value::Object(fields) => Value::Object(fields.clone()),
        Value::Bool(true) => json!({}),
        _ => return Err(GrammarError("a JSON schema must be an object".to_owned())),
    };
    if let Some(path) = unsupported(&schema) {
        return Err(GrammarError(format!("the keyword `{path}` is not supported")));
    }
    narrow_formats(&mut schema);
    schema["x-guidance"] = json!({ "whitespace_pattern": WHITESPACE });
    Ok(schema)
}

fn size_of_part(part: &GrammarWithLexer) -> usize {
    let schema = part.json_schema.as_ref().map_or(0, |schema| schema.to_string().len());
    schema + part.lark_grammar.as_ref().map_or(0, String::len)
}

/// Whether a token that ends the text may end a single rule of this grammar, as in `rule[stop=""]`.
fn may_end_a_rule(part: &GrammarWithLexer) -> bool {
    let lark = part.lark_grammar.as_deref().unwrap_or_default();
    lark.contains("stop") || lark.contains("suffix")
}

/// Whether the grammar may name tokens apart from their bytes, as in `<[7]>` or `<|mark|>`.
fn may_name_tokens(part: &GrammarWithLexer) -> bool {
    part.lark_grammar.as_deref().unwrap_or_default().contains('<')
}

/// A compiled grammar; clones share it.
#[derive(Clone)]
pub struct Constraint(Arc<Compiled>);

struct Compiled {
    parser: Mutex<Parser>,
    /// How an answer begins.
    ahead: Ahead,
    /// Whether a token that ends the text may come where the answer is complete and nowhere else.
    ends_when_complete: bool,
    /// Whether a token is allowed for its bytes alone.
    is_of_bytes: bool,
    /// Tokens that answers may have, if all others are known to be refused everywhere.
    possible: Option<SimpleVob>,
}

impl Constraint {
    /// A parser of its own for one answer, and how the answer begins.
    pub(crate) fn begin(&self) -> (Parser, Ahead) {
        // A copy that is not deep would share caches whose limits another answer could use up.
        let parser = self.0.parser.lock().unwrap_or_else(PoisonError::into_inner).copy();
        (parser, self.0.ahead.clone())
    }

    /// Whether a token that ends the text may come where the answer is complete and nowhere else.
    pub(crate) fn ends_when_complete(&self) -> bool {
        self.0.ends_when_complete
    }

    /// Whether a token is allowed for its bytes alone.
    pub(crate) fn is_of_bytes(&self) -> bool {
        self.0.is_of_bytes
    }

    /// Tokens that answers may have, if all others are known to be refused everywhere.
    pub(crate) fn possible(&self) -> Option<&SimpleVob> {
        self.0.possible.as_ref()
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

impl PartialEq for Constraint {
    /// Whether both are the same compilation.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
