//! One prompt among running streams, under one policy.

use laminar_schedule::{NewSequence, Policy, Prefix, Scheduler, SchedulerConfig, SequenceId, Step, Targets};
use laminar_sim::{ModelShape, Roofs, VirtualMachine};
use std::time::Duration;

/// Positions of a stream before it generates its first token.
const CONTEXT: usize = 512;
const BLOCK_LEN: usize = 32;
/// Prompts that run beforehand, so that the scheduler has seen what steps cost. None is as long as one that is measured.
const WARM_UP: [usize; 6] = [96, 384, 1024, 160, 640, 1536];
/// Steps of the streams alone before the prompt comes.
const ALONE: usize = 32;
/// Most steps until the first token; what would need more is not measured.
pub const MOST_STEPS: f64 = 40_000.0;

/// Makes a policy for a target.
type ForTarget = fn(Duration) -> Policy;

/// The policies, for a target on the time between tokens. The last one is the one that the others are compared with.
pub const POLICIES: [(&str, ForTarget); 5] = [
    ("whole", |_| Policy::Whole),
    ("chunked", |_| Policy::CHUNKED),
    ("layered", |_| Policy::LAYERED),
    ("chunked-deadline", |target| Policy::ChunkedDeadline { tbt: Some(target), tokens: 8192 }),
    ("adaptive", |target| Policy::Adaptive { targets: Targets { tbt: Some(target), ttft: None }, cohort_tokens: 8192 }),
];

/// Whether the policy looks at the target.
pub fn minds_target(name: &str) -> bool {
    matches!(name, "chunked-deadline" | "adaptive")
}

/// What came of the prompt. Times in seconds of virtual time.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// From arrival to the first token.
    pub ttft: f64,
    /// The longest step in that time.
    pub longest_step: f64,
    /// Experts touched by all rows in that time.
    pub total_loads: u64,
    /// Experts touched by prefill rows in that time.
    pub prefill_loads: u64,
    /// Steps in that time.
    pub steps: u64,
}

/// What stands for the hardware.
#[derive(Clone, Copy)]
pub struct Hardware {
    /// How fast it is.
    pub roofs: Roofs,
    /// How much the time of a step varies; see [`VirtualMachine::with_noise`].
    pub noise: f64,
    /// The model that it runs.
    pub shape: ModelShape,
}

impl Hardware {
    fn machine(&self) -> VirtualMachine {
        let machine = VirtualMachine::new(self.shape, self.roofs);
        if self.noise > 0.0 { machine.with_noise(1, self.noise) } else { machine }
    }
}

/// A scheduler and a machine.
pub struct Bench {
    pub scheduler: Scheduler,
    machine: VirtualMachine,
    pub now: Duration,
    next_id: u64,
}

/// A failure that a bench cannot have unless it is wrong itself.
pub type Error = Box<dyn std::error::Error>;

impl Bench {
    /// Nobody is there.
    pub fn new(hardware: Hardware, policy: Policy, streams: usize) -> Result<Self, Error> {
        let shape = hardware.shape;
        let context = 64 * 1024;
        let scheduler = Scheduler::new(SchedulerConfig {
            policy,
            layers: shape.layers,
            experts: shape.experts(),
            costs: shape.cost_prior(),
            max_sequences: streams + 4,
            // Enough for all to grow as far as they like.
            kv_blocks: (streams + 4) * context / BLOCK_LEN,
            block_len: BLOCK_LEN,
            max_waiting: streams + 4,
            context,
            snapshots: None,
        })?;
        Ok(Self { scheduler, machine: hardware.machine(), now: Duration::ZERO, next_id: 0 })
    }

    /// The same with streams that never end: a scheduler that has seen prompts beside streams and streams alone, and streams
    /// that are as long as under any other policy.
    pub fn warm(hardware: Hardware, policy: Policy, streams: usize) -> Result<Self, Error> {
        let mut bench = Self::new(hardware, policy, streams)?;
        let first = bench.streams(streams)?;
        for prompt in WARM_UP {
            let id = bench.submit(prompt, 1)?;
            bench.run_until_first_token(id, prompt)?;
        }
        for stream in first {
            bench.scheduler.cancel(stream);
        }
        bench.streams(streams)?;
        for _ in 0..if streams > 0 { ALONE } else { 0 } {
            bench.step()?;
        }
        Ok(bench)
    }

