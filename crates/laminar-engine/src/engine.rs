//! The handle and the start of the thread behind it.

use crate::active::{Due, Job};
use crate::executor::Executor;
use crate::guide::Guide;
use crate::model_executor::ModelExecutor;
use crate::shared::Shared;
use crate::validate::validate;
use crate::worker::{Command, Worker};
use crate::{EngineConfig, EngineError, EngineStats, Event, GenerateRequest};
use laminar_kernels::Pool;
use laminar_model::Model;
use laminar_model::tokenizer::Tokenizer;
use laminar_schedule::{Scheduler, SchedulerConfig};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

/// A handle on an engine. Clones share the engine. When the last one is dropped the engine stops as after
/// [`shutdown`](Self::shutdown), but nobody waits for its thread.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    commands: Sender<Command>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// A shutdown or a drain is on its way to the thread.
    closing: AtomicBool,
    vocab: usize,
    context: usize,
    /// Most requests in the engine, running or waiting.
    max_requests: usize,
}

impl Engine {
    /// Moves a model into a new engine thread.
    ///
    /// # Errors
    ///
    /// Settings that cannot work, or more KV blocks than there is memory for.
    pub fn start(
        model: impl Into<Arc<Model>>,
        tokenizer: Arc<Tokenizer>,
        pool: Pool,
        config: EngineConfig,
    ) -> Result<Engine, EngineError> {
        let model = model.into();
        let room = config.choose_room(&model)?;
        let context = config.context.min(model.context_length());
        let threads = pool.threads();
        let executor = ModelExecutor::new(model, pool, room.kv_blocks, config.kv_type);
        let executor = executor.with_states(config.max_sequences, room.snapshots);
        let engine = Self::start_with(Box::new(executor), tokenizer, EngineConfig { context, ..config })?;
        tracing::info!("{threads} threads");
        Ok(engine)
    }

    /// Starts an engine over another executor than a model; `config.kv_type` and `config.kv_blocks` are the executor's
    /// own business.
    ///
    /// # Errors
    ///
    /// Settings that cannot work, or a system that refuses a thread.
    pub fn start_with(
        executor: Box<dyn Executor>,
        tokenizer: Arc<Tokenizer>,
        config: EngineConfig,
    ) -> Result<Engine, EngineError> {
        let start = |message: String| EngineError::Start { message };
        let (block_len, kv_blocks) = (executor.block_len(), executor.kv_blocks());
        let context = config.context.min(kv_blocks.saturating_mul(block_len));
        let max_requests = config.max_sequences.saturating_add(config.max_waiting);
        let scheduler = Scheduler::new(SchedulerConfig {
            policy: config.policy,
            layers: executor.layers(),
            experts: executor.experts(),
            costs: executor.costs(),
            max_sequences: config.max_sequences,
            kv_blocks,
            block_len,
            // The handle bounds the number of requests; those that find no blocks free wait too.
            max_waiting: max_requests.max(1),
            context,
            snapshots: executor.snapshots(),
        })
        .map_err(|error| start(error.to_string()))?;
        tracing::info!(
            "engine: policy {}, up to {} sequences of {context} positions, {kv_blocks} KV blocks of {block_len}",
            config.policy.name(),
            config.max_sequences,
        );

        let vocab = executor.vocab_size();
        let shared = Arc::new(Shared::default());
        let (commands, receiver) = std::sync::mpsc::channel();
        let worker = Worker::new(scheduler, config.prefix_cache, executor, tokenizer, receiver, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("laminar-engine".into())
            .spawn(move || worker.run())
            .map_err(|error| start(format!("the system refuses a thread: {error}")))?;
        let (thread, closing) = (Mutex::new(Some(thread)), AtomicBool::new(false));
        Ok(Engine { inner: Arc::new(Inner { commands, shared, thread, closing, vocab, context, max_requests }) })
    }

    /// Hands a request to the engine. Whatever can be told to be wrong with it is told here, before any event.
    ///
    /// # Errors
    ///
    /// A field out of its range, a prompt that is too long, an engine that is full or shutting down.
    pub fn submit(&self, request: GenerateRequest) -> Result<Generation, EngineError> {
        let Inner { commands, shared, closing, vocab, context, max_requests, .. } = &*self.inner;
        validate(&request, *vocab, *context)?;
        if closing.load(Ordering::Acquire) {
            return Err(EngineError::ShuttingDown);
        }
        let slot = shared.take_slot(*max_requests).map_err(|requests| EngineError::QueueFull { requests })?;
        let room = context - request.prompt.len();
        let max_tokens = request.max_tokens.map_or(room, |most| most.min(room));
        // Here, since copying a parser takes a while and the engine thread has others to serve.
        let guide = request.constraint.as_ref().map(Guide::new);
        let (events, receiver) = tokio::sync::mpsc::unbounded_channel();
        let job = Job { request, max_tokens, guide, events, submitted: Instant::now(), slot };
        commands.send(Command::Submit(Box::new(job))).map_err(|_| EngineError::ShuttingDown)?;
        Ok(Generation { events: receiver, next: None, ended: false })
    }

    /// The state after the newest step.
    pub fn stats(&self) -> EngineStats {
        self.inner.shared.stats()
    }

    /// Most positions of one sequence, prompt and answer together.
    pub fn context(&self) -> usize {
        self.inner.context
    }

    /// Logits of a row: token ids of prompts are below it.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocab
    }

