//! Checks a scheduler from outside: a second set of books, kept from the calls and their answers alone.
//!
//! The auditor knows the rules ([`Rule`]), not the code. It executes each step on a memory that holds one number for each
//! row of each layer, so that it sees who reads what somebody else wrote, and it compares tables, gauges and answers after
//! every call.

mod admission;
mod books;
mod fairness;
mod kv;
mod policy;
mod sequence;
mod states;
mod walk;

use crate::Violation;
use crate::violation::{Broken, ensure};
use fairness::Fairness;
use kv::Kv;
use laminar_schedule::{
    CohortId, CommitError, Cursor, NewSequence, Report, Scheduler, SchedulerConfig, SequenceId, Step, SubmitError,
    TileRows,
};
pub use sequence::Tokens;
use sequence::{Name, Place, Sequence};
use states::States;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;
use walk::Cohort;

/// A second set of books. Its methods are to be called after each call of the scheduler that they are named after.
#[derive(Debug)]
pub struct Auditor {
    config: SchedulerConfig,
    living: BTreeMap<SequenceId, Sequence>,
    cohorts: Vec<Cohort>,
    kv: Kv,
    states: States,
    fairness: Fairness,
    in_flight: Option<Step>,
    /// Rows written by the step in flight: of whom, in which layer.
    written: Vec<(SequenceId, usize, Range<usize>)>,
    /// Where tiles of the step in flight ended early.
    reached: Vec<(CohortId, Cursor)>,
    next_step: u64,
    /// All cohorts there have been.
    seen: BTreeSet<CohortId>,
    accepted: u64,
    preemptions: u64,
    lookup_tokens: u64,
    hit_tokens: u64,
}

/// A sequence that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub id: SequenceId,
    /// Tokens it has generated.
    pub generated: usize,
    /// Whether it was cancelled, or its step went wrong.
    pub early: bool,
}

impl Auditor {
    /// Books of a scheduler that has just been made.
    pub fn new(config: &SchedulerConfig) -> Self {
        Self {
            living: BTreeMap::new(),
            cohorts: Vec::new(),
            kv: Kv::new(config),
            states: States::new(config),
            fairness: Fairness::new(config.max_sequences),
            in_flight: None,
            written: Vec::new(),
            reached: Vec::new(),
            next_step: 0,
            seen: BTreeSet::new(),
            accepted: 0,
            preemptions: 0,
            lookup_tokens: 0,
            hit_tokens: 0,
            config: config.clone(),
        }
    }

    /// The sequences that live, in the order of their ids.
    pub fn living(&self) -> impl Iterator<Item = SequenceId> {
        self.living.keys().copied()
    }

    /// Whether nobody lives.
    pub fn is_empty(&self) -> bool {
        self.living.is_empty()
    }

    /// Tokens that a sequence has generated.
    pub fn generated(&self, id: SequenceId) -> Option<usize> {
        Some(self.living.get(&id)?.generated)
    }

    /// The token that a sequence of the step in flight generates, if it does.
    pub fn next_token(&self, id: SequenceId) -> Option<u32> {
        Some(self.living.get(&id)?.next_token())
    }

    /// After [`Scheduler::submit`].
    pub fn submitted(
        &mut self,
        new: &NewSequence,
        tokens: &Tokens,
        now: Duration,
        result: &Result<(), SubmitError>,
        scheduler: &Scheduler,
    ) -> Result<(), Violation> {
        let outcome = self.check_submission(new, tokens, now, result);
        self.close(outcome, scheduler)
    }

    /// After [`Scheduler::cancel`].
    pub fn cancelled(&mut self, id: SequenceId, answer: bool, scheduler: &Scheduler) -> Result<(), Violation> {
        let outcome = self.check_cancel(id, answer, scheduler);
        self.close(outcome, scheduler)
    }

    /// After [`Scheduler::plan`]. Executes the step.
    pub fn planned(&mut self, step: &Step, scheduler: &Scheduler) -> Result<(), Violation> {
        let outcome = self.check_plan(step, scheduler);
        self.close(outcome, scheduler)
    }

    /// After [`Scheduler::commit`]. Returns those who ended.
    pub fn committed(
        &mut self,
        report: &Report,
        result: &Result<(), CommitError>,
        scheduler: &Scheduler,
    ) -> Result<Vec<Ended>, Violation> {
        let outcome = self.check_commit(report, result);
        let ended = outcome.map_err(|broken| self.violation(broken))?;
        self.close(Ok(()), scheduler)?;
        Ok(ended)
    }

    /// Those who would yield a token in the step in flight.
    pub fn sampling(&self) -> Vec<SequenceId> {
        let Some(step) = &self.in_flight else { return Vec::new() };
        let done = step.tiles.iter().filter(|tile| tile.to.layer >= self.config.layers && !self.is_cut(tile));
        let members = done.flat_map(|tile| &tile.members).filter(|member| member.ends_prompt && !member.dropped);
        let decode = step.decode.iter().map(|row| row.sequence);
        decode.chain(members.map(|member| member.sequence)).collect()
    }

