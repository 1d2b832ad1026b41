//! GLM-4.5: `<tool_call>name`, then for each argument `<arg_key>key</arg_key>` and `<arg_value>value</arg_value>`, then
//! `</tool_call>`; strings stand without quotes. Source: the chat template of the GLM-4.5 models.

use std::sync::Arc;

use serde_json::Value;

use super::hermes::{CLOSE, OPEN};
use super::scanner::{Front, Progress, Scanner, Spelling, each, is_of_name, take_tag};
use super::tagged::{Tag, TaggedValues, between, take_inside};

/// The tags around a key and a value.
pub(crate) const KEY: (&str, &str) = ("<arg_key>", "</arg_key>");
/// See [`KEY`].
pub(crate) const VALUE: (&str, &str) = ("<arg_value>", "</arg_value>");

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN],
    first: &[],
    bare: &[],
    closings: &[CLOSE],
    separators: &[],
    // Any word is spelled as a name.
    only_tools: true,
    scanner: |tools| Box::new(GlmScanner::new(tools)),
    write: |name, arguments| {
        let fields = arguments.as_object().into_iter().flatten();
        let pair = |(key, value): (&String, &Value)| {
            format!("{}{key}{}\n{}{}{}\n", KEY.0, KEY.1, VALUE.0, between(value), VALUE.1)
        };
        format!("{OPEN}{name}\n{}{CLOSE}", fields.map(pair).collect::<String>())
    },
};

#[derive(Debug)]
enum At {
    Name(String),
    Key,
    /// Between a key and its value.
    Open(String),
    Value,
}

/// Reads one call.
#[derive(Debug)]
struct GlmScanner {
    at: At,
    values: TaggedValues,
}

impl GlmScanner {
    fn new(tools: &Arc<[Value]>) -> GlmScanner {
        GlmScanner { at: At::Name(String::new()), values: TaggedValues::new(tools, VALUE.1, false) }
    }

    /// The name ends at white space or a tag.
    fn name(pending: &mut String, name: &mut String) -> Progress {
        each(pending, |c| match c {
            c if c.is_ascii_whitespace() && name.is_empty() => (Progress::More, true),
            c if is_of_name(c) => {
                name.push(c);
                (Progress::More, true)
            }
            c if !name.is_empty() && (c.is_ascii_whitespace() || c == '<') => {
                (Progress::Named(std::mem::take(name)), false)
            }
            _ => (Progress::Wrong, false),
        })
    }
}

impl Scanner for GlmScanner {
    fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress {
        loop {
            match &mut self.at {
                At::Name(name) => {
                    let progress = Self::name(pending, name);
                    if let Progress::Named(name) = &progress {
                        self.values.of(name);
                        self.at = At::Key;
                    }
                    return progress;
                }
                At::Key => match take_inside(pending, KEY.0, KEY.1) {
                    Tag::Inside(key) => self.at = At::Open(key),
                    Tag::Partial => return Progress::More,
                    Tag::Other if CLOSE.starts_with(pending.trim_start()) && pending.trim_start() != CLOSE => {
                        return Progress::More;
                    }
                    Tag::Other => {
                        self.values.close(arguments);
                        return Progress::Complete;
                    }
                },
                At::Open(key) => match take_tag(pending, VALUE.0) {
                    Front::Tag => {
                        self.values.begin(key, None, arguments);
                        self.at = At::Value;
                    }
                    Front::Partial => return Progress::More,
                    Front::Other => {
                        self.values.close(arguments);
                        return Progress::Wrong;
                    }
                },
                At::Value if self.values.push(pending, arguments) => self.at = At::Key,
                At::Value => return Progress::More,
            }
        }
    }
}
