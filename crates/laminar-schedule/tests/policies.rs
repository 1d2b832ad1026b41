//! The policies, one statement a test.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use laminar_schedule::{
    CohortId, CommitError, ConfigError, CostPrior, Cursor, Experts, NewSequence, Part, Policy, Recorder, Report,
    Scheduler, SchedulerConfig, SequenceId, Stage, Step, SubmitError, Targets, replay,
};
use std::ops::Range;
use std::time::Duration;

fn config(policy: Policy) -> SchedulerConfig {
    SchedulerConfig {
        policy,
        layers: 48,
        experts: None,
        costs: CostPrior::default(),
        max_sequences: 8,
        kv_blocks: 4096,
        block_len: 32,
        max_waiting: 8,
        context: 32768,
        snapshots: None,
    }
}

fn scheduler(policy: Policy) -> Scheduler {
    Scheduler::new(config(policy)).unwrap()
}

fn submit(scheduler: &mut Scheduler, id: u64, prompt_tokens: usize) {
    scheduler.submit(NewSequence::new(SequenceId(id), prompt_tokens, 100), Duration::ZERO).unwrap();
}

fn run(scheduler: &mut Scheduler) -> Step {
    let step = scheduler.plan(Duration::ZERO);
    scheduler.commit(&Report { step: step.number, ..Report::default() }).unwrap();
    step
}

/// (sequence, first row, rows) of the members and the layers of the step's tile.
fn tile(step: &Step) -> (Vec<(u64, usize, usize)>, Range<usize>) {
    let tile = &step.tiles[0];
    let [Part::Layers(layers)] = &tile.parts(None)[..] else { panic!("{tile:?} is not made of whole layers") };
    (tile.members.iter().map(|m| (m.sequence.0, m.start, m.rows)).collect(), layers.clone())
}

#[test]
fn whole_runs_a_prompt_in_one_step() {
    let mut scheduler = scheduler(Policy::Whole);
    submit(&mut scheduler, 1, 20_000);
    submit(&mut scheduler, 2, 10);
    assert_eq!(tile(&run(&mut scheduler)), (vec![(1, 0, 20_000)], 0..48));
    let step = run(&mut scheduler);
    assert_eq!(tile(&step), (vec![(2, 0, 10)], 0..48));
    assert_eq!(step.decode[0].position, 20_000);
}

#[test]
fn whole_merges_short_prompts() {
    let mut scheduler = scheduler(Policy::Whole);
    submit(&mut scheduler, 1, 100);
    submit(&mut scheduler, 2, 8092);
    submit(&mut scheduler, 3, 1);
    assert_eq!(tile(&run(&mut scheduler)).0, [(1, 0, 100), (2, 0, 8092)]);
    assert_eq!(tile(&run(&mut scheduler)).0, [(3, 0, 1)]);
}

#[test]
fn chunked_fills_its_budget_with_started_prompts_first() {
    let mut scheduler = scheduler(Policy::CHUNKED);
    submit(&mut scheduler, 1, 700);
    submit(&mut scheduler, 2, 400);
    assert_eq!(tile(&run(&mut scheduler)), (vec![(1, 0, 512)], 0..48));
    assert_eq!(tile(&run(&mut scheduler)), (vec![(1, 512, 188), (2, 0, 324)], 0..48));
    let step = run(&mut scheduler);
    assert_eq!(tile(&step), (vec![(2, 324, 76)], 0..48));
    assert_eq!(step.decode.len(), 1);
}

#[test]
fn chunked_released_shares_its_budget_with_decode_rows() {
    let mut scheduler = scheduler(Policy::ChunkedReleased { tokens: 512 });
    [(1, 100), (2, 100), (3, 1000)].into_iter().for_each(|(id, tokens)| submit(&mut scheduler, id, tokens));
    assert_eq!(tile(&run(&mut scheduler)).0, [(1, 0, 100), (2, 0, 100), (3, 0, 312)]);
    let step = run(&mut scheduler);
    assert_eq!((tile(&step).0, step.decode.len()), (vec![(3, 312, 510)], 2));
    let mut full = Scheduler::new(config(Policy::ChunkedReleased { tokens: 1 })).unwrap();
    submit(&mut full, 1, 1);
    submit(&mut full, 2, 1);
    assert_eq!(tile(&run(&mut full)).0, [(1, 0, 1)]);
    let step = run(&mut full);
    assert_eq!((step.tiles.len(), step.decode.len()), (0, 1), "a stream uses up the budget");
}

