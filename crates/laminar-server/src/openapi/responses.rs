//! What `/v1/responses` takes and answers.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::{
    AllowedMode, AllowedToolsType, FunctionType, ModelName, StructuredOutputs, TokenId, ToolChoiceMode,
};
use super::words::words;
use crate::openai::options::Stop;

words! {
    /// The object of a response.
    ResponseObject { Response = "response" }
    /// Where a response stands.
    ResponseStatus {
        InProgress = "in_progress",
        Completed = "completed",
        Incomplete = "incomplete",
        Failed = "failed",
    }
    /// The type of a message.
    MessageType { Message = "message" }
    /// The type of a call.
    FunctionCallType { FunctionCall = "function_call" }
    /// The type of the result of a call.
    FunctionOutputType { FunctionCallOutput = "function_call_output" }
    /// The type of reasoning.
    ReasoningType { Reasoning = "reasoning" }
    /// The type of text in an answer.
    OutputTextType { OutputText = "output_text" }
    /// The type of text in reasoning.
    ReasoningTextType { ReasoningText = "reasoning_text" }
    /// Whether an item is complete.
    ItemStatus { Completed = "completed", Incomplete = "incomplete" }
    /// Why a response is incomplete.
    IncompleteReason { MaxOutputTokens = "max_output_tokens" }
    /// What was asked for is done.
    ServiceTier { Default = "default" }
    /// Inputs are never cut.
    Truncation { Disabled = "disabled" }
    /// The role of an answer.
    OutputRole { Assistant = "assistant" }
    /// Who speaks in an input.
    InputRole { System = "system", Developer = "developer", User = "user", Assistant = "assistant" }
    /// Types of text in an input.
    InputTextType { InputText = "input_text", OutputText = "output_text", Text = "text" }
    /// Free text.
    PlainFormat { Text = "text" }
    /// Any JSON object.
    AnyObjectFormat { JsonObject = "json_object" }
    /// JSON by a schema.
    JsonSchemaFormat { JsonSchema = "json_schema" }
}

/// The fields that mean the same as for chat.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResponseOptions {
    /// Model name.
    pub model: Option<ModelName>,
    /// 0 (greedy) to 2.
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    /// Nucleus: 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// Number of candidates; 0 and -1 mean all.
    #[schema(minimum = -1)]
    pub top_k: Option<i64>,
    /// Floor relative to the best candidate: 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub min_p: Option<f64>,
    /// Seed of the sampler.
    pub seed: Option<i64>,
    /// Strings that end the text.
    pub stop: Option<Stop>,
    /// Token ids that end the text.
    pub stop_token_ids: Option<Vec<TokenId>>,
    /// Whether to go on after an end-of-sequence token.
    pub ignore_eos: Option<bool>,
    /// Multiplicative penalty on seen tokens; 1 is none.
    #[schema(minimum = 0.01, maximum = 100)]
    pub repetition_penalty: Option<f64>,
    /// Penalty per occurrence.
    #[schema(minimum = -2, maximum = 2)]
    pub frequency_penalty: Option<f64>,
    /// Penalty on any occurrence.
    #[schema(minimum = -2, maximum = 2)]
    pub presence_penalty: Option<f64>,
    /// Token ids, written as strings, to an addition of -100 to 100 on their logit.
    pub logit_bias: Option<BTreeMap<String, f64>>,
    /// Lower is earlier, 0 for most.
    #[schema(minimum = -128, maximum = 127)]
    pub priority: Option<i64>,
    /// Only requests of equal salt share what the prefix cache holds of their prompts.
    #[schema(min_length = 1)]
    pub cache_salt: Option<String>,
    /// Whether several tools may be called at once; true unless said otherwise.
    pub parallel_tool_calls: Option<bool>,
    /// Whether to reason, for templates that know it.
    pub enable_thinking: Option<bool>,
    /// Further variables for the chat template.
    pub chat_template_kwargs: Option<BTreeMap<String, Value>>,
    /// The form of the answer, as vLLM names it.
    pub structured_outputs: Option<StructuredOutputs>,
}

