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
    AnswerFormat { thinking, calls: dialect.map(|dialect| (dialect, tools())) }
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

fn calls(dialect: Dialect, text: &str) -> (String, Vec<(String, String)>) {
    let (_, content, calls) = read(&format(Some(dialect), None), [text]);
    (content, calls)
}

fn call(name: &str, arguments: &str) -> (String, String) {
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
    ] {
        let found = read(&format(None, Some(thinking)), [text]);
        assert_eq!((found.0.as_str(), found.1.as_str()), (reasoning, content), "{text:?}");
    }
    assert_eq!(read(&AnswerFormat::default(), ["<think>a</think>"]).1, "<think>a</think>");
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
        dialect in prop::sample::select(vec![
            None, Some(Dialect::Hermes), Some(Dialect::Llama), Some(Dialect::Mistral), Some(Dialect::QwenXml),
        ]),
        thinking in prop::sample::select(vec![None, Some(Thinking::Opened), Some(Thinking::NotOpened)]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let format = format(dialect, thinking);
        let boundaries: Vec<usize> = text.char_indices().map(|(place, _)| place).chain([text.len()]).collect();
        let mut places: Vec<usize> = cuts.iter().map(|cut| *cut.get(&boundaries)).chain([0, text.len()]).collect();
        places.sort_unstable();
        let pieces: Vec<&str> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read(&format, pieces), read(&format, [text.as_str()]));
        let characters: Vec<String> = text.chars().map(String::from).collect();
        prop_assert_eq!(read(&format, characters.iter().map(String::as_str)), read(&format, [text.as_str()]));
    }
}
