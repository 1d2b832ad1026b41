//! What answers are read as, however they are cut.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn tools() -> Arc<[Value]> {
    let properties = json!({"city": {"type": "string"}, "days": {"type": "integer"}, "flags": {"type": "array"}});
    let parameters = json!({"type": "object", "properties": properties});
    vec![json!({"type": "function", "function": {"name": "weather", "parameters": parameters}})].into()
}

fn format(dialect: Option<Dialect>, thinking: Option<Thinking>) -> AnswerFormat {
    AnswerFormat {
        dialect: dialect.unwrap_or_default(),
        thinking,
        tools: dialect.map(|_| tools()),
        ..AnswerFormat::default()
    }
}

/// What a text is read as when it comes in these pieces: reasoning, content, calls.
fn read<'t>(
    format: &AnswerFormat,
    pieces: impl IntoIterator<Item = &'t str>,
) -> (String, String, Vec<(String, String)>) {
    let mut parser = AnswerParser::new(format);
    let mut all: Vec<Piece> = pieces.into_iter().flat_map(|piece| parser.push(piece)).collect();
    all.extend(parser.finish());
    let (mut reasoning, mut content, mut calls) = (String::new(), String::new(), Vec::<(String, String)>::new());
    for piece in all {
        match piece {
            Piece::Reasoning(text) => reasoning += &text,
            Piece::Content(text) => content += &text,
            Piece::Call { name } => calls.push((name, String::new())),
            Piece::Arguments(text) => calls.last_mut().unwrap().1 += &text,
        }
    }
    (reasoning, content, calls)
}

pub(super) fn calls(dialect: Dialect, text: &str) -> (String, Vec<(String, String)>) {
    let (_, content, calls) = read(&format(Some(dialect), None), [text]);
    (content, calls)
}

pub(super) fn call(name: &str, arguments: &str) -> (String, String) {
    (name.to_owned(), arguments.to_owned())
}

#[test]
fn t17_nothing_of_the_reasoning_is_content() {
    for (thinking, text, reasoning, content) in [
        (Thinking::NotOpened, "<think>\nwhy\n</think>\n\nyes", "why", "yes"),
        (Thinking::Opened, "\nwhy\n\nthen </think>\n\nyes\n", "why\n\nthen", "yes\n"),
        (Thinking::Opened, "<think>why</think>yes", "why", "yes"),
        (Thinking::NotOpened, "no tags", "", "no tags"),
        (Thinking::NotOpened, "a<think>b</think>c", "b", "ac"),
        (Thinking::Closed, "a</think>b", "", "ab"),
        (Thinking::Opened, "never closed ", "never closed", ""),
        (Thinking::Closed, "a < b <thin", "", "a < b <thin"),
        (Thinking::NotOpened, "\n<think>why</think>\nyes", "why", "yes"),
        (Thinking::NotOpened, "\n\n yes \n", "", "\n\n yes \n"),
        (Thinking::NotOpened, " \n", "", " \n"),
    ] {
        let found = read(&format(None, Some(thinking)), [text]);
        assert_eq!((found.0.as_str(), found.1.as_str()), (reasoning, content), "{text:?}");
    }
    assert_eq!(read(&AnswerFormat::default(), ["<think>a</think>"]).1, "<think>a</think>");
}

