//! A Python literal, turned into JSON character by character.

use serde_json::Value;

use super::scanner::escape;
use super::value::Step;

/// What has been begun and not ended.
#[derive(Debug)]
struct Open {
    /// The bracket that ends it.
    closing: char,
    /// Nothing stands in it yet.
    empty: bool,
    /// Of a dictionary: whether the next value is a key.
    key: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a value.
    Value,
    /// In a number or a word.
    Word,
    /// In a string, until this quote.
    Text(char),
    /// In a string, behind a backslash and what `escape` holds.
    Escape(char),
    /// Behind a value in brackets.
    After,
}

/// Follows one literal. Its JSON leaves as it comes, with one space behind each comma and colon; strings leave character by
/// character.
#[derive(Debug)]
pub(super) struct LiteralScanner {
    open: Vec<Open>,
    at: At,
    word: String,
    escape: String,
}

impl LiteralScanner {
    pub(super) fn new() -> LiteralScanner {
        LiteralScanner { open: Vec::new(), at: At::Value, word: String::new(), escape: String::new() }
    }

    pub(super) fn push(&mut self, c: char, out: &mut String) -> Step {
        match self.at {
            At::Value if c.is_ascii_whitespace() && self.open.is_empty() => return Step::Before,
            At::Value | At::After if c.is_ascii_whitespace() => {}
            At::Value => return self.begin(c, out),
            At::Word if is_of_word(c) => self.word.push(c),
            At::Word => {
                self.end_word(out);
                if self.open.is_empty() {
                    return Step::Behind;
                }
                self.at = At::After;
                return self.push(c, out);
            }
            At::Text(quote) => match c {
                c if c == quote => {
                    out.push('"');
                    return self.end();
                }
                '\\' => self.at = At::Escape(quote),
                c => escape(c.encode_utf8(&mut [0; 4]), out),
            },
            At::Escape(quote) => {
                self.escape.push(c);
                if let Some(text) = escaped(&self.escape) {
                    out.push_str(&text);
                    self.escape.clear();
                    self.at = At::Text(quote);
                }
            }
            At::After => return self.after(c, out),
        }
        Step::Inside
    }

    fn begin(&mut self, c: char, out: &mut String) -> Step {
        if self.open.last().is_some_and(|open| open.closing == c) {
            return self.close(c, out);
        }
        let is_value = "[({\"'".contains(c) || is_of_word(c);
        // A key that is no string or plain word cannot be one in JSON either.
        let is_key = self.open.last().is_some_and(|open| open.key == Some(true));
        if !is_value || (is_key && "[({".contains(c)) {
            return Step::Wrong;
        }
        if let Some(open) = self.open.last_mut() {
            if !open.empty && open.key != Some(false) {
                out.push_str(", ");
            }
            open.empty = false;
        }
        match c {
            '[' | '(' | '{' => {
                let (json, closing) = match c {
                    '[' => ('[', ']'),
                    '(' => ('[', ')'),
                    _ => ('{', '}'),
                };
                out.push(json);
                self.open.push(Open { closing, empty: true, key: (c == '{').then_some(true) });
            }
            '"' | '\'' => {
                out.push('"');
                self.at = At::Text(c);
            }
            _ => {
                self.word = String::from(c);
                self.at = At::Word;
            }
        }
        Step::Inside
    }

    fn after(&mut self, c: char, out: &mut String) -> Step {
        let Some(open) = self.open.last_mut() else {
            return Step::Wrong;
        };
        match (c, open.key) {
            (':', Some(true)) => {
                open.key = Some(false);
                out.push_str(": ");
                self.at = At::Value;
            }
            (',', None | Some(false)) => {
                open.key = open.key.map(|_| true);
                self.at = At::Value;
            }
            (c, None | Some(false)) if c == open.closing => return self.close(c, out),
            _ => return Step::Wrong,
        }
        Step::Inside
    }

    /// A closing bracket.
    fn close(&mut self, c: char, out: &mut String) -> Step {
        self.open.pop();
        out.push(if c == '}' { '}' } else { ']' });
        self.end()
    }

    /// The last character of a value.
    fn end(&mut self) -> Step {
        if self.open.is_empty() {
            return Step::Last;
        }
        self.at = At::After;
        Step::Inside
    }

