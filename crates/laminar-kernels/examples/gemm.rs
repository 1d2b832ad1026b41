//! Speed of the matrix kernels.
//!
//! `cargo run --release -p laminar-kernels --example gemm -- [threads] [linear|experts|attention] [type]`
//!
//! With one thread on Linux, time is CPU time, so that other load on the machine counts less.
//! Prints the best and the median of several rounds: GOP/s (a multiply and an add are two operations), and
//! for few rows GB/s of weights. Weights are larger than the caches, so few rows mean memory speed.

use std::time::Instant;

use half::f16;
use laminar_kernels::{
    Activations, AttentionShape, ExpertSet, Gate, KvLayer, Matrix, MoeScratch, Pool, Routing, Span, WeightType,
    attention, linear, moe_ffn, quantize, store_kv,
};

const K: usize = 2048;
const N: usize = 2048;
const HIDDEN: usize = 768;
const EXPERTS: usize = 32;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(Ok(2), |a| a.parse())?;
    let what = arguments.next();
    let only = arguments.next();
    let wanted = |name: &str| what.as_deref().is_none_or(|w| w == name);
    let pool = Pool::new(threads);
    println!("{threads} threads; best (median)");
    use WeightType::{F16, F32, Mxfp4, Q4_0, Q4K, Q5_0, Q6K, Q8_0};
    for ty in [Q8_0, Q4_0, Mxfp4, Q4K, Q5_0, Q6K, F16, F32] {
        if only.as_deref().is_some_and(|name| name != ty.name()) {
            continue;
        }
        if wanted("linear") {
            time_linear(&pool, ty)?;
        }
        if wanted("experts") && !ty.is_float() {
            time_experts(&pool, ty)?;
        }
    }
    if wanted("attention") {
        time_attention(&pool);
    }
    Ok(())
}

/// Nanoseconds this thread has been on a CPU.
fn cpu_time() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok()
}

