//! `--model`: from what the user typed to an open checkpoint.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use laminar_model::checkpoint::{Checkpoint, Gguf};

use crate::hub::{self, HubId};

/// The model that is served when none is named; trained by `tools/train`.
static EMBEDDED: &[u8] = include_bytes!("../assets/laminar-tiny.gguf");

/// Name of the embedded model in messages and in the API.
pub const EMBEDDED_NAME: &str = "laminar-tiny";

/// An open checkpoint and what to call it.
pub struct Source {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// File stem, folder name or hub id.
    pub name: String,
}

/// Opens the model named by `--model`, or the embedded one.
///
/// What exists on disk is taken as a file or folder; anything else that looks
/// like a hub id is fetched.
pub fn open(model: Option<&str>, quiet: bool) -> anyhow::Result<Source> {
    let Some(text) = model else {
        return Ok(Source { checkpoint: Checkpoint::Gguf(embedded()?), name: EMBEDDED_NAME.to_owned() });
    };
    let (path, name) = locate(text, quiet)?;
    let checkpoint = Checkpoint::open(&path)?;
    Ok(Source { checkpoint, name })
}

/// The embedded model's file.
pub fn embedded() -> anyhow::Result<Gguf> {
    Gguf::from_static(EMBEDDED).context("the embedded model")
}

/// Where the model lies on disk, and its name.
fn locate(text: &str, quiet: bool) -> anyhow::Result<(PathBuf, String)> {
    let path = Path::new(text);
    if path.exists() {
        return Ok((path.to_owned(), name_of(path)));
    }
    let Some(id) = HubId::parse(text) else {
        bail!("{text}: no such file or folder; give a .gguf file, a model folder or a hub id (org/name)");
    };
    let path =
        hub::fetch(&id, quiet).with_context(|| format!("{text} is not on this disk, so it was taken as a hub id"))?;
    Ok((path, id.repository()))
}

/// `models/a.gguf` and `models/a/` are both called `a`.
fn name_of(path: &Path) -> String {
    // `.` and `..` get the name of the folder they stand for.
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = match path.is_dir() {
        true => resolved.file_name(),
        false => path.file_stem(),
    };
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}