/// What is asked.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ResponseInput {
    /// A text of the user.
    Text(String),
    /// Items of a conversation.
    Items(Vec<InputItem>),
}

/// An item of a conversation.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum InputItem {
    /// A message.
    Message(InputMessage),
    /// A call that the model made.
    Call(InputCall),
    /// What came of a call.
    Output(InputCallOutput),
    /// What the model thought.
    Reasoning(InputReasoning),
}

/// A message of a conversation.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InputMessage {
    /// `message`, or nothing.
    pub r#type: Option<MessageType>,
    /// Who speaks.
    pub role: InputRole,
    /// What is said.
    pub content: InputContent,
}

/// What is said in an item.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum InputContent {
    /// A text.
    Text(String),
    /// Parts.
    Parts(Vec<InputText>),
}

/// A part of what is said.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InputText {
    /// One of the types of text.
    pub r#type: InputTextType,
    /// The text.
    pub text: String,
}

/// A call that the model made.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InputCall {
    /// Always `function_call`.
    pub r#type: FunctionCallType,
    /// Names the call for its result.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// JSON, as text.
    pub arguments: String,
}

/// What came of a call.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InputCallOutput {
    /// Always `function_call_output`.
    pub r#type: FunctionOutputType,
    /// Which call.
    pub call_id: String,
    /// The result.
    pub output: InputContent,
}

/// What the model thought.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InputReasoning {
    /// Always `reasoning`.
    pub r#type: ReasoningType,
    /// The texts.
    pub content: Option<Vec<ReasoningText>>,
}

/// A function that the model may call.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResponseTool {
    /// Always `function`.
    pub r#type: FunctionType,
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
pub enum ResponseToolChoice {
    /// In general.
    Mode(ToolChoiceMode),
    /// This one.
    Named(ResponseNamedTool),
    /// Some of these.
    Allowed(ResponseAllowedTools),
}

/// One tool by its name.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResponseNamedTool {
    /// Always `function`.
    pub r#type: FunctionType,
    /// A name in `tools`.
    pub name: String,
}

/// The tools that may be called.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResponseAllowedTools {
    /// Always `allowed_tools`.
    pub r#type: AllowedToolsType,
    /// `auto` unless said otherwise.
    pub mode: Option<AllowedMode>,
    /// The tools.
    #[schema(min_items = 1)]
    pub tools: Vec<ResponseNamedTool>,
}

/// The form of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TextOptions {
    /// Free text unless said otherwise.
    pub format: Option<TextFormats>,
}

/// Forms of answers.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TextFormats {
    /// Free text.
    Text(PlainForm),
    /// Any JSON object.
    Object(AnyObjectForm),
    /// JSON by a schema.
    Schema(JsonSchemaForm),
}

/// Free text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PlainForm {
    /// Always `text`.
    pub r#type: PlainFormat,
}

/// Any JSON object.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AnyObjectForm {
    /// Always `json_object`.
    pub r#type: AnyObjectFormat,
}

/// JSON by a schema.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JsonSchemaForm {
    /// Always `json_schema`.
    pub r#type: JsonSchemaFormat,
    /// Its name; nothing depends on it.
    pub name: Option<String>,
    /// The schema.
    pub schema: BTreeMap<String, Value>,
    /// Answers keep to the schema whatever this says.
    pub strict: Option<bool>,
}

/// How much to reason.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ReasoningOptions {
    /// For templates that know it; `none` switches reasoning off.
    pub effort: Option<String>,
}

