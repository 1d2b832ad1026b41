//! Invariant 2 below the engine: however cohorts walk through the layers, alone or beside each other, with streams that
//! decode in between and members that leave on the way, every logit has the bits of a run by itself.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::model::{hybrid, tiny};
use laminar_engine::{
    Batch, CohortId, Cursor, DecodeInput, Executor, MemberInput, ModelExecutor, Part, SequenceId, Stage, StateSlots,
    StepEnd, TileInput,
};
use laminar_kernels::{Pool, WeightType};
use laminar_model::synth::Preset;
use laminar_model::{BLOCK_LEN, KvType, Model};
use laminar_schedule::Extent;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Blocks of a sequence, which is never longer than they are.
const TABLE: usize = 4;
const POSITIONS: usize = TABLE * BLOCK_LEN;
const LAYERS: usize = 4;
const EXPERTS: usize = 8;

fn moe() -> Arc<Model> {
    tiny(Preset::Tiny, WeightType::Q4_0, 3)
}

fn dense() -> Arc<Model> {
    tiny(Preset::TinyDense, WeightType::Q8_0, 3)
}

/// The token of a sequence at a position, sampled or not: what follows from a logit is no matter here.
fn tokens(sequence: u64) -> Vec<u32> {
    (0..POSITIONS as u64)
        .map(|position| ((sequence * 7919 + position * position * 31 + position) % 250) as u32)
        .collect()
}

/// A source of choices.
struct Dice(u64);

impl Dice {
    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

struct Sequence {
    tokens: Vec<u32>,
    /// Rows to prefill: the prompt, and after a preemption also what had been generated.
    goal: usize,
    /// Rows that are in the KV memory.
    filled: usize,
    /// Length at which it is done.
    end: usize,
    blocks: Vec<u32>,
    in_cohort: bool,
}

impl Sequence {
    fn decodes(&self) -> bool {
        self.filled >= self.goal && self.filled < self.end
    }
}

#[derive(Clone, Copy)]
struct Member {
    sequence: usize,
    start: usize,
    rows: usize,
    dropped: bool,
}

struct Cohort {
    id: CohortId,
    members: Vec<Member>,
    at: Cursor,
}

impl Cohort {
    fn extent(&self, experts: Option<usize>) -> Extent {
        let rows = self.members.iter().map(|member| member.rows).sum();
        Extent { rows, units: experts.unwrap_or(rows) }
    }

    fn tile<'a>(&self, to: Cursor, sequences: &'a [Sequence], experts: Option<usize>) -> TileInput<'a> {
        let member = |member: &Member| {
            let Member { sequence: index, start, rows, dropped } = *member;
            let sequence = &sequences[index];
            MemberInput {
                sequence: SequenceId(index as u64),
                rows,
                tokens: if dropped { &[] } else { &sequence.tokens[start..start + rows] },
                start,
                blocks: if dropped { &[] } else { &sequence.blocks },
                state: StateSlots::own(index as u32),
                ends_prompt: start + rows == sequence.goal,
                dropped,
            }
        };
        let members = self.members.iter().map(member).collect();
        TileInput { cohort: self.id, members, from: self.at, to, parts: self.at.parts(to, self.extent(experts)) }
    }

    /// Some later place, at most two layers away.
    fn next_place(&self, experts: Option<usize>, dice: &mut Dice) -> Cursor {
        let extent = self.extent(experts);
        let layer = self.at.layer + dice.below(3);
        let to = match dice.below(3) {
            _ if layer >= LAYERS => Cursor::at_layer(LAYERS),
            0 => Cursor::at_layer(layer),
            1 => Cursor::after_attention(layer, 4 * dice.below(extent.rows.div_ceil(4) + 1), extent),
            _ => Cursor::after_feed_forward(layer, dice.below(extent.units + 1), extent),
        };
        if to > self.at { to } else { Cursor::at_layer(self.at.layer + 1) }
    }
}

