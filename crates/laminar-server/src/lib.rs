//! The HTTP face of Laminar: an OpenAI-compatible API over the engine, and Anthropic's messages.
//!
//! A request passes through four rooms, each a module of its own:
//!
//! 1. [`openai`]: the wire types, parsed and checked; whatever is wrong is named by field.
//! 2. [`prompt`]: messages or raw prompts become token ids, off the async threads.
//!    [`grammar`] compiles what the answer must look like, [`family`] knows how the model spells calls and reasoning.
//! 3. [`generation`]: the request is submitted to the engine; its events become one stream.
//! 4. [`answer`] tells reasoning, content and tool calls apart; [`stream`] or the whole-response assembly beside the wire types turns events into JSON.
//!
//! Every failure is an [`ApiError`], and that type's one table decides its HTTP status and its
//! OpenAI error code. A client that leaves drops its response, the response owns the
//! [`laminar_engine::Generation`], and dropping that frees the sequence by the next step: there is
//! no separate cancellation path.
//!
//! ```no_run
//! # async fn example(engine: laminar_engine::Engine,
//! #     tokenizer: std::sync::Arc<laminar_model::tokenizer::Tokenizer>) -> std::io::Result<()> {
//! use laminar_server::{ServerConfig, router, serve};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! let app = router(engine, tokenizer, None, ServerConfig::default());
//! serve(listener, app, std::future::pending()).await
//! # }
//! ```

pub mod answer;
pub mod anthropic;
mod call_grammar;
mod describe;
pub mod error;
mod events;
pub mod family;
pub mod generation;
pub mod grammar;
pub mod health;
pub mod markers;
pub mod metrics;
pub mod openai;
pub mod openapi;
pub mod prompt;
pub mod router;
pub mod serve;
pub mod state;
pub mod stream;
pub mod template;

pub use error::ApiError;
pub use router::router;
pub use serve::{DRAIN_LIMIT, serve, serve_with_drain};
pub use state::{AppState, ServerConfig};
