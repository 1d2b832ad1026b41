//! One safetensors file, mapped into memory.

use std::ops::Range;
use std::path::Path;

use laminar_kernels::WeightType;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};

use super::bounds;
use super::bytes::Bytes;
use super::error::CheckpointError;
use super::header::byte_size;

/// The length of the number in front of the header.
const LENGTH_BYTES: usize = 8;

/// An opened file and its tensors in file order.
pub(crate) struct Shard {
    pub bytes: Bytes,
    pub tensors: Vec<ShardTensor>,
}

/// Where one tensor lies in its file.
pub(crate) struct ShardTensor {
    pub name: String,
    /// Values, or what means something together with another tensor's.
    pub ty: Stored,
    pub shape: Vec<usize>,
    pub range: Range<usize>,
}

/// How a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Values.
    Values(WeightType),
    /// A part of quantised weights.
    Part(Bytewise),
}

/// The type of a tensor that is a part of quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytewise {
    /// Bytes: the two parts of MXFP4.
    U8,
    /// Signed bytes.
    I8,
    /// 32-bit words of several codes, or numbers of groups.
    I32,
    /// 64-bit integers.
    I64,
    /// 8-bit floats with four bits of exponent.
    F8E4M3,
}

impl Bytewise {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Bytewise::U8 | Bytewise::I8 | Bytewise::F8E4M3 => 1,
            Bytewise::I32 => 4,
            Bytewise::I64 => 8,
        }
    }

    /// The format's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Bytewise::U8 => "U8",
            Bytewise::I8 => "I8",
            Bytewise::I32 => "I32",
            Bytewise::I64 => "I64",
            Bytewise::F8E4M3 => "F8_E4M3",
        }
    }
}

impl Shard {
    /// Opens a file and checks its header.
    ///
    /// Buffers that are no weights (integer and boolean tensors such as `position_ids`) are left out; weights of any
    /// type but F32, F16, BF16 and the two parts of MXFP4 are an error, unless `quantised` says that the folder has
    /// weights in other forms.
    pub fn open(path: &Path, quantised: bool) -> Result<Self, CheckpointError> {
        let bytes = Bytes::map(path)?;
        Self::read(path.display().to_string(), bytes, quantised)
    }

    /// [`Shard::open`] on the bytes of a file of that name.
    pub fn read(file: String, bytes: Bytes, quantised: bool) -> Result<Self, CheckpointError> {
        let damaged = |problem: String| CheckpointError::malformed(&file, "safetensors header", problem);
        let header = bytes.first_chunk::<LENGTH_BYTES>().and_then(|length| {
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            bytes.get(LENGTH_BYTES..length.checked_add(LENGTH_BYTES)?)
        });
        if let Some(header) = header {
            bounds::check_json(header, bytes.len())
                .map_err(|problem| damaged(format!("{problem}; the file is damaged, fetch it again")))?;
        }
        let (header_len, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(describe(&e)))?;
        let mut tensors = Vec::new();
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else { continue };
            let ty = match info.dtype {
                Dtype::F32 => Stored::Values(WeightType::F32),
                Dtype::F16 => Stored::Values(WeightType::F16),
                Dtype::BF16 => Stored::Values(WeightType::Bf16),
                Dtype::U8 if is_mxfp4_part(&name) => Stored::Part(Bytewise::U8),
                _ if is_buffer(&name) => continue,
                Dtype::I8 if quantised => Stored::Part(Bytewise::I8),
                Dtype::I32 if quantised => Stored::Part(Bytewise::I32),
                Dtype::I64 if quantised => Stored::Part(Bytewise::I64),
                Dtype::F8_E4M3 if quantised => Stored::Part(Bytewise::F8E4M3),
                other => {
                    return Err(CheckpointError::UnsupportedType {
                        file,
                        tensor: name.chars().take(200).collect(),
                        type_name: format!("{other:?}"),
                    });
                }
            };
            let fault = |problem: String| {
                CheckpointError::malformed(&file, format!("tensor {}", bounds::shown(&name)), problem)
            };
            // A scalar has no dimensions; it is given as a vector of one value.
            let shape = if info.shape.is_empty() { vec![1] } else { info.shape.clone() };
            if shape.contains(&0) {
                return Err(fault(format!("the shape {shape:?} is empty; save the model again")));
            }
            let size = match ty {
                Stored::Values(ty) => byte_size(ty, &shape),
                Stored::Part(kind) => {
                    let size = shape.iter().try_fold(kind.size(), |size, dim| size.checked_mul(*dim));
                    size.ok_or_else(|| format!("the shape {shape:?} is too large"))
                }
            };
            let size = size.map_err(fault)?;
            let (start, end) = info.data_offsets;
            let base = header_len.saturating_add(LENGTH_BYTES);
            let range = base.saturating_add(start)..base.saturating_add(end);
            if range.len() != size || range.end > bytes.len() {
                return Err(fault(format!(
                    "the shape {shape:?} needs {size} bytes, the file holds {}; fetch it again",
                    range.len()
                )));
            }
            tensors.push(ShardTensor { name, ty, shape, range });
        }
        Ok(Self { bytes, tensors })
    }
}

/// Whether a tensor of integers is one of the constants that `transformers` used to store beside the weights.
pub(crate) fn is_buffer(name: &str) -> bool {
    ["position_ids", "masked_bias", "attn.bias", "attention.bias", "num_batches_tracked"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

/// Whether a tensor of bytes is one of the two that MXFP4 weights are stored in (gpt-oss): sixteen bytes of values for each
/// block of 32, and a byte of scale.
fn is_mxfp4_part(name: &str) -> bool {
    name.ends_with("_blocks") || name.ends_with("_scales")
}

/// The library's reasons as sentences that say what to do.
fn describe(error: &SafeTensorError) -> String {
    let reason = match error {
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
            "the file ends within its header".to_string()
        }
        SafeTensorError::HeaderTooLarge => "the header is longer than the format allows".to_string(),
        SafeTensorError::InvalidHeader(e) => format!("the header is not UTF-8 ({e})"),
        SafeTensorError::InvalidHeaderDeserialization(e) => format!("the header is not valid ({e})"),
        SafeTensorError::InvalidOffset(name) => format!("the offsets of tensor {} are wrong", bounds::shown(name)),
        SafeTensorError::MetadataIncompleteBuffer => {
            "the tensors do not cover the file exactly, it is too short or too long".to_string()
        }
        SafeTensorError::TensorInvalidInfo => "a tensor's shape does not fit its offsets".to_string(),
        other => format!("the header is not valid ({other})"),
    };
    format!("{reason}; the download is incomplete or the file is damaged, fetch it again")
}