/// A scheduler without any plan, and the executor that it drives.
struct World {
    executor: ModelExecutor,
    experts: Option<usize>,
    sequences: Vec<Sequence>,
    cohorts: Vec<Cohort>,
    free: Vec<u32>,
    next_cohort: u64,
    prefill_loads: u64,
    /// Logits by sequence and position.
    logits: HashMap<(u64, usize), Vec<f32>>,
}

impl World {
    /// Sequences by lengths of prompts and answers.
    fn new(model: &Arc<Model>, threads: usize, kv: KvType, lengths: &[(usize, usize)]) -> Self {
        let blocks = lengths.len() * TABLE;
        let mut free: Vec<u32> = (0..blocks as u32).collect();
        let sequence = |(index, (prompt, answer)): (usize, &(usize, usize))| Sequence {
            tokens: tokens(index as u64),
            goal: *prompt,
            filled: 0,
            end: prompt + answer,
            blocks: free.split_off(free.len() - TABLE),
            in_cohort: false,
        };
        let sequences = lengths.iter().enumerate().map(sequence).collect();
        let executor = ModelExecutor::new(Arc::clone(model), Pool::new(threads), blocks, kv);
        let executor = executor.with_states(lengths.len(), 0);
        let experts = executor.experts().map(|experts| experts.count);
        let (cohorts, logits) = (Vec::new(), HashMap::new());
        Self { executor, experts, sequences, cohorts, free, next_cohort: 0, prefill_loads: 0, logits }
    }

    fn begin(&mut self, members: &[(usize, usize)]) {
        let member = |(sequence, rows): &(usize, usize)| {
            let start = self.sequences[*sequence].filled;
            self.sequences[*sequence].in_cohort = true;
            Member { sequence: *sequence, start, rows: *rows, dropped: false }
        };
        let members = members.iter().map(member).collect();
        self.cohorts.push(Cohort { id: CohortId(self.next_cohort), members, at: Cursor::at_layer(0) });
        self.next_cohort += 1;
    }

    /// Every stream decodes, and some cohorts walk to some places.
    fn step(&mut self, walks: &[(usize, Cursor)]) {
        self.step_until(walks, None);
    }

    /// The same, with tiles that end early when there is no time.
    fn step_until(&mut self, walks: &[(usize, Cursor)], end: Option<StepEnd>) {
        let decoding = self.sequences.iter().enumerate().filter(|(_, sequence)| sequence.decodes());
        let decode = decoding.map(|(index, sequence)| DecodeInput {
            sequence: SequenceId(index as u64),
            token: sequence.tokens[sequence.filled],
            position: sequence.filled,
            blocks: &sequence.blocks,
            state: StateSlots::own(index as u32),
        });
        let tiles = walks.iter().map(|(cohort, to)| self.cohorts[*cohort].tile(*to, &self.sequences, self.experts));
        let mut batch = Batch { decode: decode.collect(), tiles: tiles.collect(), end, ..Batch::default() };
        let mut logits = Vec::new();
        self.prefill_loads += self.executor.execute(&mut batch, &mut logits).unwrap().prefill;
        let sampling = batch.sampling(LAYERS);
        let reached: Vec<(usize, Cursor)> =
            walks.iter().zip(&batch.tiles).map(|((cohort, _), tile)| (*cohort, tile.to)).collect();
        let decoded: Vec<usize> = batch.decode.iter().map(|row| row.sequence.0 as usize).collect();
        assert_eq!(logits.len(), sampling.len() * self.executor.vocab_size());
        for ((id, position), row) in sampling.iter().zip(logits.chunks(self.executor.vocab_size())) {
            // After a preemption a position is sampled from a second time.
            let first = self.logits.entry((id.0, *position)).or_insert_with(|| row.to_vec());
            assert!(first == row, "sequence {} at {position} a second time", id.0);
        }

        for sequence in decoded {
            self.sequences[sequence].filled += 1;
        }
        for (cohort, to) in &reached {
            let cohort = &mut self.cohorts[*cohort];
            cohort.at = *to;
            if to.is_between_layers() {
                cohort.members.retain(|member| !member.dropped);
            }
            for member in cohort.members.iter().filter(|_| to.layer == LAYERS) {
                let sequence = &mut self.sequences[member.sequence];
                sequence.filled = member.start + member.rows;
                sequence.in_cohort = false;
            }
        }
        self.cohorts.retain(|cohort| cohort.at.layer < LAYERS);
    }

