//! The tools of a request, and which of them the answer may or must call.

use std::sync::Arc;

use serde_json::Value;

use crate::error::ApiError;

/// Most tools of one request, and most bytes of a name.
const MAX_TOOLS: usize = 512;
const MAX_NAME: usize = 128;

/// Which tools an answer calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The model decides.
    Auto,
    /// At least one.
    Required,
}

/// The checked tools of a request; at least one.
#[derive(Debug, Clone)]
pub struct Tools {
    /// All of them, as the template takes them.
    pub list: Arc<[Value]>,
    /// Places in the list of those that may be called.
    pub callable: Vec<usize>,
    /// Whether one must be called.
    pub choice: Choice,
    /// Whether several may be called at once.
    pub parallel: bool,
}

impl Tools {
    /// Checks `tools` and `tool_choice`; none if there are no tools or the choice is `"none"`.
    ///
    /// # Errors
    /// A tool that is no function with a name, a name twice, a choice of a tool that is not there.
    pub fn new(
        tools: Option<&[Value]>,
        choice: Option<&Value>,
        parallel: Option<bool>,
    ) -> Result<Option<Tools>, ApiError> {
        let tools = tools.unwrap_or_default();
        check(tools)?;
        let choice = choice.unwrap_or(&Value::Null);
        let all = || (0..tools.len()).collect::<Vec<_>>();
        let (wanted, callable) = match (choice.as_str(), choice["type"].as_str()) {
            (Some("none"), _) => return Ok(None),
            (None, None) if choice.is_null() => (Choice::Auto, all()),
            (Some("auto"), _) => (Choice::Auto, all()),
            (Some("required" | "any"), _) => (Choice::Required, all()),
            (None, Some("function")) => (Choice::Required, vec![find(tools, &choice["function"]["name"])?]),
            (None, Some("allowed_tools")) => allowed(tools, choice)?,
            _ => {
                return Err(ApiError::invalid(
                    "tool_choice",
                    "`tool_choice` must be \"none\", \"auto\", \"required\", {\"type\": \"function\", \"function\": \
                     {\"name\": ...}} or a list of allowed tools",
                ));
            }
        };
        if tools.is_empty() {
            return match wanted {
                Choice::Auto => Ok(None),
                Choice::Required => {
                    Err(ApiError::invalid("tool_choice", "`tool_choice` asks for a call but there are no `tools`"))
                }
            };
        }
        // A named tool is called once.
        let parallel = parallel != Some(false) && choice["type"] != "function";
        Ok(Some(Tools { list: tools.into(), callable, choice: wanted, parallel }))
    }

    /// Whether some tool that may be called is strict.
    pub fn any_is_strict(&self) -> bool {
        self.callable.iter().any(|place| self.is_strict(*place))
    }

    /// Whether the arguments of the tool at a place are valid by their schema in any case.
    pub fn is_strict(&self, place: usize) -> bool {
        self.list.get(place).is_some_and(|tool| tool["function"]["strict"] == true)
    }

    /// The name of the tool at a place.
    pub fn name(&self, place: usize) -> &str {
        self.list.get(place).and_then(|tool| tool["function"]["name"].as_str()).unwrap_or_default()
    }

    /// The schema of the arguments of the tool at a place: without one there are none.
    pub fn schema(&self, place: usize) -> Value {
        match self.list.get(place).map(|tool| &tool["function"]["parameters"]) {
            Some(schema @ Value::Object(fields)) if !fields.is_empty() => schema.clone(),
            _ => serde_json::json!({"type": "object", "properties": {}, "additionalProperties": false}),
        }
    }
}

