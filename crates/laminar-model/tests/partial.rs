//! A layer that stops in the middle ends with the bits of one that runs whole, and loads each expert once.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

use laminar_kernels::{Pool, WeightType};
use laminar_model::checkpoint::{Checkpoint, Gguf};
use laminar_model::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};
use laminar_model::{
    BLOCK_LEN, ExpertLoads, KvCache, KvType, LoadOptions, Model, PartialLayer, RowSpan, Scratch, StateSlots,
};
use proptest::prelude::*;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

fn synth(preset: Preset, quant: WeightType) -> Model {
    let bytes = to_vec(&SynthOptions { quant, ..SynthOptions::new(preset) }, &byte_tokenizer()).unwrap();
    load(&Checkpoint::Gguf(Gguf::from_vec(bytes).unwrap()))
}

fn load(checkpoint: &Checkpoint) -> Model {
    Model::load(checkpoint, &Pool::new(1), &LoadOptions::default()).unwrap()
}

/// Mixtures and dense networks, quantised and float, with and without sliding windows and norms behind the branches.
fn models() -> &'static [(&'static str, Model)] {
    static MODELS: OnceLock<Vec<(&'static str, Model)>> = OnceLock::new();
    MODELS.get_or_init(|| {
        let fixture = |name: &'static str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
            (name, load(&Checkpoint::open(&folder).unwrap()))
        };
        let models = vec![
            ("moe q4_0", synth(Preset::Tiny, WeightType::Q4_0)),
            ("moe q8_0", synth(Preset::Tiny, WeightType::Q8_0)),
            ("dense q4_0", synth(Preset::TinyDense, WeightType::Q4_0)),
            fixture("qwen3_next"),
            fixture("gemma3n_small"),
            ("gpt-oss mxfp4", synth(Preset::TinyGptOss, WeightType::Mxfp4)),
            ("gated shared expert q8_0", synth(Preset::TinyQwen2Moe, WeightType::Q8_0)),
            ("shared expert q4_0", synth(Preset::TinyGraniteMoe, WeightType::Q4_0)),
            ("olmoe q5_0", synth(Preset::TinyOlmoe, WeightType::Q5_0)),
            ("phi3 q4_0", synth(Preset::TinyPhi3, WeightType::Q4_0)),
            ("a dense layer first", synth(Preset::TinyGlm4Moe, WeightType::Q4_0)),
            ("latents q4_0", synth(Preset::TinyDeepSeek2, WeightType::Q4_0)),
            fixture("deepseek_v3"),
            ("convolutions q4_0", synth(Preset::TinyLfm2Moe, WeightType::Q4_0)),
            fixture("lfm2_moe"),
            fixture("glm4_moe"),
            fixture("gemma2"),
            fixture("olmo2"),
            fixture("gpt_oss"),
            fixture("gpt_oss_mxfp4"),
            fixture("granite_moe_shared"),
            fixture("gemma3"),
            fixture("gemma4_moe"),
            fixture("gemma4_small"),
            fixture("mistral_window"),
            fixture("qwen3_moe_bf16"),
        ];
        let windowed = models.iter().filter(|(_, model)| model.config().windows.iter().any(Option::is_some));
        assert_eq!(windowed.count(), 9, "fixtures with sliding windows");
        models
    })
}

/// A sequence of a cohort: positions that are there already, and rows to prefill.
#[derive(Debug, Clone, Copy)]
struct Member {
    prefix: usize,
    rows: usize,
}

const POSITIONS: usize = 128;
const BLOCKS: usize = POSITIONS / BLOCK_LEN;

/// A cohort, and a stream that decodes beside it, in one KV cache.
struct World<'a> {
    model: &'a Model,
    pool: Pool,
    kv: KvCache,
    scratch: Scratch,
    members: Vec<Member>,
    /// Of each member; the last is the stream's.
    tables: Vec<Vec<u32>>,
    /// Likewise.
    slots: Vec<u32>,
    stream: usize,
    stream_rows: Vec<f32>,
    state: PartialLayer,
    loads: ExpertLoads,
}