#[test]
fn families_have_their_own_words_around_reasoning() {
    for (tags, text, reasoning, content) in [
        (ReasoningTags::GRANITE, "<think>why\n</think>\n<response>yes</response>", "why", "yes"),
        (ReasoningTags::GRANITE, "<response>\nyes", "", "\nyes"),
        (ReasoningTags::GRANITE_WORDS, "Here is my thought process:\nwhy\n\nHere is my response: yes", "why", " yes"),
        (ReasoningTags::GRANITE_WORDS, "Here is my cat", "", "Here is my cat"),
        (ReasoningTags::MISTRAL, "[THINK]why[/THINK]yes", "why", "yes"),
        (ReasoningTags::GEMMA4, "<|channel>thought\nwhy\n<channel|>yes", "why", "yes"),
        (ReasoningTags::GEMMA4, "<|channel>thought\n<channel|>yes", "", "yes"),
    ] {
        let format = AnswerFormat { tags, ..format(None, Some(Thinking::NotOpened)) };
        let found = read(&format, [text]);
        assert_eq!((found.0.as_str(), found.1.as_str()), (reasoning, content), "{text:?}");
    }
    // Left in the content, it stands there as it was written.
    let left = AnswerFormat { separate: false, ..format(None, Some(Thinking::NotOpened)) };
    assert_eq!(read(&left, ["<think>a</think>\nb"]), (String::new(), "<think>a</think>\nb".to_owned(), vec![]));
}

/// Tokens of reasoning when each of these pieces is a token.
fn counted(format: &AnswerFormat, pieces: &[&str]) -> usize {
    let mut parser = AnswerParser::new(format);
    for piece in pieces {
        parser.token(piece.len());
        parser.push(piece);
    }
    parser.finish();
    parser.reasoning_tokens()
}

#[test]
fn tokens_of_reasoning_are_counted() {
    let closed = format(None, Some(Thinking::NotOpened));
    let opened = format(None, Some(Thinking::Opened));
    let left = AnswerFormat { separate: false, ..closed.clone() };
    let harmony = format(Some(Dialect::Harmony), Some(Thinking::NotOpened));
    let harmony_left = AnswerFormat { separate: false, ..harmony.clone() };
    for (name, format, pieces, expected) in [
        ("tags are none", &closed, &["<think>", "\n", "wh", "y", "</think>", "yes"][..], 3),
        ("left in the content", &left, &["<think>", "\n", "wh", "y", "</think>", "yes"], 3),
        ("over several tokens", &closed, &["<th", "ink>", "why", "</", "think", ">", "yes"], 1),
        ("a token of both", &closed, &["<think>why", "not", " </think>yes", "yes"], 3),
        ("no tag after all", &opened, &["a ", "</th", "en", "</think>", "b"], 3),
        ("half a character", &opened, &["a", "", "é", "</think>", "", "b"], 3),
        ("never closed", &opened, &["a", "b</thi"], 2),
        ("none", &closed, &["a", "b"], 0),
        ("again", &closed, &["a", "<think>", "b", "</think>", "c", "<think>", "d"], 2),
        (
            "in a channel",
            &harmony,
            &[
                "<|channel|>",
                "analysis",
                "<|message|>",
                "a",
                "b",
                "<|end|>",
                "<|start|>",
                "assistant",
                "<|channel|>",
                "final",
                "<|message|>",
                "c",
            ],
            2,
        ),
        (
            "in a channel, left in the content",
            &harmony_left,
            &["<|channel|>", "analysis", "<|message|>", "a", "b", "<|end|>", "<|start|>"],
            2,
        ),
    ] {
        assert_eq!(counted(format, pieces), expected, "{name}");
    }
    // All at once behind all tokens, as for a whole answer; and a stop string whose text never comes.
    let mut parser = AnswerParser::new(&opened);
    [1, 2, 8, 1, 4].iter().for_each(|bytes| parser.token(*bytes));
    parser.push("abc</think>d");
    parser.finish();
    assert_eq!(parser.reasoning_tokens(), 2);
    let mut parser = AnswerParser::new(&opened);
    [1, 2, 4].iter().for_each(|bytes| parser.token(*bytes));
    parser.push("abc");
    parser.finish();
    assert_eq!(parser.reasoning_tokens(), 3);
}