    fn end_word(&mut self, out: &mut String) {
        let json = match self.word.as_str() {
            "True" | "true" => "true".to_owned(),
            "False" | "false" => "false".to_owned(),
            "None" | "null" => "null".to_owned(),
            word => number(word).unwrap_or_else(|| Value::from(word).to_string()),
        };
        let is_key = self.open.last().is_some_and(|open| open.key == Some(true));
        match is_key && !json.starts_with('"') {
            true => out.push_str(&Value::from(json).to_string()),
            false => out.push_str(&json),
        }
        self.word.clear();
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || "_+-.".contains(c)
}

/// A Python number as JSON: as it stands where JSON spells it so.
fn number(word: &str) -> Option<String> {
    let plain = word.replace('_', "");
    if !plain.contains(|c: char| c.is_ascii_digit()) || plain.contains(|c: char| !"+-.eE0123456789".contains(c)) {
        return None;
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(&plain) {
        Ok(_) => Some(plain),
        // `1.`, `.5`, `+3`
        Err(_) => {
            plain.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| Value::from(value).to_string())
        }
    }
}

/// What stands for an escape, without its backslash, in a JSON string; nothing while it is not complete.
fn escaped(escape: &str) -> Option<String> {
    let mut chars = escape.chars();
    let kind = chars.next()?;
    let digits = chars.as_str();
    let wanted = match kind {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => {
            return Some(match kind {
                'n' => "\\n".to_owned(),
                't' => "\\t".to_owned(),
                'r' => "\\r".to_owned(),
                'b' => "\\b".to_owned(),
                'f' => "\\f".to_owned(),
                'a' => "\\u0007".to_owned(),
                'v' => "\\u000b".to_owned(),
                '\\' => "\\\\".to_owned(),
                '"' => "\\\"".to_owned(),
                '\'' => "'".to_owned(),
                '/' => "/".to_owned(),
                '\n' => String::new(),
                // Python keeps the backslash of an escape that it does not know.
                other => format!("\\\\{}", inside(&String::from(other))),
            });
        }
    };
    if digits.contains(|c: char| !c.is_ascii_hexdigit()) {
        return Some(format!("\\\\{kind}{}", inside(digits)));
    }
    if digits.len() < wanted {
        return None;
    }
    let number = u32::from_str_radix(digits, 16).unwrap_or(0);
    Some(match kind {
        'U' => inside(&String::from(char::from_u32(number).unwrap_or('\u{fffd}'))),
        // Halves of a pair mean in JSON what they do here.
        _ => format!("\\u{number:04x}"),
    })
}

/// A text as the inside of a JSON string.
fn inside(text: &str) -> String {
    let mut out = String::new();
    escape(text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The JSON of a literal, and what is left of the text behind it; nothing if it is none.
    fn json(text: &str) -> Option<(String, &str)> {
        let mut scanner = LiteralScanner::new();
        let mut out = String::new();
        for (at, c) in text.char_indices() {
            match scanner.push(c, &mut out) {
                Step::Before | Step::Inside => {}
                Step::Last => return Some((out, &text[at + c.len_utf8()..])),
                Step::Behind => return Some((out, &text[at..])),
                Step::Wrong => return None,
            }
        }
        None
    }

    #[test]
    fn literals_become_json() {
        for (python, expected) in [
            ("1,", "1"),
            (" -1.5e3)", "-1.5e3"),
            ("1_000 ", "1000"),
            (".5,", "0.5"),
            ("1.)", "1.0"),
            ("+3,", "3.0"),
            ("True,", "true"),
            ("None)", "null"),
            ("false,", "false"),
            ("Paris)", "\"Paris\""),
            ("'it\"s'", "\"it\\\"s\""),
            ("\"a'b\\\"c\\\\\"", "\"a'b\\\"c\\\\\""),
            ("'\\n\\t\\x41\\u65e5\\U0001F642\\q\\/'", "\"\\n\\t\\u0041\\u65e5🙂\\\\q/\""),
            ("'日本 🙂\n'", "\"日本 🙂\\n\""),
            ("'\\ud83d\\ude42'", "\"\\ud83d\\ude42\""),
            ("'\\x4g'", "\"\\\\x4g\""),
            ("[1,2 , 'a',]", "[1, 2, \"a\"]"),
            ("[ ]", "[]"),
            ("(1,)", "[1]"),
            ("{}", "{}"),
            ("{'a': [True, {'b':None}], \"c\" : 'd', 5: 6}", "{\"a\": [true, {\"b\": null}], \"c\": \"d\", \"5\": 6}"),
        ] {
            let (found, _) = json(python).unwrap_or_else(|| panic!("{python} is none"));
            assert_eq!(found, expected, "{python}");
            serde_json::from_str::<Value>(&found).unwrap();
        }
        assert_eq!(json("[1] rest").unwrap().1, " rest");
        assert_eq!(json("1, rest").unwrap().1, ", rest");
        for wrong in ["]", "[1 2]", "{'a'}", "{'a': 1: 2}", "[1}", "{[1]: 2}", "=", "[,]"] {
            assert_eq!(json(wrong), None, "{wrong}");
        }
    }
}
