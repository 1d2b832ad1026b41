//! Small conversations that show what a template can take.

use serde_json::{Map, Value, json};

use super::{ChatTemplate, TemplateError};

impl ChatTemplate {
    /// Whether the template wants the arguments of a call as text: it fails on an object, or prints it as Python would.
    pub(crate) fn takes_arguments_as_text(&self) -> bool {
        let render = |arguments: Value| {
            let function = json!({"name": "f", "arguments": arguments});
            let call = json!({"id": "abcdef123", "type": "function", "function": function});
            let messages =
                json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [call]}]);
            self.render(&messages, None, false, &Map::new())
        };
        match render(json!({"key": "value"})) {
            Ok(text) => text.contains("{'key': 'value'}"),
            Err(TemplateError::Raised(_)) => false,
            Err(_) => render(Value::from("{\"key\": \"value\"}")).is_ok(),
        }
    }

    /// Whether the template refuses a system message, though it takes the conversation without.
    pub(crate) fn refuses_system(&self) -> bool {
        let (system, user) = (json!({"role": "system", "content": "s"}), json!({"role": "user", "content": "q"}));
        let takes = |messages: Value| self.render(&messages, None, true, &Map::new()).is_ok();
        !takes(json!([system, user])) && takes(json!([user]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new(source, "<s>", "</s>").unwrap()
    }

    #[test]
    fn templates_show_how_they_take_arguments() {
        let calls = |print: &str| {
            let each = "{% for m in messages %}{% for c in m.tool_calls %}";
            template(&format!("{each}{{{{ {print} }}}}{{% endfor %}}{{% endfor %}}")).takes_arguments_as_text()
        };
        assert!(!calls("c.function.arguments | tojson"));
        assert!(calls("'x' + c.function.arguments"));
        assert!(calls("c.function.arguments"));
        assert!(!calls("raise_exception('no calls')"));
    }

    #[test]
    fn templates_show_whether_they_take_a_system_message() {
        let refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}";
        assert!(template(refusing).refuses_system());
        assert!(!template("{{ messages }}").refuses_system());
        assert!(!template("{{ raise_exception('no') }}").refuses_system());
    }
}