#[test]
fn hermes_calls() {
    let one = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"}</tool_call>\", \"b\": [1, {}]}}\n</tool_call>";
    let arguments = "{\"a\": \"}</tool_call>\", \"b\": [1, {}]}";
    assert_eq!(calls(Dialect::Hermes, one), (String::new(), vec![call("f", arguments)]));
    let two = format!("Let me see.\n\n{one}\n{one}\n");
    assert_eq!(calls(Dialect::Hermes, &two).0, "Let me see.");
    assert_eq!(calls(Dialect::Hermes, &two).1.len(), 2);
    for (text, expected) in [
        ("<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call>", call("f", "{\"a\": 1}")),
        ("<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>", call("f", "{\"a\": 1}")),
        ("<tool_call>{\"name\": \"f\"}</tool_call>", call("f", "{}")),
        ("<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>", call("f", "{}")),
        ("<tool_call>{\"id\": 7, \"name\": \"f\", \"arguments\": {}}}</tool_call>", call("f", "{}")),
        ("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"cut o", call("f", "{\"a\": \"cut o")),
    ] {
        assert_eq!(calls(Dialect::Hermes, text), (String::new(), vec![expected]), "{text}");
    }
}

#[test]
fn what_is_no_call_is_text() {
    for text in [
        "<tool_call>hello</tool_call>",
        "<tool_call>{\"name\": 5}</tool_call>",
        "<tool_call>{\"arguments\": {}}</tool_call>!",
        "a <tool_ca",
        "a\n\n",
        "<tool_call>",
        "<tool_call>\n{\"na",
    ] {
        assert_eq!(calls(Dialect::Hermes, text), (text.to_owned(), vec![]), "{text:?}");
    }
    assert_eq!(calls(Dialect::Llama, "{\"name\": \"Ada\", \"age\": 3}").1, []);
    assert_eq!(calls(Dialect::Llama, "{\"name\": \"Ada\", \"age\": 3}").0, "{\"name\": \"Ada\", \"age\": 3}");
    assert_eq!(calls(Dialect::Llama, "Well {\"name\": \"weather\"}").1, []);
    assert_eq!(calls(Dialect::Mistral, "[TOOL_CALLS] and so on").0, "[TOOL_CALLS] and so on");
}

#[test]
fn other_dialects() {
    let weather = |days: u8| call("weather", &format!("{{\"days\": {days}}}"));
    for (dialect, text, expected) in [
        (Dialect::Llama, "{\"name\": \"weather\", \"parameters\": {\"days\": 1}}", vec![weather(1)]),
        (
            Dialect::Llama,
            "<|python_tag|>{\"name\": \"weather\", \"parameters\": {\"days\": 1}}; {\"name\": \"weather\", \"parameters\": {\"days\": 2}}",
            vec![weather(1), weather(2)],
        ),
        (
            Dialect::Mistral,
            "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"days\": 1}}, {\"name\": \"weather\", \"arguments\": {\"days\": 2}}]",
            vec![weather(1), weather(2)],
        ),
        (
            Dialect::Mistral,
            "[TOOL_CALLS]weather[ARGS]{\"days\": 1}[TOOL_CALLS]weather[CALL_ID]abc[ARGS]{\"days\": 2}",
            vec![weather(1), weather(2)],
        ),
        (Dialect::Mistral, "[TOOL_CALLS]weather{\"days\": 1}", vec![weather(1)]),
        (
            Dialect::QwenXml,
            "<tool_call>\n<function=weather>\n<parameter=city>\nSan \"F\"\nb\n</parameter>\n<parameter=days>\n3\n</parameter>\n\
             <parameter=flags>\n[true]\n</parameter>\n</function>\n</tool_call>",
            vec![call("weather", "{\"city\": \"San \\\"F\\\"\\nb\", \"days\": 3, \"flags\": [true]}")],
        ),
        (Dialect::QwenXml, "<tool_call><function=weather></function></tool_call>", vec![call("weather", "{}")]),
    ] {
        assert_eq!(calls(dialect, text), (String::new(), expected), "{text}");
    }
}

