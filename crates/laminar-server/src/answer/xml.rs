//! A call as tags, read in pieces: `<function=name><parameter=key>value</parameter>...</function>`.

use std::sync::Arc;

use serde_json::Value;

use super::object::{Progress, Said};
use super::overlap;

const FUNCTION: &str = "<function=";
const FUNCTION_END: &str = "</function>";
const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";

#[derive(Debug)]
enum At {
    Function,
    Parameters,
    /// A string; its text leaves as it comes.
    Text {
        fresh: bool,
    },
    /// Any other value, needed as a whole.
    Whole,
}

/// Turns tags into JSON arguments. The types of the values are those of the tool's schema: what is no string there is
/// taken as JSON.
#[derive(Debug)]
pub(super) struct XmlScanner {
    tools: Arc<[Value]>,
    at: At,
    name: Option<String>,
    any: bool,
}

impl XmlScanner {
    pub(super) fn new(tools: Arc<[Value]>) -> XmlScanner {
        XmlScanner { tools, at: At::Function, name: None, any: false }
    }

    /// Whether the name is known.
    pub(super) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Takes what it can from the front of the pending text.
    pub(super) fn push(&mut self, pending: &mut String, said: &mut Vec<Said>) -> Progress {
        loop {
            let more = match &mut self.at {
                At::Function => match tag(pending, FUNCTION) {
                    Tag::Name(name) => {
                        said.push(Said::Name(name.clone()));
                        said.push(Said::Arguments("{".to_owned()));
                        self.name = Some(name);
                        self.at = At::Parameters;
                        true
                    }
                    Tag::Partial => false,
                    Tag::Other => return Progress::Wrong,
                },
                At::Parameters => match tag(pending, PARAMETER) {
                    Tag::Name(name) => {
                        self.begin(&name, said);
                        true
                    }
                    Tag::Partial => false,
                    Tag::Other => {
                        let trimmed = pending.trim_start();
                        if trimmed.is_empty() || FUNCTION_END.starts_with(trimmed) && trimmed != FUNCTION_END {
                            return Progress::More;
                        }
                        let rest = trimmed.strip_prefix(FUNCTION_END).unwrap_or(trimmed);
                        *pending = rest.to_owned();
                        said.push(Said::Arguments("}".to_owned()));
                        return Progress::Complete;
                    }
                },
                At::Text { fresh } => {
                    let ended = text(pending, fresh, said);
                    if ended {
                        self.at = At::Parameters;
                    }
                    ended
                }
                At::Whole => match pending.find(PARAMETER_END) {
                    Some(end) => {
                        said.push(Said::Arguments(as_json(pending[..end].trim())));
                        pending.drain(..end + PARAMETER_END.len());
                        self.at = At::Parameters;
                        true
                    }
                    None => false,
                },
            };
            if !more {
                return Progress::More;
            }
        }
    }

    fn begin(&mut self, parameter: &str, said: &mut Vec<Said>) {
        let comma = if std::mem::replace(&mut self.any, true) { ", " } else { "" };
        said.push(Said::Arguments(format!("{comma}{}: ", Value::from(parameter))));
        self.at = if self.is_string(parameter) {
            said.push(Said::Arguments("\"".to_owned()));
            At::Text { fresh: true }
        } else {
            At::Whole
        };
    }

    /// Whether the schema says that a parameter is a string, or says nothing about it.
    fn is_string(&self, parameter: &str) -> bool {
        let named = |tool: &&Value| tool["function"]["name"].as_str() == self.name.as_deref();
        let tool = self.tools.iter().find(named);
        let schema = tool.map(|tool| &tool["function"]["parameters"]["properties"][parameter]);
        schema.is_none_or(|schema| {
            let says_nothing = ["type", "anyOf", "oneOf", "allOf", "$ref"].iter().all(|key| schema[*key].is_null());
            schema["type"] == "string" || (says_nothing && schema["enum"].is_null())
        })
    }
}

enum Tag {
    Name(String),
    Partial,
    Other,
}

/// Takes `<what=NAME>` and white space before it from the front.
fn tag(pending: &mut String, opening: &str) -> Tag {
    let trimmed = pending.trim_start();
    match trimmed.strip_prefix(opening) {
        Some(rest) => match rest.split_once('>') {
            Some((name, rest)) => {
                let name = name.trim().to_owned();
                *pending = rest.to_owned();
                Tag::Name(name)
            }
            None => Tag::Partial,
        },
        None if opening.starts_with(trimmed) => Tag::Partial,
        None => Tag::Other,
    }
}

/// Moves the text of a string on as JSON; true at its end. One line break at each end belongs to the tags.
fn text(pending: &mut String, fresh: &mut bool, said: &mut Vec<Said>) -> bool {
    if *fresh {
        if pending.is_empty() {
            return false;
        }
        *fresh = false;
        if pending.starts_with('\n') {
            pending.remove(0);
        }
    }
    let end = pending.find(PARAMETER_END);
    let shown = match end {
        Some(end) => pending[..end].strip_suffix('\n').unwrap_or(&pending[..end]).len(),
        None => {
            let held = overlap(pending, PARAMETER_END);
            let certain = &pending[..pending.len() - held];
            certain.strip_suffix('\n').unwrap_or(certain).len()
        }
    };
    let quoted = Value::from(&pending[..shown]).to_string();
    said.push(Said::Arguments(quoted[1..quoted.len() - 1].to_owned()));
    match end {
        Some(end) => {
            pending.drain(..end + PARAMETER_END.len());
            said.push(Said::Arguments("\"".to_owned()));
        }
        None => drop(pending.drain(..shown)),
    }
    end.is_some()
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
