//! Writing GGUF files, version 3, little-endian, tensor by tensor.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use laminar_kernels::WeightType;

use super::error::CheckpointError;
use super::header::{DEFAULT_ALIGNMENT, byte_size};
use super::metadata::Metadata;
use super::value::{Array, Value, kind};

/// A GGUF file to be written: metadata in order and the list of tensors, whose data is produced while writing.
///
/// A model larger than memory can be written, because no more than what the callback holds is kept.
#[derive(Debug, Default)]
pub struct GgufWriter {
    metadata: Metadata,
    tensors: Vec<TensorSpec>,
}

/// A tensor that will be written.
#[derive(Debug, Clone)]
pub struct TensorSpec {
    /// The name.
    pub name: String,
    /// How its values are stored.
    pub ty: WeightType,
    /// The dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The length of its data.
    pub bytes: usize,
}

/// Produces the data of one tensor: writes exactly [`TensorSpec::bytes`] bytes.
pub type Fill<'a> = &'a mut dyn FnMut(&TensorSpec, &mut dyn Write) -> Result<(), CheckpointError>;

impl GgufWriter {
    /// A file for one architecture (`general.architecture`, always the first key).
    pub fn new(architecture: &str) -> Self {
        let mut writer = Self { metadata: Metadata::new("new file"), tensors: Vec::new() };
        writer.set("general.architecture", architecture);
        writer
    }

    /// Sets a key; keys are written in the order of their first setting. `general.alignment` must not be set to
    /// anything but 32, the alignment that is written.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.metadata.set(key, value);
    }

    /// The metadata so far.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Adds a tensor of a shape given outermost dimension first.
    ///
    /// # Errors
    /// When the rows do not divide into whole blocks of the type, or the size overflows.
    pub fn add_tensor(
        &mut self,
        name: impl Into<String>,
        ty: WeightType,
        shape: &[usize],
    ) -> Result<(), CheckpointError> {
        let name = name.into();
        let bytes =
            byte_size(ty, shape).map_err(|e| CheckpointError::malformed("new file", format!("tensor {name:?}"), e))?;
        self.tensors.push(TensorSpec { name, ty, shape: shape.to_vec(), bytes });
        Ok(())
    }

    /// The tensors so far, in file order.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// The bytes of all tensor data, without padding.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes as u64).sum()
    }

    /// Writes the file at `path`, calling `fill` for each tensor in order. Returns the file's length.
    ///
    /// The data goes to `path` with `.part` appended, which takes the final name when all is written: whoever has the
    /// old file mapped keeps it, and no half-written model is ever seen under the final name.
    ///
    /// # Errors
    /// From the file system, from `fill`, or when `fill` writes a wrong number of bytes.
    pub fn write_file(&self, path: &Path, fill: Fill<'_>) -> Result<u64, CheckpointError> {
        let mut part = path.as_os_str().to_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let result = File::create(&part).map_err(|e| CheckpointError::io("create", &part, e)).and_then(|file| {
            let mut out = BufWriter::with_capacity(1 << 20, file);
            let length = self.write_as(&part, &mut out, fill)?;
            out.flush().map_err(|e| CheckpointError::io("write", &part, e))?;
            std::fs::rename(&part, path).map_err(|e| CheckpointError::io("create", path, e))?;
            Ok(length)
        });
        if result.is_err() {
            // Best effort: the first error is the one worth reporting.
            let _ = std::fs::remove_file(&part);
        }
        result
    }

    /// Writes the file to any stream. Returns its length.
    ///
    /// # Errors
    /// As [`GgufWriter::write_file`].
    pub fn write(&self, out: &mut dyn Write, fill: Fill<'_>) -> Result<u64, CheckpointError> {
        self.write_as(Path::new("memory"), out, fill)
    }

    fn write_as(&self, path: &Path, out: &mut dyn Write, fill: Fill<'_>) -> Result<u64, CheckpointError> {
        let failed = |e: io::Error| CheckpointError::io("write", path, e);
        let mut out = Counting { inner: out, written: 0 };
        out.write_all(&self.header()).map_err(failed)?;
        out.pad().map_err(failed)?;
        for tensor in &self.tensors {
            let start = out.written;
            fill(tensor, &mut out)?;
            let written = out.written - start;
            if written != tensor.bytes as u64 {
                return Err(CheckpointError::malformed(
                    path.display().to_string(),
                    format!("tensor {:?}", tensor.name),
                    format!("{written} bytes of data were produced, expected {}", tensor.bytes),
                ));
            }
            out.pad().map_err(failed)?;
        }
        Ok(out.written)
    }

    fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(b"GGUF");
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in self.metadata.iter() {
            put_string(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            put_string(&mut out, &tensor.name);
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            for &dim in tensor.shape.iter().rev() {
                out.extend((dim as u64).to_le_bytes());
            }
            out.extend(tensor.ty.to_ggml().to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (tensor.bytes as u64).next_multiple_of(DEFAULT_ALIGNMENT as u64);
        }
        out
    }
}

