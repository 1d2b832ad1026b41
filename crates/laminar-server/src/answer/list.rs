//! Calls as JSON objects: one, or a list of them.

use super::object::ObjectScanner;
use super::scanner::{Progress, Scanner, each};

#[derive(Debug)]
enum At {
    Begin,
    /// Before an object of the list.
    Item,
    Object(ObjectScanner),
    /// Behind an object of the list.
    Between,
}

/// Reads `{...}`, or `[{...}, ...]`.
#[derive(Debug)]
pub(super) struct ListScanner {
    at: At,
    in_list: bool,
}

impl ListScanner {
    pub(super) fn new() -> ListScanner {
        ListScanner { at: At::Begin, in_list: false }
    }

    fn step(&mut self, c: char, arguments: &mut String) -> Progress {
        match &mut self.at {
            At::Begin | At::Item | At::Between if c.is_ascii_whitespace() => {}
            At::Begin if c == '[' => {
                self.in_list = true;
                self.at = At::Item;
            }
            At::Begin | At::Item if c == '{' => {
                let mut object = ObjectScanner::new();
                let progress = object.push(c, arguments);
                self.at = At::Object(object);
                return progress;
            }
            At::Object(object) => match object.push(c, arguments) {
                Progress::Complete if self.in_list => self.at = At::Between,
                progress => return progress,
            },
            At::Between if c == ',' => self.at = At::Item,
            At::Item | At::Between if c == ']' => return Progress::Complete,
            _ => return Progress::Wrong,
        }
        Progress::More
    }
}

impl Scanner for ListScanner {
    fn push(&mut self, pending: &mut String, arguments: &mut String) -> Progress {
        if let At::Object(object) = &mut self.at {
            object.release(arguments);
        }
        each(pending, |c| (self.step(c, arguments), true))
    }
}
