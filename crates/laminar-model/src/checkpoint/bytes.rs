//! The bytes of a file, mapped or held in memory.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::error::CheckpointError;

/// Read-only bytes of one file.
pub(crate) enum Bytes {
    /// A file mapped into memory.
    Mapped(MappedFile),
    /// Bytes compiled into the program.
    Static(&'static [u8]),
    /// Bytes made at run time.
    Owned(Vec<u8>),
}

/// A file mapped into memory; pages are read when first touched.
pub(crate) struct MappedFile {
    pub path: PathBuf,
    pub file: File,
    pub map: Arc<Mmap>,
}

impl Bytes {
    /// Maps a file.
    ///
    /// A file that shrinks while it is mapped raises SIGBUS at the next touch of a lost page and ends the process; no
    /// user-space check can prevent that. Replace model files by renaming a new file over them, never in place.
    pub fn map(path: &Path) -> Result<Self, CheckpointError> {
        let file = File::open(path).map_err(|e| CheckpointError::io("open", path, e))?;
        let map = map_file(&file).map_err(|e| CheckpointError::io("map", path, e))?;
        Ok(Bytes::Mapped(MappedFile { path: path.to_path_buf(), file, map: Arc::new(map) }))
    }

    /// Some of the bytes: borrowed where they are in memory anyway, otherwise read from the file into `buffer`.
    ///
    /// For bytes that are needed once. Pages of a mapping, once touched, count as memory of this process for as long as
    /// the file is mapped, so touching all of them would hold every weight twice.
    ///
    /// # Errors
    /// The file cannot be read, or `range` is not inside it.
    pub fn read<'a>(&'a self, range: Range<usize>, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CheckpointError> {
        #[cfg(unix)]
        if let Bytes::Mapped(MappedFile { path, file, map }) = self
            && range.start <= range.end
            && range.end <= map.len()
        {
            buffer.resize(range.len(), 0);
            std::os::unix::fs::FileExt::read_exact_at(file, buffer, range.start as u64)
                .map_err(|e| CheckpointError::io("read", path, e))?;
            return Ok(buffer);
        }
        let _ = buffer;
        let end = self.len();
        self.get(range.clone()).ok_or_else(|| {
            CheckpointError::malformed(self.name(), format!("bytes {range:?}"), format!("the file has {end} bytes"))
        })
    }

    fn name(&self) -> String {
        match self {
            Bytes::Mapped(file) => file.path.display().to_string(),
            Bytes::Static(_) | Bytes::Owned(_) => "memory".to_owned(),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(file) => &file.map,
            Bytes::Static(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({}, {})", self.name(), self.len())
    }
}

/// Maps an open file, under the contract of [`Bytes::map`].
#[allow(unsafe_code)]
pub(crate) fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is private to this process and read-only, and every offset into it is checked against its
    // length. The remaining condition, that no other process changes or truncates the file meanwhile, cannot be
    // enforced; it is part of the documented contract of `Bytes::map`. All reads treat the content as untrusted bytes
    // of plain integer and float types, for which every bit pattern is valid.
    unsafe { Mmap::map(file) }
}
