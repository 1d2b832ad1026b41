//! The header of one GGUF file: metadata and tensor infos, checked against the file's length.
//!
//! Layout (GGUF specification, version 2 and 3, all numbers little-endian): `GGUF`, version u32, tensor count u64, key
//! count u64; per key its name, a kind u32 and a value; per tensor its name, dimension count u32, dimensions u64
//! (innermost first), type u32 and offset u64 from the start of the data section, which begins at the next multiple of
//! `general.alignment` (32 unless set).

use std::collections::HashSet;
use std::ops::Range;

use laminar_kernels::WeightType;

use super::bounds::shown;
use super::error::CheckpointError;
use super::metadata::Metadata;
use super::reader::{Fault, Reader};
use super::value::{Array, Value, kind};

/// The alignment of tensor data when `general.alignment` does not say otherwise.
pub(crate) const DEFAULT_ALIGNMENT: usize = 32;
/// The most dimensions that a tensor can have.
const MAX_DIMS: u32 = 4;

/// Bytes that a tensor's info, and a key with its value, take in memory: the largest table they are kept in, which may have
/// grown to twice its size.
const TENSOR_MEMORY: usize = 160;
const KEY_MEMORY: usize = 160;

/// A parsed header. The range of every tensor lies inside the file.
#[derive(Debug)]
pub(crate) struct Header {
    pub version: u32,
    pub metadata: Metadata,
    pub tensors: Vec<TensorInfo>,
}

/// Where and how one tensor is stored.
#[derive(Debug)]
pub(crate) struct TensorInfo {
    pub name: String,
    pub ty: WeightType,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Bytes in the file.
    pub range: Range<usize>,
}

impl Header {
    /// The number of files that the checkpoint is split into, as this file states it.
    pub fn split_count(&self) -> Result<u32, CheckpointError> {
        Ok(self.metadata.u32("split.count")?.unwrap_or(1))
    }
}

/// Parses the header of `bytes`, the whole content of `file`.
pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Header, CheckpointError> {
    let mut reader = Reader::new(bytes);
    let header = |problem: Fault| CheckpointError::malformed(file, "header", problem);
    let version = parse_version(&mut reader).map_err(header)?;
    // The smallest tensor info is a name length, a dimension count, one dimension, a type and an offset.
    let tensor_count = reader.count(8 + 4 + 8 + 4 + 8, TENSOR_MEMORY, "tensors").map_err(header)?;
    // The smallest key is a name length, a kind and one byte.
    let key_count = reader.count(8 + 4 + 1, KEY_MEMORY, "keys").map_err(header)?;
    let metadata = parse_metadata(file, &mut reader, key_count)?;
    let alignment = alignment(&metadata)?;
    let infos = parse_infos(file, &mut reader, tensor_count)?;
    let tensors = place(file, infos, reader.position(), alignment, bytes.len())?;
    Ok(Header { version, metadata, tensors })
}

fn parse_version(reader: &mut Reader<'_>) -> Result<u32, Fault> {
    let magic = reader.take(4)?;
    if magic != b"GGUF" {
        return Err(format!(
            "not a GGUF file: it starts with \"{}\" instead of \"GGUF\"; pass a .gguf file or a Hugging Face folder",
            magic.escape_ascii()
        ));
    }
    match reader.u32()? {
        version @ (2 | 3) => Ok(version),
        1 => Err("GGUF version 1 is not supported; convert the model again with a current converter".to_string()),
        version if version.swap_bytes() <= 0xff => {
            Err("the file is big-endian, which is not supported; use the little-endian file".to_string())
        }
        version => {
            Err(format!("GGUF version {version} is not supported, expected 2 or 3; update Laminar or convert again"))
        }
    }
}

fn parse_metadata(file: &str, reader: &mut Reader<'_>, count: usize) -> Result<Metadata, CheckpointError> {
    let mut metadata = Metadata::new(file);
    for i in 0..count {
        let key = reader.string().map_err(|e| CheckpointError::malformed(file, format!("name of key {i}"), e))?;
        let place = |problem: Fault| CheckpointError::malformed(file, format!("key {}", shown(key)), problem);
        let value = parse_value(reader).map_err(place)?;
        if metadata.set(key, value).is_some() {
            return Err(place("the key appears twice; the file is damaged, convert the model again".to_string()));
        }
    }
    Ok(metadata)
}

