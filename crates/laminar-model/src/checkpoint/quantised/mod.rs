//! Weights of folders that other programs have quantised: FP8, AWQ, GPTQ, compressed-tensors.
//!
//! A weight is a few tensors that belong together: codes, scales, zero points. Its exact value is
//! `(code - zero) * scale` (FP8: the float times the scale), computed in f32. For the kernels it is brought into the nearest
//! of their formats, some rows at a time while it is packed, so no second copy is ever in memory:
//!
//! | stored | packed as | error |
//! |---|---|---|
//! | 4 bits, all zero points 8, groups of whole blocks | Q4_0 | none but that of scales that are no f16 |
//! | 4 bits, other zero points | Q4_1 | the offset `zero * scale` rounded to f16: at most 0.4 % of a step |
//! | 8 bits, all zero points 128 | Q8_0 | none but that of scales that are no f16 |
//! | FP8, 8 bits otherwise, columns in any order | Q8_0 | half a step: 1/254 of a block's largest value |
//!
//! Layouts (all of `in` columns and `out` rows): AWQ has `qweight [in, out/8]`, `qzeros [in/group, out/8]` and
//! `scales [in/group, out]`, eight outputs a word in the order 0, 2, 4, 6, 1, 3, 5, 7; GPTQ `qweight [in/8, out]`,
//! `qzeros [groups, out/8]`, `scales [groups, out]` and the group of each column in `g_idx [in]`; compressed-tensors
//! `weight_packed [out, in/8]` and `weight_scale [out, groups]`, codes plus half their range; DeepSeek's FP8 `weight [out, in]`
//! and `weight_scale_inv` with a number for each block of 128 x 128.

mod parts;
mod scheme;
mod weight;

pub(crate) use parts::{is_part, weight_of};
pub(crate) use scheme::Scheme;
pub use weight::QuantisedWeight;
