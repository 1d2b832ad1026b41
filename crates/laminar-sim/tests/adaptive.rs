//! What `adaptive` does when, one statement a test, on the virtual machine.

// A test says what went wrong by panicking; the helpers of these tests are no exception.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use laminar_schedule::{
    NewSequence, Part, Policy, Report, Scheduler, SchedulerConfig, SequenceId, Step, SubmitError, Targets,
};
use laminar_sim::{ModelShape, Roofs, VirtualMachine};
use std::time::Duration;

const MOE: ModelShape = ModelShape::QWEN3_30B_8L;
const DENSE: ModelShape = ModelShape::DENSE_8L;

/// A scheduler and a machine.
struct Bench {
    scheduler: Scheduler,
    machine: VirtualMachine,
    shape: ModelShape,
    now: Duration,
    next: u64,
}

/// A step, its report, and how it was explained.
struct Done {
    step: Step,
    report: Report,
    explained: String,
}

impl Done {
    fn millis(&self) -> f64 {
        self.report.duration.as_secs_f64() * 1e3
    }

    fn parts(&self, shape: &ModelShape) -> Vec<Part> {
        let experts = shape.experts().map(|experts| experts.count);
        self.step.tiles.iter().flat_map(|tile| tile.parts(experts)).collect()
    }
}

impl Bench {
    /// So many streams, beside which some prompts have run.
    fn new(shape: ModelShape, tbt: Option<u64>, streams: usize) -> Self {
        let targets = Targets { tbt: tbt.map(Duration::from_millis), ttft: None };
        let config = SchedulerConfig {
            policy: Policy::Adaptive { targets, cohort_tokens: 8192 },
            layers: shape.layers,
            experts: shape.experts(),
            costs: shape.cost_prior(),
            max_sequences: streams + 8,
            kv_blocks: 20_000,
            block_len: 32,
            max_waiting: 64,
            context: 40_000,
            snapshots: None,
        };
        let scheduler = Scheduler::new(config).unwrap();
        let machine = VirtualMachine::new(shape, Roofs::REFERENCE);
        let mut bench = Self { scheduler, machine, shape, now: Duration::ZERO, next: 0 };
        for _ in 0..streams {
            bench.submit(64, 20_000);
        }
        while bench.scheduler.stats().running < streams {
            bench.step();
        }
        for prompt in [96, 384, 1024, 160, 640, 1536] {
            let id = bench.submit(prompt, 1);
            bench.until_first_token(id);
            (0..8).filter(|_| streams > 0).for_each(|_| drop(bench.step()));
        }
        bench
    }

    fn submit(&mut self, prompt: usize, max_tokens: usize) -> SequenceId {
        self.submit_within(prompt, max_tokens, None)
    }

    fn submit_within(&mut self, prompt: usize, max_tokens: usize, ttft: Option<Duration>) -> SequenceId {
        let id = SequenceId(self.next);
        self.next += 1;
        let new = NewSequence { ttft_target: ttft, ..NewSequence::new(id, prompt, max_tokens) };
        self.scheduler.submit(new, self.now).unwrap();
        id
    }

    fn step(&mut self) -> Done {
        let step = self.scheduler.plan(self.now);
        let explained = self.scheduler.explain().to_string();
        let report = self.machine.execute(&step);
        self.now += report.duration;
        self.scheduler.commit(&report).unwrap();
        Done { step, report, explained }
    }

    /// The steps until a sequence has its first token, the one with it included.
    fn until_first_token(&mut self, id: SequenceId) -> Vec<Done> {
        let mut steps = Vec::new();
        loop {
            let done = self.step();
            let through = done.step.tiles.iter().filter(|tile| tile.to.layer == self.shape.layers);
            let first =
                through.flat_map(|tile| &tile.members).any(|member| member.sequence == id && member.ends_prompt);
            steps.push(done);
            if first {
                return steps;
            }
        }
    }
}

fn prefill_loads(steps: &[Done]) -> u64 {
    steps.iter().map(|done| done.report.prefill_expert_loads).sum()
}

#[test]
fn the_slack_decides_how_much_of_the_stack_a_step_passes() {
    let whole_layers = |tbt| {
        let mut bench = Bench::new(MOE, Some(tbt), 1);
        let id = bench.submit(512, 1);
        let steps = bench.until_first_token(id);
        assert!(steps.iter().all(|done| done.millis() <= tbt as f64), "{:?}", steps[0].explained);
        assert!(prefill_loads(&steps) <= 8 * 128, "every expert once");
        let layers = steps.iter().flat_map(|done| done.parts(&MOE)).filter_map(|part| match part {
            Part::Layers(layers) => Some(layers.len()),
            _ => None,
        });
        layers.max().unwrap_or(0)
    };
    assert_eq!(whole_layers(60), 0, "parts of a layer");
    assert!((1..8).contains(&whole_layers(500)), "some layers");
    assert_eq!(whole_layers(5000), 8, "all of them");
}

#[test]
fn with_nobody_to_protect_a_prompt_runs_in_steps_that_can_be_interrupted() {
    let mut bench = Bench::new(MOE, None, 0);
    let id = bench.submit(8192, 1);
    let steps = bench.until_first_token(id);
    assert!(steps.iter().all(|done| done.millis() <= 105.0));
    let mean = steps.iter().map(Done::millis).sum::<f64>() / steps.len() as f64;
    assert!(mean > 85.0, "short steps would cost time: {mean} ms");
    assert_eq!(prefill_loads(&steps), 8 * 128);
    assert!(
        steps[3].explained.contains("no streams, so at most 100 ms to stay interruptible"),
        "{}",
        steps[3].explained
    );
}