#[test]
fn layered_uses_the_papers_group_count() {
    for (tokens, groups) in [(1, 1), (512, 1), (513, 2), (1100, 3), (8192, 16)] {
        let mut scheduler = scheduler(Policy::LAYERED);
        submit(&mut scheduler, 1, tokens);
        let mut depth = 0;
        for group in 0..groups {
            let (members, layers) = tile(&run(&mut scheduler));
            assert_eq!(members, [(1, 0, tokens)]);
            assert_eq!(layers.start, depth, "group {group} of {groups}");
            depth = layers.end;
        }
        assert_eq!(depth, 48, "{tokens} tokens walk {groups} groups");
    }
}

#[test]
fn layered_has_at_most_one_group_a_layer() {
    let mut scheduler = Scheduler::new(SchedulerConfig { layers: 3, ..config(Policy::LAYERED) }).unwrap();
    submit(&mut scheduler, 1, 8192);
    assert_eq!(tile(&run(&mut scheduler)).1, 0..1);
    assert_eq!(tile(&run(&mut scheduler)).1, 1..2);
    assert_eq!(tile(&run(&mut scheduler)).1, 2..3);
}

#[test]
fn layered_admits_nobody_while_a_cohort_is_under_way() {
    let mut scheduler = scheduler(Policy::LAYERED);
    submit(&mut scheduler, 1, 1024);
    assert_eq!(tile(&run(&mut scheduler)), (vec![(1, 0, 1024)], 0..24));
    submit(&mut scheduler, 2, 10);
    assert_eq!(tile(&run(&mut scheduler)), (vec![(1, 0, 1024)], 24..48));
    assert_eq!(tile(&run(&mut scheduler)), (vec![(2, 0, 10)], 0..48));
}

#[test]
fn layered_merges_waiting_prompts_into_one_cohort() {
    let mut scheduler = scheduler(Policy::LAYERED);
    for id in 1..=3 {
        submit(&mut scheduler, id, 300);
    }
    assert_eq!(tile(&run(&mut scheduler)), (vec![(1, 0, 300), (2, 0, 300), (3, 0, 300)], 0..24));
}

#[test]
fn a_prompt_beyond_the_cohort_budget_is_chunked_and_layered() {
    let mut scheduler = scheduler(Policy::LAYERED);
    submit(&mut scheduler, 1, 20_000);
    submit(&mut scheduler, 2, 100);
    for (start, rows, groups) in [(0, 8192, 16), (8192, 8192, 16)] {
        for group in 0..groups {
            assert_eq!(tile(&run(&mut scheduler)), (vec![(1, start, rows)], group * 3..group * 3 + 3));
        }
    }
    // 3616 + 100 tokens are eight groups; the newcomer shares them.
    for group in 0..8 {
        let expected = (vec![(1, 16_384, 3616), (2, 0, 100)], group * 6..group * 6 + 6);
        assert_eq!(tile(&run(&mut scheduler)), expected);
    }
    assert_eq!(run(&mut scheduler).decode.len(), 2);
}

#[test]
fn a_prompt_that_fits_a_cohort_is_never_cut() {
    let mut scheduler = scheduler(Policy::LAYERED);
    submit(&mut scheduler, 1, 5000);
    submit(&mut scheduler, 2, 5000);
    assert_eq!(tile(&run(&mut scheduler)).0, [(1, 0, 5000)]);
}

