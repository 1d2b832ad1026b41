//! The families' spellings: templates that show them, vocabularies that hold their markers, and answers in each.

use serde_json::{Value, json};

use crate::script::vocabulary_with;
use crate::support::*;

/// A family as its template tells of it.
pub struct Family {
    pub name: &'static str,
    /// What the template mentions.
    mentions: &'static str,
    /// Markers that are control tokens in the vocabularies of its models, or may be.
    control: &'static [&'static str],
    /// A call of `weather` in Ulm.
    call: &'static str,
}

const DEEPSEEK: &[&str] = &[
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
];

/// All families but Qwen 3, whose template is a file.
pub const FAMILIES: [Family; 19] = [
    Family {
        name: "llama",
        mentions: "<|python_tag|>",
        control: &[],
        call: "{\"name\": \"weather\", \"parameters\": {\"city\": \"Ulm\"}}",
    },
    Family {
        name: "llama in python",
        mentions: "<|header_start|> [func_name1(params_name1=params_value1)]",
        control: &["<|python_start|>", "<|python_end|>"],
        call: "<|python_start|>[weather(city='Ulm')]<|python_end|>",
    },
    Family {
        name: "mistral",
        mentions: "[TOOL_CALLS]",
        control: &[],
        call: "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}]",
    },
    Family {
        name: "mistral with arguments",
        mentions: "[TOOL_CALLS] [ARGS]",
        control: &["[ARGS]", "[CALL_ID]"],
        call: "[TOOL_CALLS]weather[CALL_ID]abc[ARGS]{\"city\": \"Ulm\"}",
    },
    Family {
        name: "qwen coder",
        mentions: "<tool_call> <function=f> <parameter=p>",
        control: &[],
        call: "<tool_call>\n<function=weather>\n<parameter=city>\nUlm\n</parameter>\n</function>\n</tool_call>",
    },
    Family {
        name: "seed",
        mentions: "<seed:tool_call> <function=f> <parameter=p> <seed:think> </seed:think>",
        control: &["<seed:tool_call>", "</seed:tool_call>", "<seed:think>", "</seed:think>"],
        call: "<seed:think>Weather?</seed:think><seed:tool_call>\n<function=weather>\n<parameter=city>Ulm</parameter>\n</function>\n</seed:tool_call>",
    },
    Family {
        name: "lfm",
        mentions: "<|tool_list_start|> <|tool_call_start|>",
        control: &["<|tool_call_start|>", "<|tool_call_end|>"],
        call: "<|tool_call_start|>[weather(city=\"Ulm\")]<|tool_call_end|>",
    },
    Family {
        name: "glm",
        mentions: "<tool_call> <arg_key> <think> </think>",
        control: &["<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"],
        call: "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Ulm</arg_value>\n</tool_call>",
    },
    Family {
        name: "deepseek v3",
        mentions: "<｜tool▁calls▁begin｜> ```json",
        control: DEEPSEEK,
        call: "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Ulm\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    },
    Family {
        name: "deepseek v3.1",
        mentions: "<｜tool▁calls▁begin｜> <think> </think>",
        control: DEEPSEEK,
        call: "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Ulm\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    },
    Family {
        name: "deepseek v3.2",
        mentions: "｜DSML｜ function_calls <think> </think>",
        control: &["｜DSML｜"],
        call: "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n\
               <｜DSML｜parameter name=\"city\" string=\"true\">Ulm</｜DSML｜parameter>\n</｜DSML｜invoke>\n\
               </｜DSML｜function_calls>",
    },
    Family {
        name: "minimax",
        mentions: "<minimax:tool_call> <think> </think>",
        control: &["<minimax:tool_call>", "</minimax:tool_call>"],
        call: "<minimax:tool_call>\n<invoke name=\"weather\">\n<parameter name=\"city\">Ulm</parameter>\n</invoke>\n\
               </minimax:tool_call>",
    },
    Family {
        name: "kimi",
        mentions: "<|tool_calls_section_begin|> <|im_middle|>",
        control: &[
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
            "<|tool_call_begin|>",
            "<|tool_call_argument_begin|>",
            "<|tool_call_end|>",
        ],
        call: "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>\
               {\"city\": \"Ulm\"}<|tool_call_end|><|tool_calls_section_end|>",
    },
    Family {
        name: "granite",
        mentions: "<|start_of_role|> <|tool_call|> <think> <response>",
        control: &["<|tool_call|>"],
        call: "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}]",
    },
    Family {
        name: "phi",
        mentions: "<|tool|> <|/tool|>",
        control: &["<|tool_call|>", "<|/tool_call|>"],
        call: "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}]<|/tool_call|>",
    },
    Family {
        name: "phi in words",
        mentions: "functools[{\"name\"",
        control: &[],
        call: "functools[{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}]",
    },
    Family {
        name: "gemma",
        mentions: "<start_of_turn>",
        control: &["<start_of_turn>"],
        call: "```tool_code\nweather(city=\"Ulm\")\n```",
    },
    Family {
        name: "gemma 4",
        mentions: "<|turn> <|tool_call>call: <tool_call|> <|channel>thought <channel|>",
        control: &["<|tool_call>", "<tool_call|>", "<|\"|>", "<|channel>", "<channel|>"],
        call: "<|channel>thought\nWeather?<channel|><|tool_call>call:weather{city:<|\"|>Ulm<|\"|>}<tool_call|>",
    },
    Family {
        name: "gpt-oss",
        mentions: "<|start|> <|channel|> <|message|>",
        control: &["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"],
        call: "<|channel|>analysis<|message|>Weather?<|end|><|start|>assistant<|channel|>commentary to=functions.weather \
               <|constrain|>json<|message|>{\"city\": \"Ulm\"}<|call|>",
    },
];

impl Family {
    fn template(&self) -> String {
        // No marker may be a tag of the template's language.
        format!(
            "{{# {} #}}{{% for m in messages %}}{{{{ m.content }}}}{{% endfor %}}{{{{ tools | tojson }}}}",
            self.mentions
        )
    }

    /// A server whose vocabulary spells the markers as text.
    pub fn as_text(&self) -> Setup {
        Setup::template(&self.template())
    }

    /// A server whose vocabulary has them as control tokens.
    pub fn as_control(&self) -> Setup {
        Setup { donor: vocabulary_with(self.control), ..self.as_text() }
    }
}

fn weather() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}])
}

