//! Calls of the kernels on made-up data, each with what it has to do: what the benches measure.

// Each bench uses a part of this.
#![allow(dead_code)]

use std::error::Error;
use std::rc::Rc;

use laminar_kernels::roof::Form;
use laminar_kernels::{
    Activations, AttentionShape, ExpertSet, Gate, KvLayer, KvShape, KvType, Matrix, MoeScratch, Pool, Routing, Span,
    WeightType, attention, linear, moe_ffn, quantize, store_kv,
};

/// Why data could not be made.
pub type Failure = Box<dyn Error>;

/// Experts of a row.
pub const TOP_K: usize = 8;
/// Positions in a block of keys and values.
const BLOCK_LEN: usize = 32;

/// A call, or a few that belong together so that weights are not found in the caches.
pub struct Case {
    /// Kind, weight type and size, with spaces between them.
    pub name: String,
    /// What the calls have to do.
    pub work: Work,
    /// The instruction that the products are held against; none for a call without products.
    pub form: Option<Form>,
    run: Box<dyn FnMut(&Pool)>,
}

/// What a case has to do at least.
#[derive(Clone, Copy)]
pub struct Work {
    /// Bytes of weights, keys and values, or input, as they lie in memory, each read once.
    pub bytes: usize,
    /// Operations; a multiplication and an addition are two.
    pub operations: f64,
    /// How often 32 values are multiplied, or converted: rows x blocks of weights.
    pub blocks: f64,
}

impl Case {
    fn new(name: String, work: Work, form: Option<Form>, run: impl FnMut(&Pool) + 'static) -> Case {
        Case { name, work, form, run: Box::new(run) }
    }

    /// Does all of it once.
    pub fn run(&mut self, pool: &Pool) {
        (self.run)(pool);
    }
}

impl Work {
    /// Products of so many pairs of numbers, for which so many bytes are read.
    fn products(bytes: usize, pairs: usize) -> Work {
        Work { bytes, operations: 2.0 * pairs as f64, blocks: pairs as f64 / 32.0 }
    }
}

/// Values between -1 and 1.
fn noise(n: usize) -> Vec<f32> {
    let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32;
    (0..n).map(|i| value(i) / 32768.0 - 1.0).collect()
}

/// Matrices side by side in memory, as a model's are. All rows are alike: quantising them would take longer than
/// everything else.
fn matrices(pool: &Pool, ty: WeightType, count: usize, [outputs, inputs]: [usize; 2]) -> Result<Vec<Matrix>, Failure> {
    let mut row = Vec::new();
    quantize(ty, &noise(inputs), &mut row)?;
    let data = row.repeat(outputs);
    Ok(Matrix::pack_all(pool, ty, outputs, inputs, &vec![&data[..]; count])?)
}

fn activations(pool: &Pool, rows: usize, cols: usize) -> Activations {
    let mut x = Activations::new();
    x.load(pool, &noise(rows * cols), cols);
    x
}

/// Products of `rows` rows with matrices of `outputs x inputs` weights: as many matrices as take `bytes`, or two of them
/// where there are so many rows that weights hardly count.
pub fn linear_cases(
    pool: &Pool,
    ty: WeightType,
    [outputs, inputs]: [usize; 2],
    bytes: usize,
    rows: &[usize],
) -> Result<Vec<Case>, Failure> {
    let count = bytes.div_ceil(Matrix::packed_bytes_of(ty, outputs, inputs)?).max(1);
    let matrices = Rc::new(matrices(pool, ty, count, [outputs, inputs])?);
    let case = |&rows: &usize| {
        let matrices = Rc::clone(&matrices);
        let count = if rows > 64 { matrices.len().min(2) } else { matrices.len() };
        let work = Work::products(count * matrices[0].packed_bytes(), count * rows * outputs * inputs);
        let x = activations(pool, rows, inputs);
        let mut out = vec![0.0; rows * outputs];
        Case::new(format!("linear {} x{rows}", ty.name()), work, Some(Form::of(ty)), move |pool| {
            for matrix in &matrices[..count] {
                linear(pool, matrix, &x, &mut out);
            }
        })
    };
    Ok(rows.iter().map(case).collect())
}

