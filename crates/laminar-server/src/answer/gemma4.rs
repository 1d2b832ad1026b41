//! Gemma 4: `<|tool_call>call:name{key:value,...}<tool_call|>`, with strings between `<|"|>` and no quotes around keys. Source:
//! the prompt format that Google publishes with the models.

use serde_json::Value;

use super::literal::LiteralScanner;
use super::scanner::{Progress, Scanner, Spelling, is_of_name};
use super::value::Step;

/// Before a call.
pub(crate) const OPEN: &str = "<|tool_call>";
/// Behind a call.
pub(crate) const CLOSE: &str = "<tool_call|>";
/// Around a string.
pub(crate) const QUOTE: &str = "<|\"|>";
/// Between [`OPEN`] and the name.
pub(crate) const HEAD: &str = "call:";
/// Before a channel's name.
pub(crate) const CHANNEL: &str = "<|channel>";
/// Behind what a channel holds.
pub(crate) const CHANNEL_END: &str = "<channel|>";

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN],
    first: &[],
    bare: &[],
    closings: &[CLOSE],
    separators: &[],
    only_tools: false,
    scanner: |_| Box::new(Gemma4Scanner::default()),
    write: |name, arguments| format!("{OPEN}{HEAD}{name}{}{CLOSE}", write(arguments)),
};

fn write(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{QUOTE}{text}{QUOTE}"),
        Value::Array(items) => format!("[{}]", items.iter().map(write).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}:{}", write_key(key), write(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

fn write_key(key: &str) -> String {
    if is_plain(key) { key.to_owned() } else { format!("{QUOTE}{key}{QUOTE}") }
}

/// Whether a key can stand as it is: it could not be taken for anything else.
pub(crate) fn is_plain(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !["True", "False", "None"].contains(&key)
}

/// Reads one call: its arguments are a dictionary in Python but for the quotes.
#[derive(Debug, Default)]
struct Gemma4Scanner {
    /// What stands before the arguments, so far.
    head: String,
    arguments: Option<LiteralScanner>,
    /// Between two [`QUOTE`]s.
    quoted: bool,
}

impl Gemma4Scanner {
    /// Takes what stands before the arguments: their bracket is left.
    fn name(&mut self, pending: &mut String) -> Progress {
        while let Some(c) = pending.chars().next() {
            if c == '{'
                && let Some(name) = self.head.strip_prefix(HEAD).filter(|name| !name.is_empty())
            {
                self.arguments = Some(LiteralScanner::new());
                return Progress::Named(name.to_owned());
            }
            if !(c.is_ascii_whitespace() && self.head.is_empty()) {
                self.head.push(c);
                let fits = if self.head.starts_with(HEAD) { is_of_name(c) } else { HEAD.starts_with(&self.head) };
                if !fits {
                    return Progress::Wrong;
                }
            }
            pending.remove(0);
        }
        Progress::More
    }
}

impl Scanner for Gemma4Scanner {
    fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress {
        let Some(literal) = &mut self.arguments else {
            return self.name(pending);
        };
        let mut taken = 0;
        let progress = loop {
            let rest = &pending[taken..];
            let (text, length) = match rest.chars().next() {
                None => break Progress::More,
                Some('<') if rest.starts_with(QUOTE) => {
                    self.quoted = !self.quoted;
                    ("\"".to_owned(), QUOTE.len())
                }
                Some('<') if QUOTE.starts_with(rest) => break Progress::More,
                // Between the marks nothing has another meaning.
                Some(c @ ('"' | '\\')) if self.quoted => (format!("\\{c}"), c.len_utf8()),
                Some(c) => (c.to_string(), c.len_utf8()),
            };
            let mut steps = text.chars().map(|c| literal.push(c, arguments));
            match steps.find(|step| !matches!(step, Step::Before | Step::Inside)) {
                None => taken += length,
                Some(Step::Last) => {
                    taken += length;
                    break Progress::Complete;
                }
                Some(_) => break Progress::Wrong,
            }
        };
        pending.drain(..taken);
        progress
    }
}
