//! A call as a JSON object with a name and arguments, read character by character.

use super::scanner::Progress;
use super::value::{Kind, Step, ValueScanner};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Open,
    KeyOrEnd,
    Key { escaped: bool },
    Colon,
    Value,
    CommaOrEnd,
}

/// Reads `{"name": ..., "arguments": ...}`, in either order; `parameters` is another word for the arguments. Arguments
/// leave as they come once the name is known.
#[derive(Debug)]
pub(super) struct ObjectScanner {
    at: At,
    key: String,
    value: ValueScanner,
    /// The value so far, where it is needed as a whole.
    raw: String,
    name: Option<String>,
    /// Arguments that came before the name.
    held: String,
    has_arguments: bool,
}

impl ObjectScanner {
    pub(super) fn new() -> ObjectScanner {
        ObjectScanner {
            at: At::Open,
            key: String::new(),
            value: ValueScanner::default(),
            raw: String::new(),
            name: None,
            held: String::new(),
            has_arguments: false,
        }
    }

    /// Adds the arguments that have waited for the name.
    pub(super) fn release(&mut self, arguments: &mut String) {
        if self.name.is_some() {
            arguments.push_str(&std::mem::take(&mut self.held));
        }
    }

    pub(super) fn push(&mut self, c: char, arguments: &mut String) -> Progress {
        let space = c.is_ascii_whitespace();
        match self.at {
            At::Open | At::KeyOrEnd | At::Colon | At::CommaOrEnd if space => {}
            At::Open if c == '{' => self.at = At::KeyOrEnd,
            At::KeyOrEnd if c == '"' => {
                self.key = String::from(c);
                self.at = At::Key { escaped: false };
            }
            At::Key { escaped } => {
                self.key.push(c);
                self.at = match c {
                    '"' if !escaped => {
                        self.key = serde_json::from_str(&self.key).unwrap_or_default();
                        At::Colon
                    }
                    _ => At::Key { escaped: c == '\\' && !escaped },
                };
            }
            At::Colon if c == ':' => {
                self.value = ValueScanner::default();
                self.raw.clear();
                self.at = At::Value;
            }
            At::Value => return self.value(c, arguments),
            At::CommaOrEnd if c == ',' => self.at = At::KeyOrEnd,
            At::KeyOrEnd | At::CommaOrEnd if c == '}' => return self.complete(arguments),
            _ => return Progress::Wrong,
        }
        Progress::More
    }

    fn value(&mut self, c: char, arguments: &mut String) -> Progress {
        let step = self.value.push(c);
        match step {
            Step::Before => return Progress::More,
            Step::Wrong => return Progress::Wrong,
            Step::Inside | Step::Last => {
                if self.is_arguments() && self.value.kind() == Some(Kind::Nested) {
                    self.arguments(c.encode_utf8(&mut [0; 4]), arguments);
                } else {
                    self.raw.push(c);
                }
            }
            Step::Behind => {}
        }
        match step {
            Step::Last => {
                self.at = At::CommaOrEnd;
                self.value_end(arguments)
            }
            // A name is a string and has a last character: none is known from here on.
            Step::Behind => {
                self.at = At::CommaOrEnd;
                match self.value_end(arguments) {
                    Progress::More => self.push(c, arguments),
                    other => other,
                }
            }
            _ => Progress::More,
        }
    }

    fn is_arguments(&self) -> bool {
        matches!(self.key.as_str(), "arguments" | "parameters")
    }

    fn arguments(&mut self, text: &str, arguments: &mut String) {
        self.has_arguments = true;
        if self.name.is_some() {
            arguments.push_str(text);
        } else {
            self.held.push_str(text);
        }
    }

    /// The value of a key is complete; wrong if it cannot be what the key says.
    fn value_end(&mut self, arguments: &mut String) -> Progress {
        if self.key == "name" && self.name.is_none() {
            let Ok(name) = serde_json::from_str::<String>(&self.raw) else {
                return Progress::Wrong;
            };
            self.name = Some(name.clone());
            return Progress::Named(name);
        }
        if self.is_arguments() && self.value.kind() != Some(Kind::Nested) {
            // Some models write the object as a string, or null for none.
            let text = match self.value.kind() {
                Some(Kind::Text) => serde_json::from_str(&self.raw).unwrap_or_else(|_| self.raw.clone()),
                _ if self.raw == "null" => "{}".to_owned(),
                _ => self.raw.clone(),
            };
            self.arguments(&text, arguments);
        }
        Progress::More
    }

    fn complete(&mut self, arguments: &mut String) -> Progress {
        if self.name.is_none() {
            return Progress::Wrong;
        }
        if !self.has_arguments {
            arguments.push_str("{}");
        }
        Progress::Complete
    }
}