/// A response.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResponseAnswer {
    /// Its id.
    pub id: String,
    /// Always `response`.
    pub object: ResponseObject,
    /// When it was begun, in Unix seconds.
    pub created_at: u64,
    /// Where it stands.
    pub status: ResponseStatus,
    /// Always false.
    pub background: bool,
    /// What went wrong, if anything.
    #[schema(required, value_type = Option<ResponseError>)]
    pub error: Option<ResponseError>,
    /// Why it is incomplete, if it is.
    #[schema(required)]
    pub incomplete_details: Option<Incomplete>,
    /// As asked for.
    #[schema(required)]
    pub instructions: Option<String>,
    /// As asked for.
    #[schema(required)]
    pub max_output_tokens: Option<i64>,
    /// As given.
    pub metadata: Value,
    /// The served model.
    pub model: String,
    /// Items, in their order.
    pub output: Vec<OutputItem>,
    /// As asked for.
    pub parallel_tool_calls: bool,
    /// The response that this one continues.
    #[schema(required)]
    pub previous_response_id: Option<String>,
    /// As asked for.
    pub reasoning: BTreeMap<String, Value>,
    /// Always `default`.
    pub service_tier: ServiceTier,
    /// Whether it is kept.
    pub store: bool,
    /// As asked for.
    pub temperature: f64,
    /// As asked for.
    pub text: BTreeMap<String, Value>,
    /// As asked for.
    pub tool_choice: Value,
    /// As asked for.
    pub tools: Vec<BTreeMap<String, Value>>,
    /// As asked for.
    pub top_p: f64,
    /// Always `disabled`.
    pub truncation: Truncation,
    /// Token counts.
    #[schema(required)]
    pub usage: Option<ResponseUsage>,
    /// As given.
    pub user: Value,
}

/// What went wrong with a response.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResponseError {
    /// Of which kind.
    pub code: String,
    /// In words.
    pub message: String,
}

/// Why a response is incomplete.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Incomplete {
    /// Always `max_output_tokens`.
    pub reason: IncompleteReason,
}

/// An item of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OutputItem {
    /// Text.
    Message(OutputMessage),
    /// A call.
    Call(OutputCall),
    /// What was thought.
    Reasoning(OutputReasoning),
}

/// Text of an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutputMessage {
    /// Its id.
    pub id: String,
    /// Always `message`.
    pub r#type: MessageType,
    /// Whether it is complete.
    pub status: ItemStatus,
    /// Always `assistant`.
    pub role: OutputRole,
    /// The text.
    pub content: Vec<OutputText>,
}

/// Text in an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutputText {
    /// Always `output_text`.
    pub r#type: OutputTextType,
    /// The text.
    pub text: String,
    /// None.
    pub annotations: Vec<Value>,
    /// None.
    pub logprobs: Vec<Value>,
}

/// A call in an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutputCall {
    /// Its id.
    pub id: String,
    /// Always `function_call`.
    pub r#type: FunctionCallType,
    /// Whether it is complete.
    pub status: ItemStatus,
    /// Names the call for its result.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// JSON, as text.
    pub arguments: String,
}

/// What was thought.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutputReasoning {
    /// Its id.
    pub id: String,
    /// Always `reasoning`.
    pub r#type: ReasoningType,
    /// Whether it is complete.
    pub status: ItemStatus,
    /// None.
    pub summary: Vec<Value>,
    /// The text.
    pub content: Vec<ReasoningText>,
}

/// Text in reasoning.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ReasoningText {
    /// Always `reasoning_text`.
    pub r#type: ReasoningTextType,
    /// The text.
    pub text: String,
}

/// Token counts of a response.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ResponseUsage {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// More about the prompt.
    pub input_tokens_details: InputDetails,
    /// Tokens generated.
    pub output_tokens: u64,
    /// More about the answer.
    pub output_tokens_details: OutputDetails,
    /// Both.
    pub total_tokens: u64,
}

/// More about a prompt.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InputDetails {
    /// Tokens that the prefix cache has spared.
    pub cached_tokens: u64,
}

/// More about an answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutputDetails {
    /// Always 0.
    pub reasoning_tokens: u64,
}

/// What is left of a response that was deleted.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeletedResponse {
    /// Its id.
    pub id: String,
    /// Always `response`.
    pub object: ResponseObject,
    /// Always true.
    pub deleted: bool,
}
