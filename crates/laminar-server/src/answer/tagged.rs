//! Arguments as tags around keys and values, turned into JSON; whether a value is a string is told by the tool's schema.

use std::sync::Arc;

use serde_json::Value;

use super::overlap;
use super::scanner::{escape, tool_named};

/// Where a value is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A string; its text leaves as it comes.
    Text { fresh: bool },
    /// Any other value, needed as a whole.
    Whole,
}

/// Reads one value after the other.
#[derive(Debug)]
pub(super) struct TaggedValues {
    tools: Arc<[Value]>,
    /// The tag that ends a value.
    end: &'static str,
    /// One line break at each end of a value belongs to the tags.
    breaks: bool,
    /// The function.
    name: Option<String>,
    any: bool,
    kind: Kind,
}

impl TaggedValues {
    pub(super) fn new(tools: &Arc<[Value]>, end: &'static str, breaks: bool) -> TaggedValues {
        TaggedValues { tools: Arc::clone(tools), end, breaks, name: None, any: false, kind: Kind::Whole }
    }

    /// Says which function's values they are.
    pub(super) fn of(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    /// The value of this key comes next. Whether it is a string is told by the schema where nobody has said it.
    pub(super) fn begin(&mut self, key: &str, is_string: Option<bool>, arguments: &mut String) {
        arguments.push_str(if std::mem::replace(&mut self.any, true) { ", \"" } else { "{\"" });
        escape(key, arguments);
        arguments.push_str("\": ");
        self.kind = match is_string.unwrap_or_else(|| self.is_string(key)) {
            true => {
                arguments.push('"');
                Kind::Text { fresh: true }
            }
            false => Kind::Whole,
        };
    }

    /// Takes what it can of the value; true at its end.
    pub(super) fn push(&mut self, pending: &mut String, arguments: &mut String) -> bool {
        match self.kind {
            Kind::Text { fresh } => self.text(fresh, pending, arguments),
            Kind::Whole => match pending.find(self.end) {
                Some(end) => {
                    arguments.push_str(&as_json(pending[..end].trim()));
                    pending.drain(..end + self.end.len());
                    true
                }
                None => false,
            },
        }
    }

    /// No value follows.
    pub(super) fn close(&self, arguments: &mut String) {
        arguments.push_str(if self.any { "}" } else { "{}" });
    }

    /// Whether the schema says that a value is a string, or says nothing about it.
    fn is_string(&self, key: &str) -> bool {
        let tool = self.name.as_deref().and_then(|name| tool_named(&self.tools, name));
        let schema = tool.map(|tool| &tool["function"]["parameters"]["properties"][key]);
        schema.is_none_or(|schema| {
            let says_nothing = ["type", "anyOf", "oneOf", "allOf", "$ref"].iter().all(|key| schema[*key].is_null());
            schema["type"] == "string" || (says_nothing && schema["enum"].is_null())
        })
    }

    /// Moves the text of a string on as JSON; true at its end.
    fn text(&mut self, fresh: bool, pending: &mut String, arguments: &mut String) -> bool {
        if fresh {
            if pending.is_empty() {
                return false;
            }
            self.kind = Kind::Text { fresh: false };
            if self.breaks && pending.starts_with('\n') {
                pending.remove(0);
            }
        }
        let end = pending.find(self.end);
        let certain = match end {
            Some(end) => &pending[..end],
            None => &pending[..pending.len() - overlap(pending, self.end)],
        };
        let shown = match self.breaks {
            true => certain.strip_suffix('\n').unwrap_or(certain).len(),
            false => certain.len(),
        };
        escape(&pending[..shown], arguments);
        match end {
            Some(end) => {
                pending.drain(..end + self.end.len());
                arguments.push('"');
            }
            None => drop(pending.drain(..shown)),
        }
        end.is_some()
    }
}

/// The text between two tags at the front of a text.
pub(super) enum Tag {
    /// It; both tags have been taken.
    Inside(String),
    /// Too little to tell.
    Partial,
    /// Something else.
    Other,
}

/// Takes a text between tags, and white space before them, from the front.
pub(super) fn take_inside(pending: &mut String, opening: &str, closing: &str) -> Tag {
    let trimmed = pending.trim_start();
    match trimmed.strip_prefix(opening) {
        Some(rest) => match rest.split_once(closing) {
            Some((name, rest)) => {
                let name = name.trim().to_owned();
                *pending = rest.to_owned();
                Tag::Inside(name)
            }
            None => Tag::Partial,
        },
        None if opening.starts_with(trimmed) => Tag::Partial,
        None => Tag::Other,
    }
}

/// The text itself if it is JSON, Python's constants as JSON's, and otherwise a string.
fn as_json(text: &str) -> String {
    match text {
        "True" => "true".to_owned(),
        "False" => "false".to_owned(),
        "None" => "null".to_owned(),
        _ if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => text.to_owned(),
        _ => Value::from(text).to_string(),
    }
}

/// A value as it stands between tags: strings without quotes.
pub(super) fn between(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
