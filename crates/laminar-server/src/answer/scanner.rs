//! What all families share: a scanner reads calls behind an opening tag, from text that comes in pieces.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

/// How far a scanner has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// It needs more text.
    More,
    /// A call of this function begins.
    Named(String),
    /// The calls are complete.
    Complete,
    /// From here on it is no call.
    Wrong,
}

/// Reads the calls of one family.
pub(super) trait Scanner: Debug + Send {
    /// Takes what it can from the front of the pending text, and adds what it finds of the newest call's arguments, as
    /// JSON. It returns at once when a call begins, and then wants to be called again. What it has taken by then depends
    /// on the text alone, not on its cuts.
    fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress;
}

/// How a family marks its calls.
#[derive(Debug)]
pub(super) struct Spelling {
    /// Any of these begins calls, anywhere.
    pub(super) openings: &'static [&'static str],
    /// These do so only where an answer begins, or behind a call.
    pub(super) first: &'static [&'static str],
    /// So do these, which belong to the call.
    pub(super) bare: &'static [char],
    /// What closes calls and is no text.
    pub(super) closings: &'static [&'static str],
    /// What may stand between bare calls.
    pub(super) separators: &'static [char],
    /// Only the name of a tool makes a call: an ordinary answer may look the same.
    pub(super) only_tools: bool,
    /// A scanner behind an opening, or at a bare beginning.
    pub(super) scanner: fn(&Arc<[Value]>) -> Box<dyn Scanner>,
    /// A call with its tags, as the family writes it.
    pub(super) write: fn(&str, &Value) -> String,
}

/// Feeds the pending text character by character. The step says how far that brings it, and whether the character is a
/// part of it.
pub(super) fn each(pending: &mut String, mut step: impl FnMut(char) -> (Progress, bool)) -> Progress {
    let (mut taken, mut progress) = (0, Progress::More);
    for (at, c) in pending.char_indices() {
        let is_part;
        (progress, is_part) = step(c);
        taken = if is_part { at + c.len_utf8() } else { at };
        if progress != Progress::More {
            break;
        }
    }
    pending.drain(..taken);
    progress
}

/// What stands at the front of a text, where a tag is expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// The tag; it has been taken.
    Tag,
    /// A beginning of the tag, or nothing yet.
    Partial,
    /// Something else.
    Other,
}

/// Takes a tag, and white space before it, from the front.
pub(super) fn take_tag(pending: &mut String, tag: &str) -> Front {
    let trimmed = pending.trim_start();
    match trimmed.strip_prefix(tag) {
        Some(rest) => {
            pending.drain(..pending.len() - rest.len());
            Front::Tag
        }
        None if tag.starts_with(trimmed) => Front::Partial,
        None => Front::Other,
    }
}

/// Adds a text as the inside of a JSON string.
pub(super) fn escape(text: &str, out: &mut String) {
    let quoted = Value::from(text).to_string();
    out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
}

/// Characters of a function's name.
pub(super) fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.:/".contains(c)
}

/// The tool of a name.
pub(super) fn tool_named<'t>(tools: &'t [Value], name: &str) -> Option<&'t Value> {
    tools.iter().find(|tool| tool["function"]["name"] == name)
}
