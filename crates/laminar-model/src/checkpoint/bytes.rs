//! The bytes of a file, mapped or held in memory.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use super::error::CheckpointError;

/// Read-only bytes of one checkpoint file.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// A file mapped into memory; pages are read when first touched.
    Mapped(Mmap),
    /// Bytes compiled into the program.
    Static(&'static [u8]),
    /// Bytes made at run time.
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a file.
    ///
    /// A file that shrinks while it is mapped raises SIGBUS at the next touch of a lost page and ends the process; no
    /// user-space check can prevent that. Replace model files by renaming a new file over them, never in place.
    pub fn map(path: &Path) -> Result<Self, CheckpointError> {
        let file = File::open(path).map_err(|e| CheckpointError::io("open", path, e))?;
        map_file(&file).map(Bytes::Mapped).map_err(|e| CheckpointError::io("map", path, e))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

#[allow(unsafe_code)]
fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is private to this process and read-only, and every offset into it is checked against its
    // length. The remaining condition, that no other process changes or truncates the file meanwhile, cannot be
    // enforced; it is part of the documented contract of `Bytes::map`. All reads treat the content as untrusted bytes
    // of plain integer and float types, for which every bit pattern is valid.
    unsafe { Mmap::map(file) }
}
