//! The header of a file of packed weights.
//!
//! ```text
//! magic            8 bytes, with the version of this format
//! header bytes     u64, all of the header
//! checksum         u64, FNV-1a of what follows in the header
//! layout           u64, laminar_kernels::packed_layout()
//! file bytes       u64, all of the file
//! model files      u64 number of them; each: u64 bytes, u64 time of change, u64 hash of its head
//! tensors          u64 number of them; each: name (u64 length, UTF-8), u32 ggml type, u64 matrices, u64 rows, u64 columns,
//!                  u64 offset in the file (a multiple of 4096), u64 bytes, u64 FNV-1a of samples of the weights
//! ```
//!
//! All numbers are little-endian. The file is as untrusted as any other: `parse` gives out entries only that lie inside it
//! and are as long as their matrices take.
//!
//! Of the weights themselves some bytes are looked at, spread over each tensor: pages that were lost or are somebody else's
//! are noticed for the price of a few page faults. A sum over all of them would read the whole file before the first
//! token, which is what it is mapped to avoid; single bits that a disk turns over are not found, as in the model's own files.

use std::collections::HashSet;
use std::ops::Range;

use laminar_kernels::{Matrix, WeightType};

use super::identity::{Part, hash};
use crate::checkpoint::reader::Reader;

const MAGIC: &[u8; 8] = b"LAMPACK2";
/// Magic, length and checksum.
const FRONT: usize = 24;
/// A model file in the header, and a tensor, but for its name.
const PART_BYTES: usize = 3 * 8;
const ENTRY_BYTES: usize = 7 * 8 + 4;
/// Where tensors may begin: whole pages of most systems.
pub(super) const ALIGNMENT: usize = 4096;
/// Samples of a tensor, the first bytes and the last ones among them, and how long each is.
const SAMPLES: usize = 8;
const SAMPLE_BYTES: usize = 512;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub layout: u64,
    pub file_bytes: usize,
    pub parts: Vec<Part>,
    pub entries: Vec<Entry>,
}

/// Where the matrices of a tensor lie, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub ty: WeightType,
    /// Matrices.
    pub count: usize,
    pub rows: usize,
    pub cols: usize,
    pub offset: usize,
    pub bytes: usize,
    /// What [`sample`] says of the weights.
    pub sample: u64,
}

impl Table {
    /// A table of tensors that follow the header in the order given. `None` if they don't fit the address space.
    pub fn arrange(layout: u64, parts: Vec<Part>, mut entries: Vec<Entry>) -> Option<Table> {
        let mut table = Table { layout, file_bytes: 0, parts, entries: Vec::new() };
        let names: usize = entries.iter().map(|entry| entry.name.len()).sum();
        let mut end = FRONT + 4 * 8 + table.parts.len() * PART_BYTES + entries.len() * ENTRY_BYTES + names;
        for entry in &mut entries {
            entry.offset = end.checked_next_multiple_of(ALIGNMENT)?;
            end = entry.offset.checked_add(entry.bytes)?;
        }
        table.entries = entries;
        table.file_bytes = end;
        Some(table)
    }

