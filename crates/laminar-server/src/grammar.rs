//! From what a request asks of its answer to one grammar: reasoning first, then the form or the calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use laminar_engine::{Constraint, Grammar, GrammarCompiler, GrammarError};
use laminar_model::tokenizer::Tokenizer;

use crate::answer::{Dialect, Thinking, harmony};
use crate::call_grammar::{Rules, refuse_what_cannot_be_kept};
use crate::error::ApiError;
use crate::family::Family;
use crate::openai::structured::Format;
use crate::openai::tools::{Choice, Tools};

/// Compiled grammars that are kept: clients send the same few again and again.
const KEPT: usize = 32;

/// Compiles grammars and keeps the newest.
#[derive(Debug, Default)]
pub struct Grammars {
    /// Made when the first grammar comes; a large vocabulary takes a while.
    compiler: OnceLock<Result<GrammarCompiler, GrammarError>>,
    kept: Mutex<VecDeque<(Grammar, Constraint)>>,
}

impl Grammars {
    /// Compiles, or finds again. CPU-heavy: not for async threads.
    ///
    /// # Errors
    /// What is wrong with the grammar.
    pub fn compile(&self, tokenizer: &Arc<Tokenizer>, grammar: &Grammar) -> Result<Constraint, GrammarError> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, constraint)) = kept().iter().find(|(known, _)| known == grammar) {
            return Ok(constraint.clone());
        }
        let compiler = self.compiler.get_or_init(|| GrammarCompiler::new(tokenizer));
        let constraint = compiler.as_ref().map_err(Clone::clone)?.compile(grammar)?;
        let mut kept = kept();
        kept.truncate(KEPT - 1);
        kept.push_front((grammar.clone(), constraint.clone()));
        Ok(constraint)
    }
}

/// What an answer must look like.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The form of its content.
    pub format: Option<Format>,
    /// The tools it may or must call.
    pub tools: Option<Tools>,
}

impl Wanted {
    /// The grammar of the whole answer; none if it is free.
    pub(crate) fn grammar(&self, family: &Family, thinking: Option<Thinking>) -> Option<Grammar> {
        let tools = self.tools.as_ref();
        let forced = tools.filter(|tools| tools.choice == Choice::Required);
        let form = self.format.as_ref().map(|format| &format.grammar);
        if forced.is_none() && thinking.is_none() && tools.is_none() {
            return form.cloned();
        }
        let mut rules = Rules::default();
        let body = match (forced, form, tools) {
            (Some(tools), ..) => rules.calls(family, tools),
            (None, Some(form), tools) => {
                let form = rules.form(family, form);
                match tools {
                    Some(tools) => format!("({form} | {})", rules.calls(family, tools)),
                    None => form,
                }
            }
            (None, None, _) => return None,
        };
        let lead = rules.lead(family, thinking.filter(|thinking| *thinking != Thinking::Closed));
        let outer = format!("start: {lead}{body}\n{}", rules.text);
        Some(Grammar::Nested { outer, inner: rules.inner })
    }

    /// Compiles the grammar of the answer.
    ///
    /// # Errors
    /// What is wrong with it (400), under the field that it came from.
    pub(crate) fn compile(
        &self,
        grammars: &Grammars,
        tokenizer: &Arc<Tokenizer>,
        family: &Family,
        thinking: Option<Thinking>,
    ) -> Result<Option<Constraint>, ApiError> {
        let Some(grammar) = self.grammar(family, thinking) else {
            return Ok(None);
        };
        if let Some(tools) = &self.tools {
            refuse_what_cannot_be_kept(family, tools)?;
        }
        let error = match grammars.compile(tokenizer, &grammar) {
            Ok(constraint) => return Ok(Some(constraint)),
            Err(error) => error,
        };
        // Whose fault it is: that of the part that does not compile alone either.
        if let Some(format) = &self.format
            && let Err(error) = grammars.compile(tokenizer, &format.grammar)
        {
            return Err(refused(format.param, &error));
        }
        if let Some(tools) = &self.tools {
            for place in &tools.callable {
                if let Err(error) = grammars.compile(tokenizer, &Grammar::Json(tools.schema(*place))) {
                    return Err(refused(&format!("tools[{place}].function.parameters"), &error));
                }
            }
        }
        Err(refused("tools", &error))
    }
}

fn refused(param: &str, error: &GrammarError) -> ApiError {
    ApiError::invalid(param, format!("`{param}` cannot be followed: {error}"))
}

impl Rules {
    /// Reasoning in front of the answer: the rest of what the prompt has opened, or some of the model's own.
    fn lead(&mut self, family: &Family, thinking: Option<Thinking>) -> String {
        let Some(thinking) = thinking else {
            return String::new();
        };
        if family.dialect == Dialect::Harmony {
            return self.analysis(family);
        }
        let (open, close) = (family.lark(family.tags.open), family.lark(family.tags.close));
        // As a control token the end of the reasoning is no text, and the text before it ends by itself.
        let inside = match family.is_control(family.tags.close) {
            true => format!("thought: /(.|\\n)*/ {close} breaks\n"),
            false => format!("thought: thinking breaks\nthinking[suffix={close}]: /(.|\\n)*/\n"),
        };
        self.text += &inside;
        self.text += "breaks: (\"\\n\" \"\\n\"?)?\n";
        match thinking {
            Thinking::Opened => "thought ".to_owned(),
            Thinking::NotOpened | Thinking::Closed => format!("({open} thought)? "),
        }
    }

    /// A message of reasoning, up to the next one's role.
    fn analysis(&mut self, family: &Family) -> String {
        use harmony::{CHANNEL, END, MESSAGE, START};
        let end = family.lark(END);
        self.text += &match family.is_control(END) {
            true => format!("thought: /(.|\\n)*/ {end}\n"),
            false => format!("thought[suffix={end}]: /(.|\\n)*/\n"),
        };
        let [channel, message, start] = [CHANNEL, MESSAGE, START].map(|tag| family.lark(tag));
        format!("({channel} \"analysis\" {message} thought {start} \"assistant\")? ")
    }

    /// The form of the content, as a rule that may stand where an answer begins.
    fn form(&mut self, family: &Family, form: &Grammar) -> String {
        use harmony::{CHANNEL, MESSAGE};
        self.inner.push(("format".to_owned(), form.clone()));
        match family.dialect {
            Dialect::Harmony => format!("{} \"final\" {} @format", family.lark(CHANNEL), family.lark(MESSAGE)),
            _ => "@format".to_owned(),
        }
    }
}
