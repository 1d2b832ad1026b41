//! DeepSeek: calls between `<｜tool▁calls▁begin｜>` and `<｜tool▁calls▁end｜>`, each between `<｜tool▁call▁begin｜>` and
//! `<｜tool▁call▁end｜>`. V3 and R1 write `function<｜tool▁sep｜>name`, a line break and the arguments in a `json` fence;
//! V3.1 writes `name<｜tool▁sep｜>` and the arguments. Source: the chat templates of these models.

use super::marked::{MarkedScanner, Marks};
use super::scanner::Spelling;

/// What begins all calls.
pub(crate) const OPEN: &str = "<｜tool▁calls▁begin｜>";
/// What ends them.
pub(crate) const CLOSE: &str = "<｜tool▁calls▁end｜>";
/// What begins a call.
pub(crate) const CALL: &str = "<｜tool▁call▁begin｜>";
/// What ends it.
pub(crate) const CALL_END: &str = "<｜tool▁call▁end｜>";
/// Behind the word `function`, or behind the name.
pub(crate) const SEPARATOR: &str = "<｜tool▁sep｜>";
/// Around arguments.
pub(crate) const FENCE: &str = "```json";
/// Behind them.
pub(super) const FENCE_END: &str = "```";

static MARKS: Marks = Marks { call: CALL, end: CALL_END, separator: SEPARATOR, name: |head| head, fenced: true };

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN, CALL],
    first: &[],
    bare: &[],
    closings: &[CLOSE],
    separators: &[],
    only_tools: false,
    scanner: |_| Box::new(MarkedScanner::new(&MARKS)),
    write: |name, arguments| {
        format!("{OPEN}{CALL}function{SEPARATOR}{name}\n{FENCE}\n{arguments}\n{FENCE_END}{CALL_END}{CLOSE}")
    },
};