/// Seconds of the best and the median run of `f` in about half a second.
fn time(pool: &Pool, mut f: impl FnMut()) -> (f64, f64) {
    f();
    if pool.threads() == 1
        && let Some(before) = cpu_time()
    {
        let start = Instant::now();
        let mut runs = 0;
        while runs < 3 || start.elapsed().as_secs_f64() < 0.6 {
            f();
            runs += 1;
        }
        let seconds = (cpu_time().unwrap_or(before) - before) as f64 / 1e9 / f64::from(runs);
        return (seconds, seconds);
    }
    let mut seconds = Vec::new();
    let start = Instant::now();
    while seconds.len() < 5 || (start.elapsed().as_secs_f64() < 0.5 && seconds.len() < 1000) {
        let run = Instant::now();
        f();
        seconds.push(run.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    (seconds[0], seconds[seconds.len() / 2])
}

fn noise(n: usize) -> Vec<f32> {
    let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32;
    (0..n).map(|i| value(i) / 32768.0 - 1.0).collect()
}

fn matrix(ty: WeightType, rows: usize, cols: usize) -> Result<Matrix, Failure> {
    let mut data = Vec::new();
    let row = noise(cols);
    let mut one = Vec::new();
    quantize(ty, &row, &mut one)?;
    for _ in 0..rows {
        data.extend_from_slice(&one);
    }
    Ok(Matrix::pack(ty, rows, cols, &data)?)
}

fn time_linear(pool: &Pool, ty: WeightType) -> Result<(), Failure> {
    // 16 matrices in turn: 70 MB of Q8_0.
    let matrices = (0..16).map(|_| matrix(ty, N, K)).collect::<Result<Vec<_>, _>>()?;
    for rows in [1, 4, 16, 64, 512] {
        let x = noise(rows * K);
        let mut a = Activations::new();
        a.load(pool, &x, K);
        let mut out = vec![0.0; rows * N];
        let count = if rows > 64 { 2 } else { matrices.len() };
        let (best, median) = time(pool, || {
            for m in &matrices[..count] {
                linear(pool, m, &a, &mut out);
            }
        });
        let ops = (2 * rows * N * K * count) as f64;
        let bytes: usize = matrices[..count].iter().map(Matrix::packed_bytes).sum();
        report("linear ", ty, rows, ops, bytes, best, median);
    }
    Ok(())
}

fn report(what: &str, ty: WeightType, rows: usize, ops: f64, bytes: usize, best: f64, median: f64) {
    println!(
        "{what} {:5} rows {rows:4}: {:6.1} ({:6.1}) GOP/s {:6.2} GB/s",
        ty.name(),
        ops / best / 1e9,
        ops / median / 1e9,
        bytes as f64 / best / 1e9
    );
}

fn time_experts(pool: &Pool, ty: WeightType) -> Result<(), Failure> {
    let many = |rows, cols| (0..EXPERTS).map(|_| matrix(ty, rows, cols)).collect::<Result<Vec<_>, _>>();
    let set = ExpertSet { gate: many(HIDDEN, K)?, up: many(HIDDEN, K)?, down: many(K, HIDDEN)? };
    let bytes = |e: usize| set.gate[e].packed_bytes() + set.up[e].packed_bytes() + set.down[e].packed_bytes();
    // Rows of each expert are rows * top_k / EXPERTS: a quarter of the rows.
    let top_k = 8;
    let mut scratch = MoeScratch::default();
    for rows in [1, 4, 16, 64, 256, 2048] {
        let x = noise(rows * K);
        let mut a = Activations::new();
        a.load(pool, &x, K);
        let mut out = vec![0.0; rows * K];
        let routing = Routing {
            top_k,
            ids: (0..rows * top_k).map(|i| (i * 5 % EXPERTS) as u32).collect(),
            weights: vec![0.125; rows * top_k],
        };
        let (best, median) = time(pool, || {
            moe_ffn(pool, &set, Gate::Silu, &a, &routing, &mut out, &mut scratch);
        });
        let ops = (2 * rows * top_k * 3 * K * HIDDEN) as f64;
        let touched = EXPERTS.min(rows * top_k);
        report("experts", ty, rows, ops, (0..touched).map(bytes).sum(), best, median);
    }
    Ok(())
}

fn time_attention(pool: &Pool) {
    let cases = [("prefill", 2048, 32, 8), ("prefill", 2048, 32, 4), ("prefill", 2048, 32, 32), ("decode", 1, 32, 8)];
    for (what, rows, heads, kv_heads) in cases {
        let (dim, len) = (128, 2048);
        let shape = AttentionShape { heads, kv_heads, head_dim: dim, scale: 0.088, window: None };
        let blocks: Vec<u32> = (0..len as u32 / 32).collect();
        let values = noise(len * kv_heads * dim);
        let mut k = vec![f16::ZERO; values.len()];
        let mut v = k.clone();
        let whole = Span { first_row: 0, rows: len, first_pos: 0, blocks: &blocks };
        store_kv(&values, &values, &[whole], &mut k, &mut v, 32, kv_heads, dim);
        let kv = KvLayer { k: &k, v: &v, block_len: 32, kv_heads, head_dim: dim };
        let span = Span { first_row: 0, rows, first_pos: len - rows, blocks: &blocks };
        let q = noise(rows * heads * dim);
        let mut out = vec![0.0; q.len()];
        let (best, median) = time(pool, || attention(pool, &q, &[span], &kv, &shape, &mut out));
        let pairs: usize = (len - rows..len).map(|i| i + 1).sum();
        let ops = (4 * pairs * heads * dim) as f64;
        println!(
            "attention {what} {rows} rows, {heads}/{kv_heads} heads: {:6.1} ({:6.1}) GFLOP/s, {:5.2} GB/s, {:.2} ms",
            ops / best / 1e9,
            ops / median / 1e9,
            (2 * 2 * pairs * kv_heads * dim) as f64 / rows as f64 / best / 1e9,
            median * 1e3,
        );
    }
}
