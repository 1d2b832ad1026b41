use half::f16;
use proptest::prelude::*;

use super::*;
use crate::testing::{cases, noise};

/// Sequences with their rows in one batch, and a cache whose blocks are scattered.
struct Case {
    shape: AttentionShape,
    sinks: Option<Vec<f32>>,
    /// For each sequence: positions before the batch, rows in the batch, block table.
    sequences: Vec<(usize, usize, Vec<u32>)>,
    q: Vec<f32>,
    kv: KvLayer,
    /// What was stored, for each sequence and position; without values where they are in the keys.
    rows: Vec<(Vec<f32>, Vec<f32>)>,
}

fn shape(heads: usize, kv_heads: usize, head_dim: usize) -> AttentionShape {
    let scale = 1.0 / (head_dim as f32).sqrt();
    AttentionShape { heads, kv_heads, head_dim, scale, window: None, softcap: None }
}

impl Case {
    fn new(ty: KvType, shape: AttentionShape, block_len: usize, lengths: &[(usize, usize)], seed: u32) -> Self {
        Case::with_values_from(None, ty, shape, block_len, lengths, seed)
    }

    fn with_values_from(
        values_from: Option<usize>,
        ty: KvType,
        shape: AttentionShape,
        block_len: usize,
        lengths: &[(usize, usize)],
        seed: u32,
    ) -> Self {
        let width = shape.kv_heads * shape.head_dim;
        let total: usize = lengths.iter().map(|(p, r)| (p + r).div_ceil(block_len)).sum();
        // A cache with leftovers of others: not-a-number where nothing of ours is stored.
        let kv_shape = KvShape { block_len, kv_heads: shape.kv_heads, head_dim: shape.head_dim, values_from };
        let mut kv = KvLayer::new(ty, kv_shape, total);
        kv.spoil();
        let mut free: Vec<u32> = (0..total as u32).rev().collect();
        free.rotate_left(total / 3);
        let mut sequences = Vec::new();
        let mut rows = Vec::new();
        for (i, (past, new)) in lengths.iter().enumerate() {
            let len = past + new;
            let table: Vec<u32> = (0..len.div_ceil(block_len)).map(|_| free.pop().unwrap()).collect();
            let ks = noise(len * width, seed + 2 * i as u32);
            let vs = if values_from.is_some() { Vec::new() } else { noise(len * width, seed + 2 * i as u32 + 1) };
            let span = Span { first_row: 0, rows: len, first_pos: 0, blocks: &table };
            store_kv(&Pool::new(2), &ks, &vs, &[span], &mut kv);
            rows.push((ks, vs));
            sequences.push((*past, *new, table));
        }
        let batch: usize = lengths.iter().map(|(_, new)| new).sum();
        let q = noise(batch * shape.heads * shape.head_dim, seed + 77);
        Case { shape, sinks: None, sequences, q, kv, rows }
    }

    fn with_sinks(mut self, seed: u32) -> Self {
        self.sinks = Some(noise(self.shape.heads, seed));
        self
    }

