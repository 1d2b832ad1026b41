//! Hub ids, and which files of a repository make a model.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// `org/name`, optionally with one file of it: `org/name/file.gguf` or
/// `org/name:file.gguf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// The user or organisation.
    pub org: String,
    /// The repository.
    pub name: String,
    /// The one file that is meant, if named.
    pub file: Option<String>,
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
        let inside = |file: &String| file.ends_with(".gguf") && stays_inside(file);
        // `folder/model.gguf` is a path, not a repository.
        let fits = plain(org) && plain(name) && !name.ends_with(".gguf") && file.iter().all(inside);
        fits.then(|| Self { org: org.to_owned(), name: name.to_owned(), file })
    }

    /// `org/name`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.org, self.name)
    }
}

/// Whether a file name of a repository, joined to a folder, stays below it.
pub fn stays_inside(name: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':']);
    name.split('/').all(plain)
}

/// What to open once the files are there.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// Files to have, relative to the repository.
    pub files: Vec<String>,
    /// The one to open; `None` opens the folder.
    pub entry: Option<String>,
}

impl Choice {
    /// What to open, once the files lie in `folder`.
    pub fn open_in(&self, folder: &Path) -> PathBuf {
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
pub fn choose(id: &HubId, names: &[&str]) -> anyhow::Result<Choice> {
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
    fn names_that_climb_out_are_refused() {
        assert!(stays_inside("a.gguf") && stays_inside("q4/a.gguf"));
        for name in ["/etc/passwd", "../a", "a/../../b", "a//b", "", "c:a", "..\\a"] {
            assert!(!stays_inside(name), "{name}");
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
}