    /// A sequence loses its blocks, which others may have at once, and begins anew or is gone for good.
    fn leave(&mut self, index: usize, for_good: bool) {
        self.executor.forget(SequenceId(index as u64));
        for cohort in &mut self.cohorts {
            for member in &mut cohort.members {
                member.dropped |= member.sequence == index;
            }
            if cohort.at.is_between_layers() {
                cohort.members.retain(|member| !member.dropped);
            }
        }
        self.cohorts.retain(|cohort| cohort.members.iter().any(|member| !member.dropped));
        let sequence = &mut self.sequences[index];
        // The last in is the first out: the next to begin writes where this one wrote.
        self.free.append(&mut sequence.blocks);
        sequence.goal = sequence.goal.max(sequence.filled);
        sequence.filled = 0;
        sequence.in_cohort = false;
        if for_good {
            (sequence.goal, sequence.end) = (0, 0);
        }
    }

    /// Forms a cohort of sequences that wait, each with all of its rows or only its next ones.
    fn admit(&mut self, dice: &mut Dice) {
        let waits = |sequence: &Sequence| sequence.filled < sequence.goal && !sequence.in_cohort;
        let mut waiting: Vec<usize> = (0..self.sequences.len()).filter(|i| waits(&self.sequences[*i])).collect();
        let mut members = Vec::new();
        while !waiting.is_empty() && members.len() < 3 && (members.is_empty() || !dice.one_in(3)) {
            let index = waiting.swap_remove(dice.below(waiting.len()));
            let sequence = &mut self.sequences[index];
            if sequence.blocks.is_empty() {
                sequence.blocks = self.free.split_off(self.free.len() - TABLE);
            }
            let left = sequence.goal - sequence.filled;
            members.push((index, if dice.one_in(2) { left } else { 1 + dice.below(left) }));
        }
        if !members.is_empty() {
            self.begin(&members);
        }
    }

    /// Runs everything to its end along random ways; with `leaving`, sequences leave now and then.
    fn run(&mut self, dice: &mut Dice, leaving: bool) {
        while self.sequences.iter().any(|sequence| sequence.filled < sequence.end) {
            if self.cohorts.len() < 3 && dice.one_in(2) {
                self.admit(dice);
            }
            if leaving && dice.one_in(8) {
                let index = dice.below(self.sequences.len());
                if !self.sequences[index].blocks.is_empty() {
                    self.leave(index, dice.one_in(3));
                }
            }
            let mut cohorts: Vec<usize> = (0..self.cohorts.len()).collect();
            let mut walks = Vec::new();
            while !cohorts.is_empty() && !dice.one_in(4) {
                let cohort = cohorts.swap_remove(dice.below(cohorts.len()));
                walks.push((cohort, self.cohorts[cohort].next_place(self.experts, dice)));
            }
            self.step(&walks);
        }
    }

    /// Runs each cohort whole, one after the other: the sequences' rows as the reference has them.
    fn run_whole(&mut self) {
        for index in 0..self.sequences.len() {
            self.begin(&[(index, self.sequences[index].goal)]);
            self.step(&[(0, Cursor::at_layer(LAYERS))]);
            while self.sequences[index].decodes() {
                self.step(&[]);
            }
        }
    }
}

