//! Llama 3: the whole answer is `{"name": ..., "parameters": {...}}`, several are separated by `; `; `<|python_tag|>` may
//! stand in front. Source: the prompt formats that Meta publishes with the models.
//!
//! Models of this line write calls in Python as well, so both are read wherever either is asked for.

use std::sync::Arc;

use serde_json::{Value, json};

use super::list::ListScanner;
use super::python::PythonScanner;
use super::scanner::{Progress, Scanner, Spelling};

/// What may stand before a call.
pub(crate) const OPEN: &str = "<|python_tag|>";

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN, super::python::OPEN],
    first: &[],
    bare: &['{', '['],
    closings: &[],
    separators: &[';', ','],
    only_tools: true,
    scanner: |tools| Box::new(BareScanner::new(tools)),
    write: |name, arguments| object(name, arguments).to_string(),
};

/// A call as an object with parameters.
pub(super) fn object(name: &str, arguments: &Value) -> Value {
    json!({"name": name, "parameters": arguments})
}

/// Reads what stands without tags: an object, a list of objects, calls in Python, and which of them it is.
#[derive(Debug)]
pub(super) enum BareScanner {
    Begin(Arc<[Value]>),
    List(ListScanner),
    Python(PythonScanner),
}

impl BareScanner {
    pub(super) fn new(tools: &Arc<[Value]>) -> BareScanner {
        BareScanner::Begin(Arc::clone(tools))
    }
}

impl Scanner for BareScanner {
    fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress {
        match self {
            BareScanner::Begin(tools) => {
                let trimmed = pending.trim_start();
                let inside = trimmed.strip_prefix('[').map(str::trim_start);
                *self = match (trimmed.chars().next(), inside.map(|inside| inside.chars().next())) {
                    (None, _) | (_, Some(None)) => return Progress::More,
                    (Some('{'), _) | (_, Some(Some('{'))) => BareScanner::List(ListScanner::new()),
                    _ => BareScanner::Python(PythonScanner::new(tools)),
                };
                self.push(pending, arguments)
            }
            BareScanner::List(list) => list.push(pending, arguments),
            BareScanner::Python(python) => python.push(pending, arguments),
        }
    }
}