fn parse_value(reader: &mut Reader<'_>) -> Result<Value, Fault> {
    let number = reader.u32()?;
    Ok(match number {
        kind::U8 => Value::U8(reader.u8()?),
        kind::I8 => Value::I8(reader.i8()?),
        kind::U16 => Value::U16(reader.u16()?),
        kind::I16 => Value::I16(reader.i16()?),
        kind::U32 => Value::U32(reader.u32()?),
        kind::I32 => Value::I32(reader.i32()?),
        kind::U64 => Value::U64(reader.u64()?),
        kind::I64 => Value::I64(reader.i64()?),
        kind::F32 => Value::F32(reader.f32()?),
        kind::F64 => Value::F64(reader.f64()?),
        kind::BOOL => Value::Bool(reader.bool()?),
        kind::STRING => Value::String(reader.string()?.to_string()),
        kind::ARRAY => Value::Array(parse_array(reader)?),
        _ => return Err(unknown_kind(number)),
    })
}

fn parse_array(reader: &mut Reader<'_>) -> Result<Array, Fault> {
    /// Reads `count` elements. `size` is the least that one takes in the file, so the memory reserved is bounded by it.
    fn elements<'a, T>(
        reader: &mut Reader<'a>,
        size: usize,
        held: usize,
        mut read: impl FnMut(&mut Reader<'a>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let count = reader.count(size, held, "array elements")?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(read(reader)?);
        }
        Ok(values)
    }
    let number = reader.u32()?;
    Ok(match number {
        kind::U8 => Array::U8(elements(reader, 1, 1, Reader::u8)?),
        kind::I8 => Array::I8(elements(reader, 1, 1, Reader::i8)?),
        kind::U16 => Array::U16(elements(reader, 2, 2, Reader::u16)?),
        kind::I16 => Array::I16(elements(reader, 2, 2, Reader::i16)?),
        kind::U32 => Array::U32(elements(reader, 4, 4, Reader::u32)?),
        kind::I32 => Array::I32(elements(reader, 4, 4, Reader::i32)?),
        kind::U64 => Array::U64(elements(reader, 8, 8, Reader::u64)?),
        kind::I64 => Array::I64(elements(reader, 8, 8, Reader::i64)?),
        kind::F32 => Array::F32(elements(reader, 4, 4, Reader::f32)?),
        kind::F64 => Array::F64(elements(reader, 8, 8, Reader::f64)?),
        kind::BOOL => Array::Bool(elements(reader, 1, 1, Reader::bool)?),
        kind::STRING => Array::String(elements(reader, 8, size_of::<String>(), |r| r.string().map(str::to_string))?),
        kind::ARRAY => {
            return Err("arrays of arrays are not supported; no model that Laminar runs needs them".to_string());
        }
        _ => return Err(unknown_kind(number)),
    })
}

fn unknown_kind(number: u32) -> Fault {
    format!("value kind {number} is unknown; the file is damaged or newer than this reader")
}

fn alignment(metadata: &Metadata) -> Result<usize, CheckpointError> {
    let key = "general.alignment";
    let Some(alignment) = metadata.u32(key)? else { return Ok(DEFAULT_ALIGNMENT) };
    match usize::try_from(alignment) {
        Ok(alignment) if alignment.is_power_of_two() => Ok(alignment),
        _ => Err(CheckpointError::malformed(
            metadata.file(),
            format!("key {key:?}"),
            format!("the alignment {alignment} is not a power of two; convert the model again"),
        )),
    }
}

/// A tensor info whose place in the file is not known yet.
struct RawInfo {
    name: String,
    ty: WeightType,
    shape: Vec<usize>,
    offset: u64,
    bytes: usize,
}

