//! Tools and reasoning.

use serde_json::{Value, json};

use crate::families::FAMILIES;
use crate::script::Want;
use crate::support::*;

fn tool(name: &str, parameters: Value) -> Value {
    json!({"type": "function", "function": {"name": name, "description": "Does it.", "parameters": parameters}})
}

/// Two tools; the arguments of both are short, so that random tokens come to an end.
fn tools() -> Value {
    let city = json!({"type": "string", "maxLength": 6});
    let weather = json!({"type": "object", "properties": {"city": city, "days": {"type": "integer", "maximum": 9,
        "minimum": 1}}, "required": ["city"], "additionalProperties": false});
    json!([
        tool("weather", weather),
        tool("now", json!({"type": "object", "properties": {}, "additionalProperties": false}))
    ])
}

fn asked(mark: &str, choice: Value) -> Value {
    with(chat(mark), json!({"tools": tools(), "tool_choice": choice, "temperature": 1, "max_tokens": 400}))
}

/// The arguments of a call, parsed.
fn arguments(call: &Value) -> Value {
    serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap()
}

fn check_weather(call: &Value) {
    assert_eq!(call["function"]["name"], "weather");
    let arguments = arguments(call);
    assert!(arguments["city"].as_str().unwrap().chars().count() <= 6, "{arguments}");
    assert!(arguments["days"].is_null() || (1..=9).contains(&arguments["days"].as_i64().unwrap()), "{arguments}");
}

/// A named or required tool, from a model that writes noise: the call is valid and the finish reason says so, streamed and
/// not, in every family's spelling.
/// <https://github.com/vllm-project/vllm/pull/9209>, <https://github.com/vllm-project/vllm/issues/14951>
#[tokio::test(flavor = "multi_thread")]
async fn t10_a_forced_call_is_valid_and_finishes_with_tool_calls() {
    let mut setups = vec![("without tools in the template", Setup::default()), ("qwen", Setup::template(QWEN))];
    for family in &FAMILIES {
        setups.extend([(family.name, family.as_text()), (family.name, family.as_control())]);
    }
    for (family, setup) in setups {
        let server = start(setup).await;
        let mut finished = 0;
        let seeds = if family.contains("qwen") { 6 } else { 3 };
        for seed in 0..seeds {
            server.script.wants("noise", vec![Want::Noise(seed)]);
            let named = json!({"type": "function", "function": {"name": "weather"}});
            for (choice, parallel) in [(named.clone(), true), (json!("required"), true), (json!("required"), false)] {
                let request = asked("noise", choice.clone());
                let request = with(request, json!({"seed": seed, "parallel_tool_calls": parallel, "max_tokens": 60}));
                let (whole, _) = server.both(&with(request, json!({"max_tokens": 800}))).await;
                let choice_made = &whole["choices"][0];
                let message = &choice_made["message"];
                if choice_made["finish_reason"] == "length" {
                    // A model that writes noise may call again and again, or think for so long that little is left for a call.
                    let thought = &whole["usage"]["completion_tokens_details"]["reasoning_tokens"];
                    let thinks = thought.as_u64().is_some_and(|tokens| tokens > 400);
                    assert!(parallel && choice == "required" || thinks, "{family}: {whole}");
                    continue;
                }
                finished += 1;
                let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("{family}: {whole}"));
                assert_eq!(choice_made["finish_reason"], "tool_calls", "{family}");
                assert!(message["content"].is_null(), "{family}: {whole}");
                assert!(parallel && choice == "required" || calls.len() == 1, "{family}: {whole}");
                for call in calls {
                    if choice == named || call["function"]["name"] == "weather" {
                        check_weather(call);
                    } else {
                        assert_eq!((&call["function"]["name"], arguments(call)), (&json!("now"), json!({})));
                    }
                }
            }
        }
        assert!(finished >= seeds, "{family}: {finished} answers came to an end");
    }
}