    /// Starts so many streams.
    fn streams(&mut self, count: usize) -> Result<Vec<SequenceId>, Error> {
        let mut streams = Vec::new();
        for number in 0..count {
            streams.push(self.stream()?);
            // The first one's prompt spares the others theirs.
            if number == 0 || number + 1 == count {
                while self.scheduler.stats().running <= number {
                    self.step()?;
                }
            }
        }
        Ok(streams)
    }

    /// A stream with a prompt that all streams have in common.
    fn stream(&mut self) -> Result<SequenceId, Error> {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let prefix = Prefix { tokens: vec![1; CONTEXT + 1].into(), ..Prefix::default() };
        let new = NewSequence { prefix: Some(prefix), ..NewSequence::new(id, CONTEXT + 1, usize::MAX) };
        self.scheduler.submit(new, self.now)?;
        Ok(id)
    }

    /// A prompt like no other.
    pub fn submit(&mut self, prompt: usize, max_tokens: usize) -> Result<SequenceId, Error> {
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.scheduler.submit(NewSequence::new(id, prompt, max_tokens), self.now)?;
        Ok(id)
    }

    /// One step: what it was, and what it cost.
    pub fn step(&mut self) -> Result<(Step, laminar_schedule::Report), Error> {
        let step = self.scheduler.plan(self.now);
        let report = self.machine.execute(&step);
        self.now += report.duration;
        self.scheduler.commit(&report)?;
        Ok((step, report))
    }

    /// A step in whose beginning the sequence is cancelled; the seconds it takes.
    pub fn cancelled_step(&mut self, id: SequenceId) -> Result<f64, Error> {
        let step = self.scheduler.plan(self.now);
        self.scheduler.cancel(id);
        let report = self.machine.execute(&step);
        self.now += report.duration;
        self.scheduler.commit(&report)?;
        Ok(report.duration.as_secs_f64())
    }

    /// Runs until the sequence has its first token.
    pub fn run_until_first_token(&mut self, id: SequenceId, prompt: usize) -> Result<Outcome, Error> {
        let arrival = self.now;
        let mut outcome = Outcome { ttft: 0.0, longest_step: 0.0, total_loads: 0, prefill_loads: 0, steps: 0 };
        loop {
            let (step, report) = self.step()?;
            outcome.longest_step = outcome.longest_step.max(report.duration.as_secs_f64());
            outcome.total_loads += report.total_expert_loads;
            outcome.prefill_loads += report.prefill_expert_loads;
            outcome.steps += 1;
            if has_first_token(&step, id, prompt, self.machine.shape().layers) {
                outcome.ttft = (self.now - arrival).as_secs_f64();
                return Ok(outcome);
            }
        }
    }
}

/// Whether the sequence has its first token after this step.
pub fn has_first_token(step: &Step, id: SequenceId, prompt: usize, layers: usize) -> bool {
    step.tiles.iter().any(|tile| {
        tile.to.layer >= layers
            && tile.members.iter().any(|member| member.sequence == id && member.start + member.rows == prompt)
    })
}

/// The prompt among the streams.
pub fn measure(hardware: Hardware, policy: Policy, streams: usize, prompt: usize) -> Result<Outcome, Error> {
    let mut bench = Bench::warm(hardware, policy, streams)?;
    let id = bench.submit(prompt, 1)?;
    bench.run_until_first_token(id, prompt)
}

/// Seconds of a step with the streams alone.
pub fn decode_step(hardware: Hardware, streams: usize) -> f64 {
    let row = |number: usize| laminar_schedule::DecodeRow { sequence: SequenceId(number as u64), position: CONTEXT };
    let step = Step { decode: (0..streams).map(row).collect(), ..Step::default() };
    hardware.machine().execute(&step).duration.as_secs_f64()
}
