//! Public bug reports of OpenAI-compatible servers as acceptance tests, each named by the id under which we keep its case
//! and linking its report. They run over HTTP against a server whose model is a script, so that answers are exact; the
//! few cases about arithmetic use a tiny model with random weights.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod embeddings;
mod endpoints;
mod families;
mod generations;
mod messages;
mod parameters;
mod prompts;
mod responses;
mod sampling;
mod script;
mod service;
mod streaming;
mod structured;
mod support;
mod tools;
