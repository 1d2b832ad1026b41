//! Mistral: `[TOOL_CALLS]` before a JSON list of objects, or in newer models before a name, `[ARGS]` and an object. Source:
//! the chat templates and the tokenizers of Mistral's instruct models.

use super::hermes::object;
use super::list::ListScanner;
use super::scanner::{Progress, Scanner, Spelling, is_of_name};
use super::value::{Step, ValueScanner};

/// What begins calls.
pub(crate) const OPEN: &str = "[TOOL_CALLS]";
/// Between a call's name and its arguments.
pub(crate) const ARGUMENTS: &str = "[ARGS]";
/// Between a call's name and its id, which is not ours to use.
pub(crate) const ID: &str = "[CALL_ID]";

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN],
    first: &[],
    bare: &[],
    closings: &[],
    separators: &[],
    only_tools: false,
    scanner: |_| Box::new(MistralScanner::Begin),
    write: |name, arguments| format!("{OPEN}[{}]", object(name, arguments)),
};

#[derive(Debug)]
enum MistralScanner {
    Begin,
    List(ListScanner),
    /// In the arguments behind a name.
    Value(ValueScanner),
}

impl Scanner for MistralScanner {
    fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress {
        match self {
            MistralScanner::Begin => {
                let spaces = pending.len() - pending.trim_start().len();
                pending.drain(..spaces);
                match pending.chars().next() {
                    None => Progress::More,
                    Some('[' | '{') => {
                        *self = MistralScanner::List(ListScanner::new());
                        self.push(pending, arguments)
                    }
                    Some(_) => self.name(pending),
                }
            }
            MistralScanner::List(list) => list.push(pending, arguments),
            MistralScanner::Value(value) => match value.take(pending, arguments) {
                Step::Inside => Progress::More,
                _ => Progress::Complete,
            },
        }
    }
}

impl MistralScanner {
    /// The name of a call, and what stands between it and its arguments.
    fn name(&mut self, pending: &mut String) -> Progress {
        match named(pending) {
            Named::Open => Progress::More,
            Named::Wrong => Progress::Wrong,
            Named::Call { name, arguments } => {
                let name = pending[..name].to_owned();
                pending.drain(..arguments);
                *self = MistralScanner::Value(ValueScanner::default());
                Progress::Named(name)
            }
        }
    }
}

/// What stands at the front of a text.
enum Named {
    /// Too little to tell.
    Open,
    /// No name.
    Wrong,
    /// A name of so many bytes, and where the arguments begin.
    Call { name: usize, arguments: usize },
}

fn named(text: &str) -> Named {
    let word = |text: &str| text.len() - text.trim_start_matches(is_of_name).len();
    let name = word(text);
    let mut at = name;
    for (tag, behind) in [(ID, true), (ARGUMENTS, false)] {
        let rest = &text[at..];
        if rest.len() < tag.len() && tag.starts_with(rest) {
            return Named::Open;
        }
        if rest.starts_with(tag) {
            at += tag.len();
            at += if behind { word(&text[at..]) } else { 0 };
        }
    }
    let rest = text[at..].trim_start();
    match rest.chars().next() {
        None => Named::Open,
        Some('{') if name > 0 => Named::Call { name, arguments: text.len() - rest.len() },
        Some(_) => Named::Wrong,
    }
}
