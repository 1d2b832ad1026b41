use proptest::prelude::*;

use super::slice::moe_ffn_slice_for;
use super::*;
use crate::testing::{cases, matrix, noise};
use crate::{WeightType, add_bias, gate_mul, linear};

fn set(types: (WeightType, WeightType), n: usize, dim: usize, hidden: usize, seed: u32) -> ExpertSet {
    let many = |ty, rows, cols, seed: u32| (0..n as u32).map(|e| matrix(ty, rows, cols, seed + e)).collect();
    ExpertSet {
        gate: many(types.0, hidden, dim, seed),
        up: many(types.0, hidden, dim, seed + 100),
        down: many(types.1, dim, hidden, seed + 200),
        biases: None,
    }
}

fn with_biases(set: ExpertSet, seed: u32) -> ExpertSet {
    let (n, dim, hidden) = (set.gate.len(), set.down[0].rows(), set.down[0].cols());
    let biases = ExpertBiases {
        gate: noise(n * hidden, seed + 300),
        up: noise(n * hidden, seed + 301),
        down: noise(n * dim, seed + 302),
    };
    ExpertSet { biases: Some(biases), ..set }
}

fn routing(rows: usize, experts: usize, top_k: usize, seed: u32) -> Routing {
    let mut routing = Routing::default();
    let logits = noise(rows * experts, seed);
    crate::route_top_k(&Pool::new(1), &logits, experts, top_k, true, &mut routing);
    routing
}

fn run(isa: Isa, threads: usize, set: &ExpertSet, kind: Gate, x: &[f32], routing: &Routing) -> Vec<f32> {
    let pool = Pool::new(threads);
    let mut activations = Activations::new();
    activations.load_on(isa, &pool, x, set.gate[0].cols());
    let mut out = vec![0.0; activations.rows() * set.down[0].rows()];
    let mut scratch = MoeScratch::default();
    let all = 0..set.gate.len();
    moe_ffn_part_for(isa, &pool, set, all, kind, &activations, routing, &mut out, &mut scratch);
    out
}

/// What runs in one go.
#[derive(Clone, Debug)]
enum Part {
    Experts(Range<usize>),
    Slices(usize, Range<usize>),
}

/// Some experts or slices at a time, over rows that came in two blocks and are kept for these experts alone.
fn run_parts(
    isa: Isa,
    threads: usize,
    set: &ExpertSet,
    parts: &[Part],
    kind: Gate,
    x: &[f32],
    routing: &Routing,
) -> Vec<f32> {
    let pool = Pool::new(threads);
    let cols = set.gate[0].cols();
    let mut activations = Activations::new();
    activations.clear_for(set);
    let (first, second) = x.split_at(x.len() / cols / 2 / TILE * TILE * cols);
    activations.append_for(isa, &pool, first, cols);
    activations.append_for(isa, &pool, second, cols);
    let mut sums = vec![0.0; activations.rows() * set.down[0].rows()];
    let (mut scratch, mut sliced) = (MoeScratch::default(), MoeScratch::default());
    let x = &activations;
    for part in parts.iter().cloned() {
        match part {
            Part::Experts(part) => {
                moe_ffn_part_for(isa, &pool, set, part, kind, x, routing, &mut sums, &mut scratch);
            }
            Part::Slices(expert, slices) => {
                moe_ffn_slice_for(isa, &pool, set, expert, slices, kind, x, routing, &mut sums, &mut sliced);
            }
        }
    }
    sums
}

