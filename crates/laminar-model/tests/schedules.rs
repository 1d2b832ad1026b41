//! The bits of a row depend on its own sequence alone: not on rows beside it, not on how its prompt was cut.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::Sequence;
use laminar_kernels::{Pool, WeightType};
use laminar_model::checkpoint::{Checkpoint, Gguf};
use laminar_model::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};
use laminar_model::{BLOCK_LEN, ExpertLoads, KvCache, KvType, LoadOptions, Model, RowSpan, Scratch, StateSlots};
use proptest::prelude::*;

fn tiny(preset: Preset, quant: WeightType) -> Model {
    let bytes = to_vec(&SynthOptions { quant, ..SynthOptions::new(preset) }, &byte_tokenizer()).unwrap();
    let checkpoint = Checkpoint::Gguf(Gguf::from_vec(bytes).unwrap());
    Model::load(&checkpoint, &Pool::new(1), &LoadOptions::default()).unwrap()
}

fn prompt(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (seed.wrapping_mul(2_654_435_761).wrapping_add(i * 97)) % 250).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn chunks_groups_threads_and_neighbours_do_not_change_bits(
        len in 1usize..150,
        cuts in prop::collection::vec(1usize..60, 1..6),
        groups in 1usize..5,
        threads in 1usize..4,
        neighbours in prop::collection::vec(1usize..40, 0..4),
        kv_type in prop::sample::select(vec![KvType::F32, KvType::F16, KvType::Q8_0]),
        // Grouped heads, latents, convolutions beside attention, windows.
        preset in prop::sample::select(vec![Preset::Tiny, Preset::TinyDeepSeek2, Preset::TinyLfm2Moe, Preset::TinyOlmo3]),
    ) {
        let model = tiny(preset, WeightType::Q4_0);
        let ids = prompt(7, len);
        let one = Pool::new(1);
        let expected = Sequence::new(&model, &one, len, kv_type).feed(&ids);

        let pool = Pool::new(threads);
        let mut chunked = Sequence::new(&model, &pool, len, kv_type);
        let mut logits = Vec::new();
        let mut rest = ids.as_slice();
        for size in cuts.iter().cycle() {
            let (chunk, tail) = rest.split_at((*size).min(rest.len()));
            let hidden = chunked.feed_grouped(chunk, groups);
            logits.extend(chunked.logits(&hidden));
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&logits, &expected);

        // The same prompt in one call with others, all sharing a cache.
        let per_sequence = 150usize.div_ceil(BLOCK_LEN);
        let tables: Vec<Vec<u32>> = (0..=neighbours.len())
            .map(|s| (0..per_sequence).map(|b| (b * (neighbours.len() + 1) + s) as u32).collect())
            .collect();
        let (blocks, slots) = (per_sequence * tables.len(), tables.len());
        let mut kv = KvCache::with_states(model.config(), blocks, BLOCK_LEN, kv_type, slots);
        let mut hidden = Vec::new();
        let mut spans = Vec::new();
        for (i, &rows) in neighbours.iter().chain([&len]).enumerate() {
            let tokens = if i == neighbours.len() { ids.clone() } else { prompt(i as u32 + 100, rows) };
            let first_row = hidden.len() / model.config().row_width();
            model.embed(&tokens, &mut hidden).unwrap();
            let state = StateSlots::own(i as u32);
            spans.push(RowSpan { first_row, rows, first_pos: 0, blocks: &tables[i], state, prefill: true });
        }
        let mut scratch = Scratch::default();
        let layers = 0..model.layers();
        model
            .forward(&pool, &mut kv, &mut scratch, layers, &spans, &mut hidden, &mut ExpertLoads::default())
            .unwrap();
        let own = &hidden[hidden.len() - len * model.config().row_width()..];
        let mut together = Vec::new();
        model.logits(&pool, &mut scratch, own, &mut together).unwrap();
        prop_assert_eq!(together, expected.concat());
    }
}

