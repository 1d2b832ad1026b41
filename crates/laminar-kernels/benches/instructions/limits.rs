//! What was measured. Written by `cargo bench -p laminar-kernels --bench instructions -- --write`.

/// The compiler it was measured with.
pub const COMPILER: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// Cases, and their instructions for 32 products: portable, AVX2.
pub const MEASURED: &[(&str, [f64; 2])] = &[
    ("linear Q8_0 x1", [166.758, 12.641]),
    ("linear Q8_0 x4", [166.146, 8.216]),
    ("linear Q8_0 x64", [166.090, 7.901]),
    ("experts Q8_0 x2", [175.248, 12.571]),
    ("experts Q8_0 x32", [174.417, 9.870]),
    ("linear Q4_0 x1", [196.732, 8.801]),
    ("linear Q4_0 x4", [196.139, 5.730]),
    ("linear Q4_0 x64", [196.089, 5.530]),
    ("experts Q4_0 x2", [205.248, 9.258]),
    ("experts Q4_0 x32", [204.417, 7.424]),
    ("linear Q4_K x1", [379.236, 9.736]),
    ("linear Q4_K x4", [378.643, 5.793]),
    ("linear Q4_K x64", [378.593, 5.582]),
    ("experts Q4_K x2", [387.764, 9.914]),
    ("experts Q4_K x32", [386.932, 7.488]),
    ("attention 8/2 prefill x32 up to 256", [702.754, 12.532]),
    ("attention 8/2 decode x1 behind 1024", [733.452, 20.063]),
    ("quantise x1", [381.688, 437.969]),
];
