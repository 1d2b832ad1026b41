//! Models by hub id: choose the files, download them, find them again offline.
//!
//! The cache is the one every Hugging Face tool shares. The client reads
//! `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN` and `HF_ENDPOINT` itself;
//! `HF_HUB_OFFLINE` is read here. An interrupted download leaves a file ending
//! in `.incomplete` beside the finished ones and starts again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, anyhow, bail};
use hf_hub::progress::{DownloadEvent, FileProgress, ProgressEvent, ProgressHandler};
use hf_hub::repository::{RepoTreeEntry, RepoTypeModel};
use hf_hub::{HFClient, HFClientSync, HFError, HFRepositorySync};

use crate::progress;

/// `org/name`, optionally with one file of it: `org/name/file.gguf` or
/// `org/name:file.gguf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    org: String,
    name: String,
    file: Option<String>,
}

impl HubId {
    /// Reads an id; `None` when the text can not be one.
    pub fn parse(text: &str) -> Option<Self> {
        let (org, rest) = text.split_once('/')?;
        let (name, file) = match rest.find(['/', ':']) {
            Some(at) => (&rest[..at], Some(rest[at + 1..].to_owned())),
            None => (rest, None),
        };
        let plain = |part: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(legal)
        };
        // Whatever names a file must not climb out of the snapshot folder.
        let inside = |file: &String| {
            let legal = |part: &str| !part.is_empty() && part != "." && part != "..";
            file.ends_with(".gguf") && file.split('/').all(legal)
        };
        // `folder/model.gguf` is a path, not a repository.
        let fits = plain(org) && plain(name) && !name.ends_with(".gguf") && file.iter().all(inside);
        fits.then(|| Self { org: org.to_owned(), name: name.to_owned(), file })
    }

    /// `org/name`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.org, self.name)
    }
}

/// What to open once the files are there.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    /// Files to have, relative to the repository.
    files: Vec<String>,
    /// The one to open; `None` opens the folder.
    entry: Option<String>,
}

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
            RepoTreeEntry::File { path, size, .. } => Some((path, size)),
            RepoTreeEntry::Directory { .. } => None,
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

impl Choice {
    fn open_in(&self, folder: &Path) -> PathBuf {
        match &self.entry {
            Some(file) => folder.join(file),
            None => folder.to_owned(),
        }
    }
}

/// Chooses what to download from the names in a repository.
///
/// The file the id names; else the only .gguf (or split set); else the only
/// one of the usual types, Q4_K_M before Q8_0; else the safetensors set.
fn choose(id: &HubId, names: &[&str]) -> anyhow::Result<Choice> {
    let repository = id.repository();
    // A split model counts as one: its first part stands for it. Projectors of
    // vision models are not language models.
    let models: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| name.ends_with(".gguf") && !file_name(name).starts_with("mmproj"))
        .filter(|name| split_of(name).is_none_or(|(_, part, _)| part == 1))
        .collect();
    if let Some(file) = &id.file {
        return match names.iter().find(|name| *name == file) {
            Some(name) => gguf(name, names),
            None => bail!("{repository} has no file {file}; it has {}", listing(&models)),
        };
    }
    if let [only] = models[..] {
        return gguf(only, names);
    }
    for preferred in ["Q4_K_M", "Q8_0"] {
        let matching: Vec<&str> =
            models.iter().copied().filter(|name| file_name(name).to_ascii_uppercase().contains(preferred)).collect();
        if let [only] = matching[..] {
            return gguf(only, names);
        }
    }
    if !models.is_empty() {
        bail!("{repository} holds several models; name one as {repository}/FILE out of {}", listing(&models));
    }
    folder(&repository, names)
}

/// One GGUF model: the file itself, or all parts of a split one.
fn gguf(first: &str, names: &[&str]) -> anyhow::Result<Choice> {
    let mut files = vec![first.to_owned()];
    if let Some((stem, _, count)) = split_of(first) {
        files = (1..=count).map(|part| format!("{stem}-{part:05}-of-{count:05}.gguf")).collect();
        if let Some(missing) = files.iter().find(|file| !names.contains(&file.as_str())) {
            bail!("{first} is split into {count} files and {missing} is missing");
        }
    }
    Ok(Choice { entry: files.first().cloned(), files })
}