/// The length limit cuts inside the arguments.
/// <https://github.com/vllm-project/vllm/issues/53269>
#[tokio::test(flavor = "multi_thread")]
async fn t11_arguments_cut_by_the_length_limit_finish_with_length() {
    let server = start(Setup::template(QWEN)).await;
    server
        .script
        .bytes("call", "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>");
    for (choice, limit) in [(json!("auto"), 55), (json!("required"), 48)] {
        let (whole, _) =
            server.both(&with(asked("call", choice), json!({"max_tokens": limit, "temperature": 0}))).await;
        let choice = &whole["choices"][0];
        assert_eq!(choice["finish_reason"], "length");
        let arguments = choice["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
        assert!("{\"city\": \"Ulm\"}".starts_with(arguments) && arguments.len() > 5, "{arguments:?}");
    }
}

/// Two calls, streamed.
/// <https://github.com/sgl-project/sglang/issues/5661>, <https://github.com/EricLBuehler/mistral.rs/pull/1507>,
/// <https://github.com/InternLM/lmdeploy/issues/3412>, <https://github.com/openai/codex/issues/7517>
#[tokio::test(flavor = "multi_thread")]
async fn t13_two_calls_streamed_have_their_index_and_begin_once() {
    let server = start(Setup::template(QWEN)).await;
    let text = "Both.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Köln 🙂\", \"days\": 2}}\n</tool_call>\n\
                <tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    server.script.bytes("bytes", text);
    server.script.pieces(
        "whole tags",
        &[
            "<tool_call>",
            "{\"",
            "name",
            "\": \"",
            "n",
            "o",
            "w",
            "\"",
            "}",
            "</tool_call>",
            "<tool_call>",
            "{\"",
            "name",
            "\": \"",
            "n",
            "o",
            "w",
            "\"}",
            "</tool_call>",
        ],
    );
    for (mark, content, first) in
        [("bytes", json!("Both."), json!({"city": "Köln 🙂", "days": 2})), ("whole tags", Value::Null, json!({}))]
    {
        let (whole, chunks) = server.both(&with(asked(mark, json!("auto")), json!({"temperature": 0}))).await;
        let choice = &whole["choices"][0];
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &content));
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        assert_eq!((arguments(&calls[0]), arguments(&calls[1])), (first, json!({})));
        assert_ne!(calls[0]["id"], calls[1]["id"]);
        let deltas: Vec<&Value> =
            choices(&chunks, 0).filter_map(|choice| choice["delta"]["tool_calls"].as_array()).flatten().collect();
        let order: Vec<u64> = deltas.iter().map(|delta| delta["index"].as_u64().unwrap()).collect();
        assert!(order.is_sorted() && order.first() == Some(&0) && order.last() == Some(&1), "{order:?}");
        for index in 0..2 {
            let mut of_call = deltas.iter().filter(|delta| delta["index"] == index);
            let first = of_call.next().unwrap();
            assert_eq!(first["type"], "function");
            assert!(first["id"].as_str().unwrap().starts_with("call_") && first["function"]["name"].is_string());
            for delta in of_call {
                assert!(delta.get("id").is_none() && delta.get("type").is_none());
                assert_eq!(delta["function"].as_object().unwrap().keys().collect::<Vec<_>>(), ["arguments"]);
            }
        }
    }
}

/// Arguments arrive while they are written, not in one piece at the end.
#[tokio::test(flavor = "multi_thread")]
async fn t13_arguments_stream_as_they_come() {
    let server = start(Setup::template(QWEN)).await;
    server
        .script
        .bytes("call", "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>");
    let (_, chunks) = server.both(&with(asked("call", json!("auto")), json!({"temperature": 0}))).await;
    let pieces = choices(&chunks, 0).filter(|choice| choice["delta"]["tool_calls"].is_array()).count();
    assert!(pieces > 10, "{pieces} pieces");
}