/// Feed-forward networks of as many experts as take `bytes`, of `dim` inputs and outputs and `hidden` values between them:
/// one row after the other ("alone"), then batches in which every expert has so many rows.
pub fn expert_cases(
    pool: &Pool,
    ty: WeightType,
    [dim, hidden]: [usize; 2],
    bytes: usize,
    rows: &[usize],
) -> Result<Vec<Case>, Failure> {
    let (inner, outer) = ([hidden, dim], [dim, hidden]);
    let expert_bytes = 2 * Matrix::packed_bytes_of(ty, hidden, dim)? + Matrix::packed_bytes_of(ty, dim, hidden)?;
    let count = bytes.div_ceil(expert_bytes).max(1).next_multiple_of(TOP_K);
    let all_bytes = count * expert_bytes;
    let made = |shape| matrices(pool, ty, count, shape);
    let set = ExpertSet { gate: made(inner)?, up: made(inner)?, down: made(outer)?, biases: None };
    let set = Rc::new(set);
    let case = |name: String, calls: usize, rows: usize| {
        let set = Rc::clone(&set);
        let x = activations(pool, rows, dim);
        let routings: Vec<Routing> = (0..calls)
            .map(|call| Routing {
                top_k: TOP_K,
                ids: (0..rows * TOP_K).map(|i| ((call * TOP_K + i) % count) as u32).collect(),
                weights: vec![1.0 / TOP_K as f32; rows * TOP_K],
            })
            .collect();
        let work = Work::products(all_bytes, calls * rows * TOP_K * 3 * dim * hidden);
        let (mut out, mut scratch) = (vec![0.0; rows * dim], MoeScratch::default());
        Case::new(format!("experts {} {name}", ty.name()), work, Some(Form::of(ty)), move |pool| {
            for routing in &routings {
                moe_ffn(pool, &set, Gate::Silu, &x, routing, &mut out, &mut scratch);
            }
        })
    };
    let alone = case("alone".to_owned(), count / TOP_K, 1);
    let batches = rows.iter().map(|rows| case(format!("x{rows}"), 1, rows * count / TOP_K));
    Ok(std::iter::once(alone).chain(batches).collect())
}

/// Who attends to what: the last `rows` of `context` positions in each of `sequences`.
#[derive(Clone, Copy)]
pub struct Attending {
    /// Query heads and heads of keys and values.
    pub heads: [usize; 2],
    /// Rows of a sequence.
    pub rows: usize,
    /// Positions of a sequence, its rows included.
    pub context: usize,
    /// Sequences, all in one call, or a call each.
    pub sequences: usize,
    /// Whether they share a call.
    pub together: bool,
}

/// Attention over keys and values in f16, heads of 128.
pub fn attention_case(what: Attending) -> Case {
    const DIM: usize = 128;
    let Attending { heads: [heads, kv_heads], rows, context, sequences, together } = what;
    let table_len = context.div_ceil(BLOCK_LEN);
    let tables: Vec<Vec<u32>> = (0..sequences * table_len)
        .map(|block| block as u32)
        .collect::<Vec<u32>>()
        .chunks(table_len)
        .map(<[u32]>::to_vec)
        .collect();
    let shape = KvShape { block_len: BLOCK_LEN, kv_heads, head_dim: DIM, values_from: None };
    let mut kv = KvLayer::new(KvType::F16, shape, sequences * table_len);
    let values = noise(context * kv_heads * DIM);
    for blocks in &tables {
        let whole = Span { first_row: 0, rows: context, first_pos: 0, blocks };
        store_kv(&Pool::new(1), &values, &values, &[whole], &mut kv);
    }
    let batch = if together { sequences } else { 1 };
    let q = noise(batch * rows * heads * DIM);
    let mut out = vec![0.0; q.len()];

    let seen: usize = (context - rows..context).map(|position| position + 1).sum();
    let bytes = sequences * table_len * shape.block_bytes(KvType::F16);
    // A product of a query and a key, and one of a weight and a value, for each position seen.
    let work = Work::products(bytes, sequences * seen * heads * DIM * 2);
    let name = match rows {
        1 => format!("attention {heads}/{kv_heads} decode x{batch} behind {context}"),
        _ => format!("attention {heads}/{kv_heads} prefill x{rows} up to {context}"),
    };
    Case::new(name, work, Some(Form::of_floats()), move |pool| {
        let shape = AttentionShape { heads, kv_heads, head_dim: DIM, scale: 0.088, window: None, softcap: None };
        for tables in tables.chunks(batch) {
            let span = |(number, blocks)| Span { first_row: number * rows, rows, first_pos: context - rows, blocks };
            let spans: Vec<Span<'_>> = tables.iter().map(Vec::as_slice).enumerate().map(span).collect();
            attention(pool, &q, &spans, &kv, &shape, None, &mut out);
        }
    })
}

/// Rounding rows of activations to 8 bits, as every product with quantised weights needs them.
pub fn quantise_case(rows: usize, cols: usize) -> Case {
    let values = noise(rows * cols);
    let mut x = Activations::new();
    let blocks = (rows * cols) as f64 / 32.0;
    let work = Work { bytes: size_of_val(values.as_slice()), operations: 0.0, blocks };
    Case::new(format!("quantise x{rows}"), work, None, move |pool| x.load(pool, &values, cols))
}