#[test]
fn a_cancelled_member_leaves_its_cohort_and_the_others_go_on() {
    let mut scheduler = scheduler(Policy::LAYERED);
    submit(&mut scheduler, 1, 600);
    submit(&mut scheduler, 2, 600);
    assert_eq!(tile(&run(&mut scheduler)), (vec![(1, 0, 600), (2, 0, 600)], 0..16));
    assert!(scheduler.cancel(SequenceId(1)));
    assert_eq!(scheduler.stats().used_blocks, 600usize.div_ceil(32));
    assert_eq!(tile(&run(&mut scheduler)), (vec![(2, 0, 600)], 16..32));
    assert!(scheduler.cancel(SequenceId(2)));
    submit(&mut scheduler, 3, 10);
    assert_eq!(tile(&run(&mut scheduler)), (vec![(3, 0, 10)], 0..48), "an empty cohort ends at once");
}

#[test]
fn a_sequence_cancelled_in_flight_keeps_its_blocks_until_the_commit() {
    let mut scheduler = scheduler(Policy::Whole);
    submit(&mut scheduler, 1, 100);
    let step = scheduler.plan(Duration::ZERO);
    assert!(scheduler.cancel(SequenceId(1)));
    assert_eq!(scheduler.stats().used_blocks, 100usize.div_ceil(32));
    scheduler.commit(&Report { step: step.number, ..Report::default() }).unwrap();
    assert_eq!(scheduler.stats().used_blocks, 0);
    assert!(scheduler.is_idle());
}

#[test]
fn a_small_sequence_does_not_overtake_one_that_waits_for_blocks() {
    let mut scheduler = Scheduler::new(SchedulerConfig { kv_blocks: 7, ..config(Policy::Whole) }).unwrap();
    submit(&mut scheduler, 1, 100);
    submit(&mut scheduler, 2, 100);
    submit(&mut scheduler, 3, 1);
    assert_eq!(tile(&run(&mut scheduler)).0, [(1, 0, 100)]);
    assert!(run(&mut scheduler).tiles.is_empty(), "4 of 7 blocks are taken, sequence 2 needs 4");
    assert!(scheduler.cancel(SequenceId(1)));
    assert_eq!(tile(&run(&mut scheduler)).0, [(2, 0, 100), (3, 0, 1)]);
}

#[test]
fn a_sequence_ends_at_its_length_without_being_reported() {
    let mut scheduler = scheduler(Policy::Whole);
    scheduler.submit(NewSequence::new(SequenceId(1), 3, 2), Duration::ZERO).unwrap();
    assert_eq!(run(&mut scheduler).tiles.len(), 1);
    assert_eq!(run(&mut scheduler).decode.len(), 1);
    assert!(scheduler.is_idle());
}

#[test]
fn sequences_that_cannot_run_are_refused_with_the_numbers() {
    let small = SchedulerConfig { kv_blocks: 4, max_waiting: 1, context: 200, ..config(Policy::Whole) };
    let mut scheduler = Scheduler::new(small).unwrap();
    let mut try_submit = |id, prompt_tokens, max_tokens| {
        scheduler.submit(NewSequence::new(SequenceId(id), prompt_tokens, max_tokens), Duration::ZERO).unwrap_err()
    };
    assert_eq!(try_submit(1, 0, 1), SubmitError::EmptyPrompt);
    assert_eq!(try_submit(1, 1, 0), SubmitError::NothingToGenerate);
    assert_eq!(try_submit(1, 200, 1), SubmitError::TooLong { prompt_tokens: 200, context: 200 });
    assert_eq!(try_submit(1, 100, 1000), SubmitError::NeverFits { needed: 7, total: 4 });
    submit(&mut scheduler, 1, 10);
    let again = NewSequence::new(SequenceId(1), 10, 1);
    assert_eq!(scheduler.submit(again.clone(), Duration::ZERO), Err(SubmitError::Duplicate { id: SequenceId(1) }));
    let next = NewSequence { id: SequenceId(2), ..again };
    assert_eq!(scheduler.submit(next, Duration::ZERO), Err(SubmitError::QueueFull { waiting: 1 }));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let zero_layers = SchedulerConfig { layers: 0, ..config(Policy::Whole) };
    assert_eq!(Scheduler::new(zero_layers).unwrap_err(), ConfigError::Zero { field: "layers" });
    let zero_chunk = config(Policy::Chunked { tokens: 0 });
    assert_eq!(Scheduler::new(zero_chunk).unwrap_err(), ConfigError::Zero { field: "chunked tokens" });
    let no_room = SchedulerConfig { context: 1, ..config(Policy::Whole) };
    assert_eq!(Scheduler::new(no_room).unwrap_err(), ConfigError::ContextTooSmall { context: 1 });
}