fn parse_infos(file: &str, reader: &mut Reader<'_>, count: usize) -> Result<Vec<RawInfo>, CheckpointError> {
    let mut infos = Vec::with_capacity(count);
    let mut names = HashSet::with_capacity(count);
    for i in 0..count {
        let name = reader.string().map_err(|e| CheckpointError::malformed(file, format!("name of tensor {i}"), e))?;
        let place = |problem: Fault| CheckpointError::malformed(file, format!("tensor {}", shown(name)), problem);
        let shape = parse_shape(reader).map_err(place)?;
        let number = reader.u32().map_err(place)?;
        let offset = reader.u64().map_err(place)?;
        let Some(ty) = WeightType::from_ggml(number) else {
            return Err(match ggml_type_name(number) {
                Some(known) => CheckpointError::UnsupportedType {
                    file: file.to_string(),
                    tensor: name.chars().take(200).collect(),
                    type_name: known.to_string(),
                },
                None => place(format!("type {number} is unknown; the file is damaged or newer than this reader")),
            });
        };
        let bytes = byte_size(ty, &shape).map_err(place)?;
        if !names.insert(name) {
            return Err(place("the tensor appears twice; the file is damaged, convert the model again".to_string()));
        }
        infos.push(RawInfo { name: name.to_string(), ty, shape, offset, bytes });
    }
    Ok(infos)
}

fn parse_shape(reader: &mut Reader<'_>) -> Result<Vec<usize>, Fault> {
    let dims = reader.u32()?;
    if dims == 0 || dims > MAX_DIMS {
        return Err(format!(
            "the tensor has {dims} dimensions, expected 1 to {MAX_DIMS}; the file is damaged, fetch it again"
        ));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        let dim = reader.u64()?;
        match usize::try_from(dim) {
            Ok(dim) if dim > 0 => shape.push(dim),
            _ => {
                return Err(format!("the dimension {dim} is out of range; the file is damaged, fetch it again"));
            }
        }
    }
    shape.reverse();
    Ok(shape)
}

/// The bytes of a tensor, outermost dimension first.
pub(crate) fn byte_size(ty: WeightType, shape: &[usize]) -> Result<usize, Fault> {
    let too_large =
        || format!("the shape {shape:?} is too large for this machine; the file is damaged, fetch it again");
    let Some((&cols, outer)) = shape.split_last() else { return Err("the tensor has no dimensions".to_string()) };
    if cols % ty.block_len() != 0 {
        return Err(format!(
            "rows of {cols} values do not divide into {} blocks of {}; store the tensor in another type",
            ty.name(),
            ty.block_len()
        ));
    }
    // The count of values must fit as well, because readers convert tensors to arrays of them.
    shape
        .iter()
        .try_fold(1usize, |n, &dim| n.checked_mul(dim))
        .filter(|n| *n <= isize::MAX as usize / size_of::<f32>())
        .ok_or_else(too_large)?;
    let row = ty.row_bytes(cols).ok_or_else(too_large)?;
    outer.iter().try_fold(row, |n, &dim| n.checked_mul(dim)).ok_or_else(too_large)
}

/// Turns offsets into ranges of the file and checks them: aligned, inside the file, disjoint.
fn place(
    file: &str,
    infos: Vec<RawInfo>,
    header_end: usize,
    alignment: usize,
    file_len: usize,
) -> Result<Vec<TensorInfo>, CheckpointError> {
    let data_start = header_end.checked_next_multiple_of(alignment);
    let mut tensors = Vec::with_capacity(infos.len());
    for info in infos {
        let RawInfo { name, ty, shape, offset, bytes } = info;
        let fault = |problem: Fault| CheckpointError::malformed(file, format!("tensor {}", shown(&name)), problem);
        if offset % alignment as u64 != 0 {
            return Err(fault(format!(
                "its offset {offset} is not a multiple of the alignment {alignment}; convert the model again"
            )));
        }
        let start = data_start.zip(usize::try_from(offset).ok()).and_then(|(base, at)| base.checked_add(at));
        let range = start.and_then(|start| Some(start..start.checked_add(bytes)?));
        match range.filter(|range| range.end <= file_len) {
            Some(range) => tensors.push(TensorInfo { name, ty, shape, range }),
            None => {
                return Err(fault(format!(
                    "its {bytes} bytes at offset {offset} of the data section lie outside the file of {file_len} \
                     bytes; the download is incomplete, fetch it again"
                )));
            }
        }
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|info| (info.range.start, info.range.end));
    for pair in order.windows(2) {
        if let [first, second] = pair
            && second.range.start < first.range.end
        {
            return Err(CheckpointError::malformed(
                file,
                format!("tensor {}", shown(&second.name)),
                format!("its data overlaps that of tensor {}; convert the model again", shown(&first.name)),
            ));
        }
    }
    Ok(tensors)
}

/// The names of the ggml types that Laminar does not read, for messages.
fn ggml_type_name(number: u32) -> Option<&'static str> {
    Some(match number {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return None,
    })
}
