//! What was measured. Written by `cargo bench -p laminar-kernels --bench instructions -- --write`.

/// The compiler it was measured with.
pub const COMPILER: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// Cases, and their instructions for 32 products: portable, AVX2.
pub const MEASURED: &[(&str, [f64; 2])] = &[
    ("linear Q8_0 x1", [187.412, 12.451]),
    ("linear Q8_0 x4", [186.743, 8.172]),
    ("linear Q8_0 x64", [186.672, 7.733]),
    ("linear Q4_0 x1", [169.350, 9.102]),
    ("linear Q4_0 x4", [168.680, 6.041]),
    ("linear Q4_0 x64", [168.610, 5.564]),
    ("linear Q4_K x1", [351.539, 9.649]),
    ("linear Q4_K x4", [350.870, 5.978]),
    ("linear Q4_K x64", [350.800, 5.500]),
    ("linear Q5_K x1", [964.901, 13.065]),
    ("linear Q5_K x4", [964.231, 7.356]),
    ("linear Q5_K x64", [964.161, 6.816]),
    ("linear Q6_K x1", [1102.905, 15.110]),
    ("linear Q6_K x4", [1102.235, 8.664]),
    ("linear Q6_K x64", [1102.165, 8.066]),
    ("linear F16 x1", [1201.031, 39.467]),
    ("linear F16 x4", [1200.362, 14.422]),
    ("linear F16 x64", [1200.292, 10.598]),
    ("experts Q8_0 x2", [196.009, 12.071]),
    ("experts Q8_0 x32", [195.076, 9.102]),
    ("experts Q4_0 x2", [177.947, 8.305]),
    ("experts Q4_0 x32", [177.014, 6.989]),
    ("experts Q4_K x2", [360.165, 9.461]),
    ("experts Q4_K x32", [359.233, 6.939]),
    ("attention 8/2 prefill x32 up to 256", [467.605, 10.570]),
    ("attention 8/2 decode x1 behind 1024", [613.204, 11.819]),
    ("quantise x1", [619.219, 240.188]),
];
