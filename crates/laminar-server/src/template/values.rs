//! JSON to template values, order of keys kept.

use minijinja::Value as Item;
use serde_json::Value;

/// The template value of a JSON value; objects become maps in the same order.
pub(super) fn from_json(value: &Value) -> Item {
    match value {
        Value::Null => Item::from(()),
        Value::Bool(value) => Item::from(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Item::from(value),
            (_, Some(value), _) => Item::from(value),
            (_, _, Some(value)) => Item::from(value),
            (None, None, None) => Item::UNDEFINED,
        },
        Value::String(text) => Item::from(text.as_str()),
        Value::Array(items) => items.iter().map(from_json).collect(),
        Value::Object(fields) => Item::from_pairs(fields.iter().map(|(key, value)| (key.clone(), from_json(value)))),
    }
}