#[test]
fn invariant_6_a_recorded_run_replays_to_the_same_steps() {
    let mut recorder = Recorder::new(scheduler(Policy::LAYERED));
    let mut steps = Vec::new();
    for tick in 0..60u64 {
        if tick < 12 {
            let prompt_tokens = 100 + 400 * tick as usize;
            let now = Duration::from_millis(tick);
            let _ = recorder.submit(NewSequence::new(SequenceId(tick), prompt_tokens, 5), now);
        }
        if tick % 4 == 3 {
            recorder.cancel(SequenceId(tick / 2));
        }
        let step = recorder.plan(Duration::from_millis(tick));
        let finished = step.decode.iter().skip(1).map(|row| row.sequence).collect();
        let _ = recorder.commit(&Report { step: step.number, finished, ..Report::default() });
        steps.push(step);
    }
    assert!(steps.iter().any(|step| !step.decode.is_empty()) && steps.iter().any(|step| !step.tiles.is_empty()));
    assert_eq!(replay(config(Policy::LAYERED), recorder.events()).unwrap(), steps);
}

/// A mixture with one stream, and a long prompt that has just set out beside it.
fn beside_a_stream() -> (Scheduler, Step) {
    let targets = Targets { tbt: Some(Duration::from_secs(20)), ttft: None };
    let policy = Policy::Adaptive { targets, cohort_tokens: 8192 };
    let experts = Some(Experts { count: 64, top_k: 8 });
    let mut scheduler = Scheduler::new(SchedulerConfig { experts, ..config(policy) }).unwrap();
    submit(&mut scheduler, 1, 8);
    while scheduler.stats().running == 0 {
        run(&mut scheduler);
    }
    submit(&mut scheduler, 2, 8000);
    let step = scheduler.plan(Duration::ZERO);
    assert_eq!((step.decode.len(), step.tiles.len()), (1, 1));
    (scheduler, step)
}

#[test]
fn a_tile_that_ended_early_goes_on_where_it_ended() {
    let (mut scheduler, step) = beside_a_stream();
    let tile = &step.tiles[0];
    let reached = Cursor { layer: 0, stage: Stage::Attention { rows: 4 } };
    assert!(tile.from < reached && reached < tile.to);
    let early = Some(vec![(tile.cohort, reached)]);
    scheduler.commit(&Report { step: step.number, reached: early, ..Report::default() }).unwrap();
    let next = scheduler.plan(Duration::ZERO);
    assert_eq!((next.tiles[0].cohort, next.tiles[0].from), (tile.cohort, reached));
    // One that has not run at all.
    let reached = Some(vec![(tile.cohort, next.tiles[0].from)]);
    scheduler.commit(&Report { step: next.number, reached, ..Report::default() }).unwrap();
    assert_eq!(scheduler.plan(Duration::ZERO).tiles[0].from, next.tiles[0].from);
}

#[test]
fn a_step_whose_tile_gets_nowhere_teaches_what_the_decode_rows_took() {
    let (mut scheduler, mut step) = beside_a_stream();
    for _ in 0..40 {
        // The rest of the time went into an expert that is not done.
        let reached = Some(vec![(step.tiles[0].cohort, step.tiles[0].from)]);
        let (duration, decode) = (Duration::from_secs(15), Some(Duration::from_secs(2)));
        scheduler.commit(&Report { step: step.number, reached, duration, decode, ..Report::default() }).unwrap();
        step = scheduler.plan(Duration::ZERO);
    }
    let decode = step.deadline.unwrap().decode.as_secs_f64();
    assert!((1.8..3.0).contains(&decode), "{decode} s");
}

