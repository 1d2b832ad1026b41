//! A call as a JSON object with a name and arguments, read character by character.

use super::value::{Kind, Step, ValueScanner};

/// What an object says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The function.
    Name(String),
    /// More of the arguments.
    Arguments(String),
}

/// Whether an object goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Complete,
    /// It is no call.
    Wrong,
}

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

    /// Whether the name is known.
    pub(super) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    pub(super) fn push(&mut self, c: char, said: &mut Vec<Said>) -> Progress {
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
            At::Value => return self.value(c, said),
            At::CommaOrEnd if c == ',' => self.at = At::KeyOrEnd,
            At::KeyOrEnd | At::CommaOrEnd if c == '}' => return self.complete(said),
            _ => return Progress::Wrong,
        }
        Progress::More
    }

    fn value(&mut self, c: char, said: &mut Vec<Said>) -> Progress {
        let step = self.value.push(c);
        match step {
            Step::Before => return Progress::More,
            Step::Wrong => return Progress::Wrong,
            Step::Inside | Step::Last => {
                if self.is_arguments() && self.value.kind() == Some(Kind::Nested) {
                    self.arguments(String::from(c), said);
                } else {
                    self.raw.push(c);
                }
            }
            Step::Behind => {}
        }
        if matches!(step, Step::Last | Step::Behind) {
            self.at = At::CommaOrEnd;
            if !self.value_end(said) {
                return Progress::Wrong;
            }
        }
        match step {
            Step::Behind => self.push(c, said),
            _ => Progress::More,
        }
    }

    fn is_arguments(&self) -> bool {
        matches!(self.key.as_str(), "arguments" | "parameters")
    }

    fn arguments(&mut self, text: String, said: &mut Vec<Said>) {
        self.has_arguments = true;
        if self.name.is_some() {
            said.push(Said::Arguments(text));
        } else {
            self.held.push_str(&text);
        }
    }

    /// The value of a key is complete; false if it cannot be what the key says.
    fn value_end(&mut self, said: &mut Vec<Said>) -> bool {
        if self.key == "name" && self.name.is_none() {
            let Ok(name) = serde_json::from_str::<String>(&self.raw) else {
                return false;
            };
            said.push(Said::Name(name.clone()));
            self.name = Some(name);
            if !self.held.is_empty() {
                said.push(Said::Arguments(std::mem::take(&mut self.held)));
            }
        } else if self.is_arguments() && self.value.kind() != Some(Kind::Nested) {
            // Some models write the object as a string, or null for none.
            let text = match self.value.kind() {
                Some(Kind::Text) => serde_json::from_str(&self.raw).unwrap_or_else(|_| self.raw.clone()),
                _ if self.raw == "null" => "{}".to_owned(),
                _ => self.raw.clone(),
            };
            self.arguments(text, said);
        }
        true
    }

    fn complete(&mut self, said: &mut Vec<Said>) -> Progress {
        if self.name.is_none() {
            return Progress::Wrong;
        }
        if !self.has_arguments {
            said.push(Said::Arguments("{}".to_owned()));
        }
        Progress::Complete
    }
}