/// A call in each family's spelling, its markers as text and as control tokens: nothing of it is content, and the arguments
/// are JSON.
#[tokio::test(flavor = "multi_thread")]
async fn t13_calls_are_recognised_in_all_families() {
    for family in &FAMILIES {
        for setup in [family.as_text(), family.as_control()] {
            let server = start(setup).await;
            // The longest tokens that fit, so that markers are control tokens where there are such.
            server.script.cut("call", family.call, |sides| sides - 1);
            let (whole, _) = server.both(&with(chat("call"), json!({"tools": weather()}))).await;
            let (choice, name) = (&whole["choices"][0], family.name);
            assert_eq!(choice["finish_reason"], "tool_calls", "{name}: {whole}");
            assert!(choice["message"]["content"].is_null(), "{name}: {whole}");
            let function = &choice["message"]["tool_calls"][0]["function"];
            assert_eq!(function["name"], "weather", "{name}");
            let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
            assert_eq!(arguments, json!({"city": "Ulm"}), "{name}");
        }
    }
}

/// A forced call whose string may have a number of characters ends where the model ends it, also where strings stand between
/// tags.
#[tokio::test(flavor = "multi_thread")]
async fn t10_a_text_of_limited_length_may_be_short() {
    let city = json!({"type": "string", "minLength": 2, "maxLength": 30});
    let parameters = json!({"type": "object", "properties": {"city": city}, "required": ["city"]});
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}]);
    for name in ["qwen coder", "glm", "deepseek v3.2", "minimax", "gemma 4", "kimi"] {
        let family = FAMILIES.iter().find(|family| family.name == name).unwrap();
        let server = start(family.as_text()).await;
        server.script.bytes("call", family.call);
        let request = with(chat("call"), json!({"tools": tools, "tool_choice": "required", "max_tokens": 400}));
        let (whole, _) = server.both(&with(request, json!({"parallel_tool_calls": false}))).await;
        let choice = &whole["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{name}: {whole}");
        let arguments = choice["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"city": "Ulm"}), "{name}");
    }
}

