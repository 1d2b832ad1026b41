//! The shapes of request fields that are read as free JSON first.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::responses::ResponseOptions;
use super::words::words;
use crate::openai::chat::{ChatCompletionRequest, ChatFields};
use crate::openai::completions::{CompletionFields, CompletionRequest};
use crate::openai::options::Options;
use crate::openai::responses::ResponseRequest;
use crate::openai::structured::FormatFields;

/// The name of the served model, or an alias of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelName(String);

/// The id of a token of the vocabulary.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TokenId(u32);

/// Choices per prompt.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChoiceCount(u32);

words! {
    /// The type of a function.
    FunctionType { Function = "function" }
    /// Which tools are called, in general.
    ToolChoiceMode { None = "none", Auto = "auto", Required = "required", Any = "any" }
    /// The type of a list of allowed tools.
    AllowedToolsType { AllowedTools = "allowed_tools" }
    /// Whether one of the allowed tools must be called.
    AllowedMode { Auto = "auto", Required = "required" }
    /// Free text.
    TextFormat { Text = "text" }
    /// Any JSON object.
    ObjectFormat { JsonObject = "json_object" }
    /// JSON by a schema.
    SchemaFormat { JsonSchema = "json_schema" }
    /// The roles whose messages always have content.
    SpeakerRole { System = "system", Developer = "developer", User = "user", Tool = "tool" }
    /// What an answer is made of.
    Modality { Text = "text" }
    /// The role of answers.
    AssistantRole { Assistant = "assistant" }
}

/// Prompts: a text, several, one in tokens, or several in tokens.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum PromptInput {
    /// A text.
    Text(String),
    /// Texts; at least one.
    Texts(Vec<String>),
    /// Token ids; at least one.
    Tokens(Vec<TokenId>),
    /// Lists of token ids; at least one.
    TokenLists(Vec<Vec<TokenId>>),
}

/// The content of a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Content {
    /// A text.
    Text(String),
    /// Parts, which are joined by line feeds.
    Parts(Vec<ContentPart>),
}

/// A part of a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// What an assistant said when it refused.
    Refusal {
        /// The text.
        refusal: String,
    },
}

/// A message of a conversation.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ChatMessage {
    /// Of anybody but the assistant.
    Speaker(SpeakerMessage),
    /// Of the assistant.
    Assistant(AssistantTurn),
}

/// A message of the system, a user or a tool.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SpeakerMessage {
    /// Who speaks.
    pub role: SpeakerRole,
    /// What is said.
    pub content: Content,
    /// Name of the participant or tool.
    pub name: Option<String>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
}

/// An earlier message of the assistant.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AssistantTurn {
    /// Always `assistant`.
    pub role: AssistantRole,
    /// What was said, if anything.
    pub content: Option<Content>,
    /// Name of the participant.
    pub name: Option<String>,
    /// Calls that were made, passed on to the chat template.
    pub tool_calls: Option<Vec<BTreeMap<String, Value>>>,
    /// What was thought, for templates that use it.
    pub reasoning_content: Option<String>,
}

/// A function that the model may call.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Tool {
    /// Always `function`.
    pub r#type: FunctionType,
    /// The function.
    pub function: Function,
}

/// What the model is told of a function.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Function {
    /// Its name; no two tools have the same.
    #[schema(min_length = 1, max_length = 128, pattern = "^[a-zA-Z0-9_.:/-]+$")]
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments; without one there are none.
    pub parameters: Option<BTreeMap<String, Value>>,
    /// Whether arguments are valid by the schema also where the model decides by itself whether to call.
    pub strict: Option<bool>,
}

/// Which tools an answer calls.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ToolChoice {
    /// In general.
    Mode(ToolChoiceMode),
    /// This one.
    Named(NamedTool),
    /// Some of these.
    Allowed(AllowedTools),
}

/// One tool by its name.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NamedTool {
    /// Always `function`.
    pub r#type: FunctionType,
    /// The function.
    pub function: FunctionName,
}

/// The name of a function.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FunctionName {
    /// A name in `tools`.
    pub name: String,
}

