//! What was measured. Written by `cargo bench -p laminar-kernels --bench instructions -- --write`.

/// The compiler it was measured with.
pub const COMPILER: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// Cases, and their instructions for 32 products: portable, AVX2.
pub const MEASURED: &[(&str, [f64; 2])] = &[
    ("linear Q8_0 x1", [285.874, 12.477]),
    ("linear Q8_0 x4", [285.135, 8.212]),
    ("linear Q8_0 x64", [285.031, 7.757]),
    ("linear Q4_0 x1", [311.096, 8.533]),
    ("linear Q4_0 x4", [310.378, 5.915]),
    ("linear Q4_0 x64", [310.280, 5.539]),
    ("linear Q4_K x1", [371.453, 7.958]),
    ("linear Q4_K x4", [370.735, 5.319]),
    ("linear Q4_K x64", [370.638, 5.052]),
    ("linear Q5_K x1", [1087.801, 24.224]),
    ("linear Q5_K x4", [1087.083, 11.723]),
    ("linear Q5_K x64", [1086.985, 11.433]),
    ("linear Q6_K x1", [1194.863, 26.835]),
    ("linear Q6_K x4", [1194.146, 13.950]),
    ("linear Q6_K x64", [1194.048, 13.640]),
    ("linear F16 x1", [1201.118, 15.071]),
    ("linear F16 x4", [1200.379, 8.820]),
    ("linear F16 x64", [1200.275, 14.427]),
    ("experts Q8_0 x2", [294.159, 12.723]),
    ("experts Q8_0 x32", [293.071, 9.438]),
    ("experts Q4_0 x2", [319.409, 8.562]),
    ("experts Q4_0 x32", [318.321, 7.287]),
    ("experts Q4_K x2", [379.784, 9.113]),
    ("experts Q4_K x32", [378.696, 6.805]),
    ("attention 8/2 prefill x32 up to 256", [702.754, 12.532]),
    ("attention 8/2 decode x1 behind 1024", [733.450, 20.061]),
    ("quantise x1", [381.688, 441.969]),
];
