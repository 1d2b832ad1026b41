//! The auditor notices: steps that a scheduler has planned rightly, changed before the auditor sees them.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use laminar_schedule::{
    CostPrior, Cursor, Experts, NewSequence, Policy, Report, Scheduler, SchedulerConfig, SequenceId, Step, TenantId,
};
use laminar_sim::{Auditor, Rule, Tokens, Violation};
use std::time::Duration;

/// A scheduler under watch.
struct Watched {
    scheduler: Scheduler,
    auditor: Auditor,
}

impl Watched {
    fn new(policy: Policy) -> Self {
        let config = SchedulerConfig {
            policy,
            layers: 4,
            experts: Some(Experts { count: 8, top_k: 2 }),
            costs: CostPrior::default(),
            max_sequences: 4,
            kv_blocks: 64,
            block_len: 16,
            max_waiting: 8,
            context: 256,
            snapshots: None,
        };
        Self { scheduler: Scheduler::new(config.clone()).unwrap(), auditor: Auditor::new(&config) }
    }

    fn submit(&mut self, id: u64, prompt: usize) {
        let new = NewSequence { tenant: TenantId(id), ..NewSequence::new(SequenceId(id), prompt, 20) };
        let tokens = Tokens { prompt: vec![7; prompt], extra: [].into(), salt: id, adapter: 0 };
        let result = self.scheduler.submit(new.clone(), Duration::ZERO);
        self.auditor.submitted(&new, &tokens, Duration::ZERO, &result, &self.scheduler).unwrap();
    }

    /// Plans, and shows the auditor something else.
    fn plan(&mut self, change: impl FnOnce(&mut Step)) -> Result<Step, Violation> {
        let mut step = self.scheduler.plan(Duration::ZERO);
        change(&mut step);
        self.auditor.planned(&step, &self.scheduler)?;
        Ok(step)
    }

    fn step(&mut self) {
        let step = self.plan(|_| {}).unwrap();
        let report = Report { step: step.number, duration: Duration::from_millis(1), ..Report::default() };
        let result = self.scheduler.commit(&report);
        self.auditor.committed(&report, &result, &self.scheduler).unwrap();
    }

    fn broken_by(&mut self, change: impl FnOnce(&mut Step)) -> Rule {
        self.plan(change).unwrap_err().rule
    }
}

const LAYERED: Policy = Policy::Layered { group_tokens: 16, cohort_tokens: 512, groups: None };

/// Two sequences decode and a third one is in the middle of its walk.
fn busy() -> Watched {
    let mut watched = Watched::new(LAYERED);
    watched.submit(1, 10);
    watched.submit(2, 5);
    watched.step();
    watched.submit(3, 60);
    watched.step();
    watched
}

#[test]
fn what_is_right_is_accepted() {
    for policy in [Policy::Whole, Policy::CHUNKED, LAYERED, Policy::ADAPTIVE] {
        let mut watched = Watched::new(policy);
        (1..4).for_each(|id| watched.submit(id, 40));
        while !watched.auditor.is_empty() {
            watched.step();
        }
    }
}

#[test]
fn a_decode_row_that_is_missing_twice_there_or_elsewhere_is_noticed() {
    assert_eq!(busy().broken_by(|step| step.decode.truncate(1)), Rule::Decode);
    assert_eq!(busy().broken_by(|step| step.decode.push(step.decode[0])), Rule::Decode);
    assert_eq!(busy().broken_by(|step| step.decode[1].position += 1), Rule::Decode);
    assert_eq!(busy().broken_by(|step| step.decode[0].sequence = SequenceId(3)), Rule::Decode);
    assert_eq!(busy().broken_by(|step| step.decode[0].sequence = SequenceId(9)), Rule::Gone);
}

#[test]
fn a_walk_that_jumps_repeats_or_stands_is_noticed() {
    assert_eq!(busy().broken_by(|step| step.tiles[0].from = Cursor::at_layer(2)), Rule::Walk);
    assert_eq!(busy().broken_by(|step| step.tiles[0].from = Cursor::at_layer(0)), Rule::Walk);
    assert_eq!(busy().broken_by(|step| step.tiles[0].to = step.tiles[0].from), Rule::Walk);
    assert_eq!(busy().broken_by(|step| step.tiles[0].to = Cursor::at_layer(5)), Rule::Walk);
    // The group is one layer.
    assert_eq!(busy().broken_by(|step| step.tiles.push(step.tiles[0].clone())), Rule::Walk);
}

#[test]
fn rows_that_change_within_a_cohort_are_noticed() {
    assert_eq!(busy().broken_by(|step| step.tiles[0].members[0].rows -= 1), Rule::Walk);
    assert_eq!(busy().broken_by(|step| step.tiles[0].members[0].ends_prompt = false), Rule::Walk);
    assert_eq!(busy().broken_by(|step| step.tiles[0].members[0].dropped = true), Rule::Walk);
    assert_eq!(busy().broken_by(|step| step.tiles[0].members.clear()), Rule::Walk);
}

#[test]
fn a_sequence_that_has_left_and_runs_is_noticed() {
    let mut watched = busy();
    let answer = watched.scheduler.cancel(SequenceId(1));
    watched.auditor.cancelled(SequenceId(1), answer, &watched.scheduler).unwrap();
    let row = |sequence| laminar_schedule::DecodeRow { sequence: SequenceId(sequence), position: 12 };
    assert_eq!(watched.broken_by(|step| step.decode.push(row(1))), Rule::Gone);
}

#[test]
fn blocks_that_are_taken_without_need_or_not_given_back_are_noticed() {
    assert_eq!(busy().broken_by(|step| step.preempted.push(SequenceId(2))), Rule::Preemption);
    let mut watched = busy();
    // The scheduler is not told.
    let broken = watched.auditor.cancelled(SequenceId(1), true, &watched.scheduler).unwrap_err();
    assert_eq!(broken.rule, Rule::Gone);
}

#[test]
fn a_step_that_changes_when_it_is_planned_again_is_noticed() {
    let mut watched = busy();
    watched.plan(|_| {}).unwrap();
    assert_eq!(watched.broken_by(|step| step.decode.reverse()), Rule::Replay);
}

#[test]
fn calls_that_are_wrongly_refused_or_accepted_are_noticed() {
    let mut watched = busy();
    let new = NewSequence::new(SequenceId(1), 5, 5);
    let tokens = Tokens { prompt: vec![7; 5], extra: [].into(), salt: 1, adapter: 0 };
    let Watched { scheduler, auditor } = &mut watched;
    let broken = auditor.submitted(&new, &tokens, Duration::ZERO, &Ok(()), scheduler).unwrap_err();
    assert_eq!(broken.rule, Rule::Refusal);
    let broken = auditor.committed(&Report::default(), &Ok(()), scheduler).unwrap_err();
    assert_eq!(broken.rule, Rule::Refusal);
    let broken = auditor.cancelled(SequenceId(99), true, scheduler).unwrap_err();
    assert_eq!(broken.rule, Rule::Refusal);
}
