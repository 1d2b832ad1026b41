//! The handle and the thread behind it.

use crate::{EngineConfig, EngineError, EngineStats, Event, GenerateRequest};
use laminar_kernels::Pool;
use laminar_model::Model;
use laminar_model::tokenizer::Tokenizer;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;

/// A handle on an engine. Clones share the engine; dropping the last one stops it as [`shutdown`](Self::shutdown) does,
/// without waiting for its thread.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// Moves the model into a new engine thread.
    pub fn start(
        model: impl Into<Arc<Model>>,
        tokenizer: Arc<Tokenizer>,
        pool: Pool,
        config: EngineConfig,
    ) -> Result<Engine, EngineError> {
        let _ = (model.into(), tokenizer, pool, config);
        Err(EngineError::Start {
            message: "not built yet".into(),
        })
    }

    /// Hands a request to the engine. Whatever can be told to be wrong with it is told here, before any event.
    pub fn submit(&self, request: GenerateRequest) -> Result<Generation, EngineError> {
        let _ = request;
        Err(EngineError::ShuttingDown)
    }

    /// The state after the newest step.
    pub fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    /// Most positions of one sequence, prompt and answer together.
    pub fn context(&self) -> usize {
        0
    }

    /// Ends the engine now: new requests are refused, those in it get [`Event::Finished`] with
    /// [`FinishReason::Cancelled`](crate::FinishReason::Cancelled) after the step in progress, and the thread is joined.
    pub fn shutdown(&self) {}

    /// Ends the engine once it is done: new requests are refused, those in it are finished, and the thread is joined.
    pub fn drain(&self) {}
}

/// The events of one request. Dropping it cancels the request by the next step.
#[derive(Debug)]
pub struct Generation {
    events: UnboundedReceiver<Event>,
}

impl Generation {
    /// The next event; none after the last one.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event, waiting for it in a thread that runs no async tasks.
    pub fn blocking_next(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }

    /// The next event if it is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}