/// The tags of reasoning over several tokens, opened by the prompt alone, and opened again later.
/// <https://github.com/youssofal/MTPLX/pull/149>, <https://github.com/kekzl/imp/pull/793>
#[tokio::test(flavor = "multi_thread")]
async fn t17_nothing_of_the_reasoning_is_content() {
    let opening = format!("{QWEN}{{% if add_generation_prompt %}}{{{{ '<think>\\n' }}}}{{% endif %}}");
    let closed = server_with(QWEN).await;
    let opened = server_with(&opening).await;
    for (server, mark, reasoning, content) in [
        (&closed, "split", Some("why 🙂"), "yes"),
        (&closed, "one token", Some("why"), "yes"),
        (&closed, "again", Some("ac"), "bd"),
        (&closed, "none", None, "plain <text>"),
        (&opened, "by the prompt", Some("why"), "yes"),
        (&opened, "cut", Some("why not"), ""),
    ] {
        let (whole, _) = server.both(&chat(mark)).await;
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], content, "{mark}");
        assert_eq!(message["reasoning_content"].as_str(), reasoning, "{mark}");
    }
    let together = with(chat("split"), json!({"separate_reasoning": false}));
    let (whole, _) = closed.both(&together).await;
    assert_eq!(whole["choices"][0]["message"]["content"], "<think>\nwhy 🙂\n</think>\n\nyes");
}

async fn server_with(template: &str) -> Server {
    let server = start(Setup::template(template)).await;
    server.script.bytes("split", "<think>\nwhy 🙂\n</think>\n\nyes");
    server.script.pieces("one token", &["<think>", "w", "h", "y", "</think>", "\n", "y", "e", "s"]);
    server.script.bytes("again", "<think>a</think>b<think>c</think>d");
    server.script.bytes("none", "plain <text>");
    server.script.bytes("by the prompt", "why</think>yes");
    server.script.bytes("cut", "why not");
    server
}

/// What is said about thinking reaches the template.
#[tokio::test(flavor = "multi_thread")]
async fn thinking_is_the_templates_to_switch() {
    let template = "{{ messages[0].content }}|{{ enable_thinking }}|{{ reasoning_effort }}|";
    let server = start(Setup::template(template)).await;
    for (fields, spelled) in [
        (json!({"enable_thinking": false}), "q|False||"),
        (json!({"reasoning_effort": "low"}), "q||low|"),
        (json!({"reasoning_effort": "none"}), "q|False|none|"),
        (json!({"chat_template_kwargs": {"enable_thinking": true}, "enable_thinking": false}), "q|True||"),
    ] {
        server.script.bytes(spelled, "seen");
        let answer = server.post(CHAT, &with(chat("q"), fields)).await.ok();
        assert_eq!(answer["choices"][0]["message"]["content"], "seen", "{spelled}");
    }
}

/// A reasoning model may think before a form that it must keep.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_begins_behind_the_reasoning() {
    let opening = format!("{QWEN}{{% if add_generation_prompt %}}{{{{ '<think>\\n' }}}}{{% endif %}}");
    for (template, text) in [(QWEN, "<think>\nhm\n</think>\n\nyes"), (opening.as_str(), "hm\n</think>\n\nyes")] {
        let server = start(Setup::template(template)).await;
        server.script.bytes("think", text);
        let request = with(chat("think"), json!({"structured_outputs": {"choice": ["yes", "no"]}}));
        let (whole, _) = server.both(&request).await;
        let message = &whole["choices"][0]["message"];
        assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("yes"), &json!("hm")), "{whole}");
        // Switched off, the prompt closes the reasoning and the form is all there is.
        server.script.wants("noise", vec![Want::Noise(3)]);
        let off = with(request, json!({"enable_thinking": false, "messages": [{"role": "user", "content": "noise"}]}));
        if template == QWEN {
            let (whole, _) = server.both(&off).await;
            let message = &whole["choices"][0]["message"];
            assert!(message["content"] == "yes" || message["content"] == "no", "{whole}");
        }
    }
}

/// A model that must keep a form may call a tool instead, if there are tools.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_and_tools_leave_the_choice_between_them() {
    let server = start(Setup::template(QWEN)).await;
    server.script.bytes("mark-call", "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>");
    server.script.bytes("mark-say", "{\"a\": 1}");
    let form = json!({"response_format": {"type": "json_object"}, "temperature": 0});
    let (whole, _) = server.both(&with(asked("mark-call", json!("auto")), form.clone())).await;
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    let (whole, _) = server.both(&with(asked("mark-say", json!("auto")), form)).await;
    assert_eq!(whole["choices"][0]["message"]["content"], "{\"a\": 1}");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
}
