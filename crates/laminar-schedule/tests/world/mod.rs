//! A scheduler, an executor that counts, and the claims that must hold between them.

use laminar_schedule::{
    CohortId, Policy, Prefix, Recorder, Report, Scheduler, SchedulerConfig, SequenceId, Step, SubmitError, Tile, replay,
};
use laminar_schedule::{NewSequence, SchedulerStats};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Op {
    /// A sequence comes and will end by itself after so many tokens.
    ///
    /// With `shared`, it takes part in the prefix cache: it has a salt, and its prompt begins with so many tokens of a
    /// family of prompts.
    Arrive { prompt: usize, max_tokens: usize, ends_after: usize, shared: Option<(u64, u32, usize)> },
    /// One of the living sequences is cancelled between two steps.
    Cancel(proptest::sample::Index),
    /// A step in which one of the living sequences is cancelled after the plan and before the commit.
    CancelInFlight(proptest::sample::Index),
    /// A step that reports an error for one of the living sequences.
    Fail(proptest::sample::Index),
    /// A step.
    Step,
}

/// What the executor knows about a sequence.
struct Run {
    prompt: usize,
    /// What the KV of each prompt row must be: it depends on all tokens up to it.
    rows: Vec<u64>,
    prefix: bool,
    /// Rows that the prefix cache spared it.
    hit: usize,
    /// As the scheduler should have cut it.
    max_tokens: usize,
    ends_after: usize,
    /// Prompt rows done, by layer.
    done: Vec<usize>,
    generated: usize,
    started: bool,
}

impl Run {
    /// Prompt rows that the prefix cache did not spare it.
    fn to_run(&self) -> usize {
        self.prompt - self.hit
    }
}

pub struct World {
    config: SchedulerConfig,
    recorder: Recorder,
    steps: Vec<Step>,
    runs: BTreeMap<SequenceId, Run>,
    /// Living sequences that have not started, in order of arrival.
    waiting: Vec<SequenceId>,
    /// The cohort under way: its id, its rows at the start and the layer ranges it walked.
    cohort: Option<(CohortId, usize, Vec<std::ops::Range<usize>>)>,
    next_id: u64,
    /// What was written, by block, layer and place in the block.
    kv: Vec<Vec<Vec<Option<u64>>>>,
    lookups: u64,
    hits: u64,
}

