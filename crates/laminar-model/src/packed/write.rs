//! Writing a file of packed weights.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use laminar_kernels::packed_layout;

use super::PackedTensor;
use super::identity::Part;
use super::table::{Entry, Table, sample};
use crate::checkpoint::CheckpointError;

/// Bytes written between two reports.
const PIECE: usize = 4 << 20;
/// Bytes written before the disk has to have them: the wait is then spread over the whole file.
const SYNC: usize = 128 << 20;
/// A file that nobody has written to for so long was left behind by a process that is gone.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Writes `path` under another name and renames it.
pub(super) fn write(
    path: &Path,
    parts: &[Part],
    tensors: &[PackedTensor],
    progress: Option<&(dyn Fn(u64, u64) + Sync)>,
) -> Result<(), CheckpointError> {
    let entries = tensors.iter().filter_map(entry).collect();
    let table = Table::arrange(packed_layout(), parts.to_vec(), entries)
        .ok_or_else(|| CheckpointError::io("write", path, io::ErrorKind::FileTooLarge.into()))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| CheckpointError::io("create", folder, e))?;
    }
    remove_left_behind(path);
    // Its disk space is freed when anything goes wrong from here on.
    let unfinished = Unfinished(temporary(path));
    let fault = |e| CheckpointError::io("write", &unfinished.0, e);
    let file = File::create_new(&unfinished.0).map_err(fault)?;
    let mut to = Writer { file, at: 0, synced: 0, total: table.file_bytes, progress };
    to.write(&table.encode()).map_err(fault)?;
    for (entry, tensor) in table.entries.iter().zip(tensors.iter().filter(|tensor| !tensor.matrices.is_empty())) {
        to.fill_up_to(entry.offset).map_err(fault)?;
        for matrix in &tensor.matrices {
            to.write(matrix.packed()).map_err(fault)?;
        }
    }
    to.file.sync_all().map_err(fault)?;
    fs::rename(&unfinished.0, path).map_err(|e| CheckpointError::io("rename", &unfinished.0, e))
}

/// What the table says of a tensor, but for its place; `None` if it has no matrices.
fn entry(tensor: &PackedTensor) -> Option<Entry> {
    let first = tensor.matrices.first()?;
    let piece = |matrix: usize, within| tensor.matrices.get(matrix)?.packed().get::<Range<usize>>(within);
    Some(Entry {
        name: tensor.name.clone(),
        ty: first.weight_type(),
        count: tensor.matrices.len(),
        rows: first.rows(),
        cols: first.cols(),
        offset: 0,
        bytes: tensor.matrices.iter().map(|matrix| matrix.packed().len()).sum(),
        sample: sample(tensor.matrices.len(), first.packed().len(), piece),
    })
}

/// A file being written, and how far.
struct Writer<'a> {
    file: File,
    at: usize,
    synced: usize,
    total: usize,
    progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}

impl Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE) {
            self.file.write_all(piece)?;
            self.at += piece.len();
            if self.at - self.synced >= SYNC {
                self.file.sync_data()?;
                self.synced = self.at;
            }
            if let Some(progress) = self.progress {
                progress(self.at as u64, self.total as u64);
            }
        }
        Ok(())
    }

    fn fill_up_to(&mut self, offset: usize) -> io::Result<()> {
        self.write(&vec![0; offset.saturating_sub(self.at)])
    }
}

/// Removed when dropped; by then, the file of a write that went well has its own name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A name that no other writer has, of this process or another.
fn temporary(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = prefix(path);
    name.push(format!("{}-{number}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// How the names of unfinished files of `path` begin.
fn prefix(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name
}

/// Removes unfinished files of `path` whose writers are gone.
fn remove_left_behind(path: &Path) {
    let prefix = prefix(path);
    let Some(files) = path.parent().and_then(|folder| fs::read_dir(folder).ok()) else {
        return;
    };
    for file in files.flatten() {
        let name = file.file_name();
        let unfinished = name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes())
            && name.as_encoded_bytes().ends_with(b".tmp");
        let age = file.metadata().and_then(|info| info.modified()).ok().and_then(|time| time.elapsed().ok());
        if unfinished && age.is_some_and(|age| age > LEFT_BEHIND) {
            let _ = fs::remove_file(file.path());
        }
    }
}