fn token(model: &Model, sequence: usize, position: usize) -> u32 {
    ((sequence * 7919 + position * 97) % 250 % model.vocab_size()) as u32
}

impl<'a> World<'a> {
    fn new(model: &'a Model, threads: usize, kv: KvType, members: &[Member]) -> Self {
        let count = members.len() + 1;
        let tables = (0..count).map(|s| (0..BLOCKS).map(|b| (b * count + s) as u32).rev().collect()).collect();
        let mut world = Self {
            model,
            pool: Pool::new(threads),
            kv: KvCache::with_states(model.config(), BLOCKS * count, BLOCK_LEN, kv, count),
            scratch: Scratch::default(),
            members: members.to_vec(),
            tables,
            slots: (0..count as u32).rev().collect(),
            stream: 0,
            stream_rows: Vec::new(),
            state: PartialLayer::default(),
            loads: ExpertLoads::default(),
        };
        for (i, member) in members.iter().enumerate() {
            world.alone(i, 0..member.prefix);
        }
        world
    }

    /// All layers for some positions of one sequence.
    fn alone(&mut self, sequence: usize, positions: Range<usize>) -> Vec<f32> {
        let tokens: Vec<u32> = positions.clone().map(|p| token(self.model, sequence, p)).collect();
        let mut hidden = Vec::new();
        self.model.embed(&tokens, &mut hidden).unwrap();
        let blocks = &self.tables[sequence];
        let (rows, state) = (tokens.len(), StateSlots::own(self.slots[sequence]));
        let span = RowSpan { first_row: 0, rows, first_pos: positions.start, blocks, state, prefill: false };
        let (layers, mut loads) = (0..self.model.layers(), ExpertLoads::default());
        let (pool, kv, scratch) = (&self.pool, &mut self.kv, &mut self.scratch);
        self.model.forward(pool, kv, scratch, layers, &[span], &mut hidden, &mut loads).unwrap();
        hidden
    }

    /// One step of the stream.
    fn decode(&mut self) {
        let row = self.alone(self.members.len(), self.stream..self.stream + 1);
        self.stream_rows.extend(row);
        self.stream += 1;
    }

    fn embedded(&self) -> Vec<f32> {
        let mut hidden = Vec::new();
        for (i, member) in self.members.iter().enumerate() {
            let ids: Vec<u32> = (member.prefix..member.prefix + member.rows).map(|p| token(self.model, i, p)).collect();
            self.model.embed(&ids, &mut hidden).unwrap();
        }
        hidden
    }

    fn whole(&mut self, layers: Range<usize>, hidden: &mut [f32]) {
        let all = 0..hidden.len() / self.model.config().row_width();
        let spans = spans(&self.members, &self.tables, &self.slots, &all, &[]);
        let (pool, kv, scratch) = (&self.pool, &mut self.kv, &mut self.scratch);
        self.model.forward(pool, kv, scratch, layers, &spans, hidden, &mut self.loads).unwrap();
    }

    fn attend(&mut self, layer: usize, rows: Range<usize>, left: &[usize], hidden: &mut [f32]) {
        let spans = spans(&self.members, &self.tables, &self.slots, &rows, left);
        let (pool, kv, scratch) = (&self.pool, &mut self.kv, &mut self.scratch);
        self.model.attend(pool, kv, scratch, layer, rows, &spans, hidden, &mut self.state).unwrap();
    }

    fn feed_forward(&mut self, layer: usize, units: Range<usize>, hidden: &mut [f32]) {
        let (pool, scratch, state) = (&self.pool, &mut self.scratch, &mut self.state);
        self.model.feed_forward(pool, scratch, layer, units, hidden, state, &mut self.loads).unwrap();
    }