/// `stem-00002-of-00005.gguf` as (`stem`, 2, 5).
fn split_of(name: &str) -> Option<(&str, u32, u32)> {
    let body = name.strip_suffix(".gguf")?;
    let (rest, count) = body.rsplit_once("-of-")?;
    let (stem, part) = rest.rsplit_once('-')?;
    let number = |text: &str| {
        let digits = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    Some((stem, number(part)?, number(count)?))
}

/// A Hugging Face folder: configuration, tokenizer and safetensors.
fn folder(repository: &str, names: &[&str]) -> anyhow::Result<Choice> {
    const SMALL: [&str; 7] = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "chat_template.json",
        "model.safetensors.index.json",
    ];
    // Shards lie in the root; other folders hold other formats of the same.
    let weights = |name: &&str| name.ends_with(".safetensors") && !name.contains('/');
    let files: Vec<String> =
        names.iter().filter(|name| SMALL.contains(name) || weights(name)).map(|name| (*name).to_owned()).collect();
    for needed in ["config.json", ".safetensors"] {
        if !files.iter().any(|file| file.ends_with(needed)) {
            bail!("{repository} holds no .gguf file and no {needed}, so Laminar can not open it");
        }
    }
    Ok(Choice { files, entry: None })
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Names for an error message, on one line.
fn listing(names: &[&str]) -> String {
    match names {
        [] => "no .gguf file".to_owned(),
        names => names.join(", "),
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

/// Turns the client's events into one bar over all files.
struct Watcher {
    bar: progress::Bytes,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    total: u64,
    files: BTreeMap<String, u64>,
    /// Files that travel in one batch are counted together.
    batch: u64,
}

impl Watcher {
    fn new(bar: progress::Bytes) -> Self {
        Self { bar, seen: Mutex::new(Seen::default()) }
    }
}

impl ProgressHandler for Watcher {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else {
            return;
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            // The first one speaks for all files, later ones for one each.
            DownloadEvent::Start { total_bytes, .. } => seen.total = seen.total.max(*total_bytes),
            DownloadEvent::Progress { files } => {
                for FileProgress { filename, bytes_completed, .. } in files {
                    let known = seen.files.entry(filename.clone()).or_default();
                    *known = (*known).max(*bytes_completed);
                }
            }
            DownloadEvent::AggregateProgress { bytes_completed, .. } => seen.batch = *bytes_completed,
            DownloadEvent::Complete => {}
        }
        let done = seen.batch + seen.files.values().sum::<u64>();
        self.bar.update(done.min(seen.total), seen.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> HubId {
        HubId::parse(text).unwrap()
    }

    #[test]
    fn ids_are_read_and_paths_are_not_ids() {
        assert_eq!(id("org/name").file, None);
        assert_eq!(id("org/name:a.gguf").file.as_deref(), Some("a.gguf"));
        assert_eq!(id("org/name/q4/a.gguf").file.as_deref(), Some("q4/a.gguf"));
        for text in [
            "name",
            "./model",
            "../name",
            "/org/name",
            "org/",
            "org/name/x.bin",
            "models/a.gguf",
            "org/name/../a.gguf",
            "a b/c",
        ] {
            assert_eq!(HubId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_choice_follows_the_rules_in_order() {
        let files = |text: &str, names: &[&str]| choose(&id(text), names).map(|choice| choice.files);
        assert_eq!(files("o/n", &["README.md", "a.gguf"]).unwrap(), ["a.gguf"]);
        assert_eq!(files("o/n", &["a-Q8_0.gguf", "a-q4_k_m.gguf", "a-F16.gguf"]).unwrap(), ["a-q4_k_m.gguf"]);
        assert_eq!(files("o/n", &["a-Q8_0.gguf", "a-F16.gguf"]).unwrap(), ["a-Q8_0.gguf"]);
        assert_eq!(files("o/n", &["mmproj-a.gguf", "a-F16.gguf"]).unwrap(), ["a-F16.gguf"]);
        assert_eq!(files("o/n:b.gguf", &["a.gguf", "b.gguf"]).unwrap(), ["b.gguf"]);
        let split = ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"];
        assert_eq!(files("o/n", &split).unwrap(), split);
        assert_eq!(
            files("o/n", &["config.json", "model.safetensors", "onnx/x.safetensors", "x.bin"]).unwrap(),
            ["config.json", "model.safetensors"]
        );
    }

    #[test]
    fn an_open_choice_lists_the_files() {
        let error = |names: &[&str]| choose(&id("o/n"), names).unwrap_err().to_string();
        let several = error(&["a-F16.gguf", "b-F16.gguf"]);
        assert!(several.contains("a-F16.gguf, b-F16.gguf"), "{several}");
        assert!(error(&["a-00001-of-00002.gguf"]).contains("a-00002-of-00002.gguf is missing"));
        assert!(error(&["pytorch_model.bin", "config.json"]).contains("no .safetensors"));
    }

    #[test]
    fn a_literal_glob_escapes_what_globs_use() {
        assert_eq!(literal_glob("a[1]*.gguf"), "a[[]1[]][*].gguf");
    }
}
