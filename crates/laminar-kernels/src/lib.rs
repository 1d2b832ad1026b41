//! CPU arithmetic for Laminar.

mod activations;
mod attention;
mod elementwise;
mod error;
mod exp;
mod experts;
mod gemm;
mod isa;
mod matrix;
mod norm;
mod pool;
mod quant;
mod rope;
mod route;
#[cfg(test)]
mod testing;
mod tiles;
mod types;

pub use activations::Activations;
pub use attention::{AttentionShape, KvElement, KvLayer, Span, attention, store_kv};
pub use elementwise::{Gate, add, add_bias, gate_mul, scale};
pub use error::KernelError;
pub use experts::{ExpertSet, MoeScratch, moe_ffn};
pub use gemm::linear;
pub use matrix::Matrix;
pub use norm::{rms_norm, rms_norm_in_place};
pub use pool::{Pool, for_each_row};
pub use quant::{dequantize, quantize};
pub use rope::{RopeStyle, RopeTable, rope};
pub use route::{Routing, route_top_k};
pub use types::WeightType;
