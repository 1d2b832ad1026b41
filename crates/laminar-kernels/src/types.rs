//! The weight formats of GGUF files that the kernels understand.

/// How the values of a weight matrix are stored: plain floats, or one of ggml's block formats.
///
/// A block format stores `block_len` consecutive values of a row in `block_bytes` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)] // The field writes these names with the underscore.
pub enum WeightType {
    /// 32-bit floats.
    F32,
    /// IEEE half-precision floats.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32: f16 scale, 8-bit signed codes.
    Q8_0,
    /// Blocks of 32: f16 scale, 4-bit codes with offset 8.
    Q4_0,
    /// Blocks of 32: f16 scale and f16 minimum, 4-bit codes.
    Q4_1,
    /// Blocks of 32: f16 scale, 5-bit codes with offset 16.
    Q5_0,
    /// Blocks of 32: f16 scale and f16 minimum, 5-bit codes.
    Q5_1,
    /// Super-blocks of 256: eight sub-blocks with 6-bit scales and minima, 4-bit codes.
    Q4K,
    /// Super-blocks of 256: eight sub-blocks with 6-bit scales and minima, 5-bit codes.
    Q5K,
    /// Super-blocks of 256: sixteen sub-blocks with 8-bit scales, 6-bit codes with offset 32.
    Q6K,
    /// Blocks of 32: a scale that is a power of two, 4-bit floats.
    Mxfp4,
}

impl WeightType {
    /// Every type, in the order of declaration.
    pub const ALL: [WeightType; 12] = [
        WeightType::F32,
        WeightType::F16,
        WeightType::Bf16,
        WeightType::Q8_0,
        WeightType::Q4_0,
        WeightType::Q4_1,
        WeightType::Q5_0,
        WeightType::Q5_1,
        WeightType::Q4K,
        WeightType::Q5K,
        WeightType::Q6K,
        WeightType::Mxfp4,
    ];

    /// Values in one block (1 for the float types).
    pub fn block_len(self) -> usize {
        match self {
            WeightType::F32 | WeightType::F16 | WeightType::Bf16 => 1,
            WeightType::Q8_0
            | WeightType::Q4_0
            | WeightType::Q4_1
            | WeightType::Q5_0
            | WeightType::Q5_1
            | WeightType::Mxfp4 => 32,
            WeightType::Q4K | WeightType::Q5K | WeightType::Q6K => 256,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            WeightType::F32 => 4,
            WeightType::F16 | WeightType::Bf16 => 2,
            WeightType::Q8_0 => 34,
            WeightType::Q4_0 => 18,
            WeightType::Q4_1 => 20,
            WeightType::Q5_0 => 22,
            WeightType::Q5_1 => 24,
            WeightType::Q4K => 144,
            WeightType::Q5K => 176,
            WeightType::Q6K => 210,
            WeightType::Mxfp4 => 17,
        }
    }

    /// Bytes of a row of `cols` values; `None` if `cols` is not a whole number of blocks or the
    /// size overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether the values are plain floats.
    pub fn is_float(self) -> bool {
        self.block_len() == 1
    }

    /// The name GGUF tools use, such as `Q8_0` or `Q4_K`.
    pub fn name(self) -> &'static str {
        match self {
            WeightType::F32 => "F32",
            WeightType::F16 => "F16",
            WeightType::Bf16 => "BF16",
            WeightType::Q8_0 => "Q8_0",
            WeightType::Q4_0 => "Q4_0",
            WeightType::Q4_1 => "Q4_1",
            WeightType::Q5_0 => "Q5_0",
            WeightType::Q5_1 => "Q5_1",
            WeightType::Q4K => "Q4_K",
            WeightType::Q5K => "Q5_K",
            WeightType::Q6K => "Q6_K",
            WeightType::Mxfp4 => "MXFP4",
        }
    }

    /// The type with a number of `enum ggml_type`; `None` for types not supported here.
    pub fn from_ggml(number: u32) -> Option<WeightType> {
        WeightType::ALL.into_iter().find(|ty| ty.to_ggml() == number)
    }

    /// The number of this type in `enum ggml_type`.
    pub fn to_ggml(self) -> u32 {
        match self {
            WeightType::F32 => 0,
            WeightType::F16 => 1,
            WeightType::Q4_0 => 2,
            WeightType::Q4_1 => 3,
            WeightType::Q5_0 => 6,
            WeightType::Q5_1 => 7,
            WeightType::Q8_0 => 8,
            WeightType::Q4K => 12,
            WeightType::Q5K => 13,
            WeightType::Q6K => 14,
            WeightType::Bf16 => 30,
            WeightType::Mxfp4 => 39,
        }
    }
}
