//! Qwen 3 Coder: `<tool_call><function=name><parameter=key>value</parameter>...</function></tool_call>`; Seed-OSS: the same in
//! `<seed:tool_call>`. Source: the chat templates of these models.

use std::sync::Arc;

use serde_json::Value;

use super::hermes::{CLOSE, OPEN};
use super::scanner::{Front, Progress, Scanner, Spelling, take_tag};
use super::tagged::{Tag, TaggedValues, between, take_inside};

/// The tags of Seed-OSS around a call.
pub(crate) const SEED: (&str, &str) = ("<seed:tool_call>", "</seed:tool_call>");

const FUNCTION: &str = "<function=";
const FUNCTION_END: &str = "</function>";
const PARAMETER: &str = "<parameter=";
const PARAMETER_END: &str = "</parameter>";

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN, SEED.0],
    first: &[],
    bare: &[],
    closings: &[CLOSE, SEED.1],
    separators: &[],
    only_tools: false,
    scanner: |tools| Box::new(XmlScanner::new(tools)),
    write: |name, arguments| {
        let fields = arguments.as_object().into_iter().flatten();
        let parameters: String =
            fields.map(|(key, value)| format!("{PARAMETER}{key}>\n{}\n{PARAMETER_END}\n", between(value))).collect();
        format!("{OPEN}\n{FUNCTION}{name}>\n{parameters}{FUNCTION_END}\n{CLOSE}")
    },
};

#[derive(Debug)]
enum At {
    Function,
    Parameters,
    Value,
}

/// Reads one call.
#[derive(Debug)]
struct XmlScanner {
    at: At,
    values: TaggedValues,
}

impl XmlScanner {
    fn new(tools: &Arc<[Value]>) -> XmlScanner {
        XmlScanner { at: At::Function, values: TaggedValues::new(tools, PARAMETER_END, true) }
    }
}

impl Scanner for XmlScanner {
    fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress {
        loop {
            match self.at {
                At::Function => match take_inside(pending, FUNCTION, ">") {
                    Tag::Inside(name) => {
                        self.values.of(&name);
                        self.at = At::Parameters;
                        return Progress::Named(name);
                    }
                    Tag::Partial => return Progress::More,
                    Tag::Other => return Progress::Wrong,
                },
                At::Parameters => match take_inside(pending, PARAMETER, ">") {
                    Tag::Inside(key) => {
                        self.values.begin(&key, None, arguments);
                        self.at = At::Value;
                    }
                    Tag::Partial => return Progress::More,
                    Tag::Other => match take_tag(pending, FUNCTION_END) {
                        Front::Partial => return Progress::More,
                        Front::Tag | Front::Other => {
                            self.values.close(arguments);
                            return Progress::Complete;
                        }
                    },
                },
                At::Value if self.values.push(pending, arguments) => self.at = At::Parameters,
                At::Value => return Progress::More,
            }
        }
    }
}
