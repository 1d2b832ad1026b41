//! Matrix products in which every head of a row meets a matrix of its own, as latent attention has them.

use std::cell::RefCell;

use crate::gemm::linear;
use crate::pool::SharedMut;
use crate::{Activations, Matrix, Pool};

/// Where a head's numbers are in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadPart {
    /// Numbers of a row from one head to the next.
    pub stride: usize,
    /// The first of a head's numbers, counted from where the head begins.
    pub first: usize,
}

/// Rows that are gathered at once: enough for the kernels, and little memory for a thread.
const ROWS: usize = 256;

/// What a thread gathers rows and products in.
#[derive(Default)]
struct Scratch {
    rows: Vec<f32>,
    products: Vec<f32>,
    activations: Activations,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The product of a part of each head of each row with that head's matrix, written to a part of the same head in `out`.
///
/// `matrices` has one matrix a head, all of one shape: its columns are the numbers that are read of a head, its rows those
/// that are written. Rows of `x` and of `out` are as many heads of `from.stride` and of `to.stride` numbers. The rest of
/// `out` is left alone. Each product is what [`linear`] makes of those numbers alone.
///
/// # Panics
///
/// If matrices differ in shape, parts are not inside their heads, or `x` and `out` are not equally many whole rows.
pub fn linear_heads(pool: &Pool, matrices: &[Matrix], x: &[f32], from: HeadPart, out: &mut [f32], to: HeadPart) {
    let Some((outputs, inputs)) = matrices.first().map(|matrix| (matrix.rows(), matrix.cols())) else {
        assert!(x.is_empty() && out.is_empty(), "rows without heads");
        return;
    };
    let same = matrices.iter().all(|matrix| (matrix.rows(), matrix.cols()) == (outputs, inputs));
    assert!(same, "heads with matrices of several shapes");
    assert!(from.first + inputs <= from.stride && to.first + outputs <= to.stride, "parts outside their heads");
    let (x_row, out_row) = (matrices.len() * from.stride, matrices.len() * to.stride);
    let rows = x.len() / x_row;
    assert!(x.len() == rows * x_row && out.len() == rows * out_row, "input and output are not the same rows");
    let out = SharedMut::new(out);
    pool.run(matrices.len(), &|head| {
        // Taken, not borrowed: the product may run other tasks on this thread.
        let mut scratch = SCRATCH.take();
        let Scratch { rows: gathered, products, activations } = &mut scratch;
        for first in (0..rows).step_by(ROWS) {
            let part = first..rows.min(first + ROWS);
            gathered.clear();
            for row in part.clone() {
                gathered.extend_from_slice(&x[row * x_row + head * from.stride + from.first..][..inputs]);
            }
            activations.load_for(pool, gathered, inputs, [&matrices[head]]);
            products.resize(part.len() * outputs, 0.0);
            linear(pool, &matrices[head], activations, products);
            for (row, products) in part.zip(products.chunks_exact(outputs)) {
                // SAFETY: a task writes its own head of each row.
                let to = unsafe { out.slice(row * out_row + head * to.stride + to.first, outputs) };
                to.copy_from_slice(products);
            }
        }
        SCRATCH.set(scratch);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WeightType;
    use crate::testing::{matrix, noise};

    #[test]
    fn every_head_meets_its_own_matrix() {
        let (heads, inputs, outputs) = (3, 64, 40);
        let (from, to) = (HeadPart { stride: 80, first: 16 }, HeadPart { stride: 48, first: 8 });
        for ty in [WeightType::F32, WeightType::Q8_0] {
            let matrices: Vec<Matrix> = (0..heads).map(|head| matrix(ty, outputs, inputs, head as u32)).collect();
            // More than are gathered at once.
            for rows in [1, 7, ROWS + 3] {
                let x = noise(rows * heads * from.stride, 9);
                let mut out = vec![7.0; rows * heads * to.stride];
                linear_heads(&Pool::new(3), &matrices, &x, from, &mut out, to);
                let mut alone = vec![7.0; out.len()];
                let pool = Pool::new(1);
                for (i, (x, out)) in x.chunks(from.stride).zip(alone.chunks_mut(to.stride)).enumerate() {
                    let mut activations = Activations::new();
                    activations.load(&pool, &x[from.first..][..inputs], inputs);
                    linear(&pool, &matrices[i % heads], &activations, &mut out[to.first..][..outputs]);
                }
                assert_eq!(out, alone, "{ty:?} {rows} rows");
            }
        }
        linear_heads(&Pool::new(1), &[], &[], from, &mut [], to);
    }
}
