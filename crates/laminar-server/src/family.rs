//! How the served model spells tool calls and reasoning, told by its chat template and its vocabulary.

use std::collections::{BTreeMap, BTreeSet};

use laminar_model::tokenizer::Tokenizer;
use serde_json::Value;

use crate::answer::{
    Dialect, ReasoningTags, deepseek, gemma4, granite, harmony, invoke, kimi, llama, mistral, phi, python, xml,
};
use crate::template::ChatTemplate;

/// Tags that an answer may hold; where they are control tokens the engine is asked to show them.
const TAGS: [&str; 53] = [
    "<think>",
    "</think>",
    "[THINK]",
    "[/THINK]",
    "<response>",
    "</response>",
    "<tool_call>",
    "</tool_call>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    mistral::OPEN,
    mistral::ARGUMENTS,
    mistral::ID,
    llama::OPEN,
    python::OPEN,
    python::CLOSE,
    granite::OPEN,
    phi::CLOSE,
    phi::WORD,
    deepseek::OPEN,
    deepseek::CLOSE,
    deepseek::CALL,
    deepseek::CALL_END,
    deepseek::SEPARATOR,
    deepseek::FENCE,
    invoke::MARK,
    invoke::WORD,
    invoke::MINIMAX.0,
    invoke::MINIMAX.1,
    kimi::OPEN,
    kimi::CLOSE,
    kimi::CALL,
    kimi::CALL_END,
    kimi::ARGUMENTS,
    harmony::START,
    harmony::CHANNEL,
    harmony::CONSTRAIN,
    harmony::MESSAGE,
    harmony::END,
    harmony::CALL,
    gemma4::OPEN,
    gemma4::CLOSE,
    gemma4::QUOTE,
    gemma4::CHANNEL,
    gemma4::CHANNEL_END,
    python::LIQUID.0,
    python::LIQUID.1,
    xml::SEED.0,
    xml::SEED.1,
    ReasoningTags::SEED.open,
    ReasoningTags::SEED.close,
];

/// The spellings of one model.
#[derive(Debug, Clone)]
pub struct Family {
    /// How it spells calls.
    pub dialect: Dialect,
    /// Whether it reasons where that can be told apart.
    pub thinks: bool,
    /// How it marks its reasoning.
    pub tags: ReasoningTags,
    /// What its template does with tools.
    pub template: TemplateHabits,
    /// The tags that the template mentions.
    mentioned: BTreeSet<&'static str>,
    /// Tags that are control tokens, with their ids.
    control: BTreeMap<&'static str, u32>,
}

/// What a chat template does with tools and calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TemplateHabits {
    /// It lists the tools; otherwise the system message describes them.
    pub lists_tools: bool,
    /// It lists tools that are a field of the system message, as text (Phi-4 mini).
    pub tools_in_system: bool,
    /// It writes calls and their results; otherwise they become text.
    pub writes_calls: bool,
    /// It takes the arguments of a call as text (DeepSeek).
    pub arguments_as_text: bool,
    /// It refuses system messages (Gemma 2).
    pub refuses_system: bool,
}

impl Family {
    /// Looks at the template for the tags it writes. A template that knows no calls gets Hermes' spelling.
    pub fn of(template: &str, tokenizer: &Tokenizer) -> Family {
        let has = |text: &str| template.contains(text);
        let dialect = dialect(&has);
        let tags = if has(ReasoningTags::GRANITE_WORDS.open) {
            ReasoningTags::GRANITE_WORDS
        } else if has("<response>") && has("<think>") {
            ReasoningTags::GRANITE
        } else if has("[THINK]") {
            ReasoningTags::MISTRAL
        } else if has(gemma4::CHANNEL_END) {
            ReasoningTags::GEMMA4
        } else if has(ReasoningTags::SEED.close) {
            ReasoningTags::SEED
        } else {
            ReasoningTags::THINK
        };
        let ids = 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
        let mut control = BTreeMap::new();
        for id in ids.filter(|id| tokenizer.is_control(*id)) {
            let text = tokenizer.token_text(id);
            if let Some(tag) = TAGS.iter().find(|tag| **tag == text) {
                control.insert(*tag, id);
            }
        }
        let lists_its_own = ["if tools", "not tools", "in tools"].into_iter().any(has);
        let tools_in_system = (has("message['tools']") || has("message.tools")) && !lists_its_own;
        Family {
            dialect,
            thinks: dialect == Dialect::Harmony || has(tags.open) || has(tags.close),
            tags,
            template: TemplateHabits {
                lists_tools: has("tools") && !tools_in_system,
                tools_in_system,
                writes_calls: has("tool_calls"),
                arguments_as_text: false,
                refuses_system: false,
            },
            mentioned: TAGS.into_iter().filter(|tag| has(tag)).collect(),
            control,
        }
    }