    /// Some slices of the next expert, if it has so many. Returns whether it has.
    fn begin_expert(&mut self, layer: usize, slices: usize, hidden: &[f32]) -> bool {
        let Some(all) = self.model.slices(layer) else { return false };
        let begun = self.state.begun_slices();
        if begun + slices > all {
            return false;
        }
        let (pool, scratch, state) = (&self.pool, &mut self.scratch, &mut self.state);
        self.model.feed_forward_slices(pool, scratch, layer, slices, hidden, state, &mut self.loads).unwrap();
        assert_eq!(self.state.begun_slices(), begun + slices);
        true
    }

    /// What the sequences' next rows become: it reads all of their keys and values.
    fn next_rows(&mut self) -> Vec<Vec<f32>> {
        let ends: Vec<usize> = self.members.iter().map(|m| m.prefix + m.rows).collect();
        ends.into_iter().enumerate().map(|(i, end)| self.alone(i, end..end + 1)).collect()
    }
}

/// The spans of `rows` of a cohort, without those of members that have left.
fn spans<'a>(
    members: &[Member],
    tables: &'a [Vec<u32>],
    slots: &[u32],
    rows: &Range<usize>,
    left: &[usize],
) -> Vec<RowSpan<'a>> {
    let mut spans = Vec::new();
    let mut first = 0;
    for (i, member) in members.iter().enumerate() {
        let from = first.max(rows.start);
        let to = (first + member.rows).min(rows.end);
        if from < to && !left.contains(&i) {
            let first_pos = member.prefix + from - first;
            let (rows, blocks, state) = (to - from, tables[i].as_slice(), StateSlots::own(slots[i]));
            spans.push(RowSpan { first_row: from, rows, first_pos, blocks, state, prefill: true });
        }
        first += member.rows;
    }
    spans
}

/// Cuts `0..len` by the sizes.
fn parts(len: usize, sizes: &mut impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < len {
        let end = len.min(start + sizes.next().unwrap());
        parts.push(start..end);
        start = end;
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_layer_may_stop_anywhere_without_changing_a_bit(
        model in 0..8usize,
        members in prop::collection::vec((0..50usize, 1..45usize), 1..4),
        row_steps in prop::collection::vec(1..12usize, 1..5),
        unit_steps in prop::collection::vec(1..20usize, 1..5),
        slices in 0..4usize,
        in_parts in prop::collection::vec(any::<bool>(), 1..5),
        f32_kv in any::<bool>(),
        threads in 1..3usize,
        decode_every in 1..4usize,
    ) {
        let (name, model) = &models()[model];
        let kv = if f32_kv { KvType::F32 } else { KvType::F16 };
        let members: Vec<Member> = members.into_iter().map(|(prefix, rows)| Member { prefix, rows }).collect();
        let rows: usize = members.iter().map(|member| member.rows).sum();

        let mut reference = World::new(model, 1, kv, &members);
        let mut expected = reference.embedded();
        reference.whole(0..model.layers(), &mut expected);

        let mut world = World::new(model, threads, kv, &members);
        let mut hidden = world.embedded();
        let mut row_steps = row_steps.iter().map(|n| n * PartialLayer::ROW_STEP).cycle();
        let mut unit_steps = unit_steps.iter().copied().cycle();
        let mut done = 0;
        for layer in 0..model.layers() {
            if !in_parts[layer % in_parts.len()] {
                world.whole(layer..layer + 1, &mut hidden);
                continue;
            }
            let attention = parts(rows, &mut row_steps);
            let units = parts(model.experts(layer).unwrap_or(rows), &mut unit_steps);
            let mut between = |world: &mut World<'_>| {
                done += 1;
                if done % decode_every == 0 && world.stream < POSITIONS {
                    world.decode();
                }
            };
            for rows in attention {
                world.attend(layer, rows, &[], &mut hidden);
                prop_assert_eq!(world.state.layer(), Some(layer));
                between(&mut world);
            }
            for units in units {
                while slices > 0 && world.begin_expert(layer, slices, &hidden) {
                    between(&mut world);
                }
                world.feed_forward(layer, units, &mut hidden);
                between(&mut world);
            }
            prop_assert_eq!(world.state.layer(), None);
        }
        prop_assert!(hidden == expected, "{}: rows differ", name);
        prop_assert!(world.next_rows() == reference.next_rows(), "{}: keys or values differ", name);
        prop_assert_eq!(world.loads, reference.loads, "{}", name);
        while reference.stream < world.stream {
            reference.decode();
        }
        prop_assert!(world.stream_rows == reference.stream_rows, "{}: the stream differs", name);
    }
}

