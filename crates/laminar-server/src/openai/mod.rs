//! The OpenAI wire format: requests, responses and their handlers, one file per endpoint.

pub mod caller;
pub mod chat;
pub mod chat_response;
pub mod completions;
pub mod completions_response;
pub mod embeddings;
pub mod head;
pub mod logprobs;
pub mod message;
pub mod models;
pub mod options;
pub mod parse;
pub mod responses;
pub mod structured;
pub mod text;
pub mod tools;
