//! The engine thread: commands, plan, execute, sample, commit, and again.

use crate::active::{Active, End, Job};
use crate::beat::Beat;
use crate::executor::{Batch, DecodeInput, ExecuteError, Executor, MemberInput, StepEnd, TileInput};
use crate::guide::MaskThreads;
use crate::shared::Shared;
use crate::{EngineError, EngineStats, FinishReason, GenerateRequest, TokenLogprobs};
use laminar_model::ExpertLoads;
use laminar_model::tokenizer::Tokenizer;
use laminar_schedule::{
    CohortId, Cursor, NewSequence, Report, Scheduler, SequenceId, StateSlots, Step, SubmitError, TenantId, TileRows,
};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What a handle asks of the thread.
pub(crate) enum Command {
    /// Take a request in.
    Submit(Box<Job>),
    /// Finish the requests that are in, then stop.
    Drain,
    /// Cancel the requests that are in, then stop.
    Shutdown,
}

/// How the thread goes on after its commands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Serving,
    Draining,
    Stopping,
}

/// What came of a step.
struct Outcome {
    /// The requests that ended with it.
    ended: Vec<(SequenceId, End)>,
    /// The tokens it yielded.
    sampled: Vec<(SequenceId, u32)>,
    /// The tiles that ended early, and where.
    reached: Option<Vec<(CohortId, Cursor)>>,
    loads: ExpertLoads,
}

/// A token to be chosen.
struct Choice<'a> {
    id: SequenceId,
    request: &'a mut Active,
    /// The row that it is chosen from, and where that stands.
    logits: &'a [f32],
    position: usize,
    /// Tokens there are before it.
    before: usize,
    /// Log-probabilities of the prompt to go with it.
    scores: Option<Vec<TokenLogprobs>>,
    /// How the request ends with it.
    end: Option<End>,
}

/// Everything the engine thread owns.
pub(crate) struct Worker {
    scheduler: Scheduler,
    prefix_cache: bool,
    executor: Box<dyn Executor>,
    tokenizer: Arc<Tokenizer>,
    commands: Receiver<Command>,
    shared: Arc<Shared>,
    requests: BTreeMap<SequenceId, Active>,
    next_id: u64,
    mode: Mode,
    stats: EngineStats,
    logits: Vec<f32>,
    /// Compute masks of grammars.
    masks: MaskThreads,
    started: Instant,
    beat: Beat,
}

