//! The scheduler: plan, commit, submit, cancel.

use crate::cost::CostModel;
use crate::costs::Estimate;
use crate::queues::Slot;
use crate::state::State;
use crate::{
    BlockId, CommitError, ConfigError, Explanation, NewSequence, Report, SchedulerConfig, SchedulerStats, SequenceId,
    StateSlots, Step, SubmitError,
};
use std::time::Duration;

/// Decides what runs next. See the [crate page](crate) for the life of a step.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    state: State,
    /// The step that waits for its report.
    in_flight: Option<InFlight>,
    next_step: u64,
    explanation: Explanation,
}

/// A step that was planned and not committed.
#[derive(Debug)]
struct InFlight {
    step: Step,
    /// What its decode rows should cost alone.
    decode: Estimate,
    /// What its tiles should add.
    tiles: Estimate,
    /// Whether a sequence of it was cancelled meanwhile.
    cancelled: bool,
}

impl Scheduler {
    /// A scheduler without sequences.
    pub fn new(config: SchedulerConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let state = State::new(&config);
        Ok(Self { config, state, in_flight: None, next_step: 0, explanation: Explanation::default() })
    }

    /// The configuration the scheduler was made with.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// Lets a sequence wait; a later [`plan`](Self::plan) admits it. `now` is the caller's clock.
    ///
    /// `max_tokens` is cut to what the context leaves beside the prompt. A sequence that could never run is refused
    /// now rather than left to wait for ever.
    pub fn submit(&mut self, new: NewSequence, now: Duration) -> Result<(), SubmitError> {
        let NewSequence { id, prompt_tokens, max_tokens, .. } = new;
        let context = self.config.context;
        if prompt_tokens == 0 {
            return Err(SubmitError::EmptyPrompt);
        }
        if prompt_tokens >= context {
            return Err(SubmitError::TooLong { prompt_tokens, context });
        }
        if max_tokens == 0 {
            return Err(SubmitError::NothingToGenerate);
        }
        if let (Some(tbt), Some(ttft)) = (new.tbt_target, new.ttft_target)
            && tbt > ttft
        {
            return Err(SubmitError::ContradictoryTargets { tbt, ttft });
        }
        let targets = [("tbt_target", new.tbt_target), ("ttft_target", new.ttft_target)];
        if let Some((field, _)) = targets.into_iter().find(|(_, target)| *target == Some(Duration::ZERO)) {
            return Err(SubmitError::ZeroTarget { field });
        }
        let max_tokens = max_tokens.min(context - prompt_tokens);
        let needed = self.config.blocks_for(prompt_tokens + max_tokens);
        let total = self.state.queues.stats().total_blocks;
        if needed > total {
            return Err(SubmitError::NeverFits { needed, total });
        }
        if self.state.queues.slot(id).is_some() {
            return Err(SubmitError::Duplicate { id });
        }
        let waiting = self.state.queues.waiting();
        if waiting >= self.config.max_waiting {
            return Err(SubmitError::QueueFull { waiting });
        }
        self.state.queues.enqueue(NewSequence { max_tokens, ..new }, now);
        Ok(())
    }

