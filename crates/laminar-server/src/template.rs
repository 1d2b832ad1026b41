//! Chat templates: messages in, prompt text out.
//!
//! A checkpoint says in a Jinja template how a conversation is spelled for its model. The templates are written for
//! `transformers`, so this environment is set up as that library sets up its own: blocks swallow their line,
//! `raise_exception`, `strftime_now` and Python's JSON are there, and strings and maps have their Python methods.
//!
//! A template comes from an untrusted file. It can reach nothing but the values handed to it, and it runs on a budget
//! of work, depth and output, so that the worst one ends in an error.

mod guard;
mod json;
mod probe;
mod source;
mod stack;
mod time;
mod values;

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use laminar_model::tokenizer::Tokenizer;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Output, State, Value as Item};
use serde_json::{Map, Value};

/// Work that one rendering may do: an instruction costs 1, and so do 64 bytes that are made or read. Two thousand turns
/// with 8 MB of text fit, far more than models take; it is spent in well under a second.
const FUEL: u64 = 1_000_000;
/// Levels of nested blocks, macro calls and the like.
const RECURSION: usize = 200;
/// Bytes of a template; real ones are below 50 kB.
const SOURCE_LIMIT: usize = 256 << 10;
/// Bytes of a rendered prompt.
const OUTPUT_LIMIT: usize = 64 << 20;
const NAME: &str = "chat template";

/// What can be wrong with a chat template or with the messages given to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template does not parse.
    #[error("the chat template of this model does not parse: {0}")]
    Parse(String),
    /// The template refused the messages through `raise_exception`: the client's mistake.
    #[error("the chat template of this model refuses these messages: {0}")]
    Raised(String),
    /// The template failed on these messages, ran too long or wrote too much.
    #[error("the chat template of this model failed: {0}")]
    Render(String),
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    /// As the checkpoint spells it.
    source: String,
    environment: Arc<Environment<'static>>,
    bos: String,
    eos: String,
    /// A rendering has not come back in time; it still holds a core, and another would take the next one.
    late: Arc<AtomicBool>,
}

impl ChatTemplate {
    /// Compiles a template. `bos` and `eos` are the texts of those tokens, which the template knows as `bos_token` and
    /// `eos_token`; empty means that there is none, and the template sees it as undefined.
    ///
    /// # Errors
    /// [`TemplateError::Parse`].
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_LIMIT {
            return Err(TemplateError::Parse(format!("it has {} bytes; we accept {SOURCE_LIMIT}", source.len())));
        }
        let guarded =
            source::with_guarded_namespaces(&source::without_generation_tags(source)).map_err(TemplateError::Parse)?;
        let environment = stack::with_room(&Arc::default(), move || environment(guarded))
            .map_err(|failure| TemplateError::Parse(failure.to_string()))?
            .map_err(|error| TemplateError::Parse(describe(&error)))?;
        Ok(Self {
            source: source.to_owned(),
            environment: Arc::new(environment),
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            late: Arc::default(),
        })
    }

    /// The template that comes with the tokenizer, if there is one.
    ///
    /// # Errors
    /// [`TemplateError::Parse`].
    pub fn from_tokenizer(tokenizer: &Tokenizer) -> Result<Option<Self>, TemplateError> {
        let text = |id: Option<u32>| id.map(|id| tokenizer.token_text(id)).unwrap_or_default();
        tokenizer
            .chat_template()
            .map(|source| Self::new(source, &text(tokenizer.bos()), &text(tokenizer.eos())))
            .transpose()
    }

    /// The template as the checkpoint spells it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders messages (an array of objects with `role` and `content`) and the tools the model may call into a
    /// prompt. `add_generation_prompt` opens the assistant's turn at the end. `extra` adds variables of the template's
    /// own, such as `enable_thinking`. The text already has its BOS, if the template writes one.
    ///
    /// # Errors
    /// [`TemplateError::Raised`] if the template refuses the messages, else [`TemplateError::Render`].
    pub fn render(
        &self,
        messages: &Value,
        tools: Option<&Value>,
        add_generation_prompt: bool,
        extra: &Map<String, Value>,
    ) -> Result<String, TemplateError> {
        if self.late.load(Ordering::SeqCst) {
            return Err(TemplateError::Render("an earlier rendering has not come to an end".into()));
        }
        let mut variables: Vec<(String, Item)> = Vec::with_capacity(extra.len() + 6);
        for (name, value) in extra {
            variables.push((name.clone(), values::from_json(value)));
        }
        for (name, text) in [("bos_token", &self.bos), ("eos_token", &self.eos)] {
            if !text.is_empty() && !extra.contains_key(name) {
                variables.push((name.to_owned(), Item::from(text.as_str())));
            }
        }
        let tools = tools.map_or(Item::from(()), values::from_json);
        variables.push(("messages".to_owned(), values::from_json(messages)));
        variables.push(("tools".to_owned(), tools));
        variables.push(("add_generation_prompt".to_owned(), Item::from(add_generation_prompt)));
        if !extra.contains_key("documents") {
            variables.push(("documents".to_owned(), Item::from(())));
        }
        let variables = Item::from_pairs(variables);
        let environment = Arc::clone(&self.environment);
        stack::with_room(&self.late, move || render_here(&environment, variables))
            .unwrap_or_else(|failure| Err(TemplateError::Render(failure.to_string())))
    }
}