impl Worker {
    /// A thread's worth of state, before its first step.
    pub fn new(
        scheduler: Scheduler,
        prefix_cache: bool,
        executor: Box<dyn Executor>,
        tokenizer: Arc<Tokenizer>,
        commands: Receiver<Command>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            scheduler,
            prefix_cache,
            executor,
            tokenizer,
            commands,
            shared,
            requests: BTreeMap::new(),
            next_id: 0,
            mode: Mode::Serving,
            stats: EngineStats::default(),
            logits: Vec::new(),
            masks: MaskThreads::default(),
            started: Instant::now(),
            beat: Beat::default(),
        }
    }

    /// Serves until it is told to stop or the last handle is gone.
    pub fn run(mut self) {
        self.publish();
        loop {
            self.take_commands();
            self.cancel_abandoned();
            if self.mode == Mode::Stopping {
                break;
            }
            if self.scheduler.is_idle() {
                if self.mode == Mode::Draining {
                    break;
                }
                continue;
            }
            if let Err(error) = self.step() {
                tracing::error!("the engine stops: {error}");
                break;
            }
        }
        self.cancel_all();
    }

    /// Handles every command that is there; sleeps for one only when there is nothing to run.
    fn take_commands(&mut self) {
        if self.scheduler.is_idle() && self.mode == Mode::Serving {
            match self.next_command() {
                Some(command) => self.handle(command),
                None => self.mode = Mode::Stopping,
            }
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.handle(command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.mode = Mode::Stopping;
                    return;
                }
            }
        }
    }

    /// Waits for a command, and gets ready for it meanwhile. None if nobody can send one any more.
    fn next_command(&mut self) -> Option<Command> {
        while self.executor.prepare() {
            match self.commands.try_recv() {
                Err(TryRecvError::Empty) => {}
                command => return command.ok(),
            }
        }
        self.commands.recv().ok()
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Submit(job) => self.submit(*job),
            Command::Drain if self.mode == Mode::Serving => self.mode = Mode::Draining,
            Command::Drain => {}
            Command::Shutdown => self.mode = Mode::Stopping,
        }
    }

    fn submit(&mut self, job: Job) {
        let GenerateRequest { tenant, priority, tbt_target, ttft_target, .. } = job.request;
        if job.guide.is_some() {
            self.masks.start(self.executor.threads());
        }
        let active = Active::new(job, &self.tokenizer);
        if self.mode != Mode::Serving {
            return self.end(active, End::Failed(EngineError::ShuttingDown));
        }
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let pooling = active.pooling();
        let scores = active.scores_prompt();
        let prefix = (self.prefix_cache && pooling.is_none() && scores.is_none()).then(|| active.prefix());
        let (prompt_tokens, max_tokens, tenant) = (active.prompt().len(), active.max_tokens(), TenantId(tenant));
        let new = NewSequence { id, prompt_tokens, max_tokens, prefix, tenant, priority, tbt_target, ttft_target };
        match self.scheduler.submit(new, self.started.elapsed()) {
            Ok(()) => {
                if let Some(pooling) = pooling {
                    self.executor.pool(id, pooling);
                }
                if let Some(top) = scores {
                    self.executor.score(id, Arc::clone(active.prompt()), top);
                }
                self.requests.insert(id, active);
                self.publish();
            }
            Err(error) => self.end(active, End::Failed(refusal(error))),
        }
    }

    /// Invariant 5: a client that is gone frees its blocks by the next step, wherever its request stands.
    fn cancel_abandoned(&mut self) {
        let abandoned: Vec<SequenceId> =
            self.requests.iter().filter(|(_, request)| request.is_abandoned()).map(|(id, _)| *id).collect();
        if abandoned.is_empty() {
            return;
        }
        for id in &abandoned {
            self.scheduler.cancel(*id);
            self.executor.forget(*id);
            self.requests.remove(id);
        }
        self.stats.requests_cancelled += abandoned.len() as u64;
        self.publish();
    }

    fn cancel_all(&mut self) {
        for id in self.requests.keys() {
            self.scheduler.cancel(*id);
            self.executor.forget(*id);
        }
        self.publish();
        for (_, request) in std::mem::take(&mut self.requests) {
            self.end(request, End::Finished(FinishReason::Cancelled));
        }
        self.publish();
    }

    /// One step. Whatever goes wrong inside it fails the requests in it and no other.
    fn step(&mut self) -> Result<(), laminar_schedule::CommitError> {
        let begun = Instant::now();
        let step = self.scheduler.plan(begun - self.started);
        let planned = begun.elapsed();
        for id in &step.preempted {
            self.executor.forget(*id);
            // It starts anew.
            if let Some(pooling) = self.requests.get(id).and_then(Active::pooling) {
                self.executor.pool(*id, pooling);
            }
            if let Some(request) = self.requests.get(id)
                && let Some(top) = request.scores_prompt()
            {
                self.executor.score(*id, Arc::clone(request.prompt()), top);
            }
        }
        let result = catch_unwind(AssertUnwindSafe(|| self.execute(&step, begun)));
        let result = result.unwrap_or_else(|panic| Err(panic_message(&*panic).into()));
        let Outcome { ended, sampled, reached, loads } = result.unwrap_or_else(|error| {
            tracing::error!("step {} failed: {error}", step.number);
            let end = End::Failed(EngineError::StepFailed { message: error.to_string() });
            let ended = step.sequences().map(|id| (id, end.clone())).collect();
            Outcome { ended, sampled: Vec::new(), reached: None, loads: ExpertLoads::default() }
        });

        let executed = begun.elapsed();
        let early = if reached.as_ref().is_some_and(|tiles| !tiles.is_empty()) { ", ended early" } else { "" };
        tracing::debug!("{}; took {:.1} ms{early}", self.scheduler.explain(), executed.as_secs_f64() * 1e3);
        let of_kind = |failed| {
            let ends = ended.iter().filter(move |(_, end)| matches!(end, End::Failed(_)) == failed);
            ends.map(|(id, _)| *id).collect()
        };
        self.scheduler.commit(&Report {
            step: step.number,
            finished: of_kind(false),
            failed: of_kind(true),
            sampled,
            reached,
            duration: executed,
            decode: self.executor.decode_time(),
            prefill_expert_loads: loads.prefill,
            total_expert_loads: loads.total,
        })?;
        let whole = begun.elapsed();
        self.stats.steps += 1;
        self.stats.step_seconds += whole.as_secs_f64();
        self.stats.schedule_seconds += (whole - executed + planned).as_secs_f64();
        self.stats.prefill_expert_loads += loads.prefill;
        self.stats.total_expert_loads += loads.total;
        self.stats.prefill_expert_bytes += loads.prefill_bytes;
        self.stats.total_expert_bytes += loads.total_bytes;
        // The books are right before a client can look at them.
        self.publish();
        let ended: Vec<(Active, End)> = ended
            .into_iter()
            .filter_map(|(id, end)| {
                self.executor.forget(id);
                Some((self.requests.remove(&id)?, end))
            })
            .collect();
        for (request, end) in ended {
            self.end(request, end);
        }
        self.executor.prepare();
        Ok(())
    }

    /// Executes a step and hands out its tokens.
    fn execute(&mut self, step: &Step, begun: Instant) -> Result<Outcome, ExecuteError> {
        let layers = self.executor.layers();
        let members = || step.tiles.iter().flat_map(|tile| &tile.members).filter(|member| !member.dropped);
        for member in members() {
            if let Some(request) = self.requests.get_mut(&member.sequence) {
                request.starts_prefill(member.start, begun);
            }
        }
        let experts = self.executor.experts().map(|experts| experts.count);
        let mut batch =
            batch(step, experts, &self.requests, &self.scheduler).ok_or("a sequence of the step is unknown")?;
        let end = |deadline| StepEnd { at: self.beat.end(begun, deadline), decode: deadline.decode };
        batch.end = step.deadline.map(end);
        batch.handed_out = self.beat.newest();
        let loads = self.executor.execute(&mut batch, &mut self.logits)?;
        let sampling = batch.sampling(layers);
        // Streams keep the beat as long as there are prompts to fill it.
        let is_on_its_way = |tile: &TileInput<'_>| {
            let mut members = tile.members.iter().filter(|member| !member.dropped);
            members.any(|member| tile.to.layer < layers || !member.ends_prompt)
        };
        let deadline = step.deadline.filter(|_| batch.tiles.iter().any(is_on_its_way));
        let ends = batch.tiles.iter().zip(&step.tiles).filter(|(tile, planned)| tile.to != planned.to);
        let reached = self.executor.ends_early().then(|| ends.map(|(tile, _)| (tile.cohort, tile.to)).collect());
        let through = batch.tiles.iter().zip(&step.tiles).filter(|(tile, _)| tile.to.layer >= layers);
        self.stats.prompt_tokens += through.map(|(_, tile)| tile.rows() as u64).sum::<u64>();

        let vocab = self.executor.vocab_size();
        if self.logits.len() != sampling.len() * vocab {
            let (found, rows) = (self.logits.len(), sampling.len());
            return Err(format!("{found} logits came back for {rows} rows of {vocab}").into());
        }
        for member in members() {
            if let Some(request) = self.requests.get_mut(&member.sequence) {
                request.count_loads(loads.prefill);
            }
        }
        let now = Instant::now();
        let due = self.beat.due(begun, now, deadline.map(|deadline| deadline.until));
        let (mut ended, mut sampled) = (Vec::new(), Vec::new());
        let mut choices = Vec::with_capacity(sampling.len());
        let requests = requests_of(&mut self.requests, &sampling);
        let rows = sampling.into_iter().zip(self.logits.chunks_exact(vocab));
        for (((id, position), logits), request) in rows.zip(requests) {
            let Some(request) = request else {
                continue;
            };
            if request.pooling().is_some() {
                ended.push((id, request.embed(self.executor.take_pooled(id), position)));
                continue;
            }
            let scores = request.scores_prompt().and_then(|_| self.executor.take_scores(id));
            let before = request.tokens().len();
            choices.push(Mutex::new(Choice { id, request, logits, position, before, scores, end: None }));
        }
        let masks = &self.masks;
        // Each is chosen from its own logits alone, so it does not matter who does it and when.
        self.executor.run_tasks(choices.len(), &|place| {
            if let Some(choice) = choices.get(place) {
                let mut choice = choice.lock().unwrap_or_else(PoisonError::into_inner);
                let Choice { request, logits, position, scores, end, .. } = &mut *choice;
                *end = request.advance(logits, *position, scores.take(), masks, due);
            }
        });
        // What grammars force is looked at when all tokens are chosen, since it is being found out meanwhile.
        for choice in choices {
            let Choice { id, request, before, end, .. } = choice.into_inner().unwrap_or_else(PoisonError::into_inner);
            let end = end.or_else(|| request.jump(masks));
            ended.extend(end.map(|end| (id, end)));
            sampled.extend(request.tokens().iter().skip(before).map(|token| (id, *token)));
        }
        if sampled.is_empty() {
            self.beat.pauses();
        }
        self.stats.tokens_generated += sampled.len() as u64;
        Ok(Outcome { ended, sampled, reached, loads })
    }

    /// Counts the end of a request and tells its client.
    fn end(&mut self, request: Active, end: End) {
        match end {
            End::Failed(_) => self.stats.requests_failed += 1,
            End::Finished(FinishReason::Cancelled) => self.stats.requests_cancelled += 1,
            End::Finished(_) => self.stats.requests_finished += 1,
        }
        self.publish();
        request.end(end, Instant::now());
    }

    fn publish(&mut self) {
        let now = self.scheduler.stats();
        self.stats.running = now.running;
        self.stats.prefilling = now.prefilling;
        self.stats.waiting = now.waiting;
        self.stats.used_blocks = now.used_blocks;
        self.stats.cached_blocks = now.cached_blocks;
        self.stats.total_blocks = now.total_blocks;
        self.stats.preemptions = now.preemptions;
        self.stats.prefix_lookup_tokens = now.prefix_lookup_tokens;
        self.stats.prefix_hit_tokens = now.prefix_hit_tokens;
        self.shared.publish(self.stats);
    }
}