/// One row and one expert at a time through the dense operations, experts in ascending order.
fn naive(set: &ExpertSet, kind: Gate, x: &[f32], routing: &Routing) -> Vec<f32> {
    let pool = Pool::new(1);
    let (dim, hidden) = (set.down[0].rows(), set.down[0].cols());
    let mut a = Activations::new();
    let mut out = Vec::new();
    for (row, x) in x.chunks(set.gate[0].cols()).enumerate() {
        let mut sums = vec![0f32; dim];
        let mut choices: Vec<usize> = (row * routing.top_k..(row + 1) * routing.top_k).collect();
        choices.sort_by_key(|c| routing.ids[*c]);
        for choice in choices {
            let e = routing.ids[choice] as usize;
            let (mut gate, mut up) = (vec![0.0; hidden], vec![0.0; hidden]);
            a.load(&pool, x, x.len());
            linear(&pool, &set.gate[e], &a, &mut gate);
            linear(&pool, &set.up[e], &a, &mut up);
            if let Some(biases) = &set.biases {
                add_bias(&pool, &mut gate, &biases.gate[e * hidden..][..hidden]);
                add_bias(&pool, &mut up, &biases.up[e * hidden..][..hidden]);
            }
            gate_mul(&pool, kind, &mut gate, &up, hidden);
            a.load(&pool, &gate, hidden);
            let mut y = vec![0.0; dim];
            linear(&pool, &set.down[e], &a, &mut y);
            if let Some(biases) = &set.biases {
                add_bias(&pool, &mut y, &biases.down[e * dim..][..dim]);
            }
            for (sum, y) in sums.iter_mut().zip(y) {
                *sum = routing.weights[choice].mul_add(y, *sum);
            }
        }
        out.extend(sums);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(48)))]

    #[test]
    fn experts_match_the_dense_operations_bit_for_bit_in_any_batch(
        types in prop::sample::select(vec![
            (WeightType::Q8_0, WeightType::Q8_0),
            (WeightType::Q4_0, WeightType::Q5_1),
            (WeightType::Q4K, WeightType::Q6K),
            (WeightType::Q5K, WeightType::F16),
            (WeightType::Bf16, WeightType::Q4_1),
            (WeightType::Mxfp4, WeightType::Mxfp4),
            (WeightType::F32, WeightType::F32),
        ]),
        kind in prop::sample::select(vec![Gate::Silu, Gate::GeluTanh, Gate::ClampedSwiglu]),
        biased in any::<bool>(),
        experts in 1..9usize,
        top in 1..9usize,
        rows in 1..40usize,
        hidden in 1..4usize,
        odd in 0..31usize,
        cuts in prop::collection::vec(0..9usize, 0..4),
        inside in 1..4usize,
        seed in 0..1000u32,
    ) {
        let dim = 256;
        let hidden = match types.1.block_len() {
            1 => hidden * 20 + odd,
            len => hidden * len,
        };
        let set = set(types, experts, dim, hidden, seed);
        let set = if biased { with_biases(set, seed) } else { set };
        let routing = routing(rows, experts, top.min(experts), seed);
        let x = noise(rows * dim, seed + 5);
        let expected = naive(&set, kind, &x, &routing);
        let mut borders: Vec<usize> = cuts.into_iter().chain([0, experts]).map(|cut| cut.min(experts)).collect();
        borders.sort_unstable();
        let parts: Vec<Part> = borders.windows(2).map(|pair| Part::Experts(pair[0]..pair[1])).collect();
        let single: Vec<Part> = (0..experts).map(|e| Part::Experts(e..e + 1)).collect();
        // Each expert in so many slices at a time, and every other one so.
        let slices = |expert: usize| {
            let all = set.slices();
            (0..all).step_by(inside).map(move |first| Part::Slices(expert, first..all.min(first + inside)))
        };
        let sliced: Vec<Part> = (0..experts).flat_map(slices).collect();
        let in_turn = |e: usize| if e.is_multiple_of(2) { slices(e).collect() } else { vec![Part::Experts(e..e + 1)] };
        let in_turn: Vec<Part> = (0..experts).flat_map(in_turn).collect();
        for isa in Isa::available() {
            for threads in 1..=3 {
                let got = run(isa, threads, &set, kind, &x, &routing);
                prop_assert_eq!(&got, &expected, "{:?} {}", isa, threads);
                for parts in [&parts, &sliced, &single, &in_turn].into_iter().take(if threads == 2 { 4 } else { 2 }) {
                    let got = run_parts(isa, threads, &set, parts, kind, &x, &routing);
                    prop_assert_eq!(&got, &expected, "{:?} {} {:?}", isa, threads, parts);
                }
            }
        }
    }
}

#[test]
fn a_batch_larger_than_the_working_set_gives_the_same_bits() {
    let (experts, rows, dim) = (3, 2500, 32);
    let set = set((WeightType::Q8_0, WeightType::Q8_0), experts, dim, 32, 9);
    let routing = routing(rows, experts, 2, 4);
    let x = noise(rows * dim, 8);
    let all = run(isa(), 2, &set, Gate::Silu, &x, &routing);
    let in_parts = |parts: &[Part]| run_parts(isa(), 2, &set, parts, Gate::Silu, &x, &routing);
    assert_eq!(in_parts(&[Part::Experts(0..1), Part::Experts(1..3)]), all);
    let sliced = [Part::Experts(0..1), Part::Slices(1, 0..1), Part::Slices(1, 1..2), Part::Experts(2..3)];
    assert_eq!(in_parts(&sliced), all);
    for row in [0, 1, 1023, 2048, 2499] {
        let one = Routing {
            top_k: 2,
            ids: routing.ids[row * 2..row * 2 + 2].to_vec(),
            weights: routing.weights[row * 2..row * 2 + 2].to_vec(),
        };
        let alone = run(isa(), 1, &set, Gate::Silu, &x[row * dim..][..dim], &one);
        assert_eq!(alone, all[row * dim..][..dim]);
    }
}