fn check(model: &Arc<Model>, seed: u64, threads: usize, kv: KvType, lengths: &[(usize, usize)], leaving: bool) {
    let mut whole = World::new(model, 1, kv, lengths);
    whole.run_whole();
    let mut world = World::new(model, threads, kv, lengths);
    world.run(&mut Dice(seed), leaving);
    for ((sequence, position), logits) in &world.logits {
        let expected = &whole.logits[&(*sequence, *position)];
        assert!(logits == expected, "seed {seed}: sequence {sequence} at {position}");
    }
    if !leaving {
        assert_eq!(world.logits.len(), whole.logits.len(), "every token of every sequence");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn invariant_2_any_walk_of_any_cohorts_gives_the_same_bits(
        seed in any::<u64>(),
        lengths in prop::collection::vec((1..70usize, 1..12usize), 1..6),
        threads in 1..3usize,
        f32_kv in any::<bool>(),
        leaving in any::<bool>(),
    ) {
        let kv = if f32_kv { KvType::F32 } else { KvType::F16 };
        for model in [moe(), dense(), hybrid("qwen3_next")] {
            check(&model, seed, threads, kv, &lengths, leaving);
        }
    }
}

#[test]
fn a_cohort_loads_each_expert_once_wherever_it_stops() {
    let model = moe();
    let world = || {
        let mut world = World::new(&model, 1, KvType::F16, &[(20, 1), (13, 1), (5, 9)]);
        // A stream beside the cohort, whose loads are no prefill's.
        world.begin(&[(2, 5)]);
        world.step(&[(0, Cursor::at_layer(LAYERS))]);
        world.prefill_loads = 0;
        world.begin(&[(0, 20), (1, 13)]);
        world
    };
    let mut whole = world();
    whole.step(&[(0, Cursor::at_layer(LAYERS))]);
    for seed in 0..20 {
        let (mut world, mut dice) = (world(), Dice(seed));
        while let Some(cohort) = world.cohorts.first() {
            let to = cohort.next_place(world.experts, &mut dice);
            world.step(&[(0, to)]);
        }
        assert_eq!(world.prefill_loads, whole.prefill_loads, "seed {seed}");
    }
}

#[test]
fn an_expert_that_hundreds_of_rows_chose_runs_in_slices_to_the_same_bits_and_is_loaded_once() {
    let model = moe();
    let lengths = [(POSITIONS - 9, 1); 10];
    let mut whole = World::new(&model, 2, KvType::F16, &lengths);
    whole.run_whole();
    let begun = || {
        let mut world = World::new(&model, 2, KvType::F16, &lengths);
        world.begin(&std::array::from_fn::<_, 10, _>(|sequence| (sequence, POSITIONS - 9)));
        world
    };
    let mut together = begun();
    together.step(&[(0, Cursor::at_layer(LAYERS))]);
    let mut world = begun();
    // There is never time, so in one step of a few the least moves that may.
    let end = StepEnd { at: Instant::now(), decode: Duration::ZERO };
    let (mut steps, mut inside) = (0, 0);
    while let Some(cohort) = world.cohorts.first() {
        let at = cohort.at;
        world.step_until(&[(0, Cursor::at_layer(LAYERS))], Some(end));
        steps += 1;
        assert!(steps < 5000, "it stands still at {at:?}");
        inside += usize::from(world.cohorts.first().is_some_and(|cohort| cohort.at == at && !at.is_between_layers()));
    }
    assert!(inside > 0);
    assert_eq!(world.logits.len(), 10);
    assert!(world.logits.iter().all(|(place, logits)| *logits == whole.logits[place]));
    assert_eq!(world.prefill_loads, together.prefill_loads);
}

#[test]
fn a_member_that_leaves_inside_a_layer_is_not_run_and_changes_nobody() {
    for model in [moe(), dense(), hybrid("qwen3_next")] {
        let lengths = [(30, 1), (21, 1), (40, 1), (60, 8)];
        let mut whole = World::new(&model, 1, KvType::F16, &lengths);
        whole.run_whole();
        for gone in 0..3 {
            let mut world = World::new(&model, 2, KvType::F16, &lengths);
            world.begin(&[(0, 30), (1, 21), (2, 40)]);
            world.step(&[(0, Cursor { layer: 1, stage: Stage::Attention { rows: 40 } })]);
            // It would begin anew with these rows, which are the newest it has. Its blocks go to another prompt.
            world.leave(gone, false);
            world.sequences[3].blocks = world.free.split_off(world.free.len() - TABLE);
            world.begin(&[(3, 60)]);
            world.step(&[(1, Cursor::at_layer(LAYERS))]);
            // With the stream beside it, through the rest of the layer and whole layers to the top.
            assert!(world.cohorts[0].members[gone].dropped);
            world.step(&[(0, Cursor::at_layer(LAYERS))]);
            (0..3).for_each(|_| world.step(&[]));
            let mut sampled: Vec<u64> = world.logits.keys().map(|(sequence, _)| *sequence).collect();
            sampled.sort_unstable();
            sampled.dedup();
            assert_eq!(sampled, [0, 1, 2, 3].into_iter().filter(|id| *id != gone as u64).collect::<Vec<_>>());
            for (place, logits) in &world.logits {
                assert!(*logits == whole.logits[place], "without {gone}: {place:?}");
            }
        }
    }
}

#[test]
fn two_tiles_of_a_step_may_be_of_one_cohort() {
    let model = moe();
    let mut whole = World::new(&model, 1, KvType::F16, &[(30, 1)]);
    whole.run_whole();
    let mut world = World::new(&model, 1, KvType::F16, &[(30, 1)]);
    world.begin(&[(0, 30)]);
    let places = [
        Cursor { layer: 1, stage: Stage::Attention { rows: 8 } },
        Cursor { layer: 2, stage: Stage::FeedForward { units: 3 } },
        Cursor::at_layer(LAYERS),
    ];
    let tiles = places.map(|to| {
        let tile = world.cohorts[0].tile(to, &world.sequences, world.experts);
        world.cohorts[0].at = to;
        tile
    });
    let mut logits = Vec::new();
    let mut batch = Batch { tiles: tiles.to_vec(), ..Batch::default() };
    world.executor.execute(&mut batch, &mut logits).unwrap();
    assert!(logits == whole.logits[&(0, 29)]);
}

#[test]
fn steps_that_make_no_sense_are_errors_and_the_executor_lives_on() {
    let model = moe();
    let mut world = World::new(&model, 1, KvType::F16, &[(30, 2), (9, 2)]);
    let at = |layer| Cursor::at_layer(layer);
    let inside = Cursor { layer: 1, stage: Stage::FeedForward { units: 3 } };
    let mut error = |change: &dyn Fn(&mut TileInput<'_>)| {
        world.begin(&[(0, 30), (1, 9)]);
        world.step(&[(0, inside)]);
        let mut tile = world.cohorts[0].tile(at(3), &world.sequences, world.experts);
        change(&mut tile);
        let mut batch = Batch { tiles: vec![tile], ..Batch::default() };
        let error = world.executor.execute(&mut batch, &mut Vec::new()).unwrap_err().to_string();
        // As the engine does it: all sequences of the step fail.
        (0..2).for_each(|id| world.executor.forget(SequenceId(id)));
        world.cohorts.clear();
        error
    };
    fn walk(tile: &mut TileInput<'_>, from: Cursor, to: Cursor) {
        let rows = tile.members.iter().map(|member| member.rows).sum();
        (tile.from, tile.to) = (from, to);
        tile.parts = from.parts(to, Extent { rows, units: EXPERTS });
    }
    assert!(error(&|tile| tile.cohort = CohortId(99)).contains("cohort 99 were not kept"));
    assert!(error(&|tile| walk(tile, at(1), at(2))).contains("was kept at"));
    assert!(error(&|tile| walk(tile, at(0), at(2))).contains("second time"));
    assert!(error(&|tile| walk(tile, inside, inside)).contains("does not get from"));
    assert!(error(&|tile| tile.parts = vec![Part::Layers(1..3)]).contains("does not get from"));
    assert!(error(&|tile| walk(tile, inside, at(9))).contains("layers"));
    assert!(error(&|tile| tile.members.swap(0, 1)).contains("30 rows of sequence 0"));
    assert!(error(&|tile| tile.members[1].start = 4).contains("9 rows of sequence 1"));
    assert!(error(&|tile| tile.members[1].tokens = &[1]).contains("9 rows and 1 tokens"));
    assert!(error(&|tile| tile.members[1].blocks = &[]).contains("blocks"));
    assert!(
        error(&|tile| {
            tile.members.pop();
            walk(tile, inside, at(3));
        })
        .contains("in the middle of layer 1")
    );
    assert!(error(&|tile| tile.members.clear()).contains("does not get from"));

    world.run_whole();
    let mut fresh = World::new(&model, 1, KvType::F16, &[(30, 2), (9, 2)]);
    fresh.run_whole();
    assert!(world.logits == fresh.logits);
}

#[test]
fn tiles_that_run_out_of_time_move_on_step_by_step_to_the_same_bits() {
    for model in [moe(), dense(), hybrid("qwen3_next")] {
        let sequences = [(70, 3), (41, 2), (5, 100)];
        let mut whole = World::new(&model, 2, KvType::F16, &sequences);
        whole.run_whole();
        let mut world = World::new(&model, 2, KvType::F16, &sequences);
        world.begin(&[(2, 5)]);
        world.step(&[(0, Cursor::at_layer(LAYERS))]);
        world.begin(&[(0, 70)]);
        world.begin(&[(1, 41)]);
        let (mut steps, mut moved) = (0, false);
        while !world.cohorts.is_empty() {
            let from: Vec<Cursor> = world.cohorts.iter().map(|cohort| cohort.at).collect();
            // Through attention and all but the last unit of a layer, and then to the layer's end and through the next one.
            let far = |cohort: &Cohort| match cohort.at {
                at if at.is_between_layers() => {
                    let rows = cohort.members.iter().map(|member| member.rows).sum::<usize>();
                    let units = world.experts.map_or((rows - 1) / 4 * 4, |experts| experts - 1);
                    Cursor { layer: at.layer, stage: Stage::FeedForward { units } }
                }
                at => Cursor::at_layer((at.layer + 2).min(LAYERS)),
            };
            let walks: Vec<_> = world.cohorts.iter().map(far).enumerate().collect();
            let end = StepEnd { at: Instant::now(), decode: Duration::ZERO };
            let cohorts = from.len();
            world.step_until(&walks, Some(end));
            steps += 1;
            if world.cohorts.len() == cohorts {
                moved |= world.cohorts[0].at > from[0];
                assert_eq!(world.cohorts.iter().skip(1).map(|c| c.at).collect::<Vec<_>>(), from[1..], "no other does");
            }
        }
        assert!(moved && steps > 8 * LAYERS, "{steps}");
        while world.sequences.iter().any(Sequence::decodes) {
            world.step(&[]);
        }
        assert!(whole.logits.iter().all(|(place, row)| world.logits[place] == *row));
    }
}

#[test]
fn with_time_enough_no_tile_ends_early() {
    let model = moe();
    let mut world = World::new(&model, 1, KvType::F16, &[(30, 1)]);
    world.begin(&[(0, 30)]);
    let end = StepEnd { at: Instant::now() + Duration::from_secs(3600), decode: Duration::ZERO };
    world.step_until(&[(0, Cursor { layer: 1, stage: Stage::FeedForward { units: 3 } })], Some(end));
    assert_eq!(world.cohorts[0].at, Cursor { layer: 1, stage: Stage::FeedForward { units: 3 } });
    world.step_until(&[(0, Cursor::at_layer(LAYERS))], Some(end));
    assert!(world.cohorts.is_empty());
}