    /// As [`Family::of`], and tries what the template does with a few conversations.
    pub fn of_template(template: &ChatTemplate, tokenizer: &Tokenizer) -> Family {
        let mut family = Family::of(template.source(), tokenizer);
        let habits = &mut family.template;
        habits.arguments_as_text = habits.writes_calls && template.takes_arguments_as_text();
        habits.refuses_system = !habits.lists_tools && template.refuses_system();
        family
    }

    /// Whether the template mentions a tag.
    pub(crate) fn mentions(&self, tag: &str) -> bool {
        self.mentioned.contains(tag)
    }

    /// Whether a tag is a control token of the vocabulary, and so no text.
    pub(crate) fn is_control(&self, tag: &str) -> bool {
        self.control.contains_key(tag)
    }

    /// The control tokens that the answers must show.
    pub(crate) fn shown_tokens(&self) -> Vec<u32> {
        self.control.values().copied().collect()
    }

    /// A tag in a Lark grammar: its control token, one and the text around it, or its text.
    pub(crate) fn lark(&self, tag: &str) -> String {
        let held = self.control.iter().filter_map(|(known, id)| Some((tag.split_once(known)?, id)));
        // The first of those that it holds, and the longest of those that begin there.
        match held.min_by_key(|((before, behind), _)| (before.len(), behind.len())) {
            Some(((before, behind), id)) => {
                let text = |text: &str| (!text.is_empty()).then(|| Value::from(text).to_string());
                let parts = [text(before), Some(format!("<[{id}]>")), text(behind)];
                parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
            }
            None => Value::from(tag).to_string(),
        }
    }

    /// A random id for a call. Mistral's templates insist on nine letters and digits.
    pub(crate) fn call_id(&self, random: u64) -> String {
        match self.dialect {
            Dialect::Mistral => format!("{:09x}", random >> 28),
            _ => format!("call_{random:016x}"),
        }
    }
}