#[test]
fn calls_in_python() {
    let one = |arguments: &str| vec![call("weather", arguments)];
    for dialect in [Dialect::Python, Dialect::Llama, Dialect::Gemma] {
        for (text, expected) in [
            ("[weather(city=\"Ulm\", days=2)]", one("{\"city\": \"Ulm\", \"days\": 2}")),
            (" [weather( city = 'Ulm' ,)]", one("{\"city\": \"Ulm\"}")),
            (
                "[weather('Ulm', 2, flags=[True, None])]",
                one("{\"city\": \"Ulm\", \"days\": 2, \"flags\": [true, null]}"),
            ),
            ("[weather()]", one("{}")),
            ("[weather(), weather(days=1)]", vec![call("weather", "{}"), call("weather", "{\"days\": 1}")]),
            ("[weather(city=Ulm)]", one("{\"city\": \"Ulm\"}")),
            ("[weather(city=\"cut o", one("{\"city\": \"cut o")),
            ("[{\"name\": \"weather\", \"parameters\": {}}]", one("{}")),
            ("{\"name\": \"weather\", \"parameters\": {\"days\": 1}}", one("{\"days\": 1}")),
        ] {
            assert_eq!(calls(dialect, text), (String::new(), expected), "{dialect:?} {text}");
        }
        for text in
            ["[1, 2]", "[other(a=1)]", "[weather", "[]", "weather(days=1)", "See [weather(days=1)]", "[[weather()]]"]
        {
            assert_eq!(calls(dialect, text), (text.to_owned(), vec![]), "{dialect:?} {text}");
        }
    }
    for text in ["<|python_start|>[weather(days=1)]<|python_end|>", "<|python_tag|>weather.call(days=1)"] {
        assert_eq!(calls(Dialect::Python, text), (String::new(), one("{\"days\": 1}")), "{text}");
    }
    assert_eq!(calls(Dialect::Python, "<|python_tag|>import os").0, "<|python_tag|>import os");
}

#[test]
fn gemma_fences_calls() {
    for text in [
        "```tool_code\nweather(days=1)\n```",
        "```tool_code\n[weather(days=1)]\n```\n",
        "```json\n{\"name\": \"weather\", \"parameters\": {\"days\": 1}}\n```",
    ] {
        assert_eq!(calls(Dialect::Gemma, text), (String::new(), vec![call("weather", "{\"days\": 1}")]), "{text}");
    }
    assert_eq!(calls(Dialect::Gemma, "Now:\n```tool_code\nweather()\nweather(days=1)\n```").1.len(), 2);
    for text in ["```json\n{\"a\": 1}\n```", "```python\nweather()\n```", "So:\n```json\n{\"name\": \"weather\"}\n```"]
    {
        assert_eq!(calls(Dialect::Gemma, text), (text.to_owned(), vec![]), "{text}");
    }
}

#[test]
fn glm_calls() {
    for (text, expected) in [
        (
            "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>San \"F\"\nb</arg_value>\n<arg_key>days</arg_key>\n\
             <arg_value>3</arg_value>\n</tool_call>",
            "{\"city\": \"San \\\"F\\\"\\nb\", \"days\": 3}",
        ),
        ("<tool_call>weather\n</tool_call>", "{}"),
        ("<tool_call>weather<arg_key>flags</arg_key><arg_value>[true]</arg_value></tool_call>", "{\"flags\": [true]}"),
        ("<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>2", "{\"city\": \"2"),
    ] {
        assert_eq!(calls(Dialect::Glm, text), (String::new(), vec![call("weather", expected)]), "{text}");
    }
    for text in ["<tool_call>hello</tool_call>", "<tool_call>weather", "<tool_call>(weather)</tool_call>"] {
        assert_eq!(calls(Dialect::Glm, text), (text.to_owned(), vec![]), "{text}");
    }
    let two = "<tool_call>weather\n</tool_call>\n<tool_call>weather\n</tool_call>";
    assert_eq!(calls(Dialect::Glm, two).1.len(), 2);
}

