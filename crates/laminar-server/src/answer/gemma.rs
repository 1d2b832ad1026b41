//! Gemma 2 and 3, which have no markers for tools: they follow what the prompt asks for. Google documents two forms, an
//! object with `name` and `parameters`, which is the one we ask for, and calls in Python in a list; its examples have
//! calls behind a `tool_code` fence too. All are read. Source: "Function calling with Gemma" in Google's documentation.

use super::llama::{BareScanner, object};
use super::scanner::Spelling;

pub(super) static SPELLING: Spelling = Spelling {
    openings: &["```tool_code"],
    first: &["```json"],
    bare: &['{', '['],
    closings: &["```"],
    separators: &[';', ','],
    only_tools: true,
    scanner: |tools| Box::new(BareScanner::new(tools)),
    write: |name, arguments| object(name, arguments).to_string(),
};

/// A tool's result as Google's examples write it.
pub(crate) fn write_result(text: &str) -> String {
    format!("```tool_output\n{text}\n```")
}
