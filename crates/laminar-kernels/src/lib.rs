//! CPU arithmetic for Laminar: quantised matrix products, expert products, paged attention and the small
//! operations between them.
//!
//! The main types: a [`Pool`] of threads, which every operation takes; [`Matrix`], weights packed once at
//! load from a GGUF block format ([`WeightType`]); [`Activations`], a batch of rows prepared for any number
//! of products. [`linear`] multiplies the two; [`route_top_k`] and [`moe_ffn`] are a mixture-of-experts
//! layer; [`store_kv`] and [`attention`] work on keys and values in blocks of a fixed number of positions;
//! [`rms_norm`], [`rope`], [`gate_mul`] and [`add`] are the rest of a transformer layer; [`roof`](mod@roof)
//! measures what the machine could do at best. A later set of operations for another device would sit beside
//! this crate with the same meaning.
//!
//! # The arithmetic contract
//!
//! Results are the same bits for any batch a row is in, any number of threads, and any instruction set: the
//! portable path in plain Rust, AVX2 with FMA, AVX-512 VNNI, and NEON with dot products. One output is one lane of a vector, and
//! its terms are taken in a fixed order:
//!
//! - Quantised weights: activations are rounded to 8 bits in blocks of 32 (`x = dx * code`, `dx` the largest
//!   magnitude / 127). For each block `b` in order, `acc = fma(dw[b] * dx[b], dot, acc)` where `dot` is the
//!   exact integer dot product, then for types with a minimum `acc = fma(-mw[b], sx[b], acc)` where `sx` is
//!   `dx` times the exact sum of the activation codes. Q6_K has a scale for 16 columns, so two steps for
//!   each block.
//! - Float weights: `acc = fma(w[k], x[k], acc)` for each `k` in order.
//! - Experts: a row's sum over experts is taken in ascending order of expert, `acc = fma(weight, y, acc)`.
//! - Attention: positions are cut at absolute multiples of 256 into splits. In each, scores are `fma` over the
//!   head's dimensions in order, weights are powers of two relative to the largest score and are summed in 16 lanes by
//!   position, weighted values are `fma` over positions in order; splits are merged in ascending order.
//! - Recurrent states: rows in order of position, sums over keys `fma` in order.
//!
//! The environment variable `LAMINAR_ISA` (`portable`, `avx2`, `vnni`, `dotprod`) picks a slower path than the fastest
//! available one.
//!
//! # Example
//!
//! ```
//! use laminar_kernels::{Activations, Matrix, Pool, WeightType, linear, quantize};
//!
//! # fn main() -> Result<(), laminar_kernels::KernelError> {
//! let pool = Pool::new(2);
//! // Two outputs, 32 inputs.
//! let weights: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
//! let mut data = Vec::new();
//! quantize(WeightType::Q8_0, &weights, &mut data)?;
//! let matrix = Matrix::pack(WeightType::Q8_0, 2, 32, &data)?;
//!
//! let mut x = Activations::new();
//! x.load(&pool, &[1.0; 32], 32);
//! let mut y = [0.0; 2];
//! linear(&pool, &matrix, &x, &mut y);
//! let exact: f32 = weights[..32].iter().sum();
//! assert!((y[0] - exact).abs() < 0.1);
//! # Ok(())
//! # }
//! ```

mod activations;
mod attention;
mod elementwise;
mod error;
mod exp;
mod experts;
mod gemm;
mod heads;
mod isa;
mod matrix;
mod norm;
mod packing;
mod panel;
mod pool;
mod quant;
mod quantise;
mod recurrent;
pub mod roof;
mod rope;
mod route;
mod scored;
mod short_conv;
mod storage;
mod streams;
#[cfg(test)]
mod testing;
mod tiles;
mod types;

pub use activations::Activations;
pub use attention::{AttentionShape, KvLayer, KvShape, KvType, Span, attention, store_kv};
pub use elementwise::{Gate, add, add_bias, add_gated, gate_mul, mul_sigmoid, scale, softcap};
pub use error::KernelError;
pub use experts::{ExpertBiases, ExpertSet, MoeScratch, moe_ffn, moe_ffn_part, moe_ffn_slice};
pub use gemm::{linear, linear_each};
pub use heads::{HeadPart, linear_heads};
pub use matrix::Matrix;
pub use norm::{rms_norm, rms_norm_in_place};
pub use packing::{Packer, RowSource, packed_layout};
pub use pool::{Pool, for_each_row};
pub use quant::{dequantize, quantize};
pub use recurrent::{
    RecurrentRule, RecurrentShape, StateLayer, StateShape, StateSpan, causal_conv, delta_gates, recur, selective_gates,
    unit_heads,
};
pub use rope::{RopeStyle, RopeTable, rope};
pub use route::{Routing, append_top_k, route_top_k};
pub use scored::{ScoredRule, Scoring, append_scored};
pub use short_conv::{ConvLayer, ConvShape, short_conv};
pub use streams::{StreamShape, add_behind_first, correct_streams, keep_largest, match_magnitude, predict_streams};
pub use types::WeightType;
