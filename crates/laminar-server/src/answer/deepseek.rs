//! DeepSeek: calls between `<｜tool▁calls▁begin｜>` and `<｜tool▁calls▁end｜>`, each between `<｜tool▁call▁begin｜>` and
//! `<｜tool▁call▁end｜>`. V3 and R1 write `function<｜tool▁sep｜>name`, a line break and the arguments in a `json` fence;
//! V3.1 writes `name<｜tool▁sep｜>` and the arguments. Source: the chat templates of these models.

use super::scanner::{Front, Progress, Scanner, Spelling, each, is_of_name, take_tag};
use super::value::{Step, ValueScanner};

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
const FENCE_END: &str = "```";

/// Bytes of what stands before the separator: a name, or the word for its kind.
const MAX_HEAD: usize = 256;

pub(super) static SPELLING: Spelling = Spelling {
    openings: &[OPEN, CALL],
    first: &[],
    bare: &[],
    closings: &[CLOSE],
    separators: &[],
    only_tools: false,
    scanner: |_| Box::new(DeepSeekScanner { at: At::Call }),
    write: |name, arguments| {
        format!("{OPEN}{CALL}function{SEPARATOR}{name}\n{FENCE}\n{arguments}\n{FENCE_END}{CALL_END}{CLOSE}")
    },
};

#[derive(Debug)]
enum At {
    /// Before the tag of a call.
    Call,
    /// Before the separator.
    Head,
    /// Behind it, with what stood before.
    Behind(String),
    /// In the name behind the separator.
    Name(String),
    /// Between the name and the arguments.
    Fence,
    Arguments(ValueScanner),
    /// Behind the arguments.
    FenceEnd,
    End,
}

/// Reads one call; the tag before it may have been taken.
#[derive(Debug)]
struct DeepSeekScanner {
    at: At,
}

impl Scanner for DeepSeekScanner {
    fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress {
        loop {
            match &mut self.at {
                At::Call => match take_tag(pending, CALL) {
                    Front::Partial => return Progress::More,
                    Front::Tag | Front::Other => self.at = At::Head,
                },
                At::Head => match pending.find(SEPARATOR) {
                    Some(at) if at <= MAX_HEAD => {
                        self.at = At::Behind(pending[..at].trim().to_owned());
                        pending.drain(..at + SEPARATOR.len());
                    }
                    None if pending.len() < MAX_HEAD + SEPARATOR.len() => return Progress::More,
                    _ => return Progress::Wrong,
                },
                At::Behind(head) => match pending.trim_start().chars().next() {
                    None => return Progress::More,
                    Some('{') => {
                        let name = std::mem::take(head);
                        self.at = At::Fence;
                        return if name.is_empty() { Progress::Wrong } else { Progress::Named(name) };
                    }
                    Some(_) => self.at = At::Name(String::new()),
                },
                At::Name(name) => {
                    let progress = each(pending, |c| match c {
                        c if c.is_ascii_whitespace() && name.is_empty() => (Progress::More, true),
                        c if is_of_name(c) => {
                            name.push(c);
                            (Progress::More, true)
                        }
                        _ if !name.is_empty() => (Progress::Named(std::mem::take(name)), false),
                        _ => (Progress::Wrong, false),
                    });
                    if matches!(progress, Progress::Named(_)) {
                        self.at = At::Fence;
                    }
                    return progress;
                }
                At::Fence => match take_tag(pending, FENCE) {
                    Front::Partial => return Progress::More,
                    Front::Tag => {}
                    Front::Other if pending.trim_start().starts_with('{') => {
                        let spaces = pending.len() - pending.trim_start().len();
                        pending.drain(..spaces);
                        self.at = At::Arguments(ValueScanner::default());
                    }
                    Front::Other => return Progress::Wrong,
                },
                At::Arguments(value) => match value.take(pending, arguments) {
                    Step::Inside => return Progress::More,
                    Step::Last => self.at = At::FenceEnd,
                    _ => return Progress::Wrong,
                },
                At::FenceEnd => match take_tag(pending, FENCE_END) {
                    Front::Partial => return Progress::More,
                    Front::Tag | Front::Other => self.at = At::End,
                },
                At::End => match take_tag(pending, CALL_END) {
                    Front::Partial => return Progress::More,
                    Front::Tag => return Progress::Complete,
                    Front::Other => return Progress::Wrong,
                },
            }
        }
    }
}