/// The requests of some rows, in the order of the rows.
fn requests_of<'a>(
    requests: &'a mut BTreeMap<SequenceId, Active>,
    rows: &[(SequenceId, usize)],
) -> Vec<Option<&'a mut Active>> {
    let mut places: Vec<(SequenceId, usize)> = rows.iter().enumerate().map(|(row, (id, _))| (*id, row)).collect();
    places.sort_unstable();
    let mut found: Vec<Option<&mut Active>> = rows.iter().map(|_| None).collect();
    let (Some((first, _)), Some((last, _))) = (places.first(), places.last()) else {
        return found;
    };
    // Those that wait came later than those that run, mostly.
    for (id, request) in requests.range_mut(*first..=*last) {
        if let Ok(place) = places.binary_search_by_key(id, |(id, _)| *id) {
            found[places[place].1] = Some(request);
        }
    }
    found
}

/// The step with the tokens, block tables and state slots of its sequences.
fn batch<'a>(
    step: &Step,
    experts: Option<usize>,
    requests: &'a BTreeMap<SequenceId, Active>,
    scheduler: &'a Scheduler,
) -> Option<Batch<'a>> {
    let decode = step.decode.iter().map(|row| {
        let (sequence, position) = (row.sequence, row.position);
        let token = *requests.get(&sequence)?.tokens().get(position)?;
        let (blocks, state) = (scheduler.blocks(sequence)?, scheduler.states(sequence)?);
        Some(DecodeInput { sequence, token, position, blocks, state })
    });
    let member = |member: &TileRows| {
        let TileRows { sequence, start, rows, ends_prompt, dropped } = *member;
        let (tokens, blocks) = match dropped {
            true => (&[][..], &[][..]),
            false => (requests.get(&sequence)?.tokens().get(start..start + rows)?, scheduler.blocks(sequence)?),
        };
        let state = if dropped { StateSlots::default() } else { scheduler.states(sequence)? };
        Some(MemberInput { sequence, rows, tokens, start, blocks, state, ends_prompt, dropped })
    };
    let tiles = step.tiles.iter().map(|tile| {
        let members = tile.members.iter().map(member).collect::<Option<_>>()?;
        let parts = tile.parts(experts);
        Some(TileInput { cohort: tile.cohort, members, from: tile.from, to: tile.to, parts })
    });
    let (decode, tiles) = (decode.collect::<Option<_>>()?, tiles.collect::<Option<_>>()?);
    Some(Batch { decode, tiles, ..Batch::default() })
}

/// The scheduler's refusal in the words of the engine. Most of these the handle has told the client already.
fn refusal(error: SubmitError) -> EngineError {
    match error {
        SubmitError::TooLong { prompt_tokens, context } => EngineError::PromptTooLong { prompt_tokens, context },
        SubmitError::QueueFull { waiting } => EngineError::QueueFull { requests: waiting },
        SubmitError::EmptyPrompt | SubmitError::Duplicate { .. } => {
            EngineError::InvalidRequest { field: "prompt", message: error.to_string() }
        }
        SubmitError::NothingToGenerate | SubmitError::NeverFits { .. } => {
            EngineError::InvalidRequest { field: "max_tokens", message: error.to_string() }
        }
        SubmitError::ZeroTarget { field } => EngineError::InvalidRequest { field, message: error.to_string() },
        SubmitError::ContradictoryTargets { .. } => {
            EngineError::InvalidRequest { field: "tbt_target", message: error.to_string() }
        }
    }
}

/// What a panic said.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a panic: {}", text.unwrap_or("without a message"))
}