#[test]
fn what_was_in_the_outputs_does_not_matter() {
    let (rows, dim) = (5, 32);
    let set = set((WeightType::Q8_0, WeightType::Q8_0), 3, dim, 32, 9);
    let routing = routing(rows, 3, 2, 4);
    let (pool, x) = (Pool::new(1), noise(rows * dim, 8));
    let mut activations = Activations::new();
    activations.load(&pool, &x, dim);
    let mut out = vec![f32::NAN; rows * dim];
    moe_ffn(&pool, &set, Gate::Silu, &activations, &routing, &mut out, &mut MoeScratch::default());
    assert_eq!(out, run(isa(), 1, &set, Gate::Silu, &x, &routing));
}

#[test]
fn an_empty_batch_is_fine() {
    let set = set((WeightType::F32, WeightType::F32), 2, 8, 8, 1);
    let routing = Routing { top_k: 2, ..Routing::default() };
    let x = Activations::new();
    moe_ffn(&Pool::new(1), &set, Gate::Silu, &x, &routing, &mut [], &mut MoeScratch::default());
}

#[test]
#[should_panic(expected = "other weights")]
fn rows_kept_for_quantised_experts_serve_no_float_matrix() {
    let quantised = set((WeightType::Q8_0, WeightType::Q8_0), 2, 32, 32, 1);
    let float = set((WeightType::F32, WeightType::F32), 2, 32, 32, 1);
    let mut x = Activations::new();
    x.clear_for(&quantised);
    x.append(&Pool::new(1), &noise(4 * 32, 1), 32);
    linear(&Pool::new(1), &float.gate[0], &x, &mut [0.0; 4 * 32]);
}

#[test]
#[should_panic(expected = "other experts")]
fn rows_kept_for_quantised_experts_do_not_serve_float_experts() {
    let quantised = set((WeightType::Q8_0, WeightType::Q8_0), 2, 32, 32, 1);
    let float = set((WeightType::F32, WeightType::F32), 2, 32, 32, 1);
    let mut x = Activations::new();
    x.clear_for(&quantised);
    x.append(&Pool::new(1), &noise(32, 1), 32);
    let routing = routing(1, 2, 1, 1);
    let mut scratch = MoeScratch::default();
    moe_ffn_part(&Pool::new(1), &float, 0..1, Gate::Silu, &x, &routing, &mut [0.0; 32], &mut scratch);
}

#[test]
fn an_expert_without_rows_has_slices_too() {
    let set = set((WeightType::Q8_0, WeightType::Q8_0), 2, 32, 160, 1);
    assert_eq!(set.slices(), 5 + 2);
    let pool = Pool::new(1);
    let mut x = Activations::new();
    x.clear_for(&set);
    x.append(&pool, &noise(32, 1), 32);
    let routing = Routing { top_k: 1, ids: vec![1], weights: vec![1.0] };
    let (mut sums, mut scratch) = ([0.0; 32], MoeScratch::default());
    for slice in 0..7 {
        moe_ffn_slice(&pool, &set, 0, slice..slice + 1, Gate::Silu, &x, &routing, &mut sums, &mut scratch);
    }
    assert_eq!(sums, [0.0; 32]);
}

#[test]
#[should_panic(expected = "do not follow")]
fn slices_of_an_expert_whose_rows_are_not_there_are_refused() {
    let set = set((WeightType::Q8_0, WeightType::Q8_0), 2, 32, 64, 1);
    let pool = Pool::new(1);
    let mut x = Activations::new();
    x.append(&pool, &noise(32, 1), 32);
    let routing = Routing { top_k: 2, ids: vec![0, 1], weights: vec![0.5; 2] };
    let (mut sums, mut scratch) = ([0.0; 32], MoeScratch::default());
    moe_ffn_slice(&pool, &set, 0, 0..1, Gate::Silu, &x, &routing, &mut sums, &mut scratch);
    moe_ffn_slice(&pool, &set, 1, 1..2, Gate::Silu, &x, &routing, &mut sums, &mut scratch);
}
