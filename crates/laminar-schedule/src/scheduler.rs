//! The scheduler: plan, commit, submit, cancel.

use crate::cohort::Cohort;
use crate::queues::Queues;
use crate::{
    BlockId, CohortId, CommitError, ConfigError, NewSequence, Report, SchedulerConfig, SchedulerStats, SequenceId,
    Step, SubmitError,
};
use std::time::Duration;

/// Decides what runs next. See the [crate page](crate) for the life of a step.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    queues: Queues,
    /// The cohort under way; at most one.
    cohort: Option<Cohort>,
    /// The step that waits for its report.
    in_flight: Option<Step>,
    next_step: u64,
    next_cohort: u64,
}

impl Scheduler {
    /// A scheduler without sequences.
    pub fn new(config: SchedulerConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let queues = Queues::new(&config);
        Ok(Self { config, queues, cohort: None, in_flight: None, next_step: 0, next_cohort: 0 })
    }

    /// The configuration the scheduler was made with.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// Puts a sequence at the end of the waiting queue; a later [`plan`](Self::plan) admits it.
    ///
    /// `max_tokens` is cut to what the context leaves beside the prompt. A sequence that could never run is refused
    /// now rather than left to wait for ever.
    pub fn submit(&mut self, new: NewSequence) -> Result<(), SubmitError> {
        let NewSequence { id, prompt_tokens, max_tokens, prefix } = new;
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
        let max_tokens = max_tokens.min(context - prompt_tokens);
        let needed = self.config.blocks_for(prompt_tokens + max_tokens);
        let total = self.queues.stats().total_blocks;
        if needed > total {
            return Err(SubmitError::NeverFits { needed, total });
        }
        if self.queues.get(id).is_some() {
            return Err(SubmitError::Duplicate { id });
        }
        let waiting = self.queues.waiting();
        if waiting >= self.config.max_waiting {
            return Err(SubmitError::QueueFull { waiting });
        }
        self.queues.enqueue(NewSequence { id, prompt_tokens, max_tokens, prefix });
        Ok(())
    }

    /// Ends a sequence wherever it stands; returns whether it was there to end.
    ///
    /// Its blocks are free at once, or, when the step in flight works on them, at that step's commit: in either case
    /// before the next plan. A cohort goes on without it.
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        let busy = self.in_flight.as_ref().is_some_and(|step| step.sequences().any(|other| other == id));
        let Some(sequence) = self.queues.get_mut(id) else {
            return false;
        };
        if sequence.cancelled {
            return false;
        }
        if busy {
            sequence.cancelled = true;
        } else {
            self.remove(id);
        }
        true
    }

    /// The next step; empty if and only if no sequence is left.
    ///
    /// Every decoding sequence is in it. A step that is not empty must be committed before the next one is planned;
    /// planning again before that returns the same step. `now` is the caller's clock; the present policies do not look
    /// at it.
    pub fn plan(&mut self, now: Duration) -> Step {
        let _ = now;
        if let Some(step) = &self.in_flight {
            return step.clone();
        }
        if self.cohort.is_none() {
            self.cohort = self.form_cohort();
        }
        let step = Step {
            number: self.next_step,
            decode: self.queues.decode_rows(),
            tiles: self.cohort.as_ref().and_then(Cohort::tile).into_iter().collect(),
        };
        if !step.is_empty() {
            self.next_step += 1;
            self.in_flight = Some(step.clone());
        }
        step
    }

    /// Learns what came of the step in flight and moves its sequences on.
    ///
    /// A sequence that has reached its `max_tokens` ends here whether the report names it or not.
    pub fn commit(&mut self, report: &Report) -> Result<(), CommitError> {
        let Some(step) = self.in_flight.take() else {
            return Err(CommitError::NoStep { reported: report.step });
        };
        if step.number != report.step {
            let in_flight = step.number;
            self.in_flight = Some(step);
            return Err(CommitError::WrongStep { reported: report.step, in_flight });
        }

        let mut ended: Vec<SequenceId> = report.finished.iter().chain(&report.failed).copied().collect();
        for row in &step.decode {
            if let Some(sequence) = self.queues.get_mut(row.sequence)
                && sequence.count_token()
            {
                ended.push(row.sequence);
            }
        }
        let walked = self.cohort.as_mut().is_some_and(Cohort::advance);
        if walked && let Some(cohort) = self.cohort.take() {
            for rows in cohort.members() {
                if !report.failed.contains(&rows.sequence) {
                    self.queues.publish_rows(rows);
                }
                if self.queues.complete_rows(rows) {
                    ended.push(rows.sequence);
                }
            }
        }
        ended.extend(step.sequences().filter(|id| self.queues.get(*id).is_some_and(|sequence| sequence.cancelled)));
        for id in ended {
            self.remove(id);
        }
        Ok(())
    }

    /// The block table of an admitted sequence: position `p` is in block `p / block_len` of it.
    pub fn blocks(&self, id: SequenceId) -> Option<&[BlockId]> {
        Some(self.queues.get(id)?.blocks.as_ref()?.ids())
    }

    /// The gauges.
    pub fn stats(&self) -> SchedulerStats {
        self.queues.stats()
    }

    /// Whether no sequence is left, so that the next plan would be empty.
    pub fn is_idle(&self) -> bool {
        self.queues.is_empty()
    }

    fn form_cohort(&mut self) -> Option<Cohort> {
        let members = self.config.policy.gather(&mut self.queues);
        if members.is_empty() {
            return None;
        }
        let tokens = members.iter().map(|member| member.rows).sum();
        let groups = self.config.policy.groups(tokens, self.config.layers);
        let id = CohortId(self.next_cohort);
        self.next_cohort += 1;
        Some(Cohort::new(id, members, groups))
    }

    /// Takes a sequence out of the queues and of its cohort; a cohort without members is over.
    fn remove(&mut self, id: SequenceId) {
        self.queues.remove(id);
        if let Some(cohort) = &mut self.cohort {
            cohort.remove(id);
            if cohort.is_empty() {
                self.cohort = None;
            }
        }
    }
}