    /// A broken rule, at the newest step.
    pub(crate) fn violation(&self, Broken(rule, message): Broken) -> Violation {
        Violation { step: self.next_step.saturating_sub(1), rule, message }
    }

    fn close(&mut self, outcome: Result<(), Broken>, scheduler: &Scheduler) -> Result<(), Violation> {
        let outcome = outcome.and_then(|()| self.check_books(scheduler)).and_then(|()| self.fairness.check());
        outcome.map_err(|broken| self.violation(broken))
    }

    fn check_submission(
        &mut self,
        new: &NewSequence,
        tokens: &Tokens,
        now: Duration,
        result: &Result<(), SubmitError>,
    ) -> Result<(), Broken> {
        let reasons = self.reasons_against(new);
        match result {
            Ok(()) => ensure!(reasons.is_empty(), Refusal, "{} is accepted in spite of {reasons:?}", Name(new.id)),
            Err(error) => ensure!(
                reasons.contains(error),
                Refusal,
                "{} is refused because of {error:?}; the reasons are {reasons:?}",
                Name(new.id)
            ),
        }
        if result.is_ok() {
            let max_tokens = new.max_tokens.min(self.config.context - new.prompt_tokens);
            let sequence = Sequence::new(new, tokens, max_tokens, now, self.accepted);
            self.accepted += 1;
            self.fairness.accept(new.prompt_tokens, max_tokens);
            self.fairness.wait(new.tenant);
            self.living.insert(new.id, sequence);
        }
        Ok(())
    }

    /// Everything that forbids a submission.
    fn reasons_against(&self, new: &NewSequence) -> Vec<SubmitError> {
        let NewSequence { id, prompt_tokens, max_tokens, tbt_target, ttft_target, .. } = *new;
        let SchedulerConfig { context, block_len, kv_blocks: total, max_waiting, .. } = self.config;
        let mut reasons = Vec::new();
        if prompt_tokens == 0 {
            reasons.push(SubmitError::EmptyPrompt);
        }
        if max_tokens == 0 {
            reasons.push(SubmitError::NothingToGenerate);
        }
        if prompt_tokens >= context {
            reasons.push(SubmitError::TooLong { prompt_tokens, context });
        } else {
            let needed = (prompt_tokens + max_tokens.min(context - prompt_tokens)).div_ceil(block_len);
            if needed > total {
                reasons.push(SubmitError::NeverFits { needed, total });
            }
        }
        for (field, target) in [("tbt_target", tbt_target), ("ttft_target", ttft_target)] {
            if target == Some(Duration::ZERO) {
                reasons.push(SubmitError::ZeroTarget { field });
            }
        }
        if let (Some(tbt), Some(ttft)) = (tbt_target, ttft_target)
            && tbt > ttft
        {
            reasons.push(SubmitError::ContradictoryTargets { tbt, ttft });
        }
        if self.living.contains_key(&id) {
            reasons.push(SubmitError::Duplicate { id });
        }
        let waiting = self.waiting().count();
        if waiting >= max_waiting {
            reasons.push(SubmitError::QueueFull { waiting });
        }
        reasons
    }

    fn check_cancel(&mut self, id: SequenceId, answer: bool, scheduler: &Scheduler) -> Result<(), Broken> {
        let in_step = self.in_flight.as_ref().is_some_and(|step| step.sequences().any(|other| other == id));
        let there = self.living.get(&id).is_some_and(|sequence| !sequence.cancelled);
        ensure!(answer == there, Refusal, "cancel of {} answers {answer}", Name(id));
        if there && in_step {
            if let Some(sequence) = self.living.get_mut(&id) {
                sequence.cancelled = true;
            }
        } else if there {
            self.leave(id);
            ensure!(scheduler.blocks(id).is_none(), Gone, "{} keeps its blocks after it was cancelled", Name(id));
        }
        Ok(())
    }

    fn check_plan(&mut self, step: &Step, scheduler: &Scheduler) -> Result<(), Broken> {
        if let Some(flight) = &self.in_flight {
            ensure!(flight == step, Replay, "planning again gives {step:?} after {flight:?}");
            return Ok(());
        }
        ensure!(step.number == self.next_step, Replay, "the step after {} has number {}", self.next_step, step.number);
        if step.is_empty() {
            ensure!(self.living.is_empty(), Starvation, "the step is empty but {} sequences live", self.living.len());
            ensure!(step.preempted.is_empty(), Preemption, "an empty step takes blocks away");
            return Ok(());
        }
        self.next_step += 1;
        self.check_preemptions(step)?;
        self.check_admissions(step, scheduler)?;
        self.check_decode(step)?;
        for tile in &step.tiles {
            self.check_tile(tile)?;
        }
        if self.follows_strictly() {
            ensure!(self.cohorts.len() <= 1, Policy, "{} cohorts are under way", self.cohorts.len());
        }
        self.in_flight = Some(step.clone());
        Ok(())
    }