/// The engine with one template in it, and what `transformers` gives its templates.
fn environment(source: String) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_unknown_method_callback(method);
    environment.set_formatter(show);
    // Pretty-printing a deep value is quadratic in its depth, and no chat template prints for people.
    environment.remove_filter("pprint");
    environment.add_filter(guard::GUARD, guard::guard);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("fromjson", json::fromjson);
    environment.add_test("iterable", is_iterable);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", time::strftime_now);
    environment.add_template_owned(NAME, source)?;
    Ok(environment)
}

fn render_here(environment: &Environment<'static>, variables: Item) -> Result<String, TemplateError> {
    let template = environment.get_template(NAME).map_err(|error| TemplateError::Render(describe(&error)))?;
    let mut output = Bounded::default();
    let result = template.render_captured_to(variables, &mut output).map(drop);
    if output.full {
        return Err(TemplateError::Render(format!("it wrote more than {OUTPUT_LIMIT} bytes")));
    }
    result.map_err(|error| match raised(&error) {
        Some(message) => TemplateError::Raised(message),
        None => TemplateError::Render(describe(&error)),
    })?;
    String::from_utf8(output.bytes).map_err(|error| TemplateError::Render(error.to_string()))
}

/// A buffer that refuses to grow past [`OUTPUT_LIMIT`].
#[derive(Debug, Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + part.len() > OUTPUT_LIMIT {
            self.full = true;
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The message of `raise_exception`, carried as the source of an error.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raise_exception(message: &Item) -> Result<Item, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message.to_string())))
}

/// Prints a value; floats as Python prints them.
fn show(out: &mut Output, state: &mut State, value: &Item) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Number if !value.is_integer() => {
            let number = f64::try_from(value.clone())?;
            if number.is_finite() {
                return out.write_str(&json::float(number)).map_err(Error::from);
            }
        }
        ValueKind::Seq | ValueKind::Map => guard::pay_for(state, value)?,
        _ => {}
    }
    minijinja::escape_formatter(out, state, value)
}

/// Python's idea of what can be looped over: `None` cannot.
fn is_iterable(value: &Item) -> bool {
    !value.is_none() && (value.as_str().is_some() || value.try_iter().is_ok())
}

/// Finds a [`Raised`] at the bottom of an error.
fn raised(error: &Error) -> Option<String> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(Raised(message)) = inner.downcast_ref() {
            return Some(message.clone());
        }
        source = inner.source();
    }
    None
}

/// An error in one line: what went wrong, and in which line of the template.
fn describe(error: &Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "it does too much work for one prompt".into();
    }
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("{what} (template line {line})"),
        None => what,
    }
}

/// Pays for what `text.format(arguments)` may write: the widths that it names, and its arguments once a brace.
fn pay_for_format(state: &State, text: &str, arguments: &[Item]) -> Result<(), Error> {
    let number = |digits: &str| digits.parse::<u64>().unwrap_or(if digits.is_empty() { 0 } else { u64::MAX });
    let widths = text.split(|char: char| !char.is_ascii_digit()).map(number).fold(0, u64::saturating_add);
    let braces = text.matches('{').count() as u64;
    let mut longest = 0;
    for argument in arguments {
        guard::pay_for(state, argument)?;
        longest = longest.max(argument.to_string().len() as u64);
    }
    state.consume_fuel(widths.saturating_add(braces.saturating_mul(longest)) / 64)
}

/// Python's methods of strings, maps and lists.
fn method(state: &mut State, value: &Item, name: &str, arguments: &[Item]) -> Result<Item, Error> {
    if let (Some(text), "format") = (value.as_str(), name) {
        pay_for_format(state, text, arguments)?;
    }
    if name == "join" {
        arguments.iter().try_for_each(|argument| guard::pay_for(state, argument))?;
    }
    if let (ValueKind::String, Some(text), [argument]) = (value.kind(), value.as_str(), arguments)
        && let Some(affix) = argument.as_str()
    {
        match name {
            "removeprefix" => return Ok(text.strip_prefix(affix).unwrap_or(text).into()),
            "removesuffix" => return Ok(text.strip_suffix(affix).unwrap_or(text).into()),
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
}
