//! The engine: one thread that owns the scheduler, the model, the KV memory and the samplers; handles outside.
//!
//! [`Engine::start`] moves a model into its thread. [`Engine::submit`] hands it a [`GenerateRequest`] and returns a
//! [`Generation`], a stream of [`Event`]s: tokens as they come, then exactly one of [`Event::Finished`] and
//! [`Event::Failed`]. Dropping the `Generation` cancels the request.
//!
//! What the engine promises, each held by a test:
//!
//! - Every decoding sequence advances in every step, also in a step that prefills.
//! - The tokens *and the logits* of a request depend on the request alone, bit for bit: not on the policy, the chunk or
//!   group sizes, the other requests or the number of threads.
//! - Under `layered` a prompt's rows meet each layer once; the expert loads are counted.
//! - An answer with a [`Constraint`] keeps to its grammar, token by token.
//! - Where a prompt fills the steps, tokens are handed out in a steady beat; what delays a step a little reaches no stream.
//! - The engine thread never waits for a client; a client that is gone frees its blocks by the next step, also in the
//!   middle of its prefill.
//! - Bad input, a failed step, even a panic in one ends as an error of the requests concerned; the engine lives on and
//!   no KV block leaks.
//!
//! An idle engine sleeps on its channel and uses no processor time.
//!
//! ```no_run
//! use laminar_engine::{Engine, EngineConfig, Event, GenerateRequest};
//! use laminar_kernels::Pool;
//! use laminar_model::checkpoint::Checkpoint;
//! use laminar_model::tokenizer::{EncodeOptions, Tokenizer};
//! use laminar_model::{LoadOptions, Model};
//! use std::sync::Arc;
//!
//! let checkpoint = Checkpoint::open("model.gguf".as_ref())?;
//! let tokenizer = Arc::new(Tokenizer::from_checkpoint(&checkpoint)?);
//! let pool = Pool::new(8);
//! let model = Model::load(&checkpoint, &pool, &LoadOptions::default())?;
//! let engine = Engine::start(model, Arc::clone(&tokenizer), pool, EngineConfig::default())?;
//!
//! let prompt = tokenizer.encode("Once upon a time", EncodeOptions { add_special: true, parse_special: false })?;
//! let mut generation = engine.submit(GenerateRequest { prompt, max_tokens: Some(64), ..Default::default() })?;
//! while let Some(event) = generation.blocking_next() {
//!     match event {
//!         Event::Token(token) => print!("{}", token.text),
//!         Event::Finished(finish) => println!("{} ({})", finish.text, finish.reason.as_str()),
//!         Event::Failed(error) => return Err(error.into()),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In an async task, await [`Generation::next`] instead.

mod active;
mod beat;
mod choose;
mod config;
mod constraint;
mod engine;
mod error;
mod event;
mod executor;
mod guide;
mod logprobs;
mod model_executor;
mod pace;
mod parked;
mod parser;
mod penalties;
mod pooling;
mod possible;
mod prior;
mod ranking;
mod repeats;
mod request;
mod rng;
mod sampler;
mod schema;
mod scores;
mod shared;
mod spelling;
mod stats;
mod stop;
#[cfg(test)]
mod testing;
mod text;
mod validate;
mod worker;

pub use config::{EngineConfig, available_memory};
pub use constraint::{Constraint, Grammar, GrammarCompiler, GrammarError};
pub use engine::{Engine, Generation};
pub use error::EngineError;
pub use event::{Event, Finish, FinishReason, Timings, TokenEvent, TokenLogprobs, TopLogprob, Usage};
pub use executor::{Batch, DecodeInput, ExecuteError, Executor, MemberInput, StepEnd, TileInput};
pub use laminar_schedule::{
    CohortId, CostPrior, Cursor, Experts, Part, Policy, SequenceId, Snapshot, Stage, StateSlots, Targets,
};
pub use model_executor::ModelExecutor;
pub use pooling::Pooling;
pub use request::{GenerateRequest, SamplingParams};
pub use stats::EngineStats;
