//! Which model files packed weights come from: enough to notice any other file in their place, without reading all of it.

use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::checkpoint::bytes::{Bytes, MappedFile};
use crate::checkpoint::{Checkpoint, CheckpointError};

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub bytes: u64,
    /// Time of the last change, in nanoseconds since 1970; 0 where the system does not tell.
    pub changed: u64,
    /// Hash of all that comes before the first tensor: metadata, and names, types, shapes and places of the tensors.
    pub head: u64,
}

/// The name of the file for packed weights of `checkpoint`, and what they come from. `None` if that is not files.
pub(super) fn of(checkpoint: &Checkpoint) -> Result<Option<(String, Vec<Part>)>, CheckpointError> {
    let mut parts = Vec::new();
    let mut first: Option<&Path> = None;
    for (bytes, head) in checkpoint.files() {
        let Bytes::Mapped(MappedFile { path, file, map }) = bytes else {
            return Ok(None);
        };
        let info = file.metadata().map_err(|e| CheckpointError::io("look at", path, e))?;
        let changed = info.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let changed = changed.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
        parts.push(Part { bytes: map.len() as u64, changed, head: hash(&map[..head.min(map.len())]) });
        first.get_or_insert(path);
    }
    Ok(first.map(|path| (file_name(path, checkpoint), parts)))
}

/// Tells models of equal names apart by their places.
fn file_name(path: &Path, checkpoint: &Checkpoint) -> String {
    let place = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let stem = match checkpoint {
        Checkpoint::Gguf(_) => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        Checkpoint::HuggingFace(folder) => folder.name().to_owned(),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let stem: String = stem.chars().take(100).map(plain).collect();
    format!("{stem}-{:016x}.packed", hash(place.as_os_str().as_encoded_bytes()))
}

/// FNV-1a: the same everywhere, and good enough against accidents.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