#[test]
fn gemma_4_calls() {
    for (text, expected) in [
        (
            "<|tool_call>call:weather{city:<|\"|>San \"F\", {\\}<|\"|>,days:3,flags:[true,{a:<|\"|>é\n<|\"|>,b:null}]}<tool_call|>",
            "{\"city\": \"San \\\"F\\\", {\\\\}\", \"days\": 3, \"flags\": [true, {\"a\": \"é\\n\", \"b\": null}]}",
        ),
        ("<|tool_call>call:weather{}<tool_call|>", "{}"),
        ("<|tool_call>call:weather{ city: \"Ulm\", days: -1.5 }<tool_call|>", "{\"city\": \"Ulm\", \"days\": -1.5}"),
        ("<|tool_call>call:weather{<|\"|>a b<|\"|>:[]}", "{\"a b\": []}"),
        ("<|tool_call>call:weather{city:<|\"|>a < b", "{\"city\": \"a < b"),
    ] {
        assert_eq!(calls(Dialect::Gemma4, text), (String::new(), vec![call("weather", expected)]), "{text}");
    }
    let two = "Both.<|tool_call>call:a{}<tool_call|><|tool_call>call:b{x:1}<tool_call|>";
    assert_eq!(calls(Dialect::Gemma4, two), ("Both.".to_owned(), vec![call("a", "{}"), call("b", "{\"x\": 1}")]));
    for text in ["<|tool_call>hello", "<|tool_call>call:", "<|tool_call>call:{}", "a <|tool_"] {
        assert_eq!(calls(Dialect::Gemma4, text), (text.to_owned(), vec![]), "{text}");
    }
}

#[test]
fn lists_behind_a_tag() {
    let list = "[{\"name\": \"weather\", \"arguments\": {\"days\": 1}}, {\"name\": \"f\", \"arguments\": {}}]";
    let both = vec![call("weather", "{\"days\": 1}"), call("f", "{}")];
    for (dialect, text) in [
        (Dialect::Granite, format!("<|tool_call|>{list}")),
        (Dialect::Granite, format!("<tool_call> {list}")),
        (Dialect::Phi, format!("<|tool_call|>{list}<|/tool_call|>")),
        (Dialect::Phi, format!("functools{list}")),
    ] {
        assert_eq!(calls(dialect, &text), (String::new(), both.clone()), "{text}");
    }
    let one = "<|tool_call|>{\"name\": \"f\", \"arguments\": {}}<|/tool_call|>";
    assert_eq!(calls(Dialect::Phi, one), (String::new(), vec![call("f", "{}")]));
    for text in ["functools.partial(f)", "functools[0]", "<|tool_call|>", "from functools import x"] {
        assert_eq!(calls(Dialect::Phi, text), (text.to_owned(), vec![]), "{text}");
    }
}

