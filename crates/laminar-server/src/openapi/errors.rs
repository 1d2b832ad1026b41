//! What endpoints answer when they refuse.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::{Content, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::words::words;

/// An error, as OpenAI writes it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorObject,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ErrorObject {
    /// In words.
    pub message: String,
    /// Of which kind.
    pub r#type: ErrorType,
    /// The field at fault.
    #[schema(required)]
    pub param: Option<String>,
    /// The kind, more closely.
    #[schema(required)]
    pub code: Option<ErrorCode>,
}

words! {
    /// Kinds of errors.
    ErrorType {
        Request = "invalid_request_error",
        RateLimit = "rate_limit_error",
        Server = "server_error",
    }
    /// Kinds of errors, more closely.
    ErrorCode {
        ContextLength = "context_length_exceeded",
        ModelNotFound = "model_not_found",
        ResponseNotFound = "response_not_found",
        UnknownUrl = "unknown_url",
        MethodNotAllowed = "method_not_allowed",
        TooLarge = "request_too_large",
        QueueFull = "queue_full",
        Unavailable = "service_unavailable",
        Internal = "internal_error",
    }
    /// Always `error`.
    ErrorEvent { Error = "error" }
    /// Kinds of Anthropic's errors.
    AnthropicErrorType {
        Request = "invalid_request_error",
        NotFound = "not_found_error",
        TooLarge = "request_too_large",
        RateLimit = "rate_limit_error",
        Overloaded = "overloaded_error",
        Api = "api_error",
    }
}

/// An error, as Anthropic writes it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AnthropicError {
    /// Always `error`.
    pub r#type: ErrorEvent,
    /// The error.
    pub error: AnthropicErrorObject,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AnthropicErrorObject {
    /// Of which kind.
    pub r#type: AnthropicErrorType,
    /// In words.
    pub message: String,
}

/// Statuses that any endpoint with a body may answer, and what each says.
const REFUSALS: [(&str, &str); 5] = [
    ("400", "The request is not understood, or a field is out of its range; `param` names it."),
    ("404", "There is no such model, or no such response."),
    ("413", "The body is too large."),
    ("429", "Too many requests are running or waiting; `retry-after` says when to come back."),
    ("503", "The server is shutting down."),
];

/// What endpoints of OpenAI's API answer instead of an answer.
pub struct Refusals;

/// What endpoints of Anthropic's API answer instead of an answer.
pub struct AnthropicRefusals;

fn refusals<T: ToSchema>() -> BTreeMap<String, RefOr<Response>> {
    let response = |about: &str| {
        let schema = utoipa::openapi::Ref::from_schema_name(T::name());
        let content = Content::new(Some(RefOr::<utoipa::openapi::Schema>::Ref(schema)));
        ResponseBuilder::new().description(about).content("application/json", content).build()
    };
    REFUSALS.iter().map(|(status, about)| ((*status).to_owned(), RefOr::T(response(about)))).collect()
}

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals::<ErrorBody>()
    }
}

impl IntoResponses for AnthropicRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals::<AnthropicError>()
    }
}