fn check(tools: &[Value]) -> Result<(), ApiError> {
    if tools.len() > MAX_TOOLS {
        return Err(ApiError::invalid("tools", format!("at most {MAX_TOOLS} tools are allowed, got {}", tools.len())));
    }
    let mut names = std::collections::BTreeSet::new();
    for (place, tool) in tools.iter().enumerate() {
        let refuse = |path: &str, message: String| Err(ApiError::invalid(format!("tools[{place}]{path}"), message));
        if tool["type"] != "function" {
            return refuse(".type", format!("a tool must be of type \"function\", got {}", tool["type"]));
        }
        let function = &tool["function"];
        let Some(name) = function["name"].as_str() else {
            return refuse(".function.name", "a function needs a string `name`".to_owned());
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
            let message = format!("`{name}` is no function name: up to {MAX_NAME} of a-z, A-Z, 0-9 and _-.:/");
            return refuse(".function.name", message);
        }
        if !names.insert(name) {
            return refuse(".function.name", format!("there are two tools named `{name}`"));
        }
        if !(function["parameters"].is_null() || function["parameters"].is_object()) {
            return refuse(".function.parameters", "`parameters` must be a JSON schema, an object".to_owned());
        }
        if !(function["description"].is_null() || function["description"].is_string()) {
            return refuse(".function.description", "`description` must be a string".to_owned());
        }
        if !(function["strict"].is_null() || function["strict"].is_boolean()) {
            return refuse(".function.strict", "`strict` must be true or false".to_owned());
        }
    }
    Ok(())
}

fn find(tools: &[Value], name: &Value) -> Result<usize, ApiError> {
    let place = tools.iter().position(|tool| name.is_string() && tool["function"]["name"] == *name);
    place.ok_or_else(|| {
        ApiError::invalid("tool_choice", format!("`tool_choice` asks for the function {name}, which is not in `tools`"))
    })
}

fn allowed(tools: &[Value], choice: &Value) -> Result<(Choice, Vec<usize>), ApiError> {
    let allowed = &choice["allowed_tools"];
    let wanted = match allowed["mode"].as_str() {
        Some("required") => Choice::Required,
        Some("auto") | None => Choice::Auto,
        Some(mode) => {
            let message = format!("the mode of allowed tools must be \"auto\" or \"required\", got \"{mode}\"");
            return Err(ApiError::invalid("tool_choice.allowed_tools.mode", message));
        }
    };
    let names = allowed["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let mut places = names.iter().map(|tool| find(tools, &tool["function"]["name"])).collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable();
    places.dedup();
    if places.is_empty() {
        return Err(ApiError::invalid("tool_choice.allowed_tools.tools", "at least one tool must be allowed"));
    }
    Ok((wanted, places))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tools(tools: Value, choice: Value) -> Result<Option<Tools>, String> {
        let list = tools.as_array().cloned();
        Tools::new(list.as_deref(), Some(&choice), None).map_err(|error| match error {
            ApiError::Invalid { param, .. } => param.unwrap(),
            other => panic!("unexpected {other}"),
        })
    }

    fn two() -> Value {
        json!([{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g",
            "parameters": {"type": "object"}}}])
    }

    #[test]
    fn the_choice_says_which_tools_may_be_called() {
        let named = json!({"type": "function", "function": {"name": "g"}});
        let some = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
            {"type": "function", "function": {"name": "f"}}]}});
        for (choice, expected) in [
            (Value::Null, (Choice::Auto, vec![0, 1], true)),
            (json!("auto"), (Choice::Auto, vec![0, 1], true)),
            (json!("required"), (Choice::Required, vec![0, 1], true)),
            (named, (Choice::Required, vec![1], false)),
            (some, (Choice::Required, vec![0], true)),
        ] {
            let found = tools(two(), choice).unwrap().unwrap();
            assert_eq!((found.choice, found.callable, found.parallel), expected);
        }
        assert!(tools(two(), json!("none")).unwrap().is_none());
        assert!(tools(json!([]), json!("auto")).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let function = |function: Value| json!([{"type": "function", "function": function}]);
        for (list, choice, param) in [
            (json!([{"type": "custom"}]), json!("auto"), "tools[0].type"),
            (function(json!({})), json!("auto"), "tools[0].function.name"),
            (function(json!({"name": "a b"})), json!("none"), "tools[0].function.name"),
            (function(json!({"name": "f", "parameters": []})), json!("auto"), "tools[0].function.parameters"),
            (function(json!({"name": "f", "strict": "yes"})), json!("auto"), "tools[0].function.strict"),
            (json!([two()[0], two()[0]]), json!("auto"), "tools[1].function.name"),
            (two(), json!("maybe"), "tool_choice"),
            (two(), json!({"type": "function", "function": {"name": "h"}}), "tool_choice"),
            (json!([]), json!("required"), "tool_choice"),
        ] {
            assert_eq!(tools(list, choice).unwrap_err(), param);
        }
    }
}