impl World {
    pub fn new(config: SchedulerConfig) -> Self {
        let scheduler = Scheduler::new(config.clone()).unwrap();
        let kv = vec![vec![vec![None; config.block_len]; config.layers]; config.kv_blocks];
        Self {
            kv,
            lookups: 0,
            hits: 0,
            config,
            recorder: Recorder::new(scheduler),
            steps: Vec::new(),
            runs: BTreeMap::new(),
            waiting: Vec::new(),
            cohort: None,
            next_id: 0,
        }
    }

    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Arrive { prompt, max_tokens, ends_after, shared } => {
                self.arrive(prompt, max_tokens, ends_after, shared);
            }
            Op::Cancel(index) => {
                if let Some(id) = self.pick(&index) {
                    assert!(self.recorder.cancel(id));
                    self.forget(id);
                    assert!(!self.recorder.cancel(id), "a sequence can be cancelled once");
                }
            }
            Op::CancelInFlight(index) => self.step(self.pick(&index), None),
            Op::Fail(index) => self.step(None, self.pick(&index)),
            Op::Step => self.step(None, None),
        }
        self.check_books();
    }

    /// Runs until nothing is left, within a bound, and replays the whole run.
    pub fn finish(mut self) {
        let rows: usize = self.runs.values().map(|run| run.prompt + run.max_tokens).sum();
        // Every step finishes at least one row, or at least one layer of one.
        let bound = rows * self.config.layers + 1;
        for _ in 0..bound {
            if self.recorder.scheduler().is_idle() {
                break;
            }
            self.apply(Op::Step);
        }
        assert!(self.runs.is_empty(), "sequences starve: {:?}", self.runs.keys());
        assert!(self.recorder.scheduler().is_idle());
        let total_blocks = self.config.kv_blocks;
        let stats = self.recorder.scheduler().stats();
        let SchedulerStats { cached_blocks, prefix_lookup_tokens, prefix_hit_tokens, .. } = stats;
        let rest = SchedulerStats {
            total_blocks,
            cached_blocks,
            prefix_lookup_tokens,
            prefix_hit_tokens,
            ..Default::default()
        };
        assert_eq!(stats, rest, "no sequence uses a block");
        assert_eq!((prefix_lookup_tokens, prefix_hit_tokens), (self.lookups, self.hits));
        assert!(self.recorder.plan(Duration::ZERO).is_empty(), "an idle scheduler plans nothing");
        self.steps.push(Step { number: self.next_step(), ..Step::default() });
        assert_eq!(replay(self.config.clone(), self.recorder.events()).unwrap(), self.steps);
    }

    fn arrive(&mut self, prompt: usize, max_tokens: usize, ends_after: usize, shared: Option<(u64, u32, usize)>) {
        let id = SequenceId(self.next_id);
        let context = self.config.context;
        let (salt, family, common) = shared.unwrap_or((self.next_id, 0, 0));
        let own = 2 + self.next_id as u32;
        let tokens: Arc<[u32]> = (0..prompt).map(|place| if place < common { family } else { own }).collect();
        let mut row = salt;
        let rows = tokens.iter().map(|token| {
            row = row.wrapping_mul(1_000_003).wrapping_add(u64::from(*token) + 1);
            row
        });
        let rows = rows.collect();
        let prefix = shared.map(|_| Prefix { tokens, salt });
        let result = self.recorder.submit(NewSequence { id, prompt_tokens: prompt, max_tokens, prefix });
        let room = context.saturating_sub(prompt);
        let needed = (prompt + max_tokens.min(room)).div_ceil(self.config.block_len);
        if needed > self.config.kv_blocks {
            assert_eq!(result, Err(SubmitError::NeverFits { needed, total: self.config.kv_blocks }));
        } else if self.waiting.len() >= self.config.max_waiting {
            assert_eq!(result, Err(SubmitError::QueueFull { waiting: self.waiting.len() }));
        } else {
            assert_eq!(result, Ok(()));
            self.next_id += 1;
            self.waiting.push(id);
            let done = vec![0; self.config.layers];
            let max_tokens = max_tokens.min(room);
            let prefix = shared.is_some();
            let run = Run { prompt, rows, prefix, hit: 0, max_tokens, ends_after, done, generated: 0, started: false };
            self.runs.insert(id, run);
        }
    }

    fn step(&mut self, cancel: Option<SequenceId>, fail: Option<SequenceId>) {
        let step = self.recorder.plan(Duration::ZERO);
        self.steps.push(step.clone());
        assert_eq!(step.is_empty(), self.runs.is_empty(), "a step is empty only when nothing is left");
        if step.is_empty() {
            let reported = step.number;
            let refused = self.recorder.commit(&Report { step: reported, ..Report::default() });
            assert!(refused.is_err(), "an empty step has no report");
            return;
        }
        assert_eq!(step.number, self.next_step() - 1);
        assert_eq!(self.recorder.plan(Duration::ZERO), step, "planning twice gives the same step");
        self.steps.push(step.clone());
        self.check_admission(&step);
        self.check_decode(&step);

        let mut sampled: Vec<SequenceId> = step.decode.iter().map(|row| row.sequence).collect();
        assert!(step.tiles.len() <= 1);
        for tile in &step.tiles {
            self.check_tile(tile);
            sampled.extend(self.execute(tile));
        }
        if let Some(id) = cancel {
            assert!(self.recorder.cancel(id));
            assert!(!self.recorder.cancel(id));
        }

        let mut finished = Vec::new();
        for id in sampled {
            let run = self.runs.get_mut(&id).unwrap();
            run.generated += 1;
            if run.generated >= run.ends_after {
                finished.push(id);
            } else if run.generated >= run.max_tokens {
                // Not reported: the scheduler must see the length limit itself.
                self.forget(id);
            }
        }
        let wrong = Report { step: step.number + 1, ..Report::default() };
        assert!(self.recorder.commit(&wrong).is_err(), "a report of another step is refused");
        let failed = fail.into_iter().collect();
        let report = Report { step: step.number, finished: finished.clone(), failed, ..Report::default() };
        self.recorder.commit(&report).unwrap();
        for id in finished.into_iter().chain(cancel).chain(fail) {
            self.forget(id);
        }
    }

    /// Sequences start in the order of their arrival.
    fn check_admission(&mut self, step: &Step) {
        let members = step.tiles.iter().flat_map(|tile| &tile.members);
        for member in members {
            let run = self.runs.get_mut(&member.sequence).expect("a tile has living sequences only");
            if !run.started {
                run.started = true;
                assert_eq!(self.waiting.remove(0), member.sequence, "admission is first come, first served");
                assert!(member.start % self.config.block_len == 0 && member.start < run.prompt);
                assert!(run.prefix || member.start == 0);
                run.hit = member.start;
                run.done.fill(member.start);
                self.hits += run.hit as u64;
                self.lookups += if run.prefix { run.prompt as u64 } else { 0 };
                // Whatever its own blocks held is worth nothing any more.
                let own = self.recorder.scheduler().blocks(member.sequence).unwrap();
                for block in &own[run.hit / self.config.block_len..] {
                    self.kv[*block as usize].iter_mut().for_each(|layer| layer.fill(None));
                }
            }
        }
        let started = self.runs.values().filter(|run| run.started).count();
        assert!(started <= self.config.max_sequences);
    }

    /// Invariant 1: every decoding sequence is in the step, exactly one position further.
    fn check_decode(&self, step: &Step) {
        let rows: BTreeMap<_, _> = step.decode.iter().map(|row| (row.sequence, row.position)).collect();
        assert_eq!(rows.len(), step.decode.len(), "one decode row a sequence");
        let decoding = self.runs.iter().filter(|(_, run)| run.generated > 0);
        let expected: BTreeMap<_, _> = decoding.map(|(id, run)| (*id, run.prompt + run.generated - 1)).collect();
        assert_eq!(rows, expected);
    }

    fn check_tile(&mut self, tile: &Tile) {
        let layers = self.config.layers;
        assert!(!tile.members.is_empty() && !tile.layers.is_empty() && tile.layers.end <= layers);
        match self.config.policy {
            Policy::Whole => {
                assert_eq!(tile.layers, 0..layers);
                assert!(tile.members.iter().all(|member| member.rows == self.runs[&member.sequence].to_run()));
            }
            Policy::Chunked { tokens } => {
                assert_eq!(tile.layers, 0..layers);
                assert!(tile.rows() <= tokens);
            }
            Policy::Layered { group_tokens, cohort_tokens, groups } => {
                assert!(tile.rows() <= cohort_tokens);
                // Invariant 3: a prompt that fits a cohort is in one cohort only, so that with `execute` each of its
                // rows meets each layer once and all of them in the same tile.
                for member in &tile.members {
                    let prompt = self.runs[&member.sequence].to_run();
                    assert!(prompt > cohort_tokens || member.rows == prompt);
                }
                self.check_walk(tile, group_tokens, groups);
            }
        }
    }

    /// One cohort at a time, in equal groups from the first layer to the last.
    fn check_walk(&mut self, tile: &Tile, group_tokens: usize, groups: Option<usize>) {
        let layers = self.config.layers;
        if tile.layers.start == 0 {
            assert!(self.cohort.is_none(), "one cohort at a time");
            self.cohort = Some((tile.cohort, tile.rows(), Vec::new()));
        }
        let (id, rows, ranges) = self.cohort.as_mut().expect("a cohort starts at layer 0");
        assert_eq!(*id, tile.cohort);
        assert_eq!(tile.layers.start, ranges.last().map_or(0, |range| range.end));
        ranges.push(tile.layers.clone());
        if tile.layers.end == layers {
            let expected = groups.unwrap_or(rows.div_ceil(group_tokens)).clamp(1, layers);
            assert_eq!(ranges.len(), expected);
            let sizes = || ranges.iter().map(|range| range.len());
            assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1, "groups are equal to within one layer");
            self.cohort = None;
        }
    }

    /// Each prompt row meets each layer once and in order; returns the sequences that sample their first token.
    fn execute(&mut self, tile: &Tile) -> Vec<SequenceId> {
        let mut sampled = Vec::new();
        for member in &tile.members {
            let run = self.runs.get_mut(&member.sequence).unwrap();
            let end = member.start + member.rows;
            assert!(member.rows > 0 && end <= run.prompt);
            assert_eq!(member.ends_prompt, end == run.prompt);
            let table = self.recorder.scheduler().blocks(member.sequence).unwrap();
            let block_len = self.config.block_len;
            for layer in tile.layers.clone() {
                // Invariant 4: a block that was found holds the rows of this very prompt in every layer.
                for place in 0..member.start {
                    let found = self.kv[table[place / block_len] as usize][layer][place % block_len];
                    assert_eq!(found, Some(run.rows[place]), "row {place} of layer {layer}");
                }
                for place in member.start..end {
                    let cell = &mut self.kv[table[place / block_len] as usize][layer][place % block_len];
                    assert_eq!(*cell, None, "a row is written once");
                    *cell = Some(run.rows[place]);
                }
                assert_eq!(run.done[layer], member.start, "earlier rows are done, these are not");
                assert!(layer == 0 || run.done[layer - 1] >= end, "the layer below is done");
                run.done[layer] = end;
            }
            if member.ends_prompt && tile.layers.end == self.config.layers {
                sampled.push(member.sequence);
            }
        }
        sampled
    }

    /// Blocks: those that are written have one owner, none is lost, and nobody else's are kept.
    fn check_books(&self) {
        let scheduler = self.recorder.scheduler();
        let (mut owned, mut used) = (BTreeSet::new(), BTreeSet::new());
        for (id, run) in &self.runs {
            let table = scheduler.blocks(*id);
            assert_eq!(table.is_some(), run.started, "blocks from admission on");
            let table = table.unwrap_or_default();
            if run.started {
                assert_eq!(table.len(), (run.prompt + run.max_tokens).div_ceil(self.config.block_len));
            }
            for (place, block) in table.iter().enumerate() {
                assert!((*block as usize) < self.config.kv_blocks);
                used.insert(*block);
                if place >= run.hit / self.config.block_len {
                    assert!(owned.insert(*block), "block {block} has two owners");
                }
            }
            assert_eq!(table.iter().collect::<BTreeSet<_>>().len(), table.len());
            // Blocks that are still to be written are in no other table.
            let written = if run.generated > 0 { run.prompt } else { run.done[self.config.layers - 1] };
            for block in table.iter().skip(written / self.config.block_len) {
                let holds = |other: &&SequenceId| scheduler.blocks(**other).is_some_and(|table| table.contains(block));
                assert_eq!(self.runs.keys().filter(holds).count(), 1, "block {block} is written and shared");
            }
        }
        let stats = scheduler.stats();
        assert_eq!((stats.used_blocks, stats.total_blocks), (used.len(), self.config.kv_blocks));
        assert!(stats.used_blocks + stats.cached_blocks <= stats.total_blocks);
        assert_eq!(stats.waiting, self.waiting.len());
        assert_eq!(stats.running, self.runs.values().filter(|run| run.generated > 0).count());
        assert_eq!(stats.running + stats.prefilling + stats.waiting, self.runs.len());
        assert_eq!(scheduler.is_idle(), self.runs.is_empty());
    }

    fn next_step(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.number + u64::from(!step.is_empty()))
    }

    fn pick(&self, index: &proptest::sample::Index) -> Option<SequenceId> {
        let ids: Vec<_> = self.runs.keys().copied().collect();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    fn forget(&mut self, id: SequenceId) {
        self.runs.remove(&id);
        self.waiting.retain(|other| *other != id);
        if let Some((_, _, ranges)) = &self.cohort {
            // A cohort whose members are all gone is over.
            let depth = ranges.last().map_or(0, |range| range.end);
            let inside = |run: &Run| run.done[0] > run.done[self.config.layers - 1];
            if depth < self.config.layers && !self.runs.values().any(inside) {
                self.cohort = None;
            }
        }
    }
}
