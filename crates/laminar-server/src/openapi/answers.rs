//! What the endpoints of OpenAI's API answer.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::words::words;
use crate::openai::logprobs::{ChatLogprobs, LegacyLogprobs};

words! {
    /// The object of a chat.
    ChatObject { ChatCompletion = "chat.completion" }
    /// The object of a completion.
    CompletionObject { TextCompletion = "text_completion" }
    /// The object of a list.
    ListObject { List = "list" }
    /// The object of a vector.
    EmbeddingObject { Embedding = "embedding" }
    /// The object of a model.
    ModelObject { Model = "model" }
    /// Why a chat ended: by itself, by the length limit, for calls, or because the server stopped.
    ChatFinish { Stop = "stop", Length = "length", ToolCalls = "tool_calls", Cancelled = "cancelled" }
    /// Why a text ended: by itself, by the length limit, or because the server stopped.
    TextFinish { Stop = "stop", Length = "length", Cancelled = "cancelled" }
    /// The role of an answer.
    AnswerRole { Assistant = "assistant" }
    /// The type of a call.
    CallType { Function = "function" }
    /// The server is ready.
    HealthStatus { Ok = "ok" }
}

/// Server-sent events, as they come. Some readers hold the schema against the whole text, others against each event, so it
/// allows everything.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventStream(Value);

/// An answer of `/v1/chat/completions`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChatCompletion {
    /// Its id.
    pub id: String,
    /// Always `chat.completion`.
    pub object: ChatObject,
    /// When it was begun, in Unix seconds.
    pub created: u64,
    /// The served model.
    pub model: String,
    /// The server's version.
    pub system_fingerprint: String,
    /// As many as `n`.
    #[schema(min_items = 1)]
    pub choices: Vec<ChatChoice>,
    /// Token counts.
    pub usage: Usage,
}

/// One of the answers to a chat.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChatChoice {
    /// Which.
    pub index: u64,
    /// The answer.
    pub message: AssistantMessage,
    /// Log-probabilities, if asked for.
    #[schema(required)]
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    #[schema(required)]
    pub finish_reason: Option<ChatFinish>,
}

/// What the assistant says.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AssistantMessage {
    /// Always `assistant`.
    pub role: AnswerRole,
    /// The text; null where there are calls and no text.
    #[schema(required)]
    pub content: Option<String>,
    /// Always null.
    #[schema(required)]
    pub refusal: Option<String>,
    /// What was thought, for models that reason.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reasoning_content: String,
    /// The calls, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(min_items = 1)]
    pub tool_calls: Vec<ToolCall>,
}

/// A call of a tool.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ToolCall {
    /// Names the call for its result.
    pub id: String,
    /// Always `function`.
    pub r#type: CallType,
    /// What is called.
    pub function: FunctionCall,
}

/// A function and its arguments.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// JSON, as text.
    pub arguments: String,
}

/// Token counts.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// More about the prompts.
    pub prompt_tokens_details: PromptDetails,
}

/// More about prompts.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PromptDetails {
    /// Tokens that the prefix cache has spared.
    pub cached_tokens: u64,
}

/// An answer of `/v1/completions`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Completion {
    /// Its id.
    pub id: String,
    /// Always `text_completion`.
    pub object: CompletionObject,
    /// When it was begun, in Unix seconds.
    pub created: u64,
    /// The served model.
    pub model: String,
    /// The server's version.
    pub system_fingerprint: String,
    /// As many as `n` for each prompt.
    #[schema(min_items = 1)]
    pub choices: Vec<TextChoice>,
    /// Token counts.
    pub usage: Usage,
}

/// One of the texts of a completion.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TextChoice {
    /// Which.
    pub index: u64,
    /// The text, behind the prompt if `echo` is set.
    pub text: String,
    /// Log-probabilities, if asked for.
    #[schema(required)]
    pub logprobs: Option<LegacyLogprobs>,
    /// Why it ended.
    #[schema(required)]
    pub finish_reason: Option<TextFinish>,
}

/// An answer of `/v1/embeddings`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Embeddings {
    /// Always `list`.
    pub object: ListObject,
    /// A vector for each input.
    #[schema(min_items = 1)]
    pub data: Vec<Embedding>,
    /// The served model.
    pub model: String,
    /// Token counts.
    pub usage: EmbeddingUsage,
}

/// A vector.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Embedding {
    /// Always `embedding`.
    pub object: EmbeddingObject,
    /// Of which input.
    pub index: u64,
    /// Its values.
    pub embedding: Vector,
}

/// The values of a vector.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    /// As numbers.
    Float(Vec<f32>),
    /// As little-endian 32-bit floats in base64.
    Base64(String),
}

/// Token counts of vectors.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EmbeddingUsage {
    /// Tokens of the inputs.
    pub prompt_tokens: u64,
    /// The same.
    pub total_tokens: u64,
}

/// The models that are served.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: ListObject,
    /// One.
    pub data: Vec<ModelCard>,
}

/// A model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelCard {
    /// Its name.
    pub id: String,
    /// Always `model`.
    pub object: ModelObject,
    /// When the server began, in Unix seconds.
    pub created: u64,
    /// Always `laminar`.
    pub owned_by: String,
    /// Most tokens of a prompt and its answer together.
    pub max_model_len: u64,
}

/// An answer of `/tokenize`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Tokens {
    /// How many there are.
    pub count: u64,
    /// Most tokens of a prompt and its answer together.
    pub max_model_len: u64,
    /// The ids.
    pub tokens: Vec<u32>,
    /// Their texts, if asked for.
    #[schema(required)]
    pub token_strs: Option<Vec<String>>,
}

/// An answer of `/detokenize`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Detokenized {
    /// The text.
    pub prompt: String,
    /// The same.
    pub content: String,
}

/// An answer of `/apply-template`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RenderedPrompt {
    /// The prompt as text.
    pub prompt: String,
}

/// An answer of `/health`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: HealthStatus,
    /// The served model.
    pub model: String,
    /// Sequences that decode.
    pub running: u64,
    /// Sequences whose prompts are being read.
    pub prefilling: u64,
    /// Requests that wait.
    pub waiting: u64,
    /// KV memory, in blocks.
    pub kv_blocks: KvBlocks,
    /// Times that a request lost its KV memory to others.
    pub preemptions: u64,
    /// The engine's gauges and counters.
    #[schema(value_type = Object)]
    pub engine: laminar_engine::EngineStats,
}

/// KV memory, in blocks.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct KvBlocks {
    /// Those in use.
    pub used: u64,
    /// Those that a prompt may find.
    pub cached: u64,
    /// All.
    pub total: u64,
}