    /// Ends a sequence wherever it stands; returns whether it was there to end.
    ///
    /// Its blocks are free at once, or, when the step in flight works on them, at that step's commit: in either case
    /// before the next plan. A cohort goes on without it.
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        let Some(slot) = self.state.queues.slot(id) else {
            return false;
        };
        match (self.state.queues.get_mut(slot), &mut self.in_flight) {
            (Some(sequence), _) if sequence.cancelled => return false,
            (Some(sequence), Some(flight)) if sequence.step == Some(flight.step.number) => {
                sequence.cancelled = true;
                flight.cancelled = true;
            }
            _ => self.state.remove(slot),
        }
        true
    }

    /// The next step; empty if and only if no sequence is left.
    ///
    /// Every decoding sequence is in it. A step that is not empty must be committed before the next one is planned;
    /// planning again before that returns the same step. `now` is the caller's clock.
    pub fn plan(&mut self, now: Duration) -> Step {
        if let Some(flight) = &self.in_flight {
            return flight.step.clone();
        }
        let preempted = self.state.grow();
        let decode = self.state.decode_rows(self.next_step);
        let (limit, tiles) = self.config.policy.tiles(&mut self.state, now);
        let costs = &self.state.costs;
        let can_end_early = self.config.policy.can_end_early();
        let deadline = limit.filter(|_| can_end_early).and_then(|limit| limit.deadline(costs));
        let step = Step { number: self.next_step, preempted, decode, tiles, deadline };
        if !step.is_empty() {
            self.next_step += 1;
            self.state.queues.mark(step.number, &step.tiles);
            let decode = self.state.costs.decode(self.state.batch());
            let tiles = self.state.estimate(&step.tiles);
            self.explanation = Explanation::new(&step, limit, &self.state.costs, &decode.and(tiles));
            self.in_flight = Some(InFlight { step: step.clone(), decode, tiles, cancelled: false });
        }
        step
    }

    /// Learns what came of the step in flight and moves its sequences on.
    ///
    /// A sequence that has reached its `max_tokens` ends here whether the report names it or not.
    ///
    /// # Errors
    ///
    /// A report of another step than the one in flight, or one that names a sequence that is not in it or a place that no
    /// tile of it passes. Nothing changes.
    pub fn commit(&mut self, report: &Report) -> Result<(), CommitError> {
        let Some(flight) = &self.in_flight else {
            return Err(CommitError::NoStep { reported: report.step });
        };
        if flight.step.number != report.step {
            return Err(CommitError::WrongStep { reported: report.step, in_flight: flight.step.number });
        }
        let queues = &self.state.queues;
        let ending = report.finished.iter().chain(&report.failed).map(|id| (*id, queues.slot(*id)));
        let sampling = report.sampled.iter().enumerate().map(|(row, (id, _))| (*id, queues.slot_near(row, *id)));
        let in_step = |slot: Option<Slot>| {
            let sequence = slot.and_then(|slot| queues.get(slot));
            sequence.is_some_and(|sequence| sequence.step == Some(report.step))
        };
        if let Some((id, _)) = ending.chain(sampling).find(|(_, slot)| !in_step(*slot)) {
            return Err(CommitError::NotInStep { id, step: report.step });
        }
        if let Some((cohort, _)) =
            report.reached.iter().flatten().find(|(cohort, at)| !self.state.passes(&flight.step, *cohort, *at))
        {
            return Err(CommitError::NotOnItsWay { cohort: *cohort, step: report.step });
        }
        let Some(InFlight { mut step, decode, mut tiles, cancelled }) = self.in_flight.take() else {
            return Err(CommitError::NoStep { reported: report.step });
        };
        // Those of tiles that have not run, too.
        let queues = &self.state.queues;
        let gone = |slot: &Slot| queues.get(*slot).is_some_and(|sequence| sequence.cancelled);
        let members = cancelled.then(|| step.sequences()).into_iter().flatten();
        let cancelled: Vec<Slot> = members.filter_map(|id| queues.slot(id)).filter(gone).collect();
        let had_tiles = !step.tiles.is_empty();
        self.state.is_watched |= report.reached.is_some();
        if let Some(reached) = report.reached.as_ref().filter(|reached| !reached.is_empty()) {
            for tile in &mut step.tiles {
                let reached = reached.iter().find(|(cohort, _)| *cohort == tile.cohort);
                tile.to = reached.map_or(tile.to, |(_, at)| *at);
            }
            // What has not run costs nothing and teaches nothing.
            let ran: Vec<_> = step.tiles.iter().filter(|tile| tile.from < tile.to).cloned().collect();
            tiles = self.state.estimate(&ran);
            step.tiles = ran;
        }
        // A step that failed has not done its work.
        if report.failed.is_empty() {
            self.state.costs.learn(&step, had_tiles, &decode, &tiles, report);
        }

        // What decoded in the step still decodes: nobody has left since, and whoever begins comes behind.
        let mut ended = self.state.queues.count_tokens(&report.failed);
        for tile in &step.tiles {
            ended.extend(self.state.advance(tile, report));
        }
        let queues = &mut self.state.queues;
        let mut before = None;
        for (row, (id, token)) in report.sampled.iter().enumerate() {
            if let Some(slot) = queues.slot_near(row, *id) {
                if before == Some(*id) && queues.count_further_token(slot) {
                    ended.push(slot);
                }
                queues.append(slot, *token);
            }
            before = Some(*id);
        }
        ended.extend(report.finished.iter().chain(&report.failed).filter_map(|id| queues.slot(*id)));
        ended.extend(cancelled);
        for slot in ended {
            self.state.remove(slot);
        }
        Ok(())
    }

    /// The block table of an admitted sequence: position `p` is in block `p / block_len` of it.
    pub fn blocks(&self, id: SequenceId) -> Option<&[BlockId]> {
        let queues = &self.state.queues;
        Some(queues.get(queues.slot(id)?)?.blocks.as_ref()?.ids())
    }

    /// The slots of an admitted sequence for its state in recurrent layers. They may change with every plan and commit.
    pub fn states(&self, id: SequenceId) -> Option<StateSlots> {
        let queues = &self.state.queues;
        Some(queues.get(queues.slot(id)?)?.states.as_ref()?.slots)
    }

    /// Why the newest step is what it is, in one line when printed.
    pub fn explain(&self) -> &Explanation {
        &self.explanation
    }

    /// What the scheduler has learned of the time that steps take.
    pub fn cost_model(&self) -> &CostModel {
        self.state.costs.model()
    }

    /// The gauges.
    pub fn stats(&self) -> SchedulerStats {
        self.state.queues.stats()
    }

    /// Whether no sequence is left, so that the next plan would be empty.
    pub fn is_idle(&self) -> bool {
        self.state.queues.is_empty()
    }
}
