//! A cursor over untrusted bytes: it can fall short, but never read outside them.

use super::bounds;

/// The longest header that is read. Real ones take some 20 MB, nearly all of it vocabulary; the limit keeps a hostile file
/// that is larger than memory from filling it.
const HEADER_LIMIT: usize = 256 << 20;

/// Little-endian reads from the front of a byte slice. Errors are plain sentences; the caller adds the place.
pub(crate) struct Reader<'a> {
    /// The file, or as much of it as a header may take.
    bytes: &'a [u8],
    /// Bytes of the file.
    file: usize,
    at: usize,
}

/// What went wrong in a read: the problem part of a [`super::CheckpointError::Malformed`].
pub(crate) type Fault = String;

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.get(..HEADER_LIMIT).unwrap_or(bytes), file: bytes.len(), at: 0 }
    }

    /// The offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(slice) => {
                self.at += count;
                Ok(slice)
            }
            None if self.bytes.len() == HEADER_LIMIT => {
                Err("the header is longer than 256 MiB; the file is damaged, fetch it again".to_string())
            }
            None => Err(format!(
                "the file ends at byte {}, but {count} bytes are needed from byte {}; the download is incomplete or \
                 the file is damaged, fetch it again",
                self.bytes.len(),
                self.at
            )),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn i8(&mut self) -> Result<i8, Fault> {
        self.array().map(i8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn i16(&mut self) -> Result<i16, Fault> {
        self.array().map(i16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, Fault> {
        self.array().map(i32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, Fault> {
        self.array().map(i64::from_le_bytes)
    }

    pub fn f32(&mut self) -> Result<f32, Fault> {
        self.array().map(f32::from_le_bytes)
    }

    pub fn f64(&mut self) -> Result<f64, Fault> {
        self.array().map(f64::from_le_bytes)
    }

    /// A boolean: one byte, 0 or 1.
    pub fn bool(&mut self) -> Result<bool, Fault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => {
                Err(format!("a boolean is stored as {other}, expected 0 or 1; the file is damaged, fetch it again"))
            }
        }
    }

    /// A count of things of at least `least` bytes each, which take `held` bytes each in memory. Refused when so many
    /// cannot be in the file, or would take more memory than it is worth, so that the result is safe to reserve by.
    pub fn count(&mut self, least: usize, held: usize, things: &str) -> Result<usize, Fault> {
        let count = self.u64()?;
        match usize::try_from(count).ok().filter(|n| *n <= self.remaining() / least.max(1)) {
            Some(count) if count > bounds::FEW && count.saturating_mul(held) > bounds::memory(self.file) => {
                Err(format!(
                    "the file holds {count} {things}, more than a model has in {} bytes; it is damaged, fetch it again",
                    self.file
                ))
            }
            Some(count) => Ok(count),
            None => Err(format!(
                "the file claims {count} {things}, more than the {} bytes left for its header can hold; it is damaged, \
                 fetch it again",
                self.remaining()
            )),
        }
    }

    /// A string: its length in bytes, then UTF-8.
    pub fn string(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        let length = self.count(1, 1, "bytes of text")?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|e| {
            format!(
                "the string at byte {start} is not UTF-8 ({e}); the file is damaged or was written by a faulty \
                 converter"
            )
        })
    }
}