#[test]
fn every_kv_type_gives_logits_close_to_f32() {
    let pool = Pool::new(2);
    // Over several splits of attention.
    let ids = prompt(5, 600);
    // Dense: a router would turn small differences into other experts.
    let model = tiny(Preset::TinyDense, WeightType::F32);
    let logits = |kv| Sequence::new(&model, &pool, ids.len(), kv).feed(&ids).concat();
    let exact = logits(KvType::F32);
    let largest = exact.iter().fold(0f32, |max, x| max.max(x.abs()));
    for (kv, tolerance) in [(KvType::F16, 0.001), (KvType::Q8_0, 0.015)] {
        let found = logits(kv);
        let worst = exact.iter().zip(&found).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
        assert!(worst > 0.0 && worst < tolerance * largest, "{kv:?}: {worst} of {largest}");
    }
}

#[test]
fn every_weight_type_gives_finite_logits_close_to_f32() {
    let pool = Pool::new(2);
    let ids = prompt(3, 20);
    for quant in
        [WeightType::F16, WeightType::Bf16, WeightType::Q8_0, WeightType::Q4_0, WeightType::Q5_1, WeightType::Mxfp4]
    {
        let model = tiny(Preset::TinyDense, quant);
        let logits = Sequence::new(&model, &pool, ids.len(), KvType::F16).feed(&ids);
        assert!(logits.iter().flatten().all(|x| x.is_finite()), "{quant:?}");
        assert!(logits.iter().flatten().any(|&x| x != 0.0), "{quant:?}");
    }
}

#[test]
fn expert_loads_count_distinct_experts_of_each_layer() {
    let pool = Pool::new(1);
    let model = tiny(Preset::Tiny, WeightType::Q8_0);
    let experts = model.config().experts.clone().unwrap();
    let mut one = Sequence::new(&model, &pool, 64, KvType::F16);
    one.feed(&prompt(1, 1));
    assert_eq!(one.loads.prefill, (model.layers() * experts.top_k) as u64);
    assert_eq!(one.loads.prefill, one.loads.total);
    let mut many = Sequence::new(&model, &pool, 64, KvType::F16);
    many.feed(&prompt(1, 64));
    let limit = (model.layers() * experts.count) as u64;
    assert!(many.loads.prefill > one.loads.prefill && many.loads.prefill <= limit);
    assert_eq!(many.loads.prefill_bytes % many.loads.prefill, 0);
}

#[test]
fn calls_that_make_no_sense_are_errors() {
    let pool = Pool::new(1);
    let model = tiny(Preset::Tiny, WeightType::Q8_0);
    let mut kv = KvCache::new(model.config(), 1, BLOCK_LEN, KvType::F16);
    let mut hidden = Vec::new();
    assert!(model.embed(&[u32::MAX], &mut hidden).is_err());
    assert!(hidden.is_empty());
    model.embed(&[1, 2], &mut hidden).unwrap();
    let mut call = |layers, rows, first_pos, blocks: &[u32]| {
        let state = StateSlots::own(0);
        let span = RowSpan { first_row: 0, rows, first_pos, blocks, state, prefill: true };
        let mut scratch = Scratch::default();
        let mut rows = hidden.clone();
        model
            .forward(&pool, &mut kv, &mut scratch, layers, &[span], &mut rows, &mut ExpertLoads::default())
            .map_err(|e| e.to_string())
    };
    assert!(call(0..1, 2, 0, &[0]).is_ok());
    assert!(call(0..99, 2, 0, &[0]).unwrap_err().contains("layers"));
    assert!(call(0..1, 3, 0, &[0]).unwrap_err().contains("rows"));
    assert!(call(0..1, 2, 31, &[0]).unwrap_err().contains("blocks"));
    assert!(call(0..1, 2, 0, &[7]).unwrap_err().contains("blocks"));
}