    /// The header as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let mut number = |value: u64| body.extend_from_slice(&value.to_le_bytes());
        number(self.layout);
        number(self.file_bytes as u64);
        number(self.parts.len() as u64);
        for part in &self.parts {
            [part.bytes, part.changed, part.head].into_iter().for_each(&mut number);
        }
        number(self.entries.len() as u64);
        for entry in &self.entries {
            body.extend_from_slice(&(entry.name.len() as u64).to_le_bytes());
            body.extend_from_slice(entry.name.as_bytes());
            body.extend_from_slice(&entry.ty.to_ggml().to_le_bytes());
            for value in [entry.count, entry.rows, entry.cols, entry.offset, entry.bytes] {
                body.extend_from_slice(&(value as u64).to_le_bytes());
            }
            body.extend_from_slice(&entry.sample.to_le_bytes());
        }
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&((FRONT + body.len()) as u64).to_le_bytes());
        header.extend_from_slice(&hash(&body).to_le_bytes());
        header.extend_from_slice(&body);
        header
    }

    /// Reads the header of `file`, all of a file.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub fn parse(file: &[u8]) -> Result<Table, String> {
        let mut front = Reader::new(file);
        if front.take(8).is_ok_and(|magic| magic != MAGIC) {
            return Err("the file is none of this version of Laminar".to_owned());
        }
        let end = front.u64().ok().and_then(|bytes| usize::try_from(bytes).ok());
        let body = end.and_then(|end| file.get(FRONT..end)).ok_or("the file is cut short")?;
        if front.u64() != Ok(hash(body)) {
            return Err("the header is damaged".to_owned());
        }
        let table = Table::parse_body(body).map_err(|_| "the header makes no sense")?;
        if table.file_bytes != file.len() {
            return Err("the file is cut short or too long".to_owned());
        }
        let mut names = HashSet::new();
        let header = FRONT + body.len();
        if !table.entries.iter().all(|entry| entry.is_sound(header, file.len()) && names.insert(&entry.name)) {
            return Err("a tensor in the header cannot be where it says".to_owned());
        }
        Ok(table)
    }

    fn parse_body(body: &[u8]) -> Result<Table, String> {
        let mut reader = Reader::new(body);
        let size = |number: u64| usize::try_from(number).map_err(|_| "too large".to_owned());
        let layout = reader.u64()?;
        let file_bytes = size(reader.u64()?)?;
        let mut parts = Vec::new();
        for _ in 0..reader.count(PART_BYTES, PART_BYTES, "files")? {
            parts.push(Part { bytes: reader.u64()?, changed: reader.u64()?, head: reader.u64()? });
        }
        let mut entries = Vec::new();
        for _ in 0..reader.count(ENTRY_BYTES, ENTRY_BYTES, "tensors")? {
            entries.push(Entry {
                name: reader.string()?.to_owned(),
                ty: WeightType::from_ggml(reader.u32()?).ok_or("an unknown type")?,
                count: size(reader.u64()?)?,
                rows: size(reader.u64()?)?,
                cols: size(reader.u64()?)?,
                offset: size(reader.u64()?)?,
                bytes: size(reader.u64()?)?,
                sample: reader.u64()?,
            });
        }
        if reader.remaining() > 0 {
            return Err("too long".to_owned());
        }
        Ok(Table { layout, file_bytes, parts, entries })
    }
}

/// Hash of some bytes of a tensor whose matrices have `each` bytes, `count` of them; `piece` gives bytes of one of them.
pub(super) fn sample<'a>(count: usize, each: usize, piece: impl Fn(usize, Range<usize>) -> Option<&'a [u8]>) -> u64 {
    let last = count.saturating_mul(each).saturating_sub(1);
    let mut all = Vec::with_capacity(SAMPLES * SAMPLE_BYTES);
    for number in 0..SAMPLES {
        let at = last / (SAMPLES - 1) * number + last % (SAMPLES - 1) * number / (SAMPLES - 1);
        let from = (at % each.max(1)).min(each.saturating_sub(SAMPLE_BYTES));
        all.extend_from_slice(piece(at / each.max(1), from..each.min(from + SAMPLE_BYTES)).unwrap_or_default());
    }
    hash(&all)
}

impl Entry {
    /// Whether the weights in `file` are those that were written, as far as [`sample`] can tell.
    pub fn is_intact(&self, file: &[u8]) -> bool {
        let each = self.bytes / self.count.max(1);
        let piece = |matrix: usize, within: Range<usize>| {
            let first = self.offset.checked_add(matrix.checked_mul(each)?)?;
            file.get(first.checked_add(within.start)?..first.checked_add(within.end)?)
        };
        sample(self.count, each, piece) == self.sample
    }

    /// Whether the matrices take exactly its bytes, behind the header and inside the file.
    fn is_sound(&self, header: usize, file: usize) -> bool {
        let each = Matrix::packed_bytes_of(self.ty, self.rows, self.cols);
        let bytes = each.ok().and_then(|each| each.checked_mul(self.count));
        let end = self.offset.checked_add(self.bytes);
        self.count > 0
            && bytes == Some(self.bytes)
            && self.offset.is_multiple_of(ALIGNMENT)
            && self.offset >= header
            && end.is_some_and(|end| end <= file)
    }
}
