//! Kimi K2: calls between `<|tool_calls_section_begin|>` and `<|tool_calls_section_end|>`, each
//! `<|tool_call_begin|>functions.name:number<|tool_call_argument_begin|>{...}<|tool_call_end|>`; numbers run through the whole
//! conversation. Source: the chat templates of these models and *Tool Use with Kimi-K2* beside them.

use super::marked::{MarkedScanner, Marks};
use super::scanner::Spelling;

/// What begins all calls.
pub(crate) const OPEN: &str = "<|tool_calls_section_begin|>";
/// What ends them.
pub(crate) const CLOSE: &str = "<|tool_calls_section_end|>";
/// What begins a call.
pub(crate) const CALL: &str = "<|tool_call_begin|>";
/// What ends it.
pub(crate) const CALL_END: &str = "<|tool_call_end|>";
/// Between a call's head and its arguments.
pub(crate) const ARGUMENTS: &str = "<|tool_call_argument_begin|>";
/// Before a function's name.
pub(crate) const FUNCTIONS: &str = "functions.";

/// What the models write at times instead of [`OPEN`] and [`CLOSE`].
const SLIP: (&str, &str) = ("<|tool_call_section_begin|>", "<|tool_call_section_end|>");

static MARKS: Marks = Marks { call: CALL, end: CALL_END, separator: ARGUMENTS, name: name_in, fenced: false };

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN, SLIP.0, CALL],
    first: &[],
    bare: &[],
    closings: &[CLOSE, SLIP.1],
    separators: &[],
    only_tools: false,
    scanner: |_| Box::new(MarkedScanner::new(&MARKS)),
    write: |name, arguments| format!("{OPEN}{CALL}{}{ARGUMENTS}{arguments}{CALL_END}{CLOSE}", head(name, 0)),
};

/// What stands before the arguments of the call of this number in a conversation; it is the call's id too.
pub(crate) fn head(name: &str, number: usize) -> String {
    format!("{FUNCTIONS}{name}:{number}")
}

/// The name in a head, of which the number may be missing.
fn name_in(head: &str) -> &str {
    let name = head.strip_prefix(FUNCTIONS).unwrap_or(head);
    match name.rsplit_once(':') {
        Some((name, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    }
}