    /// Stops the engine now: new requests are refused, those in it get [`Event::Finished`] with
    /// [`FinishReason::Cancelled`](crate::FinishReason::Cancelled) after the step in progress. Returns when the thread
    /// has ended.
    pub fn shutdown(&self) {
        self.stop(Command::Shutdown);
    }

    /// Stops the engine once it is done: new requests are refused, those in it are finished. Returns when the thread has
    /// ended; a [`shutdown`](Self::shutdown) from elsewhere cuts it short.
    pub fn drain(&self) {
        self.stop(Command::Drain);
    }

    fn stop(&self, command: Command) {
        // A thread that is gone already needs no command.
        let _ = self.inner.commands.send(command);
        self.inner.closing.store(true, Ordering::Release);
        let mut thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic of the thread has shown itself to its clients.
            let _ = thread.join();
        }
    }
}

/// The events of one request. Dropping it cancels the request by the next step.
#[derive(Debug)]
pub struct Generation {
    events: UnboundedReceiver<Due>,
    /// The next event, where it has to wait.
    next: Option<Due>,
    ended: bool,
}

impl Generation {
    /// The next event, once it is due; none after the last one. Nothing is lost if the future is dropped before.
    ///
    /// Tokens that keep a beat wait by Tokio's clock, so the runtime has to have it.
    pub async fn next(&mut self) -> Option<Event> {
        if self.next.is_none() && !self.ended {
            self.next = self.events.recv().await;
        }
        if let Some(wait) = self.wait() {
            tokio::time::sleep(wait).await;
        }
        self.pass()
    }

    /// The next event, waiting for it in a thread that runs no async tasks.
    pub fn blocking_next(&mut self) -> Option<Event> {
        if self.next.is_none() && !self.ended {
            self.next = self.events.blocking_recv();
        }
        if let Some(wait) = self.wait() {
            std::thread::sleep(wait);
        }
        self.pass()
    }

    /// How long it is until the next event is due.
    fn wait(&self) -> Option<Duration> {
        let wait = self.next.as_ref()?.at?.saturating_duration_since(Instant::now());
        (!wait.is_zero()).then_some(wait)
    }

    /// Every generation has a last event, even if the engine thread ended without sending one.
    fn pass(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let next = self.next.take().map(|due| due.event);
        let event = next.unwrap_or(Event::Failed(EngineError::ShuttingDown));
        self.ended = !matches!(event, Event::Token(_));
        Some(event)
    }
}
