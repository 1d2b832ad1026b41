//! JSON exactly as Python's `json.dumps` writes it, since models were trained on that spelling.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value as Item};

/// Deeper values come from no request; the bound keeps the recursion below off the end of the stack.
const DEPTH: usize = 128;

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`, the filter of `transformers`.
/// Other keyword arguments are accepted and change nothing.
pub(super) fn tojson(state: &State, value: &Item, indent: Option<Item>, options: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => indent,
        None => option(&options, "indent")?,
    };
    let indent = match indent.kind() {
        ValueKind::None | ValueKind::Undefined => None,
        ValueKind::String => Some(indent.as_str().unwrap_or_default().to_owned()),
        // Python counts booleans as numbers, and negative widths as none.
        ValueKind::Bool => Some(" ".repeat(usize::from(indent.is_true()))),
        _ => {
            let width = i64::try_from(indent)?.clamp(0, 64);
            Some(" ".repeat(usize::try_from(width).unwrap_or(0)))
        }
    };
    let separators = option(&options, "separators")?;
    let (item, key) = match separators.kind() {
        ValueKind::None | ValueKind::Undefined if indent.is_some() => (",".into(), ": ".into()),
        ValueKind::None | ValueKind::Undefined => (", ".into(), ": ".into()),
        _ => {
            let parts: Vec<Item> = separators.try_iter()?.take(3).collect();
            match parts.as_slice() {
                [item, key] => (item.to_string(), key.to_string()),
                _ => return Err(invalid("tojson: separators must be two strings")),
            }
        }
    };
    let mut writer = Writer {
        state,
        out: String::new(),
        charged: 0,
        indent,
        item,
        key,
        sort: option(&options, "sort_keys")?.is_true(),
        ascii: option(&options, "ensure_ascii")?.is_true(),
    };
    writer.value(value, 0)?;
    Ok(writer.out)
}

/// `fromjson(text)`: the value of a JSON text.
pub(super) fn fromjson(text: &str) -> Result<Item, Error> {
    serde_json::from_str(text)
        .map(|value| super::values::from_json(&value))
        .map_err(|error| invalid(&format!("fromjson: {error}")))
}

fn option(options: &Kwargs, name: &str) -> Result<Item, Error> {
    Ok(options.get::<Option<Item>>(name)?.unwrap_or(Item::UNDEFINED))
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_owned())
}

struct Writer<'s, 't, 'e> {
    state: &'s State<'t, 'e>,
    out: String,
    /// Bytes of `out` that are paid for.
    charged: usize,
    /// The text of one level of indentation; `None`: all in one line.
    indent: Option<String>,
    item: String,
    key: String,
    sort: bool,
    ascii: bool,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Item, depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(invalid("tojson: the value is nested too deeply"));
        }
        self.charge()?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value)?,
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            kind => return Err(invalid(&format!("tojson: a value of type {kind} is no JSON"))),
        }
        Ok(())
    }

    /// The template's budget pays for what is written, also while it is being written.
    fn charge(&mut self) -> Result<(), Error> {
        let new = self.out.len().saturating_sub(self.charged);
        self.charged = self.out.len();
        self.state.consume_fuel(1 + new as u64 / 64)
    }

    fn list(&mut self, value: &Item, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in value.try_iter()? {
            self.before_item(empty, depth + 1);
            empty = false;
            self.value(&item, depth + 1)?;
        }
        self.close(empty, depth, ']');
        Ok(())
    }

    fn map(&mut self, value: &Item, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Item> = value.try_iter()?.collect();
        if self.sort {
            keys.sort();
        }
        self.out.push('{');
        for (index, key) in keys.iter().enumerate() {
            self.before_item(index == 0, depth + 1);
            match key.kind() {
                ValueKind::String => self.string(key.as_str().unwrap_or_default()),
                // Python turns such keys into strings.
                ValueKind::Bool | ValueKind::None | ValueKind::Number => {
                    self.out.push('"');
                    self.value(key, depth + 1)?;
                    self.out.push('"');
                }
                kind => return Err(invalid(&format!("tojson: a key of type {kind} is no JSON"))),
            }
            self.out.push_str(&self.key);
            self.value(&value.get_item(key)?, depth + 1)?;
        }
        self.close(keys.is_empty(), depth, '}');
        Ok(())
    }

    fn before_item(&mut self, first: bool, depth: usize) {
        if !first {
            self.out.push_str(&self.item);
        }
        self.new_line(depth);
    }

    fn close(&mut self, empty: bool, depth: usize, bracket: char) {
        if !empty {
            self.new_line(depth);
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
    }

    fn number(&mut self, value: &Item) -> Result<(), Error> {
        if value.is_integer() {
            return write!(self.out, "{value}").map_err(|error| invalid(&error.to_string()));
        }
        let number = f64::try_from(value.clone())?;
        self.out.push_str(&float(number));
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for char in text.chars() {
            match char {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                _ if char < ' ' || (self.ascii && !(' '..='~').contains(&char)) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        // Writing into a string cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                _ => self.out.push(char),
            }
        }
        self.out.push('"');
    }
}

/// A float as Python's `repr` spells it: the shortest digits that read back, with an exponent of at least two digits
/// below 1e-4 and from 1e16 on.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    // Rust prints the same shortest digits without an exponent; Python wants to see that it is a float.
    let plain = number.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_are_spelled_as_python_spells_them() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (123_456_789.125, "123456789.125"),
        ] {
            assert_eq!(float(number), expected);
        }
    }
}
