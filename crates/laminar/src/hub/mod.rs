//! Models by hub id: choose the files, download them, find them again offline.
//!
//! The cache is the one every Hugging Face tool shares. The client reads
//! `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN` and `HF_ENDPOINT` itself;
//! `HF_HUB_OFFLINE` is read here. An interrupted download leaves a file ending
//! in `.incomplete` beside the finished ones and starts again.

mod choice;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use hf_hub::repository::{RepoTreeEntry, RepoTypeModel};
use hf_hub::{HFClient, HFClientSync, HFError, HFRepositorySync};

use crate::progress;
use choice::{choose, stays_inside};
use watch::Watcher;

pub use choice::HubId;

/// Where the model of this id lies on disk, after downloading what is missing.
///
/// # Errors
/// The repository, the file or the network is not there, or the repository
/// leaves open which of its files is meant.
pub fn fetch(id: &HubId, quiet: bool) -> anyhow::Result<PathBuf> {
    let client = HFClient::new().context("set up the hub client; check HF_ENDPOINT")?;
    let hub = Hub {
        id,
        endpoint: client.endpoint().to_owned(),
        cache: client.cache_dir().to_owned(),
        repository: HFClientSync::from_inner(client)?.model(&id.org, &id.name),
        quiet,
    };
    if offline() {
        return hub.cached().with_context(|| {
            format!(
                "HF_HUB_OFFLINE is set and {} is not in the cache {}; unset it to download",
                id.repository(),
                hub.cache.display()
            )
        });
    }
    match hub.download() {
        // Without a connection, what was downloaded before still serves.
        Err(Failure::Unreachable(error)) => match hub.cached() {
            Ok(path) => {
                tracing::warn!("{error:#}; using the cached copy");
                Ok(path)
            }
            Err(_) => Err(error),
        },
        Err(Failure::Other(error)) => Err(error),
        Ok(path) => Ok(path),
    }
}

/// Whether `HF_HUB_OFFLINE` holds one of the values the Python client accepts.
fn offline() -> bool {
    std::env::var("HF_HUB_OFFLINE")
        .is_ok_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true"))
}

/// One repository of the hub.
struct Hub<'a> {
    id: &'a HubId,
    endpoint: String,
    cache: PathBuf,
    repository: HFRepositorySync<RepoTypeModel>,
    quiet: bool,
}

/// Why a download did not happen.
enum Failure {
    /// No answer from the hub: an earlier copy may do.
    Unreachable(anyhow::Error),
    /// The hub answered, or the disk failed.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Hub<'_> {
    fn download(&self) -> Result<PathBuf, Failure> {
        let sizes = self.list().map_err(|error| self.failure(error))?;
        let names: Vec<&str> = sizes.keys().map(String::as_str).collect();
        let choice = choose(self.id, &names)?;
        let bar = progress::Bytes::new(&self.id.repository(), self.quiet);
        let folder = self
            .repository
            .snapshot_download()
            .allow_patterns(choice.files.iter().map(|file| literal_glob(file)).collect())
            .progress(Watcher::new(bar.clone()))
            .send()
            .map_err(|error| self.failure(error))?;
        bar.finish();
        for file in &choice.files {
            check_size(&folder, file, sizes[file])?;
        }
        Ok(choice.open_in(&folder))
    }

    /// Every file of the repository with its size in bytes.
    fn list(&self) -> Result<BTreeMap<String, u64>, HFError> {
        let entries = self.repository.list_tree().recursive(true).send()?;
        let file = |entry| match entry {
            // The name becomes a path below the cache and comes from outside.
            RepoTreeEntry::File { path, size, .. } if stays_inside(&path) => Some((path, size)),
            RepoTreeEntry::File { .. } | RepoTreeEntry::Directory { .. } => None,
        };
        Ok(entries.into_iter().filter_map(file).collect())
    }

    /// The same choice among the files of the last downloaded snapshot.
    fn cached(&self) -> anyhow::Result<PathBuf> {
        let folder = self.repository.snapshot_download().local_files_only(true).send()?;
        let mut names = Vec::new();
        collect_files(&folder, &folder, &mut names)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let choice = choose(self.id, &names)?;
        for file in &choice.files {
            if !folder.join(file).is_file() {
                bail!("{file} was not downloaded completely");
            }
        }
        Ok(choice.open_in(&folder))
    }

    /// The hub's answer in the user's words.
    fn failure(&self, error: HFError) -> Failure {
        let id = self.id.repository();
        let endpoint = &self.endpoint;
        let status = match &error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::RateLimited { context, .. } => Some(context.status.as_u16()),
            HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. } => Some(404),
            _ => None,
        };
        let message = match (status, &error) {
            (Some(401), _) => anyhow!(
                "{id}: {endpoint} wants a token, or there is no such model (401); check the id and set HF_TOKEN"
            ),
            (Some(403), _) => anyhow!(
                "{id}: access denied (403); accept the model's terms on {endpoint}/{id} and set HF_TOKEN to your token"
            ),
            (Some(404), _) => anyhow!("{id}: no such model on {endpoint} (404); check the id"),
            (Some(429), _) => anyhow!("{id}: {endpoint} asks to slow down (429); try again later or set HF_TOKEN"),
            (Some(status), _) => anyhow!("{id}: {endpoint} answered {status}; try again later"),
            (None, HFError::Request { source, .. }) if source.is_connect() || source.is_timeout() => {
                return Failure::Unreachable(anyhow!(
                    "{id}: {endpoint} can not be reached; check the network, HF_ENDPOINT and the proxy settings"
                ));
            }
            (None, _) => anyhow::Error::new(error)
                .context(format!("{id}: the download from {endpoint} failed, run the command again")),
        };
        Failure::Other(message)
    }
}

/// A glob that matches exactly this name.
fn literal_glob(name: &str) -> String {
    let mut glob = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '*' | '?' | '[' | ']' | '{' | '}' => glob.extend(['[', c, ']']),
            c => glob.push(c),
        }
    }
    glob
}

/// The client stores whatever the second request answers, so an error page or
/// a cut transfer would stay in the cache; its size gives it away.
fn check_size(folder: &Path, file: &str, expected: u64) -> anyhow::Result<()> {
    let path = folder.join(file);
    let found = std::fs::metadata(&path).map(|data| data.len()).unwrap_or(0);
    if found == expected {
        return Ok(());
    }
    if let Ok(blob) = path.canonicalize() {
        let _ = std::fs::remove_file(blob);
    }
    let _ = std::fs::remove_file(&path);
    bail!("{file}: {found} of {expected} bytes arrived; run the command again")
}

/// Names of all files below `folder`, relative to `root`, with `/` between.
fn collect_files(root: &Path, folder: &Path, names: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_files(root, &path, names)?;
        } else if let Ok(relative) = path.strip_prefix(root) {
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            names.push(parts.join("/"));
        }
    }
    names.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::literal_glob;

    #[test]
    fn a_literal_glob_escapes_what_globs_use() {
        assert_eq!(literal_glob("a[1]*.gguf"), "a[[]1[]][*].gguf");
    }
}
