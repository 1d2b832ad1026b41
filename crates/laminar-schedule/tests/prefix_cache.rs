//! The prefix cache as a scheduler's caller sees it, one statement a test.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use laminar_schedule::{
    CostPrior, NewSequence, Part, Policy, Prefix, Report, Scheduler, SchedulerConfig, SequenceId, Step,
};
use std::time::Duration;

const POLICIES: [Policy; 3] = [
    Policy::Whole,
    Policy::Chunked { tokens: 48 },
    Policy::Layered { group_tokens: 32, cohort_tokens: 512, groups: None },
];

fn scheduler(policy: Policy, kv_blocks: usize) -> Scheduler {
    Scheduler::new(SchedulerConfig {
        policy,
        layers: 8,
        experts: None,
        costs: CostPrior::default(),
        max_sequences: 8,
        kv_blocks,
        block_len: 32,
        max_waiting: 8,
        context: 1024,
        snapshots: None,
    })
    .unwrap()
}

/// A prompt whose tokens are all `token`.
fn submit(scheduler: &mut Scheduler, id: u64, token: u32, prompt_tokens: usize) {
    let prefix = Some(Prefix { tokens: vec![token; prompt_tokens].into(), ..Prefix::default() });
    let new = NewSequence { prefix, ..NewSequence::new(SequenceId(id), prompt_tokens, 4) };
    scheduler.submit(new, Duration::ZERO).unwrap();
}

fn run(scheduler: &mut Scheduler) -> Step {
    let step = scheduler.plan(Duration::ZERO);
    scheduler.commit(&Report { step: step.number, ..Report::default() }).unwrap();
    step
}

fn finish(scheduler: &mut Scheduler) {
    while !scheduler.is_idle() {
        run(scheduler);
    }
}

/// The row at which the sequence that is submitted next begins.
fn start(scheduler: &mut Scheduler, id: u64, token: u32, prompt_tokens: usize) -> usize {
    submit(scheduler, id, token, prompt_tokens);
    let step = run(scheduler);
    let start = step.tiles.iter().flat_map(|tile| &tile.members).find(|member| member.sequence.0 == id).unwrap().start;
    finish(scheduler);
    start
}

#[test]
fn a_repeated_prompt_starts_behind_its_full_blocks_but_runs_its_last_row() {
    for policy in POLICIES {
        for (prompt, hit) in [(1, 0), (31, 0), (32, 0), (33, 32), (63, 32), (64, 32), (65, 64), (300, 288)] {
            let mut scheduler = scheduler(policy, 64);
            assert_eq!(start(&mut scheduler, 1, 7, prompt), 0);
            assert_eq!(start(&mut scheduler, 2, 7, prompt), hit, "{policy:?}, {prompt} tokens");
            assert_eq!(start(&mut scheduler, 3, 8, prompt), 0);
            let stats = scheduler.stats();
            assert_eq!((stats.prefix_lookup_tokens, stats.prefix_hit_tokens), (3 * prompt as u64, hit as u64));
            assert_eq!((stats.used_blocks, stats.cached_blocks), (0, 2 * (prompt / 32)));
        }
    }
}

#[test]
fn invariant_4_a_block_is_found_only_when_its_last_layer_is_done() {
    let policy = Policy::Layered { group_tokens: 32, cohort_tokens: 64, groups: Some(4) };
    let mut scheduler = scheduler(policy, 64);
    submit(&mut scheduler, 1, 7, 192);
    // Three chunks of 64 rows walk four groups each. A newcomer is admitted only between chunks, so the one that waits
    // through the first chunk finds the blocks of that chunk and no others.
    submit(&mut scheduler, 2, 7, 192);
    for group in 0..4 {
        assert_eq!(scheduler.stats().prefix_hit_tokens, 0, "group {group}");
        let step = run(&mut scheduler);
        assert_eq!(step.tiles[0].parts(None), [Part::Layers(group * 2..group * 2 + 2)]);
        assert_eq!(step.tiles[0].members.len(), 1);
    }
    // The first is cancelled in the middle of its second chunk: two of its blocks are done, two are not.
    run(&mut scheduler);
    run(&mut scheduler);
    assert!(scheduler.cancel(SequenceId(1)));
    assert_eq!(scheduler.stats().cached_blocks, 2);
    let step = run(&mut scheduler);
    assert_eq!((step.tiles[0].members[0].sequence, step.tiles[0].members[0].start), (SequenceId(2), 64));
    finish(&mut scheduler);
    assert_eq!(start(&mut scheduler, 3, 7, 192), 160, "it has finished, so all of it is found");
}

#[test]
fn invariant_4_a_prompt_cancelled_or_failed_before_its_last_layer_publishes_nothing() {
    for policy in POLICIES {
        let mut scheduler = scheduler(policy, 64);
        submit(&mut scheduler, 1, 7, 40);
        let step = scheduler.plan(Duration::ZERO);
        scheduler.cancel(SequenceId(1));
        scheduler.commit(&Report { step: step.number, ..Report::default() }).unwrap();
        submit(&mut scheduler, 2, 7, 40);
        let step = scheduler.plan(Duration::ZERO);
        let failed = vec![SequenceId(2)];
        scheduler.commit(&Report { step: step.number, failed, ..Report::default() }).unwrap();
        assert!(scheduler.is_idle());
        assert_eq!(scheduler.stats().cached_blocks, 0);
        assert_eq!(start(&mut scheduler, 3, 7, 40), 0, "{policy:?}");
    }
}

#[test]
fn the_group_count_follows_the_rows_that_run() {
    let mut scheduler = scheduler(Policy::Layered { group_tokens: 32, cohort_tokens: 512, groups: None }, 64);
    submit(&mut scheduler, 1, 7, 128);
    assert_eq!(run(&mut scheduler).tiles[0].parts(None), [Part::Layers(0..2)], "four groups");
    finish(&mut scheduler);
    submit(&mut scheduler, 2, 7, 129);
    assert_eq!(run(&mut scheduler).tiles[0].parts(None), [Part::Layers(0..8)], "one row, one group");
}

#[test]
fn cached_blocks_make_room_for_a_prompt_that_needs_them() {
    let mut scheduler = scheduler(Policy::Whole, 4);
    start(&mut scheduler, 1, 7, 100);
    assert_eq!(scheduler.stats().cached_blocks, 3);
    assert_eq!(start(&mut scheduler, 2, 8, 70), 0);
    // Three blocks for 74 positions: the free one and two of the cache, the last ones of the chain.
    assert_eq!(start(&mut scheduler, 3, 7, 100), 32);
}

#[test]
fn a_sequence_without_a_prefix_neither_finds_nor_publishes() {
    let mut scheduler = scheduler(Policy::Whole, 64);
    scheduler.submit(NewSequence::new(SequenceId(1), 64, 1), Duration::ZERO).unwrap();
    finish(&mut scheduler);
    assert_eq!(scheduler.stats().cached_blocks, 0);
    assert_eq!(scheduler.stats().prefix_lookup_tokens, 0);
}
