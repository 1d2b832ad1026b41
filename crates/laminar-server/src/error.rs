//! The one error type of the server and the one table that maps it to HTTP.

use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use laminar_engine::EngineError;
use serde_json::{Value, json};

use crate::openai::caller::{TBT_HEADER, TTFT_HEADER};

/// Everything that can go wrong between a request and its answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// A field is missing, of the wrong type, out of range or not supported.
    #[error("{message}")]
    Invalid {
        /// What was wrong and what to do about it.
        message: String,
        /// The field, as a path such as `messages[0].role`.
        param: Option<String>,
    },
    /// The prompt alone leaves no room for a completion.
    #[error(
        "this model's maximum context length is {context} tokens, but the prompt has {prompt} tokens; \
         shorten the prompt or start the server with a larger --ctx"
    )]
    ContextLength {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that prompt and completion may have together.
        context: usize,
        /// The field that carried the prompt.
        param: &'static str,
    },
    /// The request names a model that is not served here.
    #[error("the model `{name}` does not exist here; this server serves `{served}`")]
    ModelNotFound {
        /// The name asked for.
        name: String,
        /// The name served.
        served: String,
    },
    /// A response that is not kept, or not any more.
    #[error("there is no response `{id}` here; responses are kept in memory and the oldest go first")]
    ResponseNotFound {
        /// Its id.
        id: String,
        /// The field or the part of the path that named it.
        param: &'static str,
    },
    /// No such route.
    #[error("unknown route {method} {path}; see GET /v1/models and POST /v1/chat/completions")]
    UnknownRoute {
        /// Method of the request.
        method: String,
        /// Path of the request.
        path: String,
    },
    /// The path does not decode to text.
    #[error("the path of the request is not UTF-8")]
    PathNotText,
    /// The route exists, but not for this method.
    #[error("method {method} is not allowed for {path}")]
    MethodNotAllowed {
        /// Method of the request.
        method: String,
        /// Path of the request.
        path: String,
    },
    /// The body is longer than the configured limit.
    #[error("the request body is larger than the limit of {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The waiting queue is full.
    #[error("the server is busy: {message}; retry later")]
    Overloaded {
        /// What is full.
        message: String,
    },
    /// The server is stopping or its engine has stopped.
    #[error("the server is not ready: {message}")]
    Unavailable {
        /// Why.
        message: String,
    },
    /// A fault on our side.
    #[error("internal error: {message}")]
    Internal {
        /// What failed.
        message: String,
    },
}

/// The HTTP and OpenAI face of one error.
struct Face {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
}

impl ApiError {
    /// An invalid field.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError::Invalid { message: message.into(), param: Some(param.into()) }
    }

    /// The one place where an error becomes a status, an OpenAI type and a code.
    fn face(&self) -> Face {
        const REQUEST: &str = "invalid_request_error";
        const SERVER: &str = "server_error";
        let (status, kind, code) = match self {
            ApiError::Invalid { .. } => (StatusCode::BAD_REQUEST, REQUEST, None),
            ApiError::ContextLength { .. } => (StatusCode::BAD_REQUEST, REQUEST, Some("context_length_exceeded")),
            ApiError::ModelNotFound { .. } => (StatusCode::NOT_FOUND, REQUEST, Some("model_not_found")),
            ApiError::ResponseNotFound { .. } => (StatusCode::NOT_FOUND, REQUEST, Some("response_not_found")),
            ApiError::UnknownRoute { .. } | ApiError::PathNotText => {
                (StatusCode::NOT_FOUND, REQUEST, Some("unknown_url"))
            }
            ApiError::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, REQUEST, Some("method_not_allowed")),
            ApiError::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, REQUEST, Some("request_too_large")),
            ApiError::Overloaded { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Some("queue_full")),
            ApiError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, SERVER, Some("service_unavailable")),
            ApiError::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, Some("internal_error")),
        };
        Face { status, kind, code }
    }

    /// The HTTP status of this error.
    pub fn status(&self) -> StatusCode {
        self.face().status
    }

    /// The OpenAI error object: `{"error": {"message", "type", "param", "code"}}`.
    pub fn body(&self) -> Value {
        let face = self.face();
        let param = match self {
            ApiError::Invalid { param, .. } => param.as_deref(),
            ApiError::ContextLength { param, .. } | ApiError::ResponseNotFound { param, .. } => Some(*param),
            ApiError::ModelNotFound { .. } => Some("model"),
            _ => None,
        };
        json!({"error": {
            "message": self.to_string(),
            "type": face.kind,
            "param": param,
            "code": face.code,
        }})
    }
}

impl From<PathRejection> for ApiError {
    /// A path that is no text, such as `%FF`, names nothing.
    fn from(_: PathRejection) -> ApiError {
        ApiError::PathNotText
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> ApiError {
        match error {
            EngineError::InvalidRequest { field, message } => ApiError::invalid(wire_name(field), message),
            EngineError::PromptTooLong { prompt_tokens, context } => {
                ApiError::ContextLength { prompt: prompt_tokens, context, param: "prompt" }
            }
            EngineError::QueueFull { requests } => {
                ApiError::Overloaded { message: format!("{requests} requests are running or waiting") }
            }
            EngineError::NoScores => ApiError::invalid("echo", "this model gives no log-probabilities of prompts"),
            // A grammar too ambiguous to be followed is its sender's to solve, though that shows late.
            EngineError::Grammar { .. } => ApiError::Invalid { message: error.to_string(), param: None },
            EngineError::NoEmbeddings => ApiError::invalid("model", "this model gives no embeddings"),
            EngineError::ShuttingDown => ApiError::Unavailable { message: "it is shutting down".to_owned() },
            other => ApiError::Internal { message: other.to_string() },
        }
    }
}

/// What the API calls a field of the engine's requests.
fn wire_name(field: &'static str) -> &'static str {
    match field {
        "tbt_target" => TBT_HEADER,
        "ttft_target" => TTFT_HEADER,
        other => other,
    }
}

/// Seconds a client should wait before it tries a full queue again.
const RETRY_SECONDS: &str = "1";

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status().is_server_error() {
            tracing::error!(error = %self, "request failed");
        } else {
            tracing::debug!(error = %self, "request refused");
        }
        let mut response = (self.status(), axum::Json(self.body())).into_response();
        if matches!(self, ApiError::Overloaded { .. } | ApiError::Unavailable { .. }) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        response
    }
}
