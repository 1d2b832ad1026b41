//! The engine's errors.

/// Why a request was not accepted or did not finish. Cheap to clone, since it travels in events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A field of the request is out of its range: the caller's mistake.
    #[error("invalid `{field}`: {message}")]
    InvalidRequest {
        /// The field of [`GenerateRequest`](crate::GenerateRequest) or [`SamplingParams`](crate::SamplingParams).
        field: &'static str,
        /// What is wrong with it and what would be right.
        message: String,
    },
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {prompt_tokens} tokens but the context holds {context}, one of them for the answer; shorten \
         the prompt"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Positions of the context.
        context: usize,
    },
    /// As many requests as the engine takes are in it already; later it may work.
    #[error("the engine is busy: {requests} requests are running or waiting, which is the limit; try again later")]
    QueueFull {
        /// Requests in the engine.
        requests: usize,
    },
    /// The engine is shutting down or has stopped.
    #[error("the engine is shutting down and takes no more requests")]
    ShuttingDown,
    /// The model produced logits that are not finite numbers, for this request.
    #[error("the model produced a non-finite logit for token {id} at position {position}; the weights may be damaged")]
    NonFiniteLogits {
        /// The vocabulary entry.
        id: u32,
        /// Position of the row that produced the logits.
        position: usize,
    },
    /// The step that worked on this request failed; the engine itself goes on.
    #[error("the step that worked on this request failed: {message}")]
    StepFailed {
        /// What the model reported, or what the panic said.
        message: String,
    },
    /// The model in use gives no hidden states.
    #[error("this model gives no embeddings")]
    NoEmbeddings,
    /// The model in use gives no logits of prompt rows.
    #[error("this model gives no log-probabilities of prompts")]
    NoScores,
    /// The parser of the request's grammar reached one of its limits.
    #[error("the grammar of this request cannot be followed any further: {message}")]
    Grammar {
        /// Which limit.
        message: String,
    },
    /// The engine cannot start with this configuration.
    #[error("cannot start the engine: {message}")]
    Start {
        /// What is wrong and what to do.
        message: String,
    },
}
