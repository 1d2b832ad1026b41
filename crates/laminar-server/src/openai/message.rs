//! Chat messages: what clients may send, and the form that templates expect.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// Roles that a conversation may hold.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// One message of the conversation.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// A string, a list of text parts, or nothing (assistant messages).
    #[serde(default)]
    pub content: Option<Value>,
    /// Name of the participant or tool.
    #[serde(default)]
    pub name: Option<String>,
    /// Calls that the assistant made, passed on to the template.
    #[serde(default)]
    pub tool_calls: Option<Vec<Map<String, Value>>>,
    /// The call that a tool message answers.
    #[serde(default)]
    pub tool_call_id: Option<String>,
    /// Reasoning of an earlier assistant turn, for templates that use it.
    #[serde(default)]
    pub reasoning_content: Option<String>,
}

impl Message {
    /// The text of the message; the parts of a list are joined by line feeds, as llama.cpp and vLLM
    /// do for templates that take strings.
    ///
    /// # Errors
    /// Content of another type, a part that is not text, or missing content outside an assistant
    /// message; `index` makes the path.
    pub fn text(&self, index: usize) -> Result<String, ApiError> {
        let path = format!("messages[{index}].content");
        match &self.content {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Array(parts)) => {
                let texts = parts
                    .iter()
                    .enumerate()
                    .map(|(at, part)| part_text(part, &format!("{path}[{at}]")))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(texts.join("\n"))
            }
            None | Some(Value::Null) if self.role == "assistant" => Ok(String::new()),
            None | Some(Value::Null) => Err(ApiError::invalid(path, format!("a {} message needs content", self.role))),
            Some(_) => Err(ApiError::invalid(path, "content must be a string or a list of text parts")),
        }
    }
}

fn part_text<'a>(part: &'a Value, path: &str) -> Result<&'a str, ApiError> {
    let field = |name: &str| part.get(name).and_then(Value::as_str);
    let missing =
        |name: &str| ApiError::invalid(format!("{path}.{name}"), format!("a content part needs a string `{name}`"));
    match field("type").ok_or_else(|| missing("type"))? {
        "text" => field("text").ok_or_else(|| missing("text")),
        "refusal" => field("refusal").ok_or_else(|| missing("refusal")),
        kind @ ("image_url" | "input_image" | "image" | "input_audio" | "audio_url" | "video_url" | "file") => {
            Err(ApiError::invalid(
                format!("{path}.type"),
                format!("this model reads text only; a `{kind}` part cannot be used"),
            ))
        }
        kind => Err(ApiError::invalid(
            format!("{path}.type"),
            format!("unknown content part type `{kind}`; expected `text`"),
        )),
    }
}

/// Checks a conversation and turns it into the array that chat templates take: content is always a
/// string, call arguments are objects where they parse as such, and `developer` becomes `system`
/// unless the template knows the role.
///
/// # Errors
/// An empty conversation, an unknown role, or content as [`Message::text`] refuses it.
pub fn template_messages(messages: &[Message], template_knows_developer: bool) -> Result<Value, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::invalid("messages", "`messages` must hold at least one message"));
    }
    let list = messages
        .iter()
        .enumerate()
        .map(|(index, message)| template_message(message, index, template_knows_developer))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Value::Array(list))
}

fn template_message(message: &Message, index: usize, template_knows_developer: bool) -> Result<Value, ApiError> {
    let role = match message.role.as_str() {
        "developer" if !template_knows_developer => "system",
        role if ROLES.contains(&role) => role,
        role => {
            return Err(ApiError::invalid(
                format!("messages[{index}].role"),
                format!("unknown role `{role}`; expected one of {}", ROLES.join(", ")),
            ));
        }
    };
    let mut object = Map::new();
    object.insert("role".to_owned(), Value::from(role));
    object.insert("content".to_owned(), Value::from(message.text(index)?));
    let texts = [
        ("name", &message.name),
        ("tool_call_id", &message.tool_call_id),
        ("reasoning_content", &message.reasoning_content),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            object.insert(key.to_owned(), Value::from(value.as_str()));
        }
    }
    if let Some(calls) = message.tool_calls.as_ref().filter(|calls| !calls.is_empty()) {
        let calls = calls.iter().map(|call| template_call(call.clone()));
        object.insert("tool_calls".to_owned(), calls.collect());
    }
    Ok(Value::Object(object))
}

/// OpenAI sends arguments as JSON text, templates print them with `tojson`: text that holds an
/// object becomes that object, anything else stays as it is.
fn template_call(mut call: Map<String, Value>) -> Value {
    let arguments = call.get_mut("function").and_then(|function| function.get_mut("arguments"));
    if let Some(arguments) = arguments {
        let object = arguments.as_str().and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
        if let Some(object) = object {
            *arguments = Value::Object(object);
        }
    }
    Value::Object(call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn convert(messages: Value, knows_developer: bool) -> Result<Value, ApiError> {
        let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
        template_messages(&messages, knows_developer)
    }

    fn refused(messages: Value) -> (String, String) {
        match convert(messages, false).unwrap_err() {
            ApiError::Invalid { message, param } => (message, param.unwrap()),
            other => panic!("unexpected {other}"),
        }
    }

    #[test]
    fn parts_are_joined_and_unknown_fields_ignored() {
        let out = convert(
            json!([{"role":"user","cache_control":1,"content":[
                {"type":"text","text":"a"},{"type":"text","text":"b","x":1}]}]),
            false,
        );
        assert_eq!(out.unwrap(), json!([{"role":"user","content":"a\nb"}]));
    }

    #[test]
    fn t14_t15_assistant_content_may_be_null_missing_or_empty() {
        let call = json!({"id":"c","type":"function",
            "function":{"name":"f","arguments":"{\"a\": 1}"}});
        for message in [
            json!({"role":"assistant","content":null,"tool_calls":[call]}),
            json!({"role":"assistant","tool_calls":[call]}),
        ] {
            let out = convert(json!([message]), false).unwrap();
            assert_eq!(out[0]["content"], "");
            assert_eq!(out[0]["tool_calls"][0]["function"]["arguments"], json!({"a": 1}));
        }
        assert!(convert(json!([{"role":"assistant","content":""}]), false).is_ok());
    }

    #[test]
    fn t22_developer_becomes_system_unless_known() {
        let messages = json!([{"role":"developer","content":"x"}]);
        assert_eq!(convert(messages.clone(), false).unwrap()[0]["role"], "system");
        assert_eq!(convert(messages, true).unwrap()[0]["role"], "developer");
    }

    #[test]
    fn t39_an_image_part_names_its_cause() {
        let (message, param) = refused(json!([{"role":"user","content":[
            {"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:"}}]}]));
        assert_eq!(param, "messages[0].content[1].type");
        assert!(message.contains("text only"), "{message}");
    }

    #[test]
    fn bad_messages_are_named_by_path() {
        for (messages, param) in [
            (json!([]), "messages"),
            (json!([{"role":"king","content":"x"}]), "messages[0].role"),
            (json!([{"role":"user"}]), "messages[0].content"),
            (json!([{"role":"user","content":5}]), "messages[0].content"),
            (json!([{"role":"user","content":["x"]}]), "messages[0].content[0].type"),
            (json!([{"role":"user","content":[{"type":"text"}]}]), "messages[0].content[0].text"),
        ] {
            assert_eq!(refused(messages).1, param);
        }
    }
}
