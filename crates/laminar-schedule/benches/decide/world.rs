//! A scheduler with 256 running sequences and 1,000 waiting ones, kept at these numbers for as long as one likes.

use laminar_schedule::{
    CommitError, CostPrior, Experts, NewSequence, Policy, Prefix, Report, Scheduler, SchedulerConfig, SchedulerStats,
    SequenceId, Step,
};
use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Sequences that decode in every step.
pub const RUNNING: usize = 256;
/// Sequences that wait in every step.
pub const WAITING: usize = 1000;
const LAYERS: usize = 48;
const EXPERTS: Experts = Experts { count: 128, top_k: 8 };
const BLOCK_LEN: usize = 32;
const CONTEXT: usize = 65_536;

/// Every policy.
pub const POLICIES: [Policy; 5] = [
    Policy::Whole,
    Policy::CHUNKED,
    Policy::LAYERED,
    Policy::ChunkedDeadline { tbt: None, tokens: 8192 },
    Policy::ADAPTIVE,
];

/// What arrives and what ends.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub name: &'static str,
    prompt_tokens: usize,
    /// Sequences that may prefill beside those that run.
    prefilling: usize,
    /// Steps from the end of one sequence to that of the next; without it, one ends as soon as another one has started.
    steps_per_end: Option<u64>,
    kv_blocks: usize,
    /// Ends until the ages of the sequences are spread evenly.
    settled: usize,
}

/// Short prompts that come one by one when a stream ends, and long ones that prefill all the time.
pub const LOADS: [Load; 2] = [
    Load {
        name: "256-token prompts",
        prompt_tokens: 256,
        prefilling: 0,
        steps_per_end: Some(4),
        kv_blocks: 12_288,
        settled: 2 * RUNNING,
    },
    Load {
        name: "8k prompts",
        prompt_tokens: 8192,
        prefilling: 8,
        steps_per_end: None,
        kv_blocks: 96_000,
        // They start one after the other.
        settled: 1,
    },
];

/// The scheduler and what stands for the engine around it.
pub struct World {
    load: Load,
    scheduler: Scheduler,
    prompt: Arc<[u32]>,
    /// Sequences that decode, the oldest in front.
    running: VecDeque<SequenceId>,
    report: Report,
    submitted: u64,
    ended: usize,
    now: Duration,
    /// Whether it came to its steady state.
    pub steady: bool,
}

impl World {
    /// A world in its steady state: as many end as begin, and the prefix cache has filled the memory.
    /// `most` bounds the steps on the way there.
    pub fn new(policy: Policy, load: Load, most: usize) -> Result<Self, Box<dyn Error>> {
        let scheduler = Scheduler::new(SchedulerConfig {
            policy,
            layers: LAYERS,
            experts: Some(EXPERTS),
            costs: CostPrior::default(),
            max_sequences: RUNNING + load.prefilling,
            kv_blocks: load.kv_blocks,
            block_len: BLOCK_LEN,
            max_waiting: RUNNING + WAITING + load.prefilling,
            context: CONTEXT,
            snapshots: None,
        })?;
        let prompt = (0..load.prompt_tokens as u32).collect();
        let (running, report, now) = (VecDeque::new(), Report::default(), Duration::ZERO);
        let mut world = Self { load, scheduler, prompt, running, report, submitted: 0, ended: 0, now, steady: false };
        (0..RUNNING).try_for_each(|_| world.submit())?;
        for _ in 0..most {
            world.steady = world.is_steady();
            if world.steady {
                break;
            }
            let step = world.scheduler.plan(world.now);
            world.execute(&step);
            world.scheduler.commit(&world.report)?;
            world.replace()?;
        }
        Ok(world)
    }

    /// Whether the ages of the sequences are spread evenly and memory is full of what can be found again. (A block that was
    /// not full when its sequence ended is free until somebody needs it.)
    fn is_steady(&self) -> bool {
        let stats = self.scheduler.stats();
        let free = stats.total_blocks - stats.used_blocks - stats.cached_blocks;
        self.ended >= self.load.settled && free < RUNNING
    }

    /// What the scheduler says of itself.
    pub fn stats(&self) -> SchedulerStats {
        self.scheduler.stats()
    }

    /// One step, around which `plan` and `commit` are called.
    pub fn step(
        &mut self,
        plan: impl FnOnce(&mut Scheduler, Duration) -> Step,
        commit: impl FnOnce(&mut Scheduler, &Report, Step) -> Result<(), CommitError>,
    ) -> Result<(), Box<dyn Error>> {
        let step = plan(&mut self.scheduler, self.now);
        self.execute(&step);
        commit(&mut self.scheduler, &self.report, step)?;
        self.replace()
    }

    /// Writes the report of a step: tokens for all who sample, a time, expert loads, and the ends.
    fn execute(&mut self, step: &Step) {
        if !step.preempted.is_empty() {
            self.running.retain(|id| !step.preempted.contains(id));
        }
        let report = &mut self.report;
        report.step = step.number;
        report.sampled.clear();
        report.finished.clear();
        let token = |id: SequenceId| (id, id.0 as u32 ^ step.number as u32);
        report.sampled.extend(step.decode.iter().map(|row| token(row.sequence)));
        for tile in step.tiles.iter().filter(|tile| tile.to.layer == LAYERS) {
            let ending = tile.members.iter().filter(|member| member.ends_prompt && !member.dropped);
            for member in ending {
                report.sampled.push(token(member.sequence));
                self.running.push_back(member.sequence);
            }
        }
        let full = self.running.len() >= RUNNING;
        let ends = match self.load.steps_per_end {
            Some(steps) => usize::from(full && step.number.is_multiple_of(steps)),
            None => self.running.len().saturating_sub(RUNNING),
        };
        // The youngest of them have just sampled their first token; the oldest decode.
        report.finished.extend(self.running.drain(..ends));
        self.ended += ends;

        // A row costs 0.1 ms, and a step of 256 decode rows 25 ms, whatever else happens.
        let row_layers: usize = step.tiles.iter().map(|tile| tile.rows() * (tile.to.layer - tile.from.layer)).sum();
        let prefill = row_layers as f64 / LAYERS as f64 * 1e-4;
        report.duration = Duration::from_secs_f64(0.005 + step.decode.len() as f64 * 8e-5 + prefill);
        report.prefill_expert_loads = if row_layers > 0 { (LAYERS * EXPERTS.count) as u64 } else { 0 };
        report.total_expert_loads = (LAYERS * EXPERTS.count) as u64;
        self.now += report.duration;
    }

    /// Lets new sequences wait for those that have ceased to.
    fn replace(&mut self) -> Result<(), Box<dyn Error>> {
        while self.scheduler.stats().waiting < WAITING {
            self.submit()?;
        }
        Ok(())
    }

    /// Every prompt is new to the prefix cache. All are of one tenant: the more have their turn together, the more there is to
    /// compare.
    fn submit(&mut self) -> Result<(), Box<dyn Error>> {
        let id = self.submitted;
        self.submitted += 1;
        let prefix = Prefix { tokens: Arc::clone(&self.prompt), salt: id, ..Prefix::default() };
        let new =
            NewSequence { prefix: Some(prefix), ..NewSequence::new(SequenceId(id), self.load.prompt_tokens, CONTEXT) };
        Ok(self.scheduler.submit(new, self.now)?)
    }
}
