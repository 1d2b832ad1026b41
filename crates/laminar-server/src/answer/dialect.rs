//! The families' ways to spell calls, by name.

use serde_json::Value;

use super::scanner::Spelling;
use super::{deepseek, gemma, gemma4, glm, granite, harmony, hermes, invoke, kimi, llama, mistral, phi, python, xml};

/// How a family of models spells its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen 2.5 and 3, Granite 4.
    #[default]
    Hermes,
    /// The whole answer is `{"name": ..., "parameters": {...}}`: Llama 3.
    Llama,
    /// The whole answer is `[name(key=value, ...), ...]`: Llama 3.2 and 4 where their template asks for it.
    Python,
    /// `[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]`, or in newer models `[TOOL_CALLS]name[ARGS]{...}`: Mistral.
    Mistral,
    /// `<tool_call><function=...><parameter=...>...</parameter></function></tool_call>`: Qwen 3 Coder.
    QwenXml,
    /// `<tool_call>name`, then `<arg_key>...</arg_key><arg_value>...</arg_value>`, then `</tool_call>`: GLM-4.5.
    Glm,
    /// `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>...<｜tool▁sep｜>...<｜tool▁call▁end｜><｜tool▁calls▁end｜>`: DeepSeek V3, R1
    /// and V3.1.
    DeepSeek,
    /// `<｜DSML｜function_calls><｜DSML｜invoke name="..."><｜DSML｜parameter name="..." string="true">...`: DeepSeek V3.2 and V4.
    Dsml,
    /// `<minimax:tool_call><invoke name="..."><parameter name="...">...`: MiniMax M2.
    MiniMax,
    /// `<|tool_calls_section_begin|><|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{...}`: Kimi K2.
    Kimi,
    /// `<|tool_call|>[{"name": ..., "arguments": {...}}, ...]`: Granite 3.
    Granite,
    /// `<|tool_call|>[...]<|/tool_call|>` or `functools[...]` around objects: Phi-4 mini.
    Phi,
    /// An object, a Python call in `[...]` or behind a `tool_code` fence: Gemma, which has no markers of its own.
    Gemma,
    /// `<|tool_call>call:name{key:value,...}<tool_call|>`: Gemma 4.
    Gemma4,
    /// Messages in channels, calls addressed to `functions.name`: gpt-oss.
    Harmony,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 15] = [
        Dialect::Hermes,
        Dialect::Llama,
        Dialect::Python,
        Dialect::Mistral,
        Dialect::QwenXml,
        Dialect::Glm,
        Dialect::DeepSeek,
        Dialect::Dsml,
        Dialect::MiniMax,
        Dialect::Kimi,
        Dialect::Granite,
        Dialect::Phi,
        Dialect::Gemma,
        Dialect::Gemma4,
        Dialect::Harmony,
    ];

    pub(super) fn spelling(self) -> &'static Spelling {
        match self {
            Dialect::Hermes => &hermes::SPELLING,
            Dialect::Llama => &llama::SPELLING,
            Dialect::Python => &python::SPELLING,
            Dialect::Mistral => &mistral::SPELLING,
            Dialect::QwenXml => &xml::SPELLING,
            Dialect::Glm => &glm::SPELLING,
            Dialect::DeepSeek => &deepseek::SPELLING,
            Dialect::Dsml => &invoke::DSML_SPELLING,
            Dialect::MiniMax => &invoke::MINIMAX_SPELLING,
            Dialect::Kimi => &kimi::SPELLING,
            Dialect::Granite => &granite::SPELLING,
            Dialect::Phi => &phi::SPELLING,
            Dialect::Gemma => &gemma::SPELLING,
            Dialect::Gemma4 => &gemma4::SPELLING,
            Dialect::Harmony => &harmony::SPELLING,
        }
    }

    /// A call of a function with these arguments (an object), as a model of this family writes it.
    pub(crate) fn write(self, name: &str, arguments: &Value) -> String {
        (self.spelling().write)(name, arguments)
    }
}
