//! The HTTP API against a tiny random model, in process and over loopback TCP. Tests are named by
//! the public bug report they stand for (`t06_...`) where there is one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod callers;
mod chat;
mod clients;
mod completions;
mod errors;
mod openapi;
mod prompts;
mod service;
mod streaming;
mod support;
