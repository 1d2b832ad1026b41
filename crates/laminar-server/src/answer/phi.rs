//! Phi-4 mini: `<|tool_call|>[{"name": ..., "arguments": {...}}, ...]<|/tool_call|>`, and `functools[...]`, which the
//! instructions in some of its templates ask for. Source: the model card and the vocabulary of Phi-4-mini-instruct.

use super::granite::OPEN;
use super::hermes::object;
use super::list::ListScanner;
use super::scanner::Spelling;

/// What ends the list behind `<|tool_call|>`.
pub(crate) const CLOSE: &str = "<|/tool_call|>";
/// The other word before the list, which nothing closes.
pub(crate) const WORD: &str = "functools";

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN, WORD],
    first: &[],
    bare: &[],
    closings: &[CLOSE],
    separators: &[],
    only_tools: false,
    scanner: |_| Box::new(ListScanner::new()),
    write: |name, arguments| format!("{OPEN}[{}]{CLOSE}", object(name, arguments)),
};
