//! What was measured. Written by `cargo bench -p laminar-kernels --bench instructions -- --write`.

/// The compiler it was measured with.
pub const COMPILER: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// Cases, and their instructions for 32 products: portable, AVX2.
pub const MEASURED: &[(&str, [f64; 2])] = &[
    ("linear Q8_0 x1", [285.934, 12.452]),
    ("linear Q8_0 x4", [285.285, 8.173]),
    ("linear Q8_0 x64", [285.214, 7.733]),
    ("linear Q4_0 x1", [311.184, 9.102]),
    ("linear Q4_0 x4", [310.535, 6.041]),
    ("linear Q4_0 x64", [310.465, 5.564]),
    ("linear Q4_K x1", [372.411, 9.649]),
    ("linear Q4_K x4", [371.761, 5.978]),
    ("linear Q4_K x64", [371.691, 5.500]),
    ("linear Q5_K x1", [1087.768, 13.065]),
    ("linear Q5_K x4", [1087.119, 7.356]),
    ("linear Q5_K x64", [1087.049, 6.816]),
    ("linear Q6_K x1", [1194.893, 15.110]),
    ("linear Q6_K x4", [1194.244, 8.664]),
    ("linear Q6_K x64", [1194.174, 8.066]),
    ("linear F16 x1", [1232.995, 39.468]),
    ("linear F16 x4", [1232.345, 14.423]),
    ("linear F16 x64", [1232.275, 10.598]),
    ("experts Q8_0 x2", [294.459, 12.079]),
    ("experts Q8_0 x32", [293.552, 9.103]),
    ("experts Q4_0 x2", [319.709, 8.313]),
    ("experts Q4_0 x32", [318.803, 6.990]),
    ("experts Q4_K x2", [380.959, 9.469]),
    ("experts Q4_K x32", [380.053, 6.939]),
    ("attention 8/2 prefill x32 up to 256", [467.604, 10.567]),
    ("attention 8/2 decode x1 behind 1024", [613.238, 11.839]),
    ("quantise x1", [619.219, 240.188]),
];