#[test]
fn members_that_leave_in_a_layer_write_nothing_and_change_nobody() {
    for (name, model) in models() {
        let members = [(3, 22), (40, 9), (0, 31)].map(|(prefix, rows)| Member { prefix, rows });
        let mut reference = World::new(model, 2, KvType::F16, &members);
        let mut expected = reference.embedded();
        reference.whole(0..2, &mut expected);
        for gone in 0..members.len() {
            let mut world = World::new(model, 2, KvType::F16, &members);
            let mut hidden = world.embedded();
            world.attend(0, 0..16, &[], &mut hidden);
            // The blocks and the state of the one that leaves go to the stream at once.
            world.tables.swap(gone, members.len());
            world.slots.swap(gone, members.len());
            world.decode();
            world.attend(0, 16..28, &[gone], &mut hidden);
            world.decode();
            world.attend(0, 28..62, &[gone], &mut hidden);
            let units = model.experts(0).unwrap_or(62);
            world.feed_forward(0, 0..3, &mut hidden);
            world.feed_forward(0, 3..units, &mut hidden);
            world.decode();

            // At the border of layers its rows vanish.
            let width = model.config().row_width();
            let first: usize = members[..gone].iter().map(|m| m.rows).sum();
            let own = first * width..(first + members[gone].rows) * width;
            hidden.drain(own.clone());
            world.members.remove(gone);
            let table = world.tables.remove(gone);
            world.slots.remove(gone);
            world.whole(1..2, &mut hidden);
            let mut others = expected.clone();
            others.drain(own);
            assert!(hidden == others, "{name} without member {gone}");

            let mut alone = World::new(model, 1, KvType::F16, &members);
            alone.tables[members.len()] = table;
            (0..3).for_each(|_| alone.decode());
            assert!(world.stream_rows == alone.stream_rows, "{name}: the stream in the blocks of member {gone}");
        }
    }
}

#[test]
fn parts_load_the_experts_that_they_run() {
    let model = &models()[0].1;
    let experts = model.config().experts.clone().unwrap().count;
    let members = [Member { prefix: 0, rows: 3 }];
    let mut reference = World::new(model, 1, KvType::F16, &members);
    let mut expected = reference.embedded();
    reference.whole(0..1, &mut expected);
    assert!(reference.loads.prefill < experts as u64, "some experts are idle");

    let mut world = World::new(model, 1, KvType::F16, &members);
    let mut hidden = world.embedded();
    world.attend(0, 0..3, &[], &mut hidden);
    assert_eq!(world.loads, ExpertLoads::default(), "attention loads none");
    let mut loads = Vec::new();
    for expert in 0..experts {
        let before = world.loads;
        world.feed_forward(0, expert..expert + 1, &mut hidden);
        loads.push(world.loads.prefill - before.prefill);
        assert_eq!(world.loads.total, world.loads.prefill);
    }
    assert!(loads.iter().all(|&count| count <= 1) && loads.contains(&0), "{loads:?}");
    assert_eq!(world.loads, reference.loads);
}