/// The end of the reasoning's message does not end a gpt-oss answer, also when its markers are control tokens; a form
/// begins in the channel of the answer.
#[tokio::test(flavor = "multi_thread")]
async fn t17_gpt_oss_answers_behind_its_reasoning() {
    let family = FAMILIES.iter().find(|family| family.name == "gpt-oss").unwrap();
    let answer = |text: &str| {
        format!("<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>{text}<|return|>")
    };
    for setup in [family.as_text(), family.as_control()] {
        let is_control = setup.donor.strings("tokenizer.ggml.tokens").unwrap().unwrap().iter().any(|t| t == "<|end|>");
        let server = start(setup).await;
        server.script.cut("say", &answer("yes 🙂"), |sides| sides - 1);
        let (whole, _) = server.both(&chat("say")).await;
        let message = &whole["choices"][0]["message"];
        assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("yes 🙂"), &json!("why")), "{whole}");
        assert_eq!(whole["choices"][0]["finish_reason"], "stop");
        assert_eq!(whole["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
        let form = with(chat("say"), json!({"structured_outputs": {"choice": ["yes", "no"]}}));
        server.script.cut("say", &answer("yes"), |sides| sides - 1);
        let (whole, _) = server.both(&form).await;
        let message = &whole["choices"][0]["message"];
        assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("yes"), &json!("why")), "{whole}");
        let left = with(chat("say"), json!({"separate_reasoning": false}));
        let (whole, _) = server.both(&left).await;
        let content = "<|channel|>analysis<|message|>why<|end|>yes";
        assert_eq!(whole["choices"][0]["message"]["content"], content, "{is_control}");
        assert_eq!(whole["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
    }
}

/// Tokens of reasoning are counted, also for the responses of the other API, and none are where there is none.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_reasoning_are_counted() {
    let server = start(Setup::template(QWEN)).await;
    server.script.pieces("think", &["<think>", "w", "h", "y", "</think>", "\n", "y", "e", "s"]);
    server.script.bytes("plain", "yes");
    for (mark, stop, expected) in [("think", Value::Null, 3), ("think", json!("hy"), 3), ("plain", Value::Null, 0)] {
        let request = with(chat(mark), json!({"stop": stop, "n": 2}));
        let (whole, _) = server.both(&request).await;
        let counted = &whole["usage"]["completion_tokens_details"]["reasoning_tokens"];
        assert_eq!(counted, 2 * expected, "{mark} {stop}");
    }
    for stream in [false, true] {
        let request = json!({"input": "think", "temperature": 0, "stream": stream});
        let answer = server.post("/v1/responses", &request).await;
        let response = match stream {
            true => answer.named_events().pop().unwrap()["response"].clone(),
            false => answer.ok(),
        };
        assert_eq!(response["usage"]["output_tokens_details"]["reasoning_tokens"], 3, "{stream}");
    }
}

/// A schema that cannot be kept where arguments are written one by one is refused by name.
#[tokio::test(flavor = "multi_thread")]
async fn t36_what_a_spelling_cannot_keep_is_refused_by_name() {
    let one_of = |name: &str| FAMILIES.iter().find(|family| family.name == name).unwrap();
    let city = |fields: Value| with(json!({"type": "string"}), fields);
    for (name, schema, param) in [
        ("glm", json!({"properties": {"city": city(json!({"pattern": "a"}))}}), ".properties.city.pattern"),
        ("llama in python", json!({"properties": {}, "minProperties": 1}), ".minProperties"),
        ("qwen coder", json!({"properties": {}, "required": ["city"]}), ".required"),
    ] {
        let server = start(one_of(name).as_text()).await;
        let schema = with(schema, json!({"type": "object"}));
        let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
        let request = with(chat("x"), json!({"tools": tools, "tool_choice": "required"}));
        let error = server.post(CHAT, &request).await.error(400);
        assert_eq!(error["param"], format!("tools[0].function.parameters{param}"), "{name}");
    }
    // In Python strings have quotes.
    let server = start(one_of("llama in python").as_text()).await;
    let schema =
        json!({"type": "object", "properties": {"city": city(json!({"pattern": "^a{2}$"}))}, "required": ["city"]});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    let request = with(chat("noise"), json!({"tools": tools, "tool_choice": "required", "parallel_tool_calls": false}));
    server.script.wants("noise", vec![crate::script::Want::Noise(1)]);
    let (whole, _) = server.both(&request).await;
    let arguments = &whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(arguments, "{\"city\": \"aa\"}", "{whole}");
}
