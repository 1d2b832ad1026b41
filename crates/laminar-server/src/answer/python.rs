//! Calls as Python writes them: `[name(key=value, ...), ...]`, as Llama 3.2 and 4 do where their prompt asks for it, and LFM2
//! between tags of its own. Source: the prompt formats that Meta and Liquid publish with the models.

use std::sync::Arc;

use serde_json::Value;

use super::literal::LiteralScanner;
use super::llama::BareScanner;
use super::scanner::{Progress, Spelling, each, escape, is_of_name, tool_named};
use super::value::Step;

/// The tags that Llama 4 may put around its calls.
pub(crate) const OPEN: &str = "<|python_start|>";
/// See [`OPEN`].
pub(crate) const CLOSE: &str = "<|python_end|>";

/// The tags that LFM2 puts around its calls.
pub(crate) const LIQUID: (&str, &str) = ("<|tool_call_start|>", "<|tool_call_end|>");

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[super::llama::OPEN, OPEN, LIQUID.0],
    first: &[],
    bare: &['[', '{'],
    closings: &[CLOSE, LIQUID.1],
    separators: &[';', ','],
    only_tools: true,
    scanner: |tools| Box::new(BareScanner::new(tools)),
    write: |name, arguments| format!("[{}]", write(name, arguments)),
};

/// A call in Python, without brackets around it.
pub(super) fn write(name: &str, arguments: &Value) -> String {
    let fields = arguments.as_object().into_iter().flatten();
    let fields: Vec<String> = fields.map(|(key, value)| format!("{key}={}", literal(value))).collect();
    format!("{name}({})", fields.join(", "))
}

/// A JSON value as a Python literal.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), literal(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[derive(Debug)]
enum At {
    /// Before the list.
    Begin,
    /// In a name, or before it.
    Name,
    /// Before an argument.
    Argument,
    /// In what may be its key.
    Key,
    /// In its value.
    Value(LiteralScanner),
    /// Behind it.
    BehindValue,
    /// Behind a call.
    BehindCall,
}

/// Reads `[name(key=value, ...), ...]`, or such calls one after the other without the list. Arguments without a key get
/// the keys of the tool's schema, in order.
#[derive(Debug)]
pub(super) struct PythonScanner {
    tools: Arc<[Value]>,
    at: At,
    in_list: bool,
    /// The name, or what may be a key.
    word: String,
    name: String,
    /// Arguments of the call so far.
    count: usize,
}

impl PythonScanner {
    pub(super) fn new(tools: &Arc<[Value]>) -> PythonScanner {
        let (word, name) = (String::new(), String::new());
        PythonScanner { tools: Arc::clone(tools), at: At::Begin, in_list: false, word, name, count: 0 }
    }

    pub(super) fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress {
        each(pending, |c| self.step(c, arguments))
    }

    fn step(&mut self, c: char, arguments: &mut String) -> (Progress, bool) {
        let space = c.is_ascii_whitespace();
        match &mut self.at {
            At::Begin | At::Argument | At::BehindValue | At::BehindCall if space => {}
            At::Begin if c == '[' => {
                self.in_list = true;
                self.at = At::Name;
            }
            At::Begin => {
                self.at = At::Name;
                return self.step(c, arguments);
            }
            At::Name => return (self.name(c), true),
            At::Argument if c == ')' => self.end_call(arguments),
            At::Argument if c.is_alphabetic() || c == '_' => {
                self.word = String::from(c);
                self.at = At::Key;
            }
            At::Argument => return self.begin_value(None, &String::from(c), arguments),
            At::Key if c.is_alphanumeric() || "_-.".contains(c) => self.word.push(c),
            At::Key if c == '=' => {
                let key = std::mem::take(&mut self.word);
                return self.begin_value(Some(key.trim()), "", arguments);
            }
            At::Key if space => self.word.push(c),
            At::Key => {
                let word = std::mem::take(&mut self.word);
                let (progress, _) = self.begin_value(None, word.trim(), arguments);
                return if progress == Progress::More { self.step(c, arguments) } else { (progress, false) };
            }
            At::Value(literal) => match literal.push(c, arguments) {
                Step::Before | Step::Inside => {}
                Step::Last => self.at = At::BehindValue,
                Step::Behind => {
                    self.at = At::BehindValue;
                    return self.step(c, arguments);
                }
                Step::Wrong => return (Progress::Wrong, false),
            },
            At::BehindValue if c == ',' => self.at = At::Argument,
            At::BehindValue if c == ')' => self.end_call(arguments),
            At::BehindCall if c == ',' && self.in_list => self.at = At::Name,
            At::BehindCall if c == ']' && self.in_list => return (Progress::Complete, true),
            At::BehindCall if !self.in_list && is_of_name(c) => {
                self.at = At::Name;
                return self.step(c, arguments);
            }
            At::BehindCall if !self.in_list => return (Progress::Complete, false),
            At::BehindValue | At::BehindCall => return (Progress::Wrong, false),
        }
        (Progress::More, true)
    }

    fn name(&mut self, c: char) -> Progress {
        match c {
            c if c.is_ascii_whitespace() && self.word.is_empty() => Progress::More,
            c if is_of_name(c) => {
                self.word.push(c);
                Progress::More
            }
            '(' if !self.word.is_empty() => {
                // Llama 3 calls its own tools as methods.
                let word = std::mem::take(&mut self.word);
                self.name = word.strip_suffix(".call").unwrap_or(&word).to_owned();
                self.count = 0;
                self.at = At::Argument;
                Progress::Named(self.name.clone())
            }
            ']' if self.in_list && self.word.is_empty() && !self.name.is_empty() => Progress::Complete,
            _ => Progress::Wrong,
        }
    }

    /// Begins an argument, whose value has begun with this.
    fn begin_value(&mut self, key: Option<&str>, begun: &str, arguments: &mut String) -> (Progress, bool) {
        let key = match key {
            Some(key) => key.to_owned(),
            None => {
                let tool = tool_named(&self.tools, &self.name);
                let keys = tool.and_then(|tool| tool["function"]["parameters"]["properties"].as_object());
                match keys.and_then(|keys| keys.keys().nth(self.count)) {
                    Some(key) => key.clone(),
                    None => return (Progress::Wrong, false),
                }
            }
        };
        arguments.push_str(if self.count == 0 { "{\"" } else { ", \"" });
        escape(&key, arguments);
        arguments.push_str("\": ");
        self.count += 1;
        let mut literal = LiteralScanner::new();
        for c in begun.chars() {
            match literal.push(c, arguments) {
                Step::Before | Step::Inside => {}
                _ => return (Progress::Wrong, false),
            }
        }
        self.at = At::Value(literal);
        (Progress::More, true)
    }

    fn end_call(&mut self, arguments: &mut String) {
        arguments.push_str(if self.count == 0 { "{}" } else { "}" });
        self.at = At::BehindCall;
    }
}