    fn spans(&self) -> Vec<Span<'_>> {
        let mut first_row = 0;
        let mut spans = Vec::new();
        for (past, rows, blocks) in &self.sequences {
            spans.push(Span { first_row, rows: *rows, first_pos: *past, blocks });
            first_row += rows;
        }
        spans
    }

    fn run(&self, isa: Isa, threads: usize, spans: &[Span<'_>]) -> Vec<f32> {
        let mut out = vec![0.0; self.q.len() / self.shape.head_dim * self.kv.shape().value_dim()];
        let pool = Pool::new(threads);
        attention_for(isa, &pool, &self.q, spans, &self.kv, &self.shape, self.sinks.as_deref(), &mut out);
        out
    }

    /// A head of a row as the cache rounds it.
    fn round(&self, head: &[f32]) -> Vec<f64> {
        match self.kv.kv_type() {
            KvType::F32 => head.iter().map(|x| f64::from(*x)).collect(),
            KvType::F16 => head.iter().map(|x| f16::from_f32(*x).to_f64()).collect(),
            KvType::Q8_0 => head
                .chunks(32)
                .flat_map(|block| {
                    let largest = block.iter().fold(0f32, |max, x| max.max(x.abs()));
                    let scale = f16::from_f32(largest / 127.0).to_f32();
                    block.iter().map(move |x| f64::from(scale * (x / scale).round_ties_even().clamp(-127.0, 127.0)))
                })
                .collect(),
        }
    }

    /// The definition, in f64, over values rounded as the cache rounds them.
    fn naive(&self) -> Vec<f64> {
        let AttentionShape { heads, kv_heads, head_dim, scale, window, softcap } = self.shape;
        let (value_dim, from) = (self.kv.shape().value_dim(), self.kv.shape().values_from);
        let mut out = Vec::new();
        let mut row = 0;
        for ((past, new, _), (ks, vs)) in self.sequences.iter().zip(&self.rows) {
            let rounded = |all: &[f32]| all.chunks(head_dim).map(|head| self.round(head)).collect::<Vec<_>>();
            let (ks, vs) = (rounded(ks), rounded(vs));
            let vs = from.map_or(vs, |from| ks.iter().map(|key| key[from..].to_vec()).collect());
            for i in *past..past + new {
                for head in 0..heads {
                    let q = &self.q[(row * heads + head) * head_dim..][..head_dim];
                    let at = |j: usize| j * kv_heads + head / (heads / kv_heads);
                    let first = window.map_or(0, |w| (i + 1).saturating_sub(w));
                    let scores: Vec<f64> = (first..=i)
                        .map(|j| {
                            let dot: f64 = q.iter().zip(&ks[at(j)]).map(|(q, k)| f64::from(*q) * k).sum();
                            let score = dot * f64::from(scale);
                            softcap.map(f64::from).map_or(score, |cap| cap * (score / cap).tanh())
                        })
                        .collect();
                    let max = scores.iter().fold(f64::NEG_INFINITY, |max, score| max.max(*score));
                    let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
                    let sink = self.sinks.as_ref().map_or(0.0, |sinks| (f64::from(sinks[head]) - max).exp());
                    let total = weights.iter().sum::<f64>() + sink;
                    out.extend((0..value_dim).map(|d| {
                        let sum: f64 = weights.iter().zip(first..=i).map(|(w, j)| w * vs[at(j)][d]).sum();
                        sum / total
                    }));
                }
                row += 1;
            }
        }
        out
    }

    /// Each row as a span of its own.
    fn alone<'a>(spans: &[Span<'a>]) -> Vec<Span<'a>> {
        let row = |span: &Span<'a>, i| Span {
            first_row: span.first_row + i,
            rows: 1,
            first_pos: span.first_pos + i,
            blocks: span.blocks,
        };
        spans.iter().flat_map(|span| (0..span.rows).map(move |i| row(span, i))).collect()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let spans = self.spans();
        let expected = self.run(Isa::Portable, 1, &spans);
        for (got, exact) in expected.iter().zip(self.naive()) {
            prop_assert!((f64::from(*got) - exact).abs() < 1e-5, "{got} {exact}");
        }
        let bits = |out: &[f32]| out.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let alone = Case::alone(&spans);
        for isa in Isa::available() {
            for threads in 1..=4 {
                prop_assert_eq!(bits(&self.run(isa, threads, &spans)), bits(&expected), "{:?} {}", isa, threads);
            }
            prop_assert_eq!(bits(&self.run(isa, 2, &alone)), bits(&expected), "{:?} alone", isa);
            // The last row of the batch by itself: on many threads, its splits are tasks.
            let last = alone[alone.len() - 1];
            let from = last.first_row * self.shape.heads * self.kv.shape().value_dim();
            for threads in [1, 4] {
                let found = self.run(isa, threads, &[last]);
                prop_assert_eq!(bits(&found[from..]), bits(&expected[from..]), "{:?} last {}", isa, threads);
            }
        }
        Ok(())
    }
}