fn dialect(has: &dyn Fn(&str) -> bool) -> Dialect {
    if has(harmony::CHANNEL) && has(harmony::MESSAGE) {
        Dialect::Harmony
    } else if has(mistral::OPEN) {
        Dialect::Mistral
    } else if has(gemma4::OPEN) {
        Dialect::Gemma4
    } else if has(invoke::MARK) {
        Dialect::Dsml
    } else if has(deepseek::OPEN) {
        Dialect::DeepSeek
    } else if has(kimi::OPEN) || has("tool_declare") {
        Dialect::Kimi
    } else if has(invoke::MINIMAX.0) {
        Dialect::MiniMax
    } else if has("<arg_key>") {
        Dialect::Glm
    } else if has("<function=") && has("<parameter=") {
        Dialect::QwenXml
    } else if has(phi::WORD) || (has("<|tool|>") && has("<|/tool|>")) {
        Dialect::Phi
    } else if has(granite::OPEN) || (has("<|start_of_role|>") && !has("<tool_call>")) {
        Dialect::Granite
    } else if has("<tool_call>") {
        Dialect::Hermes
    } else if has("func_name") || has("function_name(") || has(python::LIQUID.0) || has("<|tool_list_start|>") {
        Dialect::Python
    } else if has(llama::OPEN) || (has("<|start_header_id|>") || has("<|header_start|>")) && has("parameters") {
        Dialect::Llama
    } else if has("<start_of_turn>") {
        Dialect::Gemma
    } else {
        Dialect::Hermes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laminar_model::synth::byte_tokenizer;

    fn family(template: &str) -> Family {
        Family::of(template, &Tokenizer::from_gguf(&byte_tokenizer()).unwrap())
    }

    #[test]
    fn templates_tell_their_dialect() {
        for (template, dialect) in [
            ("... <tool_call> ...", Dialect::Hermes),
            ("<tool_call> <function=x> <parameter=y>", Dialect::QwenXml),
            ("<tool_call> <arg_key>", Dialect::Glm),
            ("[AVAILABLE_TOOLS] [TOOL_CALLS]", Dialect::Mistral),
            ("<|start_header_id|> {\"name\": function name, \"parameters\": {}}", Dialect::Llama),
            ("<|header_start|> [func_name1(params_name1=params_value1)]", Dialect::Python),
            ("<|start|>assistant<|channel|>final<|message|>", Dialect::Harmony),
            ("<｜Assistant｜><｜tool▁calls▁begin｜>", Dialect::DeepSeek),
            ("{% set dsml_token = '｜DSML｜' %}<{{ dsml_token }}function_calls>", Dialect::Dsml),
            ("{% set begin = '<minimax:tool_call>' %}", Dialect::MiniMax),
            ("<|im_assistant|>assistant<|im_middle|><|tool_calls_section_begin|>", Dialect::Kimi),
            ("<|im_system|>tool_declare<|im_middle|>{{ tools }}", Dialect::Kimi),
            ("<|start_of_role|>assistant<|end_of_role|><|tool_call|>", Dialect::Granite),
            ("<|start_of_role|>tools <tool_call>", Dialect::Hermes),
            ("<|system|><|tool|>{{ tools }}<|/tool|>", Dialect::Phi),
            ("functools[{\"name\"", Dialect::Phi),
            ("<start_of_turn>model", Dialect::Gemma),
            ("<|turn>model <|tool_call>call:", Dialect::Gemma4),
            ("<seed:tool_call> <function=f> <parameter=p>", Dialect::QwenXml),
            ("List of tools: <|tool_list_start|>[", Dialect::Python),
            ("{{ messages }}", Dialect::Hermes),
        ] {
            assert_eq!(family(template).dialect, dialect, "{template}");
        }
    }

    #[test]
    fn tools_of_a_system_message_are_no_list_of_the_template_s_own() {
        for (template, lists_tools, tools_in_system) in [
            ("{% for tool in tools %}", true, false),
            ("{% if 'tools' in message and message['tools'] %}{{ message['tools'] }}", false, true),
            ("{% if not tools %}{% set tools = message.tools %}{% endif %}", true, false),
            ("{{ messages }}", false, false),
        ] {
            let habits = family(template).template;
            assert_eq!((habits.lists_tools, habits.tools_in_system), (lists_tools, tools_in_system), "{template}");
        }
    }

    #[test]
    fn tags_are_written_with_the_control_tokens_in_them() {
        let mut family = family("");
        family.control = [("<a>", 1), ("<a>b", 2), ("｜M｜", 3)].into();
        for (tag, lark) in [
            ("<a>", "<[1]>"),
            ("<a>\n", "<[1]> \"\\n\""),
            ("<a>bc", "<[2]> \"c\""),
            ("</｜M｜f>", "\"</\" <[3]> \"f>\""),
            ("<f>", "\"<f>\""),
        ] {
            assert_eq!(family.lark(tag), lark, "{tag}");
        }
    }

    #[test]
    fn templates_tell_how_they_mark_reasoning() {
        for (template, thinks, tags) in [
            ("<think>", true, ReasoningTags::THINK),
            ("</think>", true, ReasoningTags::THINK),
            ("<think></think><response></response>", true, ReasoningTags::GRANITE),
            ("'Here is my thought process:' 'Here is my response:'", true, ReasoningTags::GRANITE_WORDS),
            ("[THINK]", true, ReasoningTags::MISTRAL),
            ("<|channel>thought <channel|>", true, ReasoningTags::GEMMA4),
            ("<seed:think> </seed:think>", true, ReasoningTags::SEED),
            ("<|channel|>analysis<|message|>", true, ReasoningTags::THINK),
            ("plain", false, ReasoningTags::THINK),
        ] {
            let family = family(template);
            assert_eq!((family.thinks, family.tags), (thinks, tags), "{template}");
        }
    }
}
