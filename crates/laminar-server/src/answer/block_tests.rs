//! Calls in blocks, of which one may hold several: DeepSeek, Kimi, MiniMax.

use super::Dialect;
use super::tests::{call, calls};

#[test]
fn deepseek_calls() {
    let weather = |days: u8| call("weather", &format!("{{\"days\": {days}}}"));
    let fenced = |days: u8| {
        format!(
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{{\"days\": {days}}}\n```<｜tool▁call▁end｜>"
        )
    };
    let plain = |days: u8| format!("<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{{\"days\": {days}}}<｜tool▁call▁end｜>");
    for (text, content, expected) in [
        (format!("<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>", fenced(1)), "", vec![weather(1)]),
        (
            format!("So:\n<｜tool▁calls▁begin｜>{}\n{}<｜tool▁calls▁end｜>", fenced(1), fenced(2)),
            "So:",
            vec![weather(1), weather(2)],
        ),
        (format!("<｜tool▁calls▁begin｜>{}{}", plain(1), plain(2)), "", vec![weather(1), weather(2)]),
        (plain(3), "", vec![weather(3)]),
        ("<｜tool▁calls▁begin｜>and".to_owned(), "<｜tool▁calls▁begin｜>and", vec![]),
        ("<｜tool▁ca".to_owned(), "<｜tool▁ca", vec![]),
        ("日本<｜tool".to_owned(), "日本<｜tool", vec![]),
    ] {
        assert_eq!(calls(Dialect::DeepSeek, &text), (content.to_owned(), expected), "{text}");
    }
}

#[test]
fn kimi_calls() {
    let weather = |days: u8| call("weather", &format!("{{\"days\": {days}}}"));
    let one = |head: &str, days: u8| {
        format!("<|tool_call_begin|>{head}<|tool_call_argument_begin|>{{\"days\": {days}}}<|tool_call_end|>")
    };
    let section = |text: &str| format!("<|tool_calls_section_begin|>{text}<|tool_calls_section_end|>");
    for (text, content, expected) in [
        (section(&one("functions.weather:0", 1)), "", vec![weather(1)]),
        (
            format!("So:\n{}", section(&(one("functions.weather:3", 1) + "\n" + &one(" functions.weather:4 ", 2)))),
            "So:",
            vec![weather(1), weather(2)],
        ),
        // Without a number, without the word, and without a section.
        (one("functions.weather", 1) + &one("weather:12", 2), "", vec![weather(1), weather(2)]),
        (section(&one("functions.a.b:c:1", 1)), "", vec![call("a.b:c", "{\"days\": 1}")]),
        (
            format!("<|tool_call_section_begin|>{}<|tool_call_section_end|> Then.", one("functions.weather:0", 1)),
            "Then.",
            vec![weather(1)],
        ),
        (
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|> {\"q\": \"<|tool_call_e"
                .to_owned(),
            "",
            vec![call("f", "{\"q\": \"<|tool_call_e")],
        ),
    ] {
        assert_eq!(calls(Dialect::Kimi, &text), (content.to_owned(), expected), "{text}");
    }
    for text in [
        "<|tool_calls_section_begin|>and",
        "<|tool_calls_sec",
        "<|tool_call_begin|>functions.:0<|tool_call_argument_begin|>{}",
        "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>f {}",
    ] {
        assert_eq!(calls(Dialect::Kimi, text), (text.to_owned(), vec![]), "{text}");
    }
}

#[test]
fn minimax_calls() {
    for (text, content, expected) in [
        (
            "<minimax:tool_call>\n<invoke name=\"weather\">\n<parameter name=\"city\">San \"F\"\nb </parameter>\n\
             <parameter name=\"days\">3</parameter>\n<parameter name=\"flags\">[true]</parameter>\n</invoke>\n\
             </minimax:tool_call>",
            "",
            vec![call("weather", "{\"city\": \"San \\\"F\\\"\\nb \", \"days\": 3, \"flags\": [true]}")],
        ),
        // Several in a block, and blocks behind each other.
        (
            "Both.\n<minimax:tool_call>\n<invoke name=\"weather\">\n</invoke>\n<invoke name=\"f\">\n\
             <parameter name=\"a\">1</parameter>\n</invoke>\n</minimax:tool_call>\n<minimax:tool_call><invoke name=\"g\"></invoke>\
             </minimax:tool_call>\nDone.",
            "Both.Done.",
            vec![call("weather", "{}"), call("f", "{\"a\": \"1\"}"), call("g", "{}")],
        ),
        (
            "<minimax:tool_call>\n<invoke name=\"weather\">\n<parameter name=\"city\">a </param",
            "",
            vec![call("weather", "{\"city\": \"a ")],
        ),
    ] {
        assert_eq!(calls(Dialect::MiniMax, text), (content.to_owned(), expected), "{text}");
    }
    for text in [
        "<minimax:tool_call>\nhello",
        "<minimax:tool_call>\n<invoke name=\"wea",
        "<minimax:tool_",
        "<invoke name=\"weather\">\n</invoke>",
    ] {
        assert_eq!(calls(Dialect::MiniMax, text), (text.to_owned(), vec![]), "{text}");
    }
}

#[test]
fn deepseek_calls_in_marked_tags() {
    for word in ["function_calls", "tool_calls"] {
        let text = format!(
            "Let me see.\n\n<｜DSML｜{word}>\n<｜DSML｜invoke name=\"weather\">\n\
             <｜DSML｜parameter name=\"city\" string=\"true\">12</｜DSML｜parameter>\n\
             <｜DSML｜parameter name=\"days\" string=\"false\">3</｜DSML｜parameter>\n\
             <｜DSML｜parameter name=\"more\" string=\"false\">{{\"a\": [null]}}</｜DSML｜parameter>\n\
             </｜DSML｜invoke>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>\n</｜DSML｜{word}>"
        );
        let arguments = "{\"city\": \"12\", \"days\": 3, \"more\": {\"a\": [null]}}";
        let expected = vec![call("weather", arguments), call("f", "{}")];
        assert_eq!(calls(Dialect::Dsml, &text), ("Let me see.".to_owned(), expected), "{text}");
    }
    // What a parameter says of itself counts more than the schema, which counts where it says nothing.
    for (attribute, value) in [(" string=\"true\"", "\"3\""), (" string=\"false\"", "3"), ("", "3")] {
        let text = format!(
            "<｜DSML｜function_calls><｜DSML｜invoke name=\"weather\"><｜DSML｜parameter name=\"days\"{attribute}>3\
             </｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>"
        );
        let expected = vec![call("weather", &format!("{{\"days\": {value}}}"))];
        assert_eq!(calls(Dialect::Dsml, &text), (String::new(), expected), "{text}");
    }
    for text in ["<｜DSML｜function_calls>\nhello", "<｜DSML｜func", "日本<｜DSML"] {
        assert_eq!(calls(Dialect::Dsml, text), (text.to_owned(), vec![]), "{text}");
    }
}