#[test]
fn parts_that_make_no_sense_are_errors_and_change_nothing() {
    let model = &models()[0].1;
    let experts = model.experts(0).unwrap();
    assert_eq!((model.experts(99), models()[2].1.experts(0)), (None, None));
    assert_eq!((model.slices(99), models()[2].1.slices(0)), (None, None));
    let members = [Member { prefix: 0, rows: 10 }];
    let mut world = World::new(model, 1, KvType::F16, &members);
    let mut hidden = world.embedded();
    let before = hidden.clone();
    let World { pool, kv, scratch, state, loads, .. } = &mut world;
    let blocks: Vec<u32> = (0..BLOCKS as u32).collect();
    let span = |first_row, rows| {
        let state = StateSlots::own(0);
        RowSpan { first_row, rows, first_pos: first_row, blocks: &blocks, state, prefill: true }
    };
    macro_rules! attend {
        ($layer:expr, $rows:expr, $spans:expr) => {
            model.attend(pool, kv, scratch, $layer, $rows, $spans, &mut hidden, state).map_err(|e| e.to_string())
        };
    }
    macro_rules! feed_forward {
        ($layer:expr, $units:expr) => {
            model.feed_forward(pool, scratch, $layer, $units, &mut hidden, state, loads).map_err(|e| e.to_string())
        };
    }
    assert!(attend!(99, 0..4, &[span(0, 4)]).unwrap_err().contains("layer 99"));
    assert!(attend!(0, 0..12, &[span(0, 12)]).unwrap_err().contains("of 10"));
    assert!(attend!(0, 0..6, &[span(0, 6)]).unwrap_err().contains("cannot stop at row 6"));
    assert!(attend!(0, 4..8, &[span(4, 4)]).unwrap_err().contains("not begun"));
    assert!(attend!(0, 0..8, &[span(4, 4), span(0, 4)]).unwrap_err().contains("expected within"));
    assert!(attend!(0, 0..8, &[span(4, 5)]).unwrap_err().contains("expected within"));
    let far = RowSpan { first_pos: POSITIONS, ..span(0, 4) };
    assert!(attend!(0, 0..4, &[far]).unwrap_err().contains("blocks"));
    assert!(feed_forward!(0, 0..1).unwrap_err().contains("not begun"));
    assert!(hidden == before);

    attend!(0, 0..8, &[span(0, 8)]).unwrap();
    let before = hidden.clone();
    assert!(attend!(1, 8..10, &[span(8, 2)]).unwrap_err().contains("stopped at"));
    assert!(attend!(0, 4..10, &[span(4, 6)]).unwrap_err().contains("stopped at"));
    assert!(feed_forward!(0, 0..1).unwrap_err().contains("stopped at"), "two rows have not attended");
    assert!(hidden == before);

    macro_rules! begin_expert {
        ($layer:expr, $slices:expr) => {
            model.feed_forward_slices(pool, scratch, $layer, $slices, &hidden, state, loads).map_err(|e| e.to_string())
        };
    }
    assert!(begin_expert!(0, 1).unwrap_err().contains("stopped at"), "two rows have not attended");
    attend!(0, 8..10, &[span(8, 2)]).unwrap();
    assert!(begin_expert!(0, 0).unwrap_err().contains("0 slices"));
    let all = model.slices(0).unwrap();
    assert!(begin_expert!(0, all + 1).unwrap_err().contains("slices behind 0"));
    assert!(begin_expert!(1, 1).unwrap_err().contains("stopped at"));
    feed_forward!(0, 0..3).unwrap();
    assert!(feed_forward!(0, 2..5).unwrap_err().contains("stopped at"));
    assert!(feed_forward!(1, 3..5).unwrap_err().contains("stopped at"));
    assert!(feed_forward!(0, 3..experts + 1).unwrap_err().contains("units"));
    feed_forward!(0, 3..experts).unwrap();
    assert!(feed_forward!(0, 0..1).unwrap_err().contains("not begun"));

    // A cohort that was given up leaves nothing in the way of the next.
    attend!(1, 0..4, &[span(0, 4)]).unwrap();
    attend!(2, 0..10, &[span(0, 10)]).unwrap();
    feed_forward!(2, 0..experts).unwrap();
}
