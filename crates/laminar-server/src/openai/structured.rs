//! The form that an answer is asked to have: `response_format`, and the names that other servers have for more.

use laminar_engine::Grammar;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::openapi::requests::{ResponseFormat, StructuredOutputs};

/// The fields that give an answer its form; at most one of them may.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct FormatFields {
    /// `{"type": "text"}`, `{"type": "json_object"}` or `{"type": "json_schema", "json_schema": {"schema": ...}}`.
    #[schema(value_type = Option<ResponseFormat>)]
    pub response_format: Option<Value>,
    /// An object with one of `json`, `regex`, `choice`, `grammar` (Lark) and `json_object` (as vLLM).
    #[schema(value_type = Option<StructuredOutputs>)]
    pub structured_outputs: Option<Value>,
    /// A JSON schema (older vLLM).
    #[schema(value_type = Option<Object>)]
    pub guided_json: Option<Value>,
    /// A regular expression (older vLLM).
    pub guided_regex: Option<String>,
    /// A list of texts (older vLLM).
    #[schema(min_items = 1)]
    pub guided_choice: Option<Vec<String>>,
    /// A Lark grammar (older vLLM).
    pub guided_grammar: Option<String>,
    /// A regular expression (as SGLang).
    pub regex: Option<String>,
    /// A JSON schema, or its text (as llama.cpp and SGLang).
    #[schema(value_type = Option<Object>)]
    pub json_schema: Option<Value>,
}

/// The form of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    /// What it must follow.
    pub grammar: Grammar,
    /// The field that said so.
    pub param: &'static str,
}

impl FormatFields {
    /// The form asked for, if any.
    ///
    /// # Errors
    /// A field of the wrong kind, an unknown type, two forms at once.
    pub fn format(&self) -> Result<Option<Format>, ApiError> {
        let mut found: Option<Format> = None;
        let given = [
            response_format(self.response_format.as_ref())?,
            structured_outputs(self.structured_outputs.as_ref())?,
            schema("guided_json", self.guided_json.as_ref())?,
            form("guided_regex", self.guided_regex.clone().map(Grammar::Regex)),
            form("guided_choice", self.guided_choice.clone().map(Grammar::Choice)),
            form("guided_grammar", self.guided_grammar.clone().map(Grammar::Lark)),
            form("regex", self.regex.clone().map(Grammar::Regex)),
            schema("json_schema", self.json_schema.as_ref())?,
        ];
        for format in given.into_iter().flatten() {
            if let Some(other) = &found {
                let message = format!("`{}` and `{}` cannot both give the answer its form", other.param, format.param);
                return Err(ApiError::invalid(format.param, message));
            }
            found = Some(format);
        }
        Ok(found)
    }
}

fn form(param: &'static str, grammar: Option<Grammar>) -> Option<Format> {
    grammar.map(|grammar| Format { grammar, param })
}

fn any_object() -> Grammar {
    Grammar::Json(json!({"type": "object"}))
}

/// A schema, given as such or as its text.
fn schema(param: &'static str, value: Option<&Value>) -> Result<Option<Format>, ApiError> {
    let schema = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => serde_json::from_str(text)
            .map_err(|error| ApiError::invalid(param, format!("`{param}` is a text that is not JSON: {error}")))?,
        Some(value) => value.clone(),
    };
    if !(schema.is_object() || schema == Value::Bool(true)) {
        return Err(ApiError::invalid(param, format!("`{param}` must be a JSON schema, an object")));
    }
    Ok(form(param, Some(Grammar::Json(schema))))
}

fn response_format(value: Option<&Value>) -> Result<Option<Format>, ApiError> {
    const PARAM: &str = "response_format";
    const SCHEMA: &str = "response_format.json_schema.schema";
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    match value["type"].as_str() {
        Some("text") => Ok(None),
        // Some servers take the schema right here.
        Some("json_object") if value["schema"].is_object() => schema("response_format.schema", Some(&value["schema"])),
        Some("json_object") => Ok(form(PARAM, Some(any_object()))),
        Some("json_schema") => {
            let inner = &value["json_schema"];
            if !inner.is_object() {
                let message = "`response_format` of type \"json_schema\" needs an object `json_schema`";
                return Err(ApiError::invalid("response_format.json_schema", message));
            }
            match schema(SCHEMA, Some(&inner["schema"]))? {
                Some(format) => Ok(Some(format)),
                None => Err(ApiError::invalid(SCHEMA, format!("`{SCHEMA}` is missing"))),
            }
        }
        _ => Err(ApiError::invalid(
            "response_format.type",
            format!(
                "`response_format` must be of type \"text\", \"json_object\" or \"json_schema\", got {}",
                value["type"]
            ),
        )),
    }
}

