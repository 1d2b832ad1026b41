//! Chat templates: messages in, prompt text out.
//!
//! A checkpoint says in a Jinja template how a conversation is spelled for its model. The templates are written for
//! `transformers`, so this environment is set up as that library sets up its own: blocks swallow their line,
//! `raise_exception`, `strftime_now` and Python's JSON are there, and strings and maps have their Python methods.
//!
//! A template comes from an untrusted file. It can reach nothing but the values handed to it, and it runs on a budget
//! of work, depth and output, so that the worst one ends in an error.

mod json;
mod source;
mod time;
mod values;

use std::error::Error as _;
use std::fmt;

use laminar_model::tokenizer::Tokenizer;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value as Item};
use serde_json::{Map, Value};

/// Work that one rendering may do: an instruction costs 1, and so do 64 bytes that are made or read. Conversations
/// of a million tokens need a tenth of this; it is spent in well under a second.
const FUEL: u64 = 8_000_000;
/// Levels of nested blocks, macro calls and the like.
const RECURSION: usize = 200;
/// Bytes of a template; real ones are below 100 kB.
const SOURCE_LIMIT: usize = 1 << 20;
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
    environment: Environment<'static>,
    bos: String,
    eos: String,
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
        let mut environment = Environment::new();
        environment.set_syntax(
            minijinja::syntax::SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|error| TemplateError::Parse(error.to_string()))?,
        );
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        environment.set_unknown_method_callback(method);
        environment.add_filter("tojson", json::tojson);
        environment.add_filter("fromjson", json::fromjson);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", time::strftime_now);
        environment
            .add_template_owned(NAME, source::without_generation_tags(source))
            .map_err(|error| TemplateError::Parse(describe(&error)))?;
        Ok(Self { environment, bos: bos.to_owned(), eos: eos.to_owned() })
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
        let template = self.environment.get_template(NAME).map_err(|error| TemplateError::Render(describe(&error)))?;
        let mut output = Bounded::default();
        let result = template.render_captured_to(Item::from_pairs(variables), &mut output);
        if output.full {
            return Err(TemplateError::Render(format!("it wrote more than {OUTPUT_LIMIT} bytes")));
        }
        result.map(drop).map_err(|error| match raised(&error) {
            Some(message) => TemplateError::Raised(message),
            None => TemplateError::Render(describe(&error)),
        })?;
        String::from_utf8(output.bytes).map_err(|error| TemplateError::Render(error.to_string()))
    }
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

fn raise_exception(message: String) -> Result<Item, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
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

/// Python's methods of strings, maps and lists.
fn method(state: &mut State, value: &Item, name: &str, arguments: &[Item]) -> Result<Item, Error> {
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
