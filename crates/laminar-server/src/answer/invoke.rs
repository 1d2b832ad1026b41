//! Calls in tags with attributes, several in one block: `<invoke name="f"><parameter name="key">value</parameter></invoke>`.
//!
//! MiniMax M2 puts them in `<minimax:tool_call>`. DeepSeek V3.2 marks every tag, as in `<｜DSML｜invoke name="f">`, and says of
//! each parameter whether it is a string; V4 has another word for the block. Source: the chat template of MiniMax M2, and
//! *encoding_dsv32* and *encoding_dsv4* beside the weights of the DeepSeek models.

use std::sync::Arc;

use serde_json::Value;

use super::scanner::{Front, Progress, Scanner, Spelling, take_tag};
use super::tagged::{Tag, TaggedValues, between, take_inside};

/// The tags of MiniMax around calls.
pub(crate) const MINIMAX: (&str, &str) = ("<minimax:tool_call>", "</minimax:tool_call>");
/// What marks the tags of DeepSeek.
pub(crate) const MARK: &str = "｜DSML｜";
/// DeepSeek V3.2's word for calls.
pub(crate) const WORD: &str = "function_calls";
/// DeepSeek's tags around calls: those of V3.2 and those of V4.
pub(crate) const DSML: [(&str, &str); 2] =
    [("<｜DSML｜function_calls>", "</｜DSML｜function_calls>"), ("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>")];

/// The tags of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    /// Before a function's name.
    pub(crate) call: &'static str,
    /// Behind a call.
    pub(crate) call_end: &'static str,
    /// Before a parameter's name.
    pub(crate) parameter: &'static str,
    /// Behind a value.
    pub(crate) parameter_end: &'static str,
    /// The same as a regular expression.
    pub(crate) parameter_end_regex: &'static str,
    /// Whether a parameter says that it is a string.
    pub(crate) tells_strings: bool,
}

/// Those of MiniMax.
pub(crate) static MINIMAX_TAGS: Tags = Tags {
    call: "<invoke name=\"",
    call_end: "</invoke>",
    parameter: "<parameter name=\"",
    parameter_end: "</parameter>",
    parameter_end_regex: "<\\/parameter>",
    tells_strings: false,
};

/// Those of DeepSeek.
pub(crate) static DSML_TAGS: Tags = Tags {
    call: "<｜DSML｜invoke name=\"",
    call_end: "</｜DSML｜invoke>",
    parameter: "<｜DSML｜parameter name=\"",
    parameter_end: "</｜DSML｜parameter>",
    parameter_end_regex: "<\\/｜DSML｜parameter>",
    tells_strings: true,
};

pub(super) static MINIMAX_SPELLING: Spelling = Spelling {
    openings: &[MINIMAX.0],
    first: &[],
    bare: &[],
    closings: &[MINIMAX.1],
    separators: &[],
    only_tools: false,
    scanner: |tools| Box::new(InvokeScanner::new(&MINIMAX_TAGS, tools)),
    write: |name, arguments| write(&MINIMAX_TAGS, MINIMAX, name, arguments),
};

pub(super) static DSML_SPELLING: Spelling = Spelling {
    openings: &[DSML[0].0, DSML[1].0],
    first: &[],
    bare: &[],
    closings: &[DSML[0].1, DSML[1].1],
    separators: &[],
    only_tools: false,
    scanner: |tools| Box::new(InvokeScanner::new(&DSML_TAGS, tools)),
    write: |name, arguments| write(&DSML_TAGS, DSML[0], name, arguments),
};

impl Tags {
    /// What stands before a value.
    pub(crate) fn open(&self, key: &str, is_string: bool) -> String {
        let attribute = if self.tells_strings { format!("\" string=\"{is_string}") } else { String::new() };
        format!("{}{key}{attribute}\">", self.parameter)
    }
}

fn write(tags: &Tags, (open, close): (&str, &str), name: &str, arguments: &Value) -> String {
    let Tags { call, call_end, parameter_end, .. } = tags;
    let fields = arguments.as_object().into_iter().flatten();
    let field = |(key, value): (&String, &Value)| {
        format!("{}{}{parameter_end}\n", tags.open(key, value.is_string()), between(value))
    };
    format!("{open}\n{call}{name}\">\n{}{call_end}\n{close}", fields.map(field).collect::<String>())
}

#[derive(Debug)]
enum At {
    /// Before a call: the first one, or another one behind it.
    Call {
        /// There was one.
        behind: bool,
    },
    Parameters,
    Value,
}

/// Reads the calls of a block.
#[derive(Debug)]
struct InvokeScanner {
    tags: &'static Tags,
    tools: Arc<[Value]>,
    at: At,
    values: TaggedValues,
}

impl InvokeScanner {
    fn new(tags: &'static Tags, tools: &Arc<[Value]>) -> InvokeScanner {
        let values = TaggedValues::new(tools, tags.parameter_end, false);
        InvokeScanner { tags, tools: Arc::clone(tools), at: At::Call { behind: false }, values }
    }
}

impl Scanner for InvokeScanner {
    fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress {
        let Tags { call, call_end, parameter, parameter_end, tells_strings, .. } = *self.tags;
        loop {
            match self.at {
                At::Call { behind } => match take_inside(pending, call, "\">") {
                    Tag::Inside(name) => {
                        self.values = TaggedValues::new(&self.tools, parameter_end, false);
                        self.values.of(&name);
                        self.at = At::Parameters;
                        return Progress::Named(name);
                    }
                    Tag::Partial => return Progress::More,
                    Tag::Other if behind => return Progress::Complete,
                    Tag::Other => return Progress::Wrong,
                },
                At::Parameters => match take_inside(pending, parameter, "\">") {
                    Tag::Inside(name) => {
                        let told = name.rsplit_once("\" string=\"").filter(|_| tells_strings);
                        let (key, is_string) =
                            told.map_or((name.as_str(), None), |(key, is)| (key, Some(is == "true")));
                        self.values.begin(key, is_string, arguments);
                        self.at = At::Value;
                    }
                    Tag::Partial => return Progress::More,
                    Tag::Other => match take_tag(pending, call_end) {
                        Front::Partial => return Progress::More,
                        Front::Tag | Front::Other => {
                            self.values.close(arguments);
                            self.at = At::Call { behind: true };
                        }
                    },
                },
                At::Value if self.values.push(pending, arguments) => self.at = At::Parameters,
                At::Value => return Progress::More,
            }
        }
    }
}
