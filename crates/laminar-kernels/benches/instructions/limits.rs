//! What was measured. Written by `cargo bench -p laminar-kernels --bench instructions -- --write`.

/// The compiler it was measured with.
pub const COMPILER: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// Cases, and their instructions for 32 products: portable, AVX2.
pub const MEASURED: &[(&str, [f64; 2])] = &[
    ("linear Q8_0 x1", [285.934, 12.459]),
    ("linear Q8_0 x4", [285.285, 8.174]),
    ("linear Q8_0 x64", [285.214, 7.735]),
    ("linear Q4_0 x1", [311.184, 9.109]),
    ("linear Q4_0 x4", [310.535, 6.042]),
    ("linear Q4_0 x64", [310.465, 5.565]),
    ("linear Q4_K x1", [372.410, 9.656]),
    ("linear Q4_K x4", [371.761, 5.980]),
    ("linear Q4_K x64", [371.691, 5.501]),
    ("linear Q5_K x1", [1087.768, 13.072]),
    ("linear Q5_K x4", [1087.119, 7.358]),
    ("linear Q5_K x64", [1087.049, 6.817]),
    ("linear Q6_K x1", [1194.893, 15.117]),
    ("linear Q6_K x4", [1194.244, 8.666]),
    ("linear Q6_K x64", [1194.174, 8.067]),
    ("linear F16 x1", [1232.994, 54.959]),
    ("linear F16 x4", [1232.345, 18.295]),
    ("linear F16 x64", [1232.275, 12.238]),
    ("experts Q8_0 x2", [295.431, 12.098]),
    ("experts Q8_0 x32", [294.523, 9.116]),
    ("experts Q4_0 x2", [320.681, 8.332]),
    ("experts Q4_0 x32", [319.774, 7.003]),
    ("experts Q4_K x2", [381.931, 9.489]),
    ("experts Q4_K x32", [381.024, 6.953]),
    ("attention 8/2 prefill x32 up to 256", [467.605, 10.570]),
    ("attention 8/2 decode x1 behind 1024", [613.204, 11.819]),
    ("quantise x1", [1355.250, 239.969]),
];