#[test]
fn a_dense_model_is_chunked_and_late_chunks_are_smaller() {
    let mut bench = Bench::new(DENSE, Some(250), 1);
    let id = bench.submit(8192, 1);
    let steps = bench.until_first_token(id);
    assert!(steps.iter().all(|done| done.millis() <= 250.0));
    assert!(steps.iter().all(|done| done.parts(&DENSE) == [Part::Layers(0..8)]));
    let rows: Vec<usize> = steps.iter().map(|done| done.step.tiles[0].rows()).collect();
    let (first, last) = (rows[0], rows[rows.len() - 2]);
    assert!(last * 2 < first, "{first} rows with nothing before them, {last} behind 8,000 others");
}

#[test]
fn a_stream_of_its_own_target_is_kept_to_it() {
    let mut bench = Bench::new(MOE, Some(500), 2);
    let id = SequenceId(bench.next);
    bench.next += 1;
    let tbt_target = Some(Duration::from_millis(90));
    let new = NewSequence { tbt_target, ..NewSequence::new(id, 64, 10_000) };
    bench.scheduler.submit(new, bench.now).unwrap();
    bench.until_first_token(id);
    let prompt = bench.submit(2048, 1);
    let steps = bench.until_first_token(prompt);
    assert!(steps.iter().all(|done| done.millis() <= 90.0));
    assert!(steps[0].explained.contains("the tightest target is 90.0 ms"), "{}", steps[0].explained);
}

#[test]
fn a_short_prompt_overtakes_a_long_one_in_the_middle_of_a_layer_and_the_long_one_goes_on() {
    let mut bench = Bench::new(MOE, None, 0);
    let long = bench.submit(8192, 1);
    (0..50).for_each(|_| drop(bench.step()));
    let short = bench.submit(64, 1);
    let arrival = bench.now;
    bench.until_first_token(short);
    assert!((bench.now - arrival).as_secs_f64() < 1.0);
    let rest = bench.until_first_token(long);
    assert!(rest[0].step.tiles[0].from.layer > 0 || !rest[0].step.tiles[0].from.is_between_layers());
}

#[test]
fn a_short_prompt_does_not_overtake_when_the_long_one_would_miss_its_target() {
    let first_token = |target: Option<f64>| {
        let mut bench = Bench::new(MOE, None, 0);
        let long = bench.submit_within(2048, 1, target.map(Duration::from_secs_f64));
        (0..20).for_each(|_| drop(bench.step()));
        let short = bench.submit(512, 1);
        let order: Vec<SequenceId> = [bench.until_first_token(short), Vec::new()]
            .iter()
            .flatten()
            .flat_map(|done| done.step.tiles.iter().filter(|tile| tile.to.layer == MOE.layers))
            .flat_map(|tile| tile.members.iter().map(|member| member.sequence))
            .collect();
        order.first() == Some(&long)
    };
    assert!(!first_token(None), "without a target the short one is first");
    assert!(!first_token(Some(60.0)), "and with one that leaves time for both");
    assert!(first_token(Some(7.9)), "but not with one that does not");
}

#[test]
fn short_prompts_set_out_together_and_a_long_one_does_not_hold_them_up() {
    let mut bench = Bench::new(MOE, None, 0);
    // Both read nearly all experts, whether apart or together.
    let short = bench.submit(24, 1);
    bench.submit(32, 1);
    bench.submit(8000, 1);
    let steps = bench.until_first_token(short);
    let members: Vec<usize> = steps[0].step.tiles[0].members.iter().map(|member| member.rows).collect();
    assert_eq!(members, [24, 32]);
}

#[test]
fn a_member_that_leaves_inside_a_layer_keeps_its_place_until_the_layer_ends() {
    let mut bench = Bench::new(MOE, None, 0);
    let (one, other) = (bench.submit(2000, 1), bench.submit(2000, 1));
    while bench.step().step.tiles[0].to.is_between_layers() {}
    bench.scheduler.cancel(one);
    let mut seen_dropped = false;
    loop {
        let done = bench.step();
        let tile = &done.step.tiles[0];
        let dropped: Vec<bool> = tile.members.iter().map(|member| member.dropped).collect();
        if dropped == [false] {
            assert_eq!((tile.members[0].sequence, tile.from.is_between_layers()), (other, true));
            break;
        }
        assert_eq!(dropped, [true, false]);
        seen_dropped = true;
    }
    assert!(seen_dropped);
}

#[test]
fn streams_that_leave_no_time_do_not_starve_prompts() {
    // Sixteen streams alone take longer than this.
    let mut bench = Bench::new(MOE, Some(20), 16);
    let id = bench.submit(512, 1);
    let steps = bench.until_first_token(id);
    assert!(steps[0].explained.contains("which leaves prompts no time"), "{}", steps[0].explained);
    let alone = bench.step().millis();
    assert!(steps.iter().all(|done| done.millis() < 1.35 * alone), "{alone}");
}

#[test]
fn targets_that_contradict_each_other_are_refused() {
    let mut bench = Bench::new(MOE, None, 0);
    let (tbt, ttft) = (Duration::from_millis(200), Duration::from_millis(100));
    let new = NewSequence { tbt_target: Some(tbt), ttft_target: Some(ttft), ..NewSequence::new(SequenceId(99), 8, 1) };
    let refused = bench.scheduler.submit(new, bench.now);
    assert_eq!(refused, Err(SubmitError::ContradictoryTargets { tbt, ttft }));
    assert!(bench.scheduler.is_idle());
}
