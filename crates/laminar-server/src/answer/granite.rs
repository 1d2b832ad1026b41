//! Granite 3: `<|tool_call|>` before a JSON list of objects with `name` and `arguments`. Some members write
//! `<tool_call>` for it. Source: the chat templates of the Granite 3.0 to 3.3 models.

use super::hermes::{OPEN as TEXT, object};
use super::list::ListScanner;
use super::scanner::Spelling;

/// What begins the list.
pub(crate) const OPEN: &str = "<|tool_call|>";

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN, TEXT],
    first: &[],
    bare: &[],
    closings: &[],
    separators: &[],
    only_tools: false,
    scanner: |_| Box::new(ListScanner::new()),
    write: |name, arguments| format!("{OPEN}[{}]", object(name, arguments)),
};
