use half::f16;
use proptest::prelude::*;

use super::*;
use crate::testing::{cases, noise};

/// Sequences with their rows in one batch, and a cache whose blocks are scattered.
struct Case<E> {
    shape: AttentionShape,
    block_len: usize,
    /// For each sequence: positions before the batch, rows in the batch, block table.
    sequences: Vec<(usize, usize, Vec<u32>)>,
    q: Vec<f32>,
    k: Vec<E>,
    v: Vec<E>,
    /// What was stored, for each sequence and position.
    rows: Vec<(Vec<f32>, Vec<f32>)>,
}

impl<E: KvElement> Case<E> {
    fn new(shape: AttentionShape, block_len: usize, lengths: &[(usize, usize)], seed: u32) -> Self {
        let width = shape.kv_heads * shape.head_dim;
        let total: usize = lengths.iter().map(|(p, r)| (p + r).div_ceil(block_len)).sum();
        // A cache with leftovers of others: not-a-number where nothing of ours is stored.
        let mut garbage = vec![E::default(); total * block_len * width];
        E::store(&vec![f32::NAN; garbage.len()], &mut garbage);
        let (mut k, mut v) = (garbage.clone(), garbage);
        let mut free: Vec<u32> = (0..total as u32).rev().collect();
        free.rotate_left(total / 3);
        let mut sequences = Vec::new();
        let mut rows = Vec::new();
        for (i, (past, new)) in lengths.iter().enumerate() {
            let len = past + new;
            let table: Vec<u32> = (0..len.div_ceil(block_len)).map(|_| free.pop().unwrap()).collect();
            let ks = noise(len * width, seed + 2 * i as u32);
            let vs = noise(len * width, seed + 2 * i as u32 + 1);
            let span = Span { first_row: 0, rows: len, first_pos: 0, blocks: &table };
            store_kv(&ks, &vs, &[span], &mut k, &mut v, block_len, shape.kv_heads, shape.head_dim);
            rows.push((ks, vs));
            sequences.push((*past, *new, table));
        }
        let batch: usize = lengths.iter().map(|(_, new)| new).sum();
        let q = noise(batch * shape.heads * shape.head_dim, seed + 77);
        Case { shape, block_len, sequences, q, k, v, rows }
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
        let kv = KvLayer {
            k: &self.k,
            v: &self.v,
            block_len: self.block_len,
            kv_heads: self.shape.kv_heads,
            head_dim: self.shape.head_dim,
        };
        let mut out = vec![0.0; self.q.len()];
        let pool = Pool::new(threads);
        attention_for(isa, &pool, &self.q, spans, &kv, &self.shape, &mut out);
        out
    }

    /// The definition, in f64, over values rounded as the cache rounds them.
    fn naive(&self) -> Vec<f64> {
        let AttentionShape { heads, kv_heads, head_dim, scale, window } = self.shape;
        let round = |x: &f32| {
            let (mut e, mut y) = ([E::default()], [0.0]);
            E::store(&[*x], &mut e);
            E::load(Isa::Portable, &e, &mut y);
            f64::from(y[0])
        };
        let mut out = Vec::new();
        let mut row = 0;
        for ((past, new, _), (ks, vs)) in self.sequences.iter().zip(&self.rows) {
            for i in *past..past + new {
                for head in 0..heads {
                    let q = &self.q[(row * heads + head) * head_dim..][..head_dim];
                    let at = |j: usize| (j * kv_heads + head / (heads / kv_heads)) * head_dim;
                    let first = window.map_or(0, |w| (i + 1).saturating_sub(w));
                    let weights: Vec<f64> = (first..=i)
                        .map(|j| {
                            let k = &ks[at(j)..at(j) + head_dim];
                            let dot: f64 = q.iter().zip(k).map(|(q, k)| f64::from(*q) * round(k)).sum();
                            (dot * f64::from(scale)).exp()
                        })
                        .collect();
                    let total: f64 = weights.iter().sum();
                    for d in 0..head_dim {
                        let sum: f64 = weights.iter().zip(first..=i).map(|(w, j)| w * round(&vs[at(j) + d])).sum();
                        out.push(sum / total);
                    }
                }
                row += 1;
            }
        }
        out
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let spans = self.spans();
        let expected = self.run(Isa::Portable, 1, &spans);
        for (got, exact) in expected.iter().zip(self.naive()) {
            prop_assert!((f64::from(*got) - exact).abs() < 1e-5, "{got} {exact}");
        }
        // Each row as a span of its own.
        let alone: Vec<Span<'_>> = spans
            .iter()
            .flat_map(|span| {
                (0..span.rows).map(|i| Span {
                    first_row: span.first_row + i,
                    rows: 1,
                    first_pos: span.first_pos + i,
                    blocks: span.blocks,
                })
            })
            .collect();
        for isa in Isa::available() {
            for threads in 1..=3 {
                prop_assert_eq!(&self.run(isa, threads, &spans), &expected, "{:?}", isa);
            }
            prop_assert_eq!(&self.run(isa, 2, &alone), &expected, "{:?} alone", isa);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(48)))]

    #[test]
    fn attention_matches_its_definition_and_a_row_does_not_depend_on_its_batch(
        kv_heads in 1..3usize,
        group in 1..5usize,
        head_dim in prop::sample::select(vec![4, 8, 20, 64]),
        block_len in prop::sample::select(vec![5, 16, 32]),
        window in prop::option::of(1..70usize),
        lengths in prop::collection::vec((0..70usize, 1..40usize), 1..4),
        seed in 0..1000u32,
    ) {
        let heads = kv_heads * group;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let shape = AttentionShape { heads, kv_heads, head_dim, scale, window };
        Case::<f32>::new(shape, block_len, &lengths, seed).check()?;
        Case::<f16>::new(shape, block_len, &lengths, seed).check()?;
    }
}

#[test]
fn rows_outside_every_span_are_left_alone() {
    let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 8, scale: 0.3, window: None };
    let case = Case::<f32>::new(shape, 32, &[(3, 4)], 1);
    let spans = case.spans();
    let part = Span { first_row: 1, rows: 2, first_pos: 4, blocks: spans[0].blocks };
    let (all, some) = (case.run(isa(), 1, &spans), case.run(isa(), 1, &[part]));
    assert_eq!(some[16..48], all[16..48]);
    assert!(some[..16].iter().chain(&some[48..]).all(|v| *v == 0.0));
}

#[test]
#[should_panic(expected = "two spans share rows")]
fn spans_that_share_rows_are_refused() {
    let shape = AttentionShape { heads: 1, kv_heads: 1, head_dim: 8, scale: 1.0, window: None };
    let case = Case::<f32>::new(shape, 32, &[(0, 4)], 1);
    let span = case.spans()[0];
    case.run(isa(), 1, &[span, span]);
}
