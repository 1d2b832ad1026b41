//! Calls between markers, with a head, a separator and arguments in JSON: what DeepSeek and Kimi have in common.

use super::deepseek::{FENCE, FENCE_END};
use super::scanner::{Front, Progress, Scanner, each, is_of_name, take_tag};
use super::value::{Step, ValueScanner};

/// Bytes of what stands before the separator: a name, or the word for its kind.
const MAX_HEAD: usize = 256;

/// The markers of a family's calls.
#[derive(Debug)]
pub(super) struct Marks {
    /// What begins a call.
    pub(super) call: &'static str,
    /// What ends it.
    pub(super) end: &'static str,
    /// Behind the head.
    pub(super) separator: &'static str,
    /// The name in a head.
    pub(super) name: fn(&str) -> &str,
    /// Whether the name may stand behind the separator instead, before arguments in a fence.
    pub(super) fenced: bool,
}

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

/// Reads one call; the marker before it may have been taken.
#[derive(Debug)]
pub(super) struct MarkedScanner {
    marks: &'static Marks,
    at: At,
}

impl MarkedScanner {
    pub(super) fn new(marks: &'static Marks) -> MarkedScanner {
        MarkedScanner { marks, at: At::Call }
    }
}

impl Scanner for MarkedScanner {
    fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress {
        let Marks { call, end, separator, name: name_in, fenced } = *self.marks;
        loop {
            match &mut self.at {
                At::Call => match take_tag(pending, call) {
                    Front::Partial => return Progress::More,
                    Front::Tag | Front::Other => self.at = At::Head,
                },
                At::Head => match pending.find(separator) {
                    Some(at) if at <= MAX_HEAD => {
                        self.at = At::Behind(name_in(pending[..at].trim()).to_owned());
                        pending.drain(..at + separator.len());
                    }
                    None if pending.len() < MAX_HEAD + separator.len() => return Progress::More,
                    _ => return Progress::Wrong,
                },
                At::Behind(head) => match pending.trim_start().chars().next() {
                    None => return Progress::More,
                    Some('{') => {
                        let name = std::mem::take(head);
                        self.at = At::Fence;
                        return if name.is_empty() { Progress::Wrong } else { Progress::Named(name) };
                    }
                    Some(_) if fenced => self.at = At::Name(String::new()),
                    Some(_) => return Progress::Wrong,
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
                At::End => match take_tag(pending, end) {
                    Front::Partial => return Progress::More,
                    Front::Tag => return Progress::Complete,
                    Front::Other => return Progress::Wrong,
                },
            }
        }
    }
}