    /// Invariant 1, and the rows that decoding writes.
    fn check_decode(&mut self, step: &Step) -> Result<(), Broken> {
        let decoding = self.living.values().filter(|sequence| sequence.place == Place::Decoding).count();
        let mut seen = BTreeSet::new();
        for row in &step.decode {
            let name = Name(row.sequence);
            ensure!(seen.insert(row.sequence), Decode, "{name} decodes twice in a step");
            let Some(sequence) = self.living.get(&row.sequence) else {
                return Err(Broken(crate::Rule::Gone, format!("{name} decodes but has left")));
            };
            ensure!(sequence.place == Place::Decoding, Decode, "{name} decodes but is {:?}", sequence.place);
            let expected = sequence.tokens() - 1;
            ensure!(row.position == expected, Decode, "{name} decodes at {}, not at {expected}", row.position);
            for layer in 0..self.config.layers {
                self.kv.write(&sequence.table, layer, expected..expected + 1, &sequence.rows)?;
                self.states.pass(&sequence.state, layer, expected..expected + 1, &sequence.rows)?;
                self.written.push((row.sequence, layer, expected..expected + 1));
            }
        }
        ensure!(seen.len() == decoding, Decode, "{} of {decoding} decoding sequences are in the step", seen.len());
        Ok(())
    }

    fn check_commit(&mut self, report: &Report, result: &Result<(), CommitError>) -> Result<Vec<Ended>, Broken> {
        let named = report.finished.iter().chain(&report.failed).chain(report.sampled.iter().map(|(id, _)| id));
        let expected = match &self.in_flight {
            None => Err(CommitError::NoStep { reported: report.step }),
            Some(step) if step.number != report.step => {
                Err(CommitError::WrongStep { reported: report.step, in_flight: step.number })
            }
            Some(step) => {
                let stranger = named.copied().find(|id| !step.sequences().any(|other| other == *id));
                let mut reached = report.reached.iter().flatten();
                let astray = reached.find(|(cohort, at)| !self.is_on_its_way(step, *cohort, *at));
                match (stranger, astray) {
                    (Some(id), _) => Err(CommitError::NotInStep { id, step: step.number }),
                    (None, Some((cohort, _))) => Err(CommitError::NotOnItsWay { cohort: *cohort, step: step.number }),
                    (None, None) => Ok(()),
                }
            }
        };
        ensure!(*result == expected, Refusal, "commit answers {result:?}, not {expected:?}");
        if expected.is_err() {
            return Ok(Vec::new());
        }
        let Some(step) = self.in_flight.take() else {
            return Ok(Vec::new());
        };
        for row in &step.decode {
            self.count_token(row.sequence);
        }
        let layers = self.config.layers;
        let whole: Vec<_> = step.tiles.iter().filter(|tile| tile.to.layer >= layers && !self.is_cut(tile)).collect();
        self.reached.clear();
        for tile in whole {
            self.cohorts.retain(|cohort| cohort.id != tile.cohort);
            for member in tile.members.iter().filter(|member| !member.dropped) {
                self.finish_rows(member);
            }
        }
        let mut ended = Vec::new();
        let written = std::mem::take(&mut self.written);
        for id in step.sequences() {
            let Some(sequence) = self.living.get(&id) else { continue };
            let failed = report.failed.contains(&id);
            let early = failed || sequence.cancelled;
            if !early && !report.finished.contains(&id) && sequence.generated < sequence.max_tokens {
                continue;
            }
            if failed {
                for (_, layer, places) in written.iter().filter(|(owner, ..)| *owner == id) {
                    self.kv.spoil(&sequence.table, *layer, places.clone())?;
                }
            } else if sequence.place == Place::Decoding {
                // The newest token was never fed.
                self.kv.check(&sequence.table, &sequence.rows[..sequence.tokens() - 1])?;
            }
            ended.push(Ended { id, generated: sequence.generated, early });
            self.leave(id);
        }
        Ok(ended)
    }

    /// Rows of a cohort have passed the last layer.
    fn finish_rows(&mut self, member: &TileRows) {
        if let Some(sequence) = self.living.get_mut(&member.sequence) {
            sequence.cohort = None;
            sequence.done += member.rows;
        }
        if member.ends_prompt {
            self.count_token(member.sequence);
        }
    }

    /// A sequence has one more token.
    fn count_token(&mut self, id: SequenceId) {
        if let Some(sequence) = self.living.get_mut(&id) {
            sequence.place = Place::Decoding;
            sequence.push(sequence.next_token());
            sequence.generated += 1;
            self.fairness.serve_token(sequence.tenant);
        }
    }

    /// A sequence is gone.
    fn leave(&mut self, id: SequenceId) {
        self.leave_cohort(id);
        if let Some(sequence) = self.living.remove(&id) {
            self.kv.release(&sequence.table);
            if sequence.place == Place::Waiting {
                self.fairness.leave(sequence.tenant);
            }
        }
    }

    fn waiting(&self) -> impl Iterator<Item = &Sequence> {
        self.living.values().filter(|sequence| sequence.place == Place::Waiting)
    }

    fn running(&self) -> impl Iterator<Item = &Sequence> {
        self.living.values().filter(|sequence| sequence.is_running())
    }
}
