//! What was measured. Written by `cargo bench -p laminar-kernels --bench instructions -- --write`.

/// The compiler it was measured with.
pub const COMPILER: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// Cases, and their instructions for 32 products: portable, AVX2.
pub const MEASURED: &[(&str, [f64; 2])] = &[
    ("linear Q8_0 x1", [285.939, 11.337]),
    ("linear Q8_0 x4", [285.286, 10.336]),
    ("linear Q8_0 x64", [285.214, 7.984]),
    ("linear Q4_0 x1", [311.189, 13.070]),
    ("linear Q4_0 x4", [310.536, 7.051]),
    ("linear Q4_0 x64", [310.465, 5.742]),
    ("linear Q4_K x1", [372.416, 13.909]),
    ("linear Q4_K x4", [371.763, 7.190]),
    ("linear Q4_K x64", [371.691, 5.845]),
    ("linear Q5_K x1", [1087.773, 18.454]),
    ("linear Q5_K x4", [1087.120, 8.569]),
    ("linear Q5_K x64", [1087.049, 6.943]),
    ("linear Q6_K x1", [1194.898, 20.972]),
    ("linear Q6_K x4", [1194.245, 10.098]),
    ("linear Q6_K x64", [1194.174, 8.211]),
    ("linear F16 x1", [1233.000, 54.497]),
    ("linear F16 x4", [1232.347, 18.180]),
    ("linear F16 x64", [1232.275, 11.907]),
    ("experts Q8_0 x2", [294.563, 11.769]),
    ("experts Q8_0 x32", [293.601, 9.536]),
    ("experts Q4_0 x2", [319.813, 10.384]),
    ("experts Q4_0 x32", [318.853, 7.343]),
    ("experts Q4_K x2", [381.063, 11.688]),
    ("experts Q4_K x32", [380.103, 7.431]),
    ("attention 8/2 prefill x32 up to 256", [467.554, 10.567]),
    ("attention 8/2 decode x1 behind 1024", [613.238, 11.839]),
    ("quantise x1", [620.031, 240.062]),
];
