//! Where a JSON value ends, found character by character.

/// What a character is to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// White space before it.
    Before,
    /// A part of it.
    Inside,
    /// Its last character.
    Last,
    /// The first one behind it.
    Behind,
    /// No JSON.
    Wrong,
}

/// Follows one value. It tells where a value ends, not whether every character of it is right.
#[derive(Debug, Default)]
pub(super) struct ValueScanner {
    /// The brackets that are open.
    open: Vec<char>,
    in_string: bool,
    escaped: bool,
    kind: Option<Kind>,
}

/// What a value is, told by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An object or an array.
    Nested,
    /// A string.
    Text,
    /// A number, `true`, `false` or `null`.
    Plain,
}

impl ValueScanner {
    /// The kind, once the value has begun.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    pub(super) fn push(&mut self, c: char) -> Step {
        let Some(kind) = self.kind else {
            return self.begin(c);
        };
        if self.in_string {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => {
                    self.in_string = false;
                    return if kind == Kind::Text { Step::Last } else { Step::Inside };
                }
                _ => {}
            }
            return Step::Inside;
        }
        match (kind, c) {
            (Kind::Plain, ',' | '}' | ']') => Step::Behind,
            (Kind::Plain, c) if c.is_ascii_whitespace() => Step::Behind,
            (Kind::Plain, c) if c.is_ascii_alphanumeric() || "+-.".contains(c) => Step::Inside,
            (Kind::Plain, _) => Step::Wrong,
            (_, '{') => self.nest('}'),
            (_, '[') => self.nest(']'),
            (_, '}' | ']') => match self.open.pop() {
                Some(closing) if closing != c => Step::Wrong,
                _ if self.open.is_empty() => Step::Last,
                _ => Step::Inside,
            },
            (_, '"') => {
                self.in_string = true;
                Step::Inside
            }
            _ => Step::Inside,
        }
    }

    /// Moves what is there of a value from the front of a text to another. Says what the last character was to it.
    pub(super) fn take(&mut self, pending: &mut String, out: &mut String) -> Step {
        let (mut taken, mut step) = (0, Step::Inside);
        for (at, c) in pending.char_indices() {
            step = self.push(c);
            taken = at + c.len_utf8();
            if step != Step::Inside {
                break;
            }
        }
        out.extend(pending.drain(..taken));
        step
    }

    fn begin(&mut self, c: char) -> Step {
        self.kind = Some(match c {
            c if c.is_ascii_whitespace() => return Step::Before,
            '{' | '[' => {
                self.nest(if c == '{' { '}' } else { ']' });
                Kind::Nested
            }
            '"' => {
                self.in_string = true;
                Kind::Text
            }
            't' | 'f' | 'n' | '-' | '0'..='9' => Kind::Plain,
            _ => return Step::Wrong,
        });
        Step::Inside
    }

    fn nest(&mut self, closing: char) -> Step {
        self.open.push(closing);
        Step::Inside
    }
}