/// The tools that may be called.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AllowedTools {
    /// Always `allowed_tools`.
    pub r#type: AllowedToolsType,
    /// Which, and whether one must be called.
    pub allowed_tools: AllowedList,
}

/// A list of allowed tools.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AllowedList {
    /// `auto` unless said otherwise.
    pub mode: Option<AllowedMode>,
    /// The tools.
    #[schema(min_items = 1)]
    pub tools: Vec<NamedTool>,
}

/// The form of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ResponseFormat {
    /// Free text.
    Text(TextForm),
    /// JSON by a schema.
    Schema(SchemaForm),
    /// Any JSON object, or one by the schema beside it.
    Object(ObjectForm),
}

/// Free text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TextForm {
    /// Always `text`.
    pub r#type: TextFormat,
}

/// Any JSON object, or one by a schema.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ObjectForm {
    /// Always `json_object`.
    pub r#type: ObjectFormat,
}

/// JSON by a schema.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SchemaForm {
    /// Always `json_schema`.
    pub r#type: SchemaFormat,
    /// The schema with its name.
    pub json_schema: NamedSchema,
}

/// A JSON schema with a name.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NamedSchema {
    /// Its name; nothing depends on it.
    pub name: Option<String>,
    /// What it is for; nothing depends on it.
    pub description: Option<String>,
    /// The schema.
    pub schema: BTreeMap<String, Value>,
    /// Answers keep to the schema whatever this says.
    pub strict: Option<bool>,
}

/// The form of an answer, as vLLM names it: exactly one of these.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StructuredOutputs {
    /// A JSON schema.
    pub json: Option<BTreeMap<String, Value>>,
    /// A regular expression.
    pub regex: Option<String>,
    /// Texts to choose from.
    pub choice: Option<Vec<String>>,
    /// A Lark grammar.
    pub grammar: Option<String>,
    /// Whether any JSON object will do.
    pub json_object: Option<bool>,
}

/// How fast an answer must come, in headers.
#[derive(Debug, Clone, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct TargetHeaders {
    /// Longest time between two tokens of the answer, in milliseconds, where the policy keeps targets.
    #[param(rename = "x-laminar-tbt-ms", exclusive_minimum = 0)]
    pub tbt: Option<f64>,
    /// Longest time to the first token, in milliseconds, where the policy keeps targets.
    #[param(rename = "x-laminar-ttft-ms", exclusive_minimum = 0)]
    pub ttft: Option<f64>,
}

/// Bounds of fields that chat shares with completions.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChatBounds {
    /// Most tokens to generate (the older name).
    #[schema(minimum = 1)]
    pub max_tokens: Option<i64>,
    /// Most tokens to generate; wins over `max_tokens`.
    #[schema(minimum = 1)]
    pub max_completion_tokens: Option<i64>,
}

/// Describes a request whose fields are read in several passes: it holds what each of the passes reads.
macro_rules! together {
    ($request:ty = $name:literal of $($part:ty),+) => {
        impl utoipa::PartialSchema for $request {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let parts = utoipa::openapi::AllOfBuilder::new();
                $(let parts = parts.item(utoipa::openapi::Ref::from_schema_name(<$part as utoipa::ToSchema>::name()));)+
                utoipa::openapi::RefOr::T(utoipa::openapi::Schema::AllOf(parts.build()))
            }
        }

        impl utoipa::ToSchema for $request {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn schemas(all: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
                $(
                    all.push((<$part as utoipa::ToSchema>::name().into(), <$part as utoipa::PartialSchema>::schema()));
                    <$part as utoipa::ToSchema>::schemas(all);
                )+
            }
        }
    };
}

together!(ChatCompletionRequest = "ChatCompletionRequest" of Options, ChatBounds, ChatFields, FormatFields);
together!(CompletionRequest = "CompletionRequest" of Options, CompletionFields, FormatFields);

/// A request to `/v1/responses`.
pub struct ResponseBody;
together!(ResponseBody = "ResponseBody" of ResponseRequest, ResponseOptions);
