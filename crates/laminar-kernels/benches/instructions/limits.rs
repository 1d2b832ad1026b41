//! What was measured. Written by `cargo bench -p laminar-kernels --bench instructions -- --write`.

/// The compiler it was measured with.
pub const COMPILER: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// Cases, and their instructions for 32 products: portable, AVX2.
pub const MEASURED: &[(&str, [f64; 2])] = &[
    ("linear Q8_0 x1", [285.874, 12.477]),
    ("linear Q8_0 x4", [285.135, 8.212]),
    ("linear Q8_0 x64", [285.031, 7.757]),
    ("experts Q8_0 x2", [294.159, 12.723]),
    ("experts Q8_0 x32", [293.071, 9.438]),
    ("linear Q4_0 x1", [311.096, 8.533]),
    ("linear Q4_0 x4", [310.378, 5.915]),
    ("linear Q4_0 x64", [310.280, 5.539]),
    ("experts Q4_0 x2", [319.409, 8.562]),
    ("experts Q4_0 x32", [318.321, 7.287]),
    ("linear Q4_K x1", [371.453, 7.958]),
    ("linear Q4_K x4", [370.735, 5.319]),
    ("linear Q4_K x64", [370.638, 5.052]),
    ("experts Q4_K x2", [379.784, 9.113]),
    ("experts Q4_K x32", [378.696, 6.805]),
    ("attention 8/2 prefill x32 up to 256", [702.754, 12.532]),
    ("attention 8/2 decode x1 behind 1024", [733.450, 20.061]),
    ("quantise x1", [381.688, 441.969]),
];
