//! Block formats against bytes and values from the `gguf` Python package
//! (`tools/reference/quant_fixtures.py`), and the error of our own quantisation.

#![allow(clippy::unwrap_used, clippy::panic)] // Tests fail by panicking.

use std::path::PathBuf;

use laminar_kernels::{KernelError, Matrix, WeightType, dequantize, quantize};

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn floats(name: &str) -> Vec<f32> {
    let bytes = read(name);
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Roughly normal values, with a scale that changes from block to block.
fn noise(n: usize) -> Vec<f32> {
    let mut state = 12345u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(|i| (next() + next() + next()) * (1.0 + (i / 32 % 5) as f32)).collect()
}

#[test]
fn dequantised_values_equal_the_reference_exactly() {
    for ty in WeightType::ALL.into_iter().filter(|ty| *ty != WeightType::F32) {
        let bytes = read(&format!("{}.bin", ty.name()));
        let expected = floats(&format!("{}.f32", ty.name()));
        let mut values = vec![0.0; expected.len()];
        dequantize(ty, &bytes, &mut values).unwrap();
        for (i, (got, want)) in values.iter().zip(&expected).enumerate() {
            assert!(got == want, "{} value {i}: {got} instead of {want}", ty.name());
        }
    }
}

/// Also the scales that are below the normal floats, and the one that has no value in the specification.
#[test]
fn every_scale_of_mxfp4_equals_the_reference_exactly() {
    let bytes = read("MXFP4.every.bin");
    let expected = floats("MXFP4.every.f32");
    let mut values = vec![0.0; expected.len()];
    dequantize(WeightType::Mxfp4, &bytes, &mut values).unwrap();
    for (i, (got, want)) in values.iter().zip(&expected).enumerate() {
        assert!(got.to_bits() == want.to_bits(), "scale {} value {}: {got} instead of {want}", i / 32, i % 32);
    }
}

#[test]
fn quantised_bytes_of_the_simple_formats_equal_the_reference_exactly() {
    for ty in WeightType::ALL {
        if ty == WeightType::F32 || ty.block_len() == 256 {
            continue;
        }
        let values = floats(&format!("{}.in.f32", ty.name()));
        let mut bytes = vec![7];
        quantize(ty, &values, &mut bytes).unwrap();
        assert_eq!(bytes[0], 7, "quantize appends");
        assert_eq!(bytes[1..], read(&format!("{}.bin", ty.name())), "{}", ty.name());
    }
}

#[test]
fn quantisation_errors_stay_within_the_format() {
    let values = noise(256 * 64);
    // Bounds on the relative root-mean-square error: about a tenth above what is reached.
    let bounds = [
        (WeightType::F32, 0.0),
        (WeightType::F16, 3e-4),
        (WeightType::Bf16, 2e-3),
        (WeightType::Q8_0, 0.006),
        (WeightType::Q4_0, 0.10),
        (WeightType::Q4_1, 0.09),
        (WeightType::Q5_0, 0.05),
        (WeightType::Q5_1, 0.045),
        (WeightType::Q4K, 0.085),
        (WeightType::Q5K, 0.042),
        (WeightType::Q6K, 0.022),
        (WeightType::Mxfp4, 0.13),
    ];
    for (ty, bound) in bounds {
        let mut bytes = Vec::new();
        quantize(ty, &values, &mut bytes).unwrap();
        assert_eq!(Some(bytes.len()), ty.row_bytes(values.len()));
        let relative = loss(ty, &values, &bytes);
        println!("{} {relative:.5}", ty.name());
        assert!(relative <= bound, "{}: {relative}", ty.name());
    }
}

/// The root mean square of what is lost, relative to that of the values.
fn loss(ty: WeightType, values: &[f32], bytes: &[u8]) -> f64 {
    let mut back = vec![0.0; values.len()];
    dequantize(ty, bytes, &mut back).unwrap();
    let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
    let power: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
    (values.iter().zip(&back).map(square).sum::<f64>() / power).sqrt()
}

/// Of weights of several kinds, beside blocks that llama.cpp made of them.
#[test]
fn the_k_formats_lose_no_more_than_with_llama_cpp() {
    let weights = floats("weights.f32");
    let kinds = ["normal", "heavy tails", "off centre", "scales that change", "on a grid of 16"];
    for ty in [WeightType::Q4K, WeightType::Q5K, WeightType::Q6K] {
        let theirs = read(&format!("weights.{}.bin", ty.name()));
        let each = weights.len() / kinds.len();
        for (kind, (values, theirs)) in
            kinds.iter().zip(weights.chunks_exact(each).zip(theirs.chunks_exact(ty.row_bytes(each).unwrap())))
        {
            let mut bytes = Vec::new();
            quantize(ty, values, &mut bytes).unwrap();
            let (ours, theirs) = (loss(ty, values, &bytes), loss(ty, values, theirs));
            println!("{} {kind}: {ours:.5}, llama.cpp {theirs:.5}", ty.name());
            assert!(ours <= theirs, "{} {kind}: {ours} is more than {theirs}", ty.name());
        }
    }
}

#[test]
fn special_blocks_survive() {
    let mut values = vec![0.0; 1024];
    values[256..512].fill(0.5);
    values[512..768].fill(-0.5);
    // A power of two, since MXFP4 has few other values.
    values[800] = 1024.0;
    for ty in WeightType::ALL {
        let mut bytes = Vec::new();
        quantize(ty, &values, &mut bytes).unwrap();
        let mut back = vec![f32::NAN; values.len()];
        dequantize(ty, &bytes, &mut back).unwrap();
        for (a, b) in values.iter().zip(&back) {
            assert!((a - b).abs() <= 0.04 * a.abs(), "{}: {a} became {b}", ty.name());
        }
    }
}

#[test]
fn type_numbers_and_names_round_trip() {
    for ty in WeightType::ALL {
        assert_eq!(WeightType::from_ggml(ty.to_ggml()), Some(ty));
    }
    assert_eq!(WeightType::from_ggml(12).map(WeightType::name), Some("Q4_K"));
    assert_eq!(WeightType::from_ggml(99), None);
    assert_eq!(WeightType::Q8_0.row_bytes(33), None);
    assert_eq!(WeightType::Q6K.row_bytes(512), Some(420));
    assert_eq!(WeightType::F32.row_bytes(usize::MAX), None);
}

#[test]
fn wrong_sizes_are_errors() {
    let q8 = WeightType::Q8_0;
    assert_eq!(Matrix::pack(q8, 0, 32, &[]).unwrap_err(), KernelError::Empty { rows: 0, cols: 32 });
    assert_eq!(Matrix::pack(q8, 1, 33, &[0; 34]).unwrap_err(), KernelError::PartialBlock { ty: q8, cols: 33 });
    let short = Matrix::pack(q8, 2, 32, &[0; 67]).unwrap_err();
    assert_eq!(short.to_string(), "Q8_0 data for 64 values must be 68 bytes, found 67");
    assert_eq!(
        Matrix::pack(WeightType::F32, usize::MAX, 4, &[]).unwrap_err(),
        KernelError::TooLarge { rows: usize::MAX, cols: 4 }
    );
    assert!(dequantize(q8, &[0; 33], &mut [0.0; 32]).is_err());
    assert!(quantize(WeightType::Q4K, &[0.0; 32], &mut Vec::new()).is_err());
    let fine = Matrix::pack(q8, 3, 32, &[0; 102]).unwrap();
    assert_eq!((fine.rows(), fine.cols(), fine.source_bytes()), (3, 32, 102));
    assert_eq!(fine.packed_bytes(), 576);
}
