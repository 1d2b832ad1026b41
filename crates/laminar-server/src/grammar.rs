//! From what a request asks of its answer to one grammar: reasoning first, then the form or the calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use laminar_engine::{Constraint, Grammar, GrammarCompiler, GrammarError};
use laminar_model::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::answer::{Dialect, MISTRAL_ARGUMENTS, Thinking};
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
                rules.inner.push(("format".to_owned(), form.clone()));
                match tools {
                    Some(tools) => format!("(@format | {})", rules.calls(family, tools)),
                    None => "@format".to_owned(),
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
        if family.dialect == Dialect::QwenXml {
            self.refuse_patterns()?;
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

impl Wanted {
    /// Refuses strings that a schema describes in ways that cannot be kept between tags, where they have no quotes.
    fn refuse_patterns(&self) -> Result<(), ApiError> {
        for tools in self.tools.iter() {
            for place in &tools.callable {
                let schema = tools.schema(*place);
                for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                    let keyword = ["pattern", "format"].into_iter().find(|keyword| !property[*keyword].is_null());
                    if let Some(keyword) = keyword.filter(|_| property["type"] == "string") {
                        let param = format!("tools[{place}].function.parameters.properties.{key}.{keyword}");
                        let message = format!(
                            "`{keyword}` of a string cannot be guaranteed in the way this model writes calls; leave it out"
                        );
                        return Err(ApiError::invalid(param, message));
                    }
                }
            }
        }
        Ok(())
    }
}

fn refused(param: &str, error: &GrammarError) -> ApiError {
    ApiError::invalid(param, format!("`{param}` cannot be followed: {error}"))
}

/// Lark rules in the making.
#[derive(Default)]
struct Rules {
    text: String,
    inner: Vec<(String, Grammar)>,
}

impl Rules {
    /// Reasoning in front of the answer: the rest of what the prompt has opened, or some of the model's own.
    fn lead(&mut self, family: &Family, thinking: Option<Thinking>) -> String {
        let Some(thinking) = thinking else {
            return String::new();
        };
        let (open, close) = (family.lark("<think>"), family.lark("</think>"));
        // As a control token the end of the reasoning is no text, and the text before it ends by itself.
        let inside = match close.starts_with('<') {
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

    /// Adds the rules of the calls and returns the name of theirs.
    fn calls(&mut self, family: &Family, tools: &Tools) -> String {
        let mut names = Vec::new();
        for place in &tools.callable {
            let call = match family.dialect {
                Dialect::QwenXml => self.tagged_call(family, tools, *place),
                dialect => {
                    let arguments = format!("arguments{place}");
                    self.inner.push((arguments.clone(), Grammar::Json(tools.schema(*place))));
                    object_call(family, dialect, tools.name(*place), &arguments)
                }
            };
            self.text += &format!("call{place}: {call}\n");
            names.push(format!("call{place}"));
        }
        self.text += &format!("call: {}\n", names.join(" | "));
        let separator = match family.dialect {
            Dialect::Hermes | Dialect::QwenXml => "\"\\n\"",
            Dialect::Llama => "\"; \"",
            Dialect::Mistral if family.has_arguments_tag => "",
            Dialect::Mistral => "\", \"",
        };
        let calls = match tools.parallel {
            true => format!("call ({separator} call)*"),
            false => "call".to_owned(),
        };
        let calls = match family.dialect {
            Dialect::Mistral if !family.has_arguments_tag => {
                format!("{} \"[\" {calls} \"]\"", family.lark(Dialect::Mistral.opening()))
            }
            _ => calls,
        };
        self.text += &format!("calls: {calls}\n");
        "calls".to_owned()
    }

    /// A call in tags: the parameters in the order of the schema, those that are not required optional.
    fn tagged_call(&mut self, family: &Family, tools: &Tools, place: usize) -> String {
        let schema = tools.schema(place);
        let head = format!("\n<function={}>\n", tools.name(place));
        let mut call = format!("{} {}", family.lark("<tool_call>"), Value::from(head));
        let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
        for (number, (key, property)) in schema["properties"].as_object().into_iter().flatten().enumerate() {
            let name = format!("value{place}x{number}");
            let open = Value::from(format!("<parameter={key}>\n"));
            let value = if property["type"] == "string" && property["enum"].is_null() {
                self.text += &text_of_tag(&name, property);
                format!("{open} {name}")
            } else if let Some(texts) = choice_of_texts(property) {
                self.inner.push((name.clone(), Grammar::Choice(texts)));
                format!("{open} @{name} \"\\n</parameter>\\n\"")
            } else {
                let mut property = property.clone();
                // References of a property point into the whole schema.
                for definitions in ["$defs", "definitions"] {
                    if let (Some(fields), Some(all)) = (property.as_object_mut(), schema.get(definitions)) {
                        fields.insert(definitions.to_owned(), all.clone());
                    }
                }
                self.inner.push((name.clone(), Grammar::Json(property)));
                format!("{open} @{name} \"\\n</parameter>\\n\"")
            };
            let optional = !required.iter().any(|required| required == key);
            call += &if optional { format!(" ({value})?") } else { format!(" {value}") };
        }
        call + " \"</function>\\n\" " + &family.lark("</tool_call>")
    }
}

/// The rule of a string between its tags: any text up to the closing one, of the length that the schema wants.
fn text_of_tag(name: &str, property: &Value) -> String {
    let end = "\"\\n</parameter>\\n\"";
    if property["minLength"].is_null() && property["maxLength"].is_null() {
        return format!("{name}[suffix={end}]: /(.|\\n)*/\n");
    }
    let least = property["minLength"].as_u64().unwrap_or(0);
    let most = property["maxLength"].as_u64().map(|most| most.to_string()).unwrap_or_default();
    let terminal = name.to_uppercase();
    let optional = if least == 0 { "?" } else { "" };
    format!(
        "{name}: {terminal}{optional} {end}\n{terminal}: /(.|\\n){{{},{most}}}/ & ~/(.|\\n)*<\\/parameter>(.|\\n)*/\n",
        least.max(1)
    )
}

/// The texts of an enumeration that has no others: strings stand in tags without quotes.
fn choice_of_texts(property: &Value) -> Option<Vec<String>> {
    let texts = property["enum"].as_array().filter(|_| property["type"] == "string")?;
    texts.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// A call as an object, or with the name in front of its arguments.
fn object_call(family: &Family, dialect: Dialect, name: &str, arguments: &str) -> String {
    let named = |key: &str| Value::from(format!("{{\"name\": {}, \"{key}\": ", json!(name)));
    match dialect {
        Dialect::Mistral if family.has_arguments_tag => {
            let (open, separator) = (family.lark(dialect.opening()), family.lark(MISTRAL_ARGUMENTS));
            format!("{open} {} {separator} @{arguments}", Value::from(name))
        }
        Dialect::Mistral => format!("{} @{arguments} \"}}\"", named("arguments")),
        Dialect::Llama => format!("{} @{arguments} \"}}\"", named("parameters")),
        Dialect::Hermes | Dialect::QwenXml => format!(
            "{} \"\\n\" {} @{arguments} \"}}\\n\" {}",
            family.lark("<tool_call>"),
            named("arguments"),
            family.lark("</tool_call>")
        ),
    }
}