#[test]
fn harmony_has_channels() {
    let analysis = "<|channel|>analysis<|message|>why<|end|>";
    let last = "<|start|>assistant<|channel|>final<|message|>yes";
    let format = format(Some(Dialect::Harmony), Some(Thinking::NotOpened));
    for (text, reasoning, content, expected) in [
        (format!("{analysis}{last}"), "why", "yes", vec![]),
        (format!("{analysis}{last}<|return|>"), "why", "yes", vec![]),
        ("<|channel|>final<|message|>yes".to_owned(), "", "yes", vec![]),
        (
            format!(
                "{analysis}<|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{{\"days\":1}}<|call|>"
            ),
            "why",
            "",
            vec![call("weather", "{\"days\":1}")],
        ),
        (
            " to=functions.weather<|channel|>commentary json<|message|>{\"days\":1}".to_owned(),
            "",
            "",
            vec![call("weather", "{\"days\":1}")],
        ),
        (
            "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant<|channel|>commentary to=functions.now<|message|><|call|>"
                .to_owned(),
            "",
            "Let me see.",
            vec![call("now", "{}")],
        ),
        (format!("{analysis}<|start|>assistant{analysis}{last}"), "why\n\nwhy", "yes", vec![]),
        // A tool of the model's own is none of ours.
        ("<|channel|>analysis to=python code<|message|>1+1<|call|>".to_owned(), "1+1", "", vec![]),
        // A model that has lost the format, and answers that were cut off.
        ("yes < no".to_owned(), "", "yes < no", vec![]),
        ("\n to be or".to_owned(), "", "\n to be or", vec![]),
        (format!("<|channel|>{}", "x".repeat(600)), "", "", vec![]),
        ("<|channel|>analysis<|message|>why<|en".to_owned(), "why<|en", "", vec![]),
        ("<|channel|>anal".to_owned(), "", "", vec![]),
        ("<|channel|>analysis<|message|>why<|channel|>final<|message|>yes".to_owned(), "why", "yes", vec![]),
    ] {
        let found = read(&format, [text.as_str()]);
        let content = if text.contains("xxx") { &text } else { content };
        assert_eq!(found, (reasoning.to_owned(), content.to_owned(), expected), "{text}");
    }
    let text = format!("{analysis}{last}");
    let left = AnswerFormat { separate: false, ..format.clone() };
    assert_eq!(read(&left, [text.as_str()]).1, format!("{analysis}yes"));
    // Without tools a call is text.
    let call = "<|channel|>commentary to=functions.f<|message|>{}";
    let none = AnswerFormat { tools: None, ..format };
    assert_eq!(read(&none, [call]), (String::new(), call.to_owned(), vec![]));
}

/// Where there may be one call, the answer ends where a second one begins, in every spelling.
#[test]
fn an_answer_of_one_call_ends_with_it() {
    for dialect in Dialect::ALL {
        let call = dialect.write("weather", &json!({"city": "Ulm"}));
        let one = AnswerFormat { parallel: false, ..format(Some(dialect), None) };
        let text = format!("{call}{call} and so on");
        let (_, content, calls) = read(&one, [text.as_str()]);
        assert_eq!((calls.len(), content.contains("so on")), (1, false), "{dialect:?}: {calls:?} {content:?}");
    }
}

fn any_arguments() -> impl Strategy<Value = Value> {
    let text = "[a-z\"'\\\\ {}\\[\\]<>/|é🙂日\n]{0,8}";
    let plain = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        (-1000i32..1000).prop_map(|value| Value::from(f64::from(value) / 8.0)),
    ];
    let nested = prop_oneof![
        prop::collection::vec(prop_oneof![plain, text.prop_map(Value::from)], 0..3).prop_map(Value::from),
        prop::collection::vec((text, any::<bool>()), 0..3)
            .prop_map(|fields| Value::Object(fields.into_iter().map(|(key, value)| (key, json!(value))).collect())),
    ];
    (prop::option::of(text), prop::option::of(any::<i32>()), prop::option::of(nested)).prop_map(
        |(city, days, flags)| {
            let mut arguments = serde_json::Map::new();
            arguments.extend(city.map(|city| ("city".to_owned(), Value::from(city))));
            arguments.extend(days.map(|days| ("days".to_owned(), Value::from(days))));
            arguments.extend(flags.map(|flags| ("flags".to_owned(), flags)));
            Value::Object(arguments)
        },
    )
}

