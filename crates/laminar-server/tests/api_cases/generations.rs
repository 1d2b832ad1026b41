//! Random answers: what is streamed is what is not.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::families::{FAMILIES, Family};
use crate::support::*;

/// Answers that are compared, and those of each family beside Qwen 3.
const GENERATIONS: u64 = 1000;
const OF_A_FAMILY: u64 = 100;
/// Clients that ask for them side by side.
const CLIENTS: u64 = 8;

/// SplitMix64: the same dice every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 33) as usize % sides
    }

    fn pick(&mut self, list: &[&'static str]) -> &'static str {
        list[self.roll(list.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }
}

const WORDS: [&str; 14] =
    ["The ", "name", "🙂", "👩‍🚀", "日本語", "né", "\n", "  ", "\n\n", "DEFGHIJ", "ABC", "<", "{\"a\": 1}", "end."];
const TAGS: [&str; 6] = ["<think>", "</think>", "\n</think>\n\n", "<tool_call>", "</tool_call>", "<thi"];
const CALLS: [&str; 4] = [
    "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"q\": \"日本 🙂 \\\"x\\\"\"}}\n</tool_call>",
    "<tool_call>{\"arguments\": {\"a\": [1, {}]}, \"name\": \"g\"}</tool_call>",
    "\n<tool_call>\n{\"name\": \"f\"}\n</tool_call>\n",
    "<tool_call>{\"name\": \"f\", \"arguments\": {\"q\": </tool_call>",
];
/// Parts of calls and of reasoning in all families' spellings.
const PARTS: [&str; 38] = [
    "[f(q=\"日本\", a=1)]",
    "[f(",
    ")]",
    "{\"name\": \"g\", \"parameters\": {\"a\": [1]}}",
    "```tool_code\nf(q='🙂')\n```",
    "```json\n",
    "```",
    "<tool_call>f\n<arg_key>q</arg_key>\n<arg_value>日 \"x\"\n</arg_value>\n</tool_call>",
    "<arg_key>",
    "<arg_value>",
    "<tool_call>\n<function=g>\n<parameter=q>\né\n</parameter>\n</function>\n</tool_call>",
    "<function=f>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"q\": \"語\"}\n```<｜tool▁call▁end｜>",
    "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁",
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"q\": \"語\"}<|tool_call_end|>",
    "<minimax:tool_call>\n<invoke name=\"g\">\n<parameter name=\"q\">é\n</parameter>\n</invoke>\n</minimax:tool_call>",
    "<invoke name=\"f\">",
    "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"q\" string=\"true\">日</｜DSML｜parameter>\n",
    "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "<|tool_call|>",
    "[{\"name\": \"f\", \"arguments\": {\"q\": \"🙂\"}}, {\"name\": \"g\", \"arguments\": {}}]",
    "<|/tool_call|>",
    "functools",
    "[TOOL_CALLS]f[ARGS]{\"q\": 1}",
    "<|channel|>analysis<|message|>why 🙂<|end|>",
    "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"q\": \"日\"}",
    "<|start|>assistant<|channel|>final<|message|>",
    "<|channel|>",
    "<|end|>",
    "<response>",
    "<|channel>thought\nwhy 🙂<channel|>",
    "<|tool_call>call:f{q:<|\"|>日 \"x\"<|\"|>,a:[1,true]}<tool_call|>",
    "<|tool_call>call:",
    "<|\"|>",
];
const STOPS: [&str; 8] = ["DEFGHIJ", "🙂", "語", "\n\n", "end", "ABCn", "</think>", "}}"];

/// A random answer: mostly words, and tags and calls of Qwen 3 or, for other families, of any.
fn answer(dice: &mut Dice, any: bool) -> String {
    let mut text = String::new();
    for _ in 0..dice.roll(14) {
        text += match dice.roll(10) {
            0..6 => dice.pick(&WORDS),
            _ if any && dice.chance(70) => dice.pick(&PARTS),
            6..8 => dice.pick(&TAGS),
            _ => dice.pick(&CALLS),
        };
    }
    text
}

/// What a reader of the whole text would keep of it: all before the stop string that is complete first.
fn kept<'t>(text: &'t str, stops: &[&str]) -> &'t str {
    let ends = stops.iter().filter_map(|stop| text.find(stop).map(|start| (start + stop.len(), start)));
    ends.min().map_or(text, |(_, start)| &text[..start])
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_equal_whole_answers_on_1000_random_generations() {
    let server = Arc::new(start(Setup::template(QWEN)).await);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                for number in (0..GENERATIONS).filter(|number| number % CLIENTS == client) {
                    generation(&server, number, None).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    server.until_idle().await;
}

/// The same for each family in turn, with its markers as text and as control tokens.
#[tokio::test(flavor = "multi_thread")]
async fn streams_equal_whole_answers_in_all_families() {
    for (place, family) in FAMILIES.iter().enumerate() {
        for setup in [family.as_text(), family.as_control()] {
            let server = start(setup).await;
            for number in 0..OF_A_FAMILY {
                generation(&server, (place as u64 + 1) << 32 | number, Some(family)).await;
            }
            server.until_idle().await;
        }
    }
}

/// One answer, of Qwen 3 or another family.
async fn generation(server: &Server, number: u64, family: Option<&Family>) {
    let mut dice = Dice(number);
    // The number alone could be a part of another one's.
    let mark = format!("[generation {number}]");
    let text = answer(&mut dice, family.is_some());
    server.script.cut(&mark, &text, |sides| dice.roll(sides));
    let stops: Vec<&str> = (0..dice.roll(3)).map(|_| dice.pick(&STOPS)).collect();
    let plain = dice.chance(30);
    let mut request = with(chat(&mark), json!({"stop": stops, "separate_reasoning": !plain}));
    if dice.chance(30) {
        request["max_tokens"] = Value::from(1 + dice.roll(40));
    }
    if dice.chance(20) {
        request["logprobs"] = Value::from(true);
    }
    if !plain {
        let function = |name: &str| json!({"type": "function", "function": {"name": name}});
        request["tools"] = json!([function("f"), function("g")]);
    }
    let (whole, _) = server.both(&request).await;
    server.script.forget(&mark);

    let message = &whole["choices"][0]["message"];
    let content = message["content"].as_str().unwrap_or_default();
    if plain && request["max_tokens"].is_null() && family.is_none() {
        assert_eq!(content, kept(&text, &stops), "{request}");
    }
    if !plain && family.is_none() {
        assert!(!content.contains("<think>") && !content.contains("</think>"), "{content:?}");
    }
    assert!(!whole.to_string().contains('\u{fffd}'), "{whole}");
}
