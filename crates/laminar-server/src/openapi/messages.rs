//! What Anthropic's endpoints take and answer.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::words::words;

words! {
    /// Whose turn it is.
    TurnRole { User = "user", Assistant = "assistant", System = "system" }
    /// The type of a tool.
    CustomTool { Custom = "custom" }
    /// Which tools are called.
    ChoiceType { Auto = "auto", Any = "any", None = "none" }
    /// One tool by its name.
    NamedChoiceType { Tool = "tool" }
    /// Whether to reason.
    ThinkingType { Enabled = "enabled", Adaptive = "adaptive", Disabled = "disabled" }
    /// The type of a message.
    MessageObject { Message = "message" }
    /// The role of an answer.
    MessageRole { Assistant = "assistant" }
    /// Why a message ended.
    StopReason {
        EndTurn = "end_turn",
        MaxTokens = "max_tokens",
        StopSequence = "stop_sequence",
        ToolUse = "tool_use",
    }
}

/// A text, or blocks of text.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Texts {
    /// A text.
    Text(String),
    /// Blocks, which are joined by line feeds.
    Blocks(Vec<TextBlock>),
}

/// A block of text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TextBlock {
    /// `text`.
    pub r#type: TextBlockType,
    /// The text.
    pub text: String,
}

words! {
    /// The type of a block of text.
    TextBlockType { Text = "text" }
}

/// What is said in a turn.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TurnContent {
    /// A text.
    Text(String),
    /// Blocks.
    Blocks(Vec<TurnBlock>),
}

/// A block of a turn.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TurnBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// What the model thought.
    Thinking {
        /// The text.
        thinking: String,
    },
    /// A call that the model made.
    ToolUse {
        /// Names the call for its result.
        id: String,
        /// The tool.
        name: String,
        /// The arguments.
        input: BTreeMap<String, Value>,
    },
    /// What came of a call.
    ToolResult {
        /// Which call.
        tool_use_id: String,
        /// The result.
        content: Option<Texts>,
    },
}

/// A tool that the model may call.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MessagesTool {
    /// `custom`, or nothing.
    pub r#type: Option<CustomTool>,
    /// Its name; no two tools have the same.
    #[schema(min_length = 1, max_length = 128, pattern = "^[a-zA-Z0-9_.:/-]+$")]
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments; without one there are none.
    pub input_schema: Option<BTreeMap<String, Value>>,
}

/// Which tools are called.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum MessagesToolChoice {
    /// In general.
    General(GeneralChoice),
    /// This one.
    Named(NamedChoice),
}

/// Which tools are called, in general.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct GeneralChoice {
    /// In general.
    pub r#type: ChoiceType,
    /// Whether at most one is called.
    pub disable_parallel_tool_use: Option<bool>,
}

/// One tool by its name.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NamedChoice {
    /// Always `tool`.
    pub r#type: NamedChoiceType,
    /// A name in `tools`.
    pub name: String,
    /// Whether at most one is called.
    pub disable_parallel_tool_use: Option<bool>,
}

/// Whether to reason.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ThinkingOptions {
    /// Whether.
    pub r#type: ThinkingType,
}

/// A message that the model wrote.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MessageAnswer {
    /// Its id.
    pub id: String,
    /// Always `message`.
    pub r#type: MessageObject,
    /// Always `assistant`.
    pub role: MessageRole,
    /// The served model.
    pub model: String,
    /// Its blocks.
    pub content: Vec<AnswerBlock>,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// The stop sequence that ended it, if one did.
    #[schema(required)]
    pub stop_sequence: Option<String>,
    /// Token counts.
    pub usage: MessageUsage,
}

/// A block of a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AnswerBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// What was thought.
    Thinking {
        /// The text.
        thinking: String,
        /// Empty.
        signature: String,
    },
    /// A call.
    ToolUse {
        /// Names the call for its result.
        id: String,
        /// The tool.
        name: String,
        /// The arguments.
        input: Value,
    },
}

/// Token counts of a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MessageUsage {
    /// Tokens of the prompt that had to be read.
    pub input_tokens: u64,
    /// Those that the prefix cache has spared.
    pub cache_read_input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
}

/// An answer of `/v1/messages/count_tokens`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CountedTokens {
    /// Tokens of the prompt.
    pub input_tokens: u64,
}