fn structured_outputs(value: Option<&Value>) -> Result<Option<Format>, ApiError> {
    const PARAM: &str = "structured_outputs";
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let fields = value.as_object().ok_or_else(|| ApiError::invalid(PARAM, "`structured_outputs` must be an object"))?;
    let given: Vec<(&str, &Value)> =
        fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.as_str(), value)).collect();
    let kinds = ["json", "regex", "choice", "grammar", "json_object"];
    let forms: Vec<&(&str, &Value)> = given.iter().filter(|(key, _)| kinds.contains(key)).collect();
    let [(key, value)] = forms[..] else {
        let message = format!("`structured_outputs` must hold exactly one of {}", kinds.join(", "));
        return Err(ApiError::invalid(PARAM, message));
    };
    let wrong = |what: &str| Err(ApiError::invalid(PARAM, format!("`structured_outputs.{key}` must be {what}")));
    let grammar = match (*key, value) {
        ("json", value) => return schema("structured_outputs.json", Some(value)),
        ("json_object", Value::Bool(true)) => any_object(),
        ("json_object", Value::Bool(false)) => return Ok(None),
        ("regex", Value::String(text)) => Grammar::Regex(text.clone()),
        ("grammar", Value::String(text)) => Grammar::Lark(text.clone()),
        ("choice", Value::Array(items)) => {
            match items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>() {
                Some(choices) => Grammar::Choice(choices),
                None => return wrong("a list of strings"),
            }
        }
        ("choice", _) => return wrong("a list of strings"),
        ("json_object", _) => return wrong("true or false"),
        _ => return wrong("a string"),
    };
    Ok(form(PARAM, Some(grammar)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(fields: Value) -> Result<Option<Grammar>, String> {
        let fields: FormatFields = serde_json::from_value(fields).unwrap();
        match fields.format() {
            Ok(format) => Ok(format.map(|format| format.grammar)),
            Err(ApiError::Invalid { param, .. }) => Err(param.unwrap()),
            Err(other) => panic!("unexpected {other}"),
        }
    }

    #[test]
    fn every_name_of_a_form_is_understood() {
        let schema = json!({"type": "array"});
        let json = || Some(Grammar::Json(json!({"type": "array"})));
        let nested = json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}});
        for (fields, expected) in [
            (json!({}), None),
            (json!({"response_format": null}), None),
            (json!({"response_format": {"type": "text"}}), None),
            (json!({"response_format": {"type": "json_object"}}), Some(any_object())),
            (json!({"response_format": nested}), json()),
            (json!({"guided_json": schema}), json()),
            (json!({"guided_json": schema.to_string()}), json()),
            (json!({"json_schema": schema.to_string()}), json()),
            (json!({"structured_outputs": {"json": schema}}), json()),
            (json!({"structured_outputs": {"json_object": true, "regex": null}}), Some(any_object())),
            (json!({"structured_outputs": {"regex": "a"}}), Some(Grammar::Regex("a".into()))),
            (json!({"structured_outputs": {"grammar": "start: \"a\""}}), Some(Grammar::Lark("start: \"a\"".into()))),
            (json!({"structured_outputs": {"choice": ["a"]}}), Some(Grammar::Choice(vec!["a".into()]))),
            (json!({"guided_regex": "a"}), Some(Grammar::Regex("a".into()))),
            (json!({"regex": "a"}), Some(Grammar::Regex("a".into()))),
            (json!({"guided_choice": ["a"]}), Some(Grammar::Choice(vec!["a".into()]))),
        ] {
            assert_eq!(format(fields.clone()).unwrap(), expected, "{fields}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (fields, param) in [
            (json!({"response_format": "json"}), "response_format.type"),
            (json!({"response_format": {"type": "xml"}}), "response_format.type"),
            (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}),
                "response_format.json_schema.schema",
            ),
            (json!({"guided_json": "{"}), "guided_json"),
            (json!({"guided_json": 5}), "guided_json"),
            (json!({"structured_outputs": {}}), "structured_outputs"),
            (json!({"structured_outputs": {"regex": "a", "choice": ["a"]}}), "structured_outputs"),
            (json!({"structured_outputs": {"choice": [1]}}), "structured_outputs"),
            (json!({"guided_regex": "a", "response_format": {"type": "json_object"}}), "guided_regex"),
        ] {
            assert_eq!(format(fields.clone()).unwrap_err(), param, "{fields}");
        }
    }
}