fn kv_types() -> impl Strategy<Value = KvType> {
    prop::sample::select(vec![KvType::F32, KvType::F16, KvType::Q8_0])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(64)))]

    #[test]
    fn attention_matches_its_definition_and_a_row_does_not_depend_on_its_batch(
        ty in kv_types(),
        kv_heads in 1..3usize,
        group in prop::sample::select(vec![1, 2, 3, 4, 5, 7, 8, 11]),
        head_dim in prop::sample::select(vec![4, 8, 20, 32, 64, 72, 96]),
        block_len in prop::sample::select(vec![16, 32, 64]),
        window in prop::option::of(1..70usize),
        softcap in prop::option::of(0.5..4.0f32),
        sinks in any::<bool>(),
        lengths in prop::collection::vec((0..70usize, 1..40usize), 1..4),
        seed in 0..1000u32,
    ) {
        let ty = if ty.fits(head_dim) { ty } else { KvType::F16 };
        let shape = AttentionShape { window, softcap, ..shape(kv_heads * group, kv_heads, head_dim) };
        let case = Case::new(ty, shape, block_len, &lengths, seed);
        if sinks { case.with_sinks(seed).check()? } else { case.check()? }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn splits_are_merged_alike_by_one_thread_and_by_many(
        ty in kv_types(),
        group in prop::sample::select(vec![1, 4, 8]),
        block_len in prop::sample::select(vec![16, 32, 256]),
        window in prop::option::of(prop::sample::select(vec![1, 100, 255, 256, 257, 300, 700])),
        sinks in any::<bool>(),
        // Around the borders of splits, and far behind them.
        past in prop::sample::select(vec![200usize, 250, 255, 256, 257, 511, 512, 513, 767, 1000]),
        rows in prop::sample::select(vec![1, 2, 7, 13, 40]),
        seed in 0..1000u32,
    ) {
        let shape = AttentionShape { window, ..shape(group, 1, 32) };
        let case = Case::new(ty, shape, block_len, &[(past, rows), (3, 2)], seed);
        if sinks { case.with_sinks(seed).check()? } else { case.check()? }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(48)))]

    #[test]
    fn values_may_be_what_keys_hold_from_some_dimension_on(
        ty in kv_types(),
        kv_heads in 1..3usize,
        group in prop::sample::select(vec![1, 3, 8, 16]),
        (head_dim, from) in prop::sample::select(vec![(24, 8), (64, 0), (64, 32), (72, 8), (96, 16), (132, 4), (144, 16)]),
        block_len in prop::sample::select(vec![16, 32, 64, 256]),
        window in prop::option::of(1..70usize),
        lengths in prop::collection::vec((prop::sample::select(vec![0, 9, 60, 255, 300]), 1..40usize), 1..4),
        seed in 0..1000u32,
    ) {
        let ty = if ty.fits(head_dim) { ty } else { KvType::F16 };
        let shape = AttentionShape { window, ..shape(kv_heads * group, kv_heads, head_dim) };
        Case::with_values_from(Some(from), ty, shape, block_len, &lengths, seed).check()?;
    }
}

#[test]
fn rows_outside_every_span_are_left_alone() {
    let case = Case::new(KvType::F32, shape(2, 1, 8), 32, &[(3, 4)], 1);
    let spans = case.spans();
    let part = Span { first_row: 1, rows: 2, first_pos: 4, blocks: spans[0].blocks };
    let (all, some) = (case.run(isa(), 1, &spans), case.run(isa(), 1, &[part]));
    assert_eq!(some[16..48], all[16..48]);
    assert!(some[..16].iter().chain(&some[48..]).all(|v| *v == 0.0));
}

