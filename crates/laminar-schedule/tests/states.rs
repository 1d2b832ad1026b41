//! States of recurrent layers as a scheduler's caller sees them, one statement a test.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use laminar_schedule::{CostPrior, NewSequence, Policy, Prefix, Report, Scheduler, SchedulerConfig, SequenceId, Step};
use std::collections::BTreeSet;
use std::time::Duration;

const POLICIES: [Policy; 4] = [
    Policy::Whole,
    Policy::Chunked { tokens: 48 },
    Policy::Layered { group_tokens: 32, cohort_tokens: 64, groups: None },
    Policy::ADAPTIVE,
];
const SEQUENCES: usize = 3;

fn scheduler(policy: Policy, kv_blocks: usize, snapshots: Option<usize>) -> Scheduler {
    Scheduler::new(SchedulerConfig {
        policy,
        layers: 8,
        experts: None,
        costs: CostPrior::default(),
        max_sequences: SEQUENCES,
        kv_blocks,
        block_len: 32,
        max_waiting: 8,
        context: 1024,
        snapshots,
    })
    .unwrap()
}

fn submit(scheduler: &mut Scheduler, id: u64, tokens: &[u32], max_tokens: usize) {
    let prefix = Some(Prefix { tokens: tokens.into(), ..Prefix::default() });
    let new = NewSequence { prefix, ..NewSequence::new(SequenceId(id), tokens.len(), max_tokens) };
    scheduler.submit(new, Duration::ZERO).unwrap();
}

/// One step; every sequence that gets a token gets this one.
fn run(scheduler: &mut Scheduler, token: u32) -> Step {
    let step = scheduler.plan(Duration::ZERO);
    let ending = step.tiles.iter().filter(|tile| tile.to.layer >= 8).flat_map(|tile| &tile.members);
    let ending = ending.filter(|member| member.ends_prompt).map(|member| member.sequence);
    let sampled = step.decode.iter().map(|row| row.sequence).chain(ending).map(|id| (id, token)).collect();
    scheduler.commit(&Report { step: step.number, sampled, ..Report::default() }).unwrap();
    step
}

/// Where a prompt begins, and whether there is a state that it goes on from; it is then run to its end.
fn pass(scheduler: &mut Scheduler, id: u64, tokens: &[u32], max_tokens: usize) -> usize {
    submit(scheduler, id, tokens, max_tokens);
    let step = scheduler.plan(Duration::ZERO);
    let start = step.tiles.iter().flat_map(|tile| &tile.members).find(|member| member.sequence.0 == id).unwrap().start;
    let state = scheduler.states(SequenceId(id)).unwrap();
    assert_eq!(state.begin.map_or(0, |begin| begin.position), start);
    while !scheduler.is_idle() {
        run(scheduler, 5);
    }
    start
}

/// `common` tokens of one text, then others.
fn text(common: usize, length: usize, own: u32) -> Vec<u32> {
    (0..length).map(|place| if place < common { place as u32 } else { 1000 * own + place as u32 }).collect()
}

#[test]
fn sequences_that_run_have_a_slot_each_and_give_it_back() {
    for policy in POLICIES {
        let mut scheduler = scheduler(policy, 8, None);
        for id in 0..8 {
            submit(&mut scheduler, id, &text(0, 40 + id as usize, id as u32), 60);
        }
        while !scheduler.is_idle() {
            let running: Vec<_> = (0..8).filter_map(|id| scheduler.states(SequenceId(id))).collect();
            let slots: BTreeSet<_> = running.iter().map(|state| state.own).collect();
            assert!(slots.len() == running.len() && slots.iter().all(|slot| (*slot as usize) < SEQUENCES));
            run(&mut scheduler, 5);
        }
        assert!((0..8).all(|id| scheduler.states(SequenceId(id)).is_none()));
        assert!(scheduler.stats().preemptions > 0, "{policy:?}");
    }
}

#[test]
fn a_prompt_begins_behind_the_last_whole_block_of_an_equal_one_if_its_state_was_left() {
    for policy in POLICIES {
        for (prompt, hit) in [(31, 0), (33, 32), (64, 32), (300, 288)] {
            let mut with = scheduler(policy, 64, Some(4));
            let mut without = scheduler(policy, 64, Some(0));
            let tokens = text(1000, prompt, 0);
            for id in 0..2 {
                let expected = if id == 0 { 0 } else { hit };
                assert_eq!(pass(&mut with, id, &tokens, 4), expected, "{policy:?}, {prompt} tokens");
                assert_eq!(pass(&mut without, id, &tokens, 4), 0);
            }
            assert_eq!((with.stats().prefix_hit_tokens, without.stats().prefix_hit_tokens), (hit as u64, 0));
        }
    }
}

#[test]
fn a_third_prompt_begins_where_the_second_departed_from_the_first() {
    for policy in POLICIES {
        let mut scheduler = scheduler(policy, 64, Some(6));
        let starts = [1, 2, 3, 4].map(|own| pass(&mut scheduler, own, &text(140, 300, own as u32), 4));
        assert_eq!(starts, [0, 0, 128, 128], "{policy:?}");
    }
}

#[test]
fn a_conversation_goes_on_behind_its_newest_whole_block() {
    for policy in POLICIES {
        let mut scheduler = scheduler(policy, 64, Some(6));
        let mut tokens = text(0, 50, 1);
        for (turn, hit) in [0, 128, 224, 320].into_iter().enumerate() {
            assert_eq!(pass(&mut scheduler, turn as u64, &tokens, 80), hit, "{policy:?}, turn {turn}");
            // The newest token of an answer has no row yet.
            tokens.extend([5; 80]);
            tokens.extend(text(0, 20, 10 + turn as u32));
        }
    }
}

#[test]
fn few_snapshots_go_to_those_who_were_used_last() {
    let mut scheduler = scheduler(Policy::Whole, 64, Some(2));
    let starts = |scheduler: &mut Scheduler, owns: &[u32], id: u64| -> Vec<usize> {
        owns.iter().zip(id..).map(|(own, id)| pass(scheduler, id, &text(0, 70, *own), 1)).collect()
    };
    assert_eq!(starts(&mut scheduler, &[1, 2, 1], 0), [0, 0, 64]);
    // The third takes the place of the second.
    assert_eq!(starts(&mut scheduler, &[3, 1, 3, 2], 10), [0, 64, 64, 0]);
}