/// Counts what passes through, so that padding and tensor lengths can be checked.
struct Counting<'a> {
    inner: &'a mut dyn Write,
    written: u64,
}

impl Counting<'_> {
    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(DEFAULT_ALIGNMENT as u64) - self.written;
        self.write_all(&[0; DEFAULT_ALIGNMENT][..missing as usize])
    }
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    macro_rules! put {
        ($kind:expr, $bytes:expr) => {{
            out.extend(u32::to_le_bytes($kind));
            out.extend($bytes);
        }};
    }
    match value {
        Value::U8(x) => put!(kind::U8, x.to_le_bytes()),
        Value::I8(x) => put!(kind::I8, x.to_le_bytes()),
        Value::U16(x) => put!(kind::U16, x.to_le_bytes()),
        Value::I16(x) => put!(kind::I16, x.to_le_bytes()),
        Value::U32(x) => put!(kind::U32, x.to_le_bytes()),
        Value::I32(x) => put!(kind::I32, x.to_le_bytes()),
        Value::U64(x) => put!(kind::U64, x.to_le_bytes()),
        Value::I64(x) => put!(kind::I64, x.to_le_bytes()),
        Value::F32(x) => put!(kind::F32, x.to_le_bytes()),
        Value::F64(x) => put!(kind::F64, x.to_le_bytes()),
        Value::Bool(x) => put!(kind::BOOL, [u8::from(*x)]),
        Value::String(text) => {
            out.extend(kind::STRING.to_le_bytes());
            put_string(out, text);
        }
        Value::Array(array) => {
            out.extend(kind::ARRAY.to_le_bytes());
            put_array(out, array);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    macro_rules! put {
        ($kind:expr, $values:expr) => {{
            out.extend(u32::to_le_bytes($kind));
            out.extend(($values.len() as u64).to_le_bytes());
            for x in $values {
                out.extend(x.to_le_bytes());
            }
        }};
    }
    match array {
        Array::U8(v) => put!(kind::U8, v),
        Array::I8(v) => put!(kind::I8, v),
        Array::U16(v) => put!(kind::U16, v),
        Array::I16(v) => put!(kind::I16, v),
        Array::U32(v) => put!(kind::U32, v),
        Array::I32(v) => put!(kind::I32, v),
        Array::U64(v) => put!(kind::U64, v),
        Array::I64(v) => put!(kind::I64, v),
        Array::F32(v) => put!(kind::F32, v),
        Array::F64(v) => put!(kind::F64, v),
        Array::Bool(v) => {
            out.extend(kind::BOOL.to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            out.extend(v.iter().map(|&x| u8::from(x)));
        }
        Array::String(v) => {
            out.extend(kind::STRING.to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            for text in v {
                put_string(out, text);
            }
        }
    }
}
