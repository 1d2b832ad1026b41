//! Keywords of JSON schemas that cannot be kept, found by walking a schema before it is compiled.
//!
//! The compiler refuses those that the schema's own draft knows. Those of other drafts it would pass over, and whoever wrote
//! them would take them for kept.

use serde_json::Value;

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
