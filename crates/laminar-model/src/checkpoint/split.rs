//! Split GGUF checkpoints: `NAME-00001-of-00003.gguf`, `NAME-00002-of-00003.gguf`, ...
//!
//! Each part is a GGUF file of its own with the keys `split.no` (from 0), `split.count` and `split.tensors.count`. The
//! first part carries the metadata.

use std::path::{Path, PathBuf};

use super::bytes::Bytes;
use super::error::CheckpointError;
use super::header::{Header, parse};

/// The numbers in the name of a part, and what stands before them.
struct PartName<'a> {
    base: &'a str,
    number: u32,
    count: u32,
}

impl<'a> PartName<'a> {
    /// Reads a file name without its `.gguf` ending.
    fn parse(stem: &'a str) -> Option<Self> {
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (base, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| -> Option<u32> {
            (text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
        };
        Some(PartName { base, number: digits(number)?, count: digits(count)? })
    }
}

/// The name of a checkpoint: that of its file without the part numbers.
pub(crate) fn base_name(stem: &str) -> &str {
    PartName::parse(stem).map_or(stem, |part| part.base)
}

/// Opens the file and, if it is a part of a split checkpoint, all its siblings, in order.
pub(crate) fn open_all(path: &Path) -> Result<Vec<(Header, Bytes)>, CheckpointError> {
    let given = open_one(path)?;
    let count = given.0.split_count()?;
    if count <= 1 {
        return Ok(vec![given]);
    }
    let fault =
        |problem: String| CheckpointError::malformed(path.display().to_string(), "key \"split.count\"", problem);
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let name = PartName::parse(stem).filter(|part| (1..=part.count).contains(&part.number)).ok_or_else(|| {
        fault(format!(
            "the file is one of {count} parts, but its name does not end in -00001-of-{count:05}.gguf; restore the \
             original name"
        ))
    })?;
    if name.count != count {
        return Err(fault(format!(
            "the file says it is one of {count} parts, its name says {}; restore the original name",
            name.count
        )));
    }
    let mut given = Some(given);
    let mut parts = Vec::new();
    for number in 1..=count {
        let part_path = sibling(path, name.base, number, count);
        let part = match given.take_if(|_| number == name.number) {
            Some(part) => part,
            None => open_one(&part_path)?,
        };
        check(&part.0, &part_path, number, count)?;
        parts.push(part);
    }
    Ok(parts)
}

fn sibling(path: &Path, base: &str, number: u32, count: u32) -> PathBuf {
    path.with_file_name(format!("{base}-{number:05}-of-{count:05}.gguf"))
}

fn open_one(path: &Path) -> Result<(Header, Bytes), CheckpointError> {
    let bytes = Bytes::map(path)?;
    let header = parse(&path.display().to_string(), &bytes)?;
    Ok((header, bytes))
}

/// Checks that a part says of itself what its name says.
fn check(header: &Header, path: &Path, number: u32, count: u32) -> Result<(), CheckpointError> {
    let stated_count = header.split_count()?;
    let stated_number = header.metadata.require_u32("split.no")?;
    if stated_count == count && stated_number.checked_add(1) == Some(number) {
        return Ok(());
    }
    Err(CheckpointError::malformed(
        path.display().to_string(),
        "key \"split.no\"",
        format!(
            "the file says it is part {} of {stated_count}, its name says part {number} of {count}; fetch the parts \
             again",
            u64::from(stated_number) + 1
        ),
    ))
}
