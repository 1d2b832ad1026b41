//! Record and replay: the same inputs give the same steps.

use crate::{CommitError, ConfigError, NewSequence, Report, Scheduler, SchedulerConfig, SequenceId, Step, SubmitError};
use std::time::Duration;

/// One call into a scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// [`Scheduler::submit`] at this time.
    Submit(NewSequence, Duration),
    /// [`Scheduler::cancel`].
    Cancel(SequenceId),
    /// [`Scheduler::plan`] at this time.
    Plan(Duration),
    /// [`Scheduler::commit`].
    Commit(Report),
}

/// A scheduler that writes down every call that can change it.
#[derive(Debug)]
pub struct Recorder {
    scheduler: Scheduler,
    events: Vec<Event>,
}

impl Recorder {
    /// Records from here on; the scheduler should be fresh, as [`replay`] starts from a fresh one.
    pub fn new(scheduler: Scheduler) -> Self {
        Self { scheduler, events: Vec::new() }
    }

    /// See [`Scheduler::submit`].
    pub fn submit(&mut self, new: NewSequence, now: Duration) -> Result<(), SubmitError> {
        self.events.push(Event::Submit(new.clone(), now));
        self.scheduler.submit(new, now)
    }

    /// See [`Scheduler::cancel`].
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        self.events.push(Event::Cancel(id));
        self.scheduler.cancel(id)
    }

    /// See [`Scheduler::plan`].
    pub fn plan(&mut self, now: Duration) -> Step {
        self.events.push(Event::Plan(now));
        self.scheduler.plan(now)
    }

    /// See [`Scheduler::commit`].
    pub fn commit(&mut self, report: &Report) -> Result<(), CommitError> {
        self.events.push(Event::Commit(report.clone()));
        self.scheduler.commit(report)
    }

    /// The scheduler, for looking at it.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Everything recorded so far.
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

/// Runs recorded calls through a fresh scheduler and returns every step it planned, in order.
///
/// Calls that were refused when they were recorded are refused again and change nothing.
pub fn replay(config: SchedulerConfig, events: &[Event]) -> Result<Vec<Step>, ConfigError> {
    let mut scheduler = Scheduler::new(config)?;
    let mut steps = Vec::new();
    for event in events {
        match event {
            Event::Submit(new, now) => drop(scheduler.submit(new.clone(), *now)),
            Event::Cancel(id) => {
                scheduler.cancel(*id);
            }
            Event::Plan(now) => steps.push(scheduler.plan(*now)),
            Event::Commit(report) => drop(scheduler.commit(report)),
        }
    }
    Ok(steps)
}
