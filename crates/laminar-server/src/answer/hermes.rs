//! Hermes, Qwen 2.5 and 3, Granite 4: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

use serde_json::{Value, json};

use super::list::ListScanner;
use super::scanner::Spelling;

/// Before a call.
pub(crate) const OPEN: &str = "<tool_call>";
/// Behind a call.
pub(crate) const CLOSE: &str = "</tool_call>";

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN],
    first: &[],
    bare: &[],
    closings: &[CLOSE],
    separators: &[],
    only_tools: false,
    scanner: |_| Box::new(ListScanner::new()),
    write: |name, arguments| format!("{OPEN}\n{}\n{CLOSE}", object(name, arguments)),
};

/// A call as an object.
pub(super) fn object(name: &str, arguments: &Value) -> Value {
    json!({"name": name, "arguments": arguments})
}