#[test]
fn a_place_that_a_tile_does_not_pass_is_refused_and_nothing_changes() {
    let (mut scheduler, step) = beside_a_stream();
    let tile = &step.tiles[0];
    let at = |layer, stage| Cursor { layer, stage };
    let wrong = [
        (tile.cohort, at(48, Stage::Attention { rows: 4 })),
        (tile.cohort, at(0, Stage::Attention { rows: 5 })),
        (CohortId(99), tile.from),
    ];
    for (cohort, reached) in wrong {
        let report = Report { step: step.number, reached: Some(vec![(cohort, reached)]), ..Report::default() };
        let refused = CommitError::NotOnItsWay { cohort, step: step.number };
        assert_eq!(scheduler.commit(&report), Err(refused), "{reached:?}");
        assert_eq!(scheduler.plan(Duration::ZERO), step);
    }
}

#[test]
fn steps_have_a_deadline_where_streams_wait_and_the_policy_keeps_targets() {
    let (mut scheduler, step) = beside_a_stream();
    let deadline = step.deadline.unwrap();
    assert!(deadline.until < Duration::from_secs(20) && deadline.until > Duration::from_secs(15), "{deadline:?}");
    assert!(deadline.decode < deadline.until);
    scheduler.commit(&Report { step: step.number, ..Report::default() }).unwrap();
    // With its only stream gone nobody waits.
    scheduler.cancel(SequenceId(1));
    assert_eq!(scheduler.plan(Duration::ZERO).deadline, None);
    for policy in [Policy::Whole, Policy::LAYERED, Policy::CHUNKED] {
        let mut scheduler = Scheduler::new(config(policy)).unwrap();
        submit(&mut scheduler, 1, 8);
        run(&mut scheduler);
        submit(&mut scheduler, 2, 8000);
        assert_eq!(scheduler.plan(Duration::ZERO).deadline, None);
    }
}

#[test]
fn tokens_told_together_get_their_rows_together() {
    let mut scheduler = scheduler(Policy::Whole);
    submit(&mut scheduler, 1, 40);
    let positions = |step: &Step| step.decode.iter().map(|row| row.position).collect::<Vec<_>>();
    let mut commit = |tokens: usize| {
        let step = scheduler.plan(Duration::ZERO);
        let sampled = (0..tokens).map(|token| (SequenceId(1), token as u32)).collect();
        scheduler.commit(&Report { step: step.number, sampled, ..Report::default() }).unwrap();
        let blocks = scheduler.plan(Duration::ZERO).sequences().map(|id| scheduler.blocks(id).unwrap().len()).sum();
        (positions(&step), step.sequences().count(), blocks)
    };
    // The prompt's step tells three tokens, of which the first was chosen from its last row.
    assert_eq!(commit(3), (vec![], 1, 2));
    assert_eq!(commit(40), (vec![40, 41, 42], 1, 3));
    assert_eq!(commit(1), ((43..83).collect(), 1, 3));
    assert_eq!(commit(1), (vec![83], 1, 3));
}

#[test]
fn a_sequence_ends_with_its_last_token_though_that_needed_no_row() {
    let mut scheduler = scheduler(Policy::Whole);
    scheduler.submit(NewSequence::new(SequenceId(1), 40, 3), Duration::ZERO).unwrap();
    let step = scheduler.plan(Duration::ZERO);
    let sampled = vec![(SequenceId(1), 7); 3];
    scheduler.commit(&Report { step: step.number, sampled, ..Report::default() }).unwrap();
    assert!(scheduler.is_idle());
    assert_eq!(scheduler.stats().used_blocks, 0);
}

#[test]
fn a_sequence_that_is_cancelled_while_its_tile_does_not_run_is_gone() {
    let mut scheduler = Scheduler::new(config(Policy::Whole)).unwrap();
    scheduler.submit(NewSequence::new(SequenceId(1), 40, 2), Duration::ZERO).unwrap();
    let step = scheduler.plan(Duration::ZERO);
    assert!(scheduler.cancel(SequenceId(1)));
    let reached = Some(vec![(step.tiles[0].cohort, step.tiles[0].from)]);
    scheduler.commit(&Report { step: step.number, reached, ..Report::default() }).unwrap();
    assert!(scheduler.is_idle());
    assert_eq!(scheduler.stats().used_blocks, 0);
}
