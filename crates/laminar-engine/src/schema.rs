//! What a JSON schema needs before it is compiled: keywords that cannot be kept are found, and formats are narrowed.
//!
//! The compiler refuses keywords that the schema's own draft knows. Those of other drafts it would pass over, and whoever wrote
//! them would take them for kept. Its formats allow some texts that validators refuse: leap days in any year, names and addresses of any length.

use serde_json::{Value, json};

/// Keywords of any draft from 3 to 2020-12 that restrict values in ways no grammar here can.
const UNSUPPORTED: [&str; 19] = [
    "$dynamicRef",
    "$recursiveRef",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "disallow",
    "divisibleBy",
    "else",
    "extends",
    "if",
    "maxContains",
    "minContains",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];

/// Keywords whose values are schemas by name.
const NAMED: [&str; 4] = ["$defs", "definitions", "patternProperties", "properties"];
/// Keywords whose values are schemas, or lists of them.
const NESTED: [&str; 7] =
    ["additionalItems", "additionalProperties", "allOf", "anyOf", "items", "oneOf", "prefixItems"];

/// The path of the first keyword in a schema that cannot be kept, such as `properties.a.uniqueItems`.
pub(crate) fn unsupported(schema: &Value) -> Option<String> {
    let mut path = Vec::new();
    walk(schema, &mut path).then(|| path.join("."))
}

/// Whether there is such a keyword; then the path leads to it.
fn walk(schema: &Value, path: &mut Vec<String>) -> bool {
    let Value::Object(fields) = schema else {
        return false;
    };
    for (key, value) in fields {
        path.push(key.clone());
        let found = match key.as_str() {
            // These two say nothing: any list is fine, and so is any value.
            "uniqueItems" if *value == Value::Bool(false) => false,
            "unevaluatedItems" | "unevaluatedProperties" if *value == Value::Bool(true) => false,
            key if UNSUPPORTED.contains(&key) => true,
            key if NAMED.contains(&key) => members(value, path),
            key if NESTED.contains(&key) => match value {
                Value::Array(_) => members(value, path),
                value => walk(value, path),
            },
            _ => false,
        };
        if found {
            return true;
        }
        path.pop();
    }
    false
}

/// Dates without leap days: which years have one is beyond a regular expression of reasonable size.
const DATE: &str = "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|\
                    02-(0[1-9]|1[0-9]|2[0-8]))";
/// Times without leap seconds, which exist at one moment of a day alone.
const TIME: &str = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?([zZ]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";

/// A label of a host's name of at most 61 characters, without two hyphens in a row.
const LABEL: &str = "[a-zA-Z0-9](-?[a-zA-Z0-9]){0,30}";
/// What stands before the `@` of an address, at most 64 characters.
const LOCAL: &str = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,16}(\\.[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,15}){0,3}";

/// Replaces formats by patterns that allow nothing which a validator refuses.
pub(crate) fn narrow_formats(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        return;
    };
    for (key, value) in fields.iter_mut() {
        match value {
            Value::Object(members) if NAMED.contains(&key.as_str()) => members.values_mut().for_each(narrow_formats),
            Value::Array(members) if NESTED.contains(&key.as_str()) => members.iter_mut().for_each(narrow_formats),
            value if NESTED.contains(&key.as_str()) => narrow_formats(value),
            _ => {}
        }
    }
    let pattern = match fields.get("format").and_then(Value::as_str) {
        Some("date") => format!("^{DATE}$"),
        Some("time") => format!("^{TIME}$"),
        Some("date-time") => format!("^{DATE}[tT]{TIME}$"),
        Some("hostname") => format!("^{LABEL}(\\.{LABEL}){{0,3}}$"),
        Some("email") => format!("^{LOCAL}@{LABEL}(\\.{LABEL}){{0,2}}$"),
        _ => return,
    };
    fields.remove("format");
    if !fields.contains_key("pattern") {
        fields.insert("pattern".to_owned(), Value::from(pattern));
    } else if let Value::Array(all) = fields.entry("allOf").or_insert_with(|| json!([])) {
        all.push(json!({"pattern": pattern}));
    }
}

/// The schemas in an object or a list.
fn members(value: &Value, path: &mut Vec<String>) -> bool {
    let mut visit = |name: String, schema: &Value| {
        path.push(name);
        let found = walk(schema, path);
        if !found {
            path.pop();
        }
        found
    };
    match value {
        Value::Object(fields) => fields.iter().any(|(name, schema)| visit(name.clone(), schema)),
        Value::Array(items) => items.iter().enumerate().any(|(place, schema)| visit(place.to_string(), schema)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formats_of_dates_and_times_become_patterns() {
        let mut schema = json!({"properties": {"format": {"format": "time"}}, "items": [{"format": "uuid"}],
            "anyOf": [{"format": "date", "pattern": "^2"}], "default": {"format": "date"}});
        narrow_formats(&mut schema);
        let (date, time) = (format!("^{DATE}$"), format!("^{TIME}$"));
        let expected = json!({"properties": {"format": {"pattern": time}}, "items": [{"format": "uuid"}],
            "anyOf": [{"pattern": "^2", "allOf": [{"pattern": date}]}], "default": {"format": "date"}});
        assert_eq!(schema, expected);
    }

    #[test]
    fn keywords_are_found_where_schemas_are_and_nowhere_else() {
        for (schema, path) in [
            (json!({"not": {}}), "not"),
            (json!({"dependencies": {"a": ["b"]}}), "dependencies"),
            (json!({"properties": {"a": {"items": {"uniqueItems": true}}}}), "properties.a.items.uniqueItems"),
            (json!({"anyOf": [{}, {"if": {}}]}), "anyOf.1.if"),
            (json!({"$defs": {"x": {"contains": {}}}}), "$defs.x.contains"),
        ] {
            assert_eq!(unsupported(&schema).as_deref(), Some(path), "{schema}");
        }
        for schema in [
            json!({"properties": {"not": {"type": "string"}, "if": {"const": {"contains": 1}}}}),
            json!({"enum": [{"not": 1}], "default": {"not": 1}, "uniqueItems": false, "unevaluatedProperties": true}),
            json!(true),
        ] {
            assert_eq!(unsupported(&schema), None, "{schema}");
        }
    }
}
