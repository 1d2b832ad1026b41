//! Packed weights on disk, so that a second start maps them and packs nothing.
//!
//! One file a model, in a folder that the caller names: a header that says which model files the weights come from, how
//! they are packed and where each tensor lies (`table.rs`), then the packed weights. A file is written under another name
//! and renamed when it is complete, so starts side by side may both write it, and nobody reads half of one. A file that
//! does not belong to the model as it is now, or to this program, is written anew.

mod identity;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use laminar_kernels::{Matrix, WeightType, packed_layout};
use memmap2::Mmap;

use crate::checkpoint::bytes::map_file;
use crate::checkpoint::{Checkpoint, CheckpointError};
use identity::Part;
use table::{Entry, Table};

/// A tensor that has been packed.
pub(crate) struct PackedTensor {
    /// As in the checkpoint.
    pub name: String,
    /// Matrices of one type and shape: one, or the experts of a layer.
    pub matrices: Vec<Matrix>,
}

/// The file for one model, which may not be there yet.
pub(crate) struct PackedCache {
    path: PathBuf,
    parts: Vec<Part>,
    /// What was found there, if it belongs to the model.
    found: Option<Found>,
}

struct Found {
    map: Arc<Mmap>,
    entries: HashMap<String, Entry>,
}

impl PackedCache {
    /// Looks for the packed weights of `checkpoint` in `folder`. `None` if the checkpoint is not made of files.
    ///
    /// # Errors
    /// The model's own files cannot be looked at.
    pub fn open(folder: &Path, checkpoint: &Checkpoint) -> Result<Option<Self>, CheckpointError> {
        let Some((name, parts)) = identity::of(checkpoint)? else {
            return Ok(None);
        };
        let path = folder.join(name);
        let found = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => Some(Err(format!("cannot open it: {error}"))),
            Ok(file) => Some(find(&file, &parts)),
        };
        let found = match found.transpose() {
            Ok(found) => found,
            Err(reason) => {
                tracing::warn!("packed weights in {}: {reason}; packing the model again", path.display());
                None
            }
        };
        Ok(Some(Self { path, parts, found }))
    }

    /// The matrices of a tensor, where they lie in the file.
    pub fn tensor(&self, name: &str, ty: WeightType, count: usize, rows: usize, cols: usize) -> Option<Vec<Matrix>> {
        let Found { map, entries } = self.found.as_ref()?;
        let entry = entries.get(name)?;
        if (entry.ty, entry.count, entry.rows, entry.cols) != (ty, count, rows, cols) {
            return None;
        }
        let each = entry.bytes / count.max(1);
        (0..count).map(|i| Matrix::from_packed(ty, rows, cols, map, entry.offset + i * each).ok()).collect()
    }

    /// Writes the file, and tells `progress` the bytes written so far and in total.
    ///
    /// # Errors
    /// The file cannot be written; what was there before is there still.
    pub fn write(
        &self,
        tensors: &[PackedTensor],
        progress: Option<&(dyn Fn(u64, u64) + Sync)>,
    ) -> Result<(), CheckpointError> {
        write::write(&self.path, &self.parts, tensors, progress)
    }
}

/// Maps a file and checks that it belongs to the model and to this program.
fn find(file: &File, parts: &[Part]) -> Result<Found, String> {
    let map = map_file(file).map_err(|error| format!("cannot map it: {error}"))?;
    let table = Table::parse(&map)?;
    if table.layout != packed_layout() {
        return Err("another version of Laminar wrote them".to_owned());
    }
    if table.parts != parts {
        return Err("the model has changed since they were written".to_owned());
    }
    #[cfg(target_os = "linux")]
    {
        // Both only make reading faster; a system that refuses is slower.
        let _ = map.advise(memmap2::Advice::HugePage);
        let _ = map.advise(memmap2::Advice::WillNeed);
    }
    if let Some(entry) = table.entries.iter().find(|entry| !entry.is_intact(&map)) {
        return Err(format!("the weights of {:?} are damaged", entry.name));
    }
    let entries = table.entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
    Ok(Found { map: Arc::new(map), entries })
}