fn any_answer() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a<>/{}\\[\\]\"é🙂日 \n\\\\,:]{0,8}",
        prop::sample::select(vec![
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            "[TOOL_CALLS]",
            "[ARGS]",
            "<|python_tag|>",
            "{\"name\": \"weather\", \"arguments\": {\"city\": \"日\\\"🙂\"}}",
            "{\"name\": \"weather\", \"parameters\": {}}",
            "<function=weather>",
            "</function>",
            "<parameter=city>",
            "</parameter>",
            "<parameter=days>",
            "weather",
            "\n",
            ";",
            "[weather(",
            "city='é\\n'",
            "days=2",
            ")]",
            "<|python_start|>",
            "<|python_end|>",
            "```tool_code\n",
            "```json\n",
            "```",
            "<|tool_call|>[",
            "<|/tool_call|>",
            "functools",
            "<tool_call>weather\n",
            "<arg_key>city</arg_key>",
            "<arg_value>",
            "</arg_value>",
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
            "function<｜tool▁sep｜>weather\n```json\n",
            "weather<｜tool▁sep｜>",
            "<｜tool▁call▁end｜>",
            "<｜tool▁calls▁end｜>",
            "<|tool_calls_section_begin|>",
            "<|tool_call_begin|>functions.weather:0",
            "<|tool_call_argument_begin|>",
            "<|tool_call_end|>",
            "<|tool_calls_section_end|>",
            "<minimax:tool_call>\n",
            "<invoke name=\"weather\">\n",
            "<parameter name=\"city\">",
            "</parameter>\n",
            "</invoke>\n</minimax:tool_call>",
            "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n",
            "<｜DSML｜parameter name=\"days\" string=\"false\">",
            "</｜DSML｜parameter>",
            "</｜DSML｜invoke>\n",
            "</｜DSML｜function_calls>",
            "<|start|>assistant",
            "<|channel|>analysis",
            "<|channel|>commentary to=functions.weather ",
            "<|channel|>final",
            "<|constrain|>json",
            "<|message|>",
            "<|end|>",
            "<|call|>",
            "<response>",
            "<|channel>thought\n",
            "<channel|>",
            "<|tool_call>call:weather{",
            "city:<|\"|>",
            "<|\"|>}<tool_call|>",
            "[THINK]",
            "Here is my response:",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// However an answer is cut, it is read as the same.
    #[test]
    fn the_cut_does_not_matter(
        text in any_answer(),
        dialect in prop::option::weighted(0.9, prop::sample::select(Dialect::ALL.to_vec())),
        tags in prop::sample::select(vec![ReasoningTags::THINK, ReasoningTags::GRANITE, ReasoningTags::MISTRAL,
            ReasoningTags::GEMMA4]),
        separate in prop::bool::weighted(0.9),
        parallel in prop::bool::weighted(0.8),
        thinking in prop::sample::select(vec![None, Some(Thinking::Opened), Some(Thinking::NotOpened)]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let format = AnswerFormat { tags, separate, parallel, ..format(dialect, thinking) };
        let boundaries: Vec<usize> = text.char_indices().map(|(place, _)| place).chain([text.len()]).collect();
        let mut places: Vec<usize> = cuts.iter().map(|cut| *cut.get(&boundaries)).chain([0, text.len()]).collect();
        places.sort_unstable();
        let pieces: Vec<&str> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read(&format, pieces), read(&format, [text.as_str()]));
        let characters: Vec<String> = text.chars().map(String::from).collect();
        prop_assert_eq!(read(&format, characters.iter().map(String::as_str)), read(&format, [text.as_str()]));
    }

    /// What a family writes, it reads as the same call, however it is cut.
    #[test]
    fn calls_are_read_as_they_were_written(
        dialect in prop::sample::select(Dialect::ALL.to_vec()),
        arguments in any_arguments(),
        cut in any::<prop::sample::Index>(),
    ) {
        // Between tags there is no way to write a closing one.
        prop_assume!(!arguments["city"].as_str().is_some_and(|city| city.contains("</") || city.contains('|')));
        let text = dialect.write("weather", &arguments);
        let boundaries: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
        let (front, back) = text.split_at(*cut.get(&boundaries));
        let (_, content, calls) = read(&format(Some(dialect), None), [front, back]);
        prop_assert_eq!(content, "");
        prop_assert_eq!(calls.len(), 1);
        prop_assert_eq!(&calls[0].0, "weather");
        let found: Value = serde_json::from_str(&calls[0].1).unwrap();
        // A line break at the end of a text belongs to the tags.
        if !(dialect == Dialect::QwenXml && arguments.to_string().contains("\\n")) {
            prop_assert_eq!(found, arguments, "{}", text);
        }
    }
}