#[test]
fn large_scores_far_apart_stay_finite() {
    // Largest scores of the splits differ by more than an exponent can say.
    for ty in [KvType::F32, KvType::F16, KvType::Q8_0] {
        let mut case = Case::new(ty, shape(1, 1, 32), 32, &[(600, 3)], 5);
        for q in &mut case.q {
            *q *= 300.0;
        }
        let out = case.run(isa(), 2, &case.spans());
        // Scores of hundreds are known to about 1e-4.
        for (found, exact) in out.iter().zip(case.naive()) {
            assert!((f64::from(*found) - exact).abs() < 2e-3, "{ty:?}: {found} {exact}");
        }
    }
}

#[test]
fn what_a_row_does_not_see_cannot_spoil_it() {
    // The values of position 5 are infinite: rows before it, and those whose window has left it behind, are not.
    let (shape, mut rows) = (AttentionShape { window: Some(4), ..shape(2, 1, 8) }, noise(12 * 8, 3));
    rows[5 * 8..6 * 8].fill(f32::INFINITY);
    let mut kv = KvLayer::new(KvType::F16, KvShape { block_len: 32, kv_heads: 1, head_dim: 8, values_from: None }, 1);
    let span = Span { first_row: 0, rows: 12, first_pos: 0, blocks: &[0] };
    store_kv(&Pool::new(1), &noise(12 * 8, 4), &rows, &[span], &mut kv);
    let mut out = vec![0.0; 12 * 16];
    for isa in Isa::available() {
        attention_for(isa, &Pool::new(1), &noise(12 * 16, 5), &[span], &kv, &shape, None, &mut out);
        for (row, out) in out.chunks(16).enumerate() {
            assert_eq!(out.iter().all(|x| x.is_finite()), !(5..9).contains(&row), "row {row} {isa:?}");
        }
    }
}

#[test]
fn stored_codes_are_finite_whatever_is_stored() {
    let shape = KvShape { block_len: 16, kv_heads: 1, head_dim: 32, values_from: None };
    let mut kv = KvLayer::new(KvType::Q8_0, shape, 1);
    let span = Span { first_row: 0, rows: 3, first_pos: 0, blocks: &[0] };
    let mut rows = vec![0.0; 96];
    rows[..32].fill(1e30);
    rows[32..64].fill(-1e-30);
    store_kv(&Pool::new(1), &rows, &rows, &[span], &mut kv);
    let mut out = vec![0.0; 96];
    let layer = AttentionShape { heads: 1, kv_heads: 1, head_dim: 32, scale: 0.0, window: Some(1), softcap: None };
    attention(&Pool::new(1), &rows, &[span], &kv, &layer, None, &mut out);
    assert_eq!(out[..32], [127.0 * 65504.0; 32]);
    assert_eq!(out[32..], [0.0; 64]);
}

#[test]
fn a_block_takes_the_bytes_of_its_numbers() {
    let shape = KvShape { block_len: 32, kv_heads: 2, head_dim: 64, values_from: None };
    let bytes = |ty| shape.block_bytes(ty);
    let latent = KvShape { values_from: Some(32), ..shape };
    assert_eq!((2 * latent.block_bytes(KvType::F16), latent.value_dim()), (bytes(KvType::F16), 32));
    assert_eq!((bytes(KvType::F32), bytes(KvType::F16)), (2 * 2 * 32 * 64 * 4, 2 * 2 * 32 * 64 * 2));
    assert_eq!(bytes(KvType::Q8_0), 2 * 2 * 32 * 2 * 34);
    assert!(KvType::Q8_0.fits(64) && !KvType::Q8_0.fits(80) && KvType::F16.fits(80));
}

#[test]
#[should_panic(expected = "two spans share rows")]
fn spans_that_share_rows_are_refused() {
    let case = Case::new(KvType::F32, shape(1, 1, 8), 32, &[(0, 4)], 1);
    let span = case.spans()[0];
    case.run(isa(), 1, &[span, span]);
}
