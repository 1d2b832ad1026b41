//! Hugging Face model folders: `config.json`, safetensors weights, tokenizer files.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use super::bytes::Bytes;
use super::error::CheckpointError;
use super::quantised::{self, QuantisedWeight, Scheme};
use super::safetensors::{Shard, Stored};
use super::tensor::{ByteTensor, Place, Tensor};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A model folder as `transformers` writes it with `save_pretrained`.
#[derive(Debug)]
pub struct HfFolder {
    /// `config.json`.
    pub config: Json,
    /// `generation_config.json`, if it is there.
    pub generation_config: Option<Json>,
    /// The path of `tokenizer.json`, if it is there.
    pub tokenizer_json: Option<PathBuf>,
    /// The path of `tiktoken.model`, if it is there.
    pub tiktoken: Option<PathBuf>,
    /// `tokenizer_config.json`, if it is there.
    pub tokenizer_config: Option<Json>,
    /// The chat template: from `chat_template.jinja`, else `chat_template.json`, else `tokenizer_config.json`.
    pub chat_template: Option<String>,
    path: PathBuf,
    name: String,
    /// How linear layers are stored, if not as values.
    scheme: Option<Scheme>,
    shards: Vec<Arc<Bytes>>,
    tensors: Vec<Entry>,
    index: HashMap<String, usize>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    ty: Stored,
    shape: Vec<usize>,
    shard: usize,
    range: Range<usize>,
}

impl HfFolder {
    /// Opens a folder that holds `config.json` and either `model.safetensors` or `model.safetensors.index.json` with
    /// the shards it names.
    ///
    /// # Errors
    /// A [`CheckpointError`] that names the file at fault when one is missing, damaged or of an unsupported kind.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let Some(config) = read_json(&dir.join("config.json"))? else {
            return Err(no_config(dir));
        };
        let tokenizer_config = read_json(&dir.join("tokenizer_config.json"))?;
        let chat_template = chat_template(dir, tokenizer_config.as_ref())?;
        let file = |name: &str| Some(dir.join(name)).filter(|path| path.is_file());
        let (tokenizer_json, tiktoken) = (file("tokenizer.json"), file("tiktoken.model"));
        let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
        let name = absolute.file_name().map_or("unnamed".into(), |n| n.to_string_lossy().into_owned());
        let mut folder = Self::without_weights(config, dir, name)?;
        folder.generation_config = read_json(&dir.join("generation_config.json"))?;
        folder.tokenizer_json = tokenizer_json;
        folder.tiktoken = tiktoken;
        folder.tokenizer_config = tokenizer_config;
        folder.chat_template = chat_template;
        if dir.join(WEIGHTS).is_file() {
            folder.add_shard(&dir.join(WEIGHTS), None)?;
        } else if let Some(index) = read_json(&dir.join(INDEX))? {
            folder.add_indexed(&index)?;
        } else {
            return Err(no_weights(dir));
        }
        Ok(folder)
    }

    /// A folder of a configuration and one safetensors file, which are in memory.
    ///
    /// # Errors
    /// As [`HfFolder::open`].
    pub fn from_memory(config: Json, weights: Vec<u8>) -> Result<Self, CheckpointError> {
        let mut folder = Self::without_weights(config, Path::new("memory"), "unnamed".to_owned())?;
        let shard = Shard::read("memory".to_owned(), Bytes::Owned(weights), folder.scheme.is_some())?;
        folder.add_tensors(shard, None);
        Ok(folder)
    }

    fn without_weights(config: Json, path: &Path, name: String) -> Result<Self, CheckpointError> {
        let scheme = Scheme::of(&config).map_err(|problem| {
            let file = path.join("config.json").display().to_string();
            CheckpointError::malformed(file, "key \"quantization_config\"", problem)
        })?;
        Ok(HfFolder {
            config,
            generation_config: None,
            tokenizer_json: None,
            tiktoken: None,
            tokenizer_config: None,
            chat_template: None,
            path: path.to_path_buf(),
            name,
            scheme,
            shards: Vec::new(),
            tensors: Vec::new(),
            index: HashMap::new(),
        })
    }

    /// The settings of the model for text: `text_config` of a model for images and text, otherwise all of `config.json`.
    pub fn text_config(&self) -> &Json {
        self.config.get("text_config").filter(|text| text.is_object()).unwrap_or(&self.config)
    }

    /// Whether the folder holds a model for images beside the one for text.
    pub fn has_images(&self) -> bool {
        self.config.get("vision_config").is_some_and(Json::is_object)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A further JSON file of the folder, by its path in it; none if it is not there or the path leads elsewhere.
    ///
    /// # Errors
    /// A file that cannot be read or is no JSON.
    pub fn json(&self, file: &str) -> Result<Option<Json>, CheckpointError> {
        let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        if inside { read_json(&self.path.join(file)) } else { Ok(None) }
    }

    pub(super) fn shards(&self) -> &[Arc<Bytes>] {
        &self.shards
    }

    /// The tensor of that name, for instance `model.layers.0.self_attn.q_proj.weight`.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.index.get(name).and_then(|&at| self.tensors.get(at)).and_then(|e| self.view(e))
    }

    /// All tensors, shard by shard in file order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.tensors.iter().filter_map(|entry| self.view(entry))
    }

    /// The number of tensors.
    pub fn tensor_count(&self) -> usize {
        self.tensors.iter().filter(|entry| matches!(entry.ty, Stored::Values(_))).count()
    }

    /// The tensor of plain bytes of that name.
    pub fn byte_tensor(&self, name: &str) -> Option<ByteTensor<'_>> {
        self.index.get(name).and_then(|&at| self.tensors.get(at)).and_then(|e| self.byte_view(e))
    }

    /// All tensors of plain bytes, which [`HfFolder::tensors`] leaves out, shard by shard in file order.
    pub fn byte_tensors(&self) -> impl Iterator<Item = ByteTensor<'_>> {
        self.tensors.iter().filter_map(|entry| self.byte_view(entry))
    }

    /// The quantised weight whose tensors begin with `base` and a full stop (`model.layers.0.mlp.up_proj`); `None` if
    /// there is none, because that weight or all of the folder is stored as values.
    ///
    /// # Errors
    /// Tensors that belong to it are missing or do not fit each other.
    pub fn quantised_weight(&self, base: &str) -> Result<Option<QuantisedWeight<'_>>, CheckpointError> {
        match self.scheme {
            Some(scheme) => quantised::weight_of(self, scheme, base),
            None => Ok(None),
        }
    }

    /// Whether a tensor belongs to a quantised weight and is none of its codes: scales, zero points, groups.
    pub(crate) fn is_quantised_part(&self, name: &str) -> bool {
        self.scheme.is_some() && quantised::is_part(name)
    }

    /// Parameters that a part of quantised weights stands for: codes count, scales do not.
    pub(crate) fn parameters_of(&self, tensor: &ByteTensor<'_>) -> u64 {
        let bits = match self.scheme {
            _ if tensor.name.ends_with("_blocks") => 4,
            Some(scheme) if [".qweight", ".weight_packed", ".weight"].iter().any(|end| tensor.name.ends_with(end)) => {
                u64::from(scheme.bits())
            }
            _ => return 0,
        };
        tensor.data.len() as u64 * 8 / bits
    }

    /// The number of safetensors files that were opened.
    pub fn file_count(&self) -> usize {
        self.shards.len()
    }

    /// `None` for parts of quantised weights: every range was checked against its shard when it was opened.
    fn view<'a>(&'a self, entry: &'a Entry) -> Option<Tensor<'a>> {
        let Stored::Values(ty) = entry.ty else { return None };
        let (data, place) = self.place(entry)?;
        Some(Tensor { name: &entry.name, ty, shape: entry.shape.clone(), data, place })
    }

    /// `None` for values.
    fn byte_view<'a>(&'a self, entry: &'a Entry) -> Option<ByteTensor<'a>> {
        let Stored::Part(kind) = entry.ty else { return None };
        let (data, place) = self.place(entry)?;
        Some(ByteTensor { name: &entry.name, kind, shape: entry.shape.clone(), data, place })
    }

    fn place(&self, entry: &Entry) -> Option<(&[u8], Place<'_>)> {
        let bytes = self.shards.get(entry.shard)?;
        Some((bytes.get(entry.range.clone())?, Place { bytes, at: entry.range.start }))
    }

    /// Adds a file's tensors: all of them, or those that the index assigns to it.
    fn add_shard(&mut self, path: &Path, wanted: Option<&[&str]>) -> Result<(), CheckpointError> {
        let shard = Shard::open(path, self.scheme.is_some())?;
        self.add_tensors(shard, wanted);
        Ok(())
    }

    fn add_tensors(&mut self, shard: Shard, wanted: Option<&[&str]>) {
        let number = self.shards.len();
        for tensor in shard.tensors {
            if wanted.is_some_and(|names| names.binary_search(&tensor.name.as_str()).is_err()) {
                continue;
            }
            self.index.insert(tensor.name.clone(), self.tensors.len());
            self.tensors.push(Entry {
                name: tensor.name,
                ty: tensor.ty,
                shape: tensor.shape,
                shard: number,
                range: tensor.range,
            });
        }
        self.shards.push(Arc::new(shard.bytes));
    }

    /// Adds the shards that an index names.
    fn add_indexed(&mut self, index: &Json) -> Result<(), CheckpointError> {
        let dir = self.path.clone();
        let fault = |place: &str, problem: String| {
            CheckpointError::malformed(dir.join(INDEX).display().to_string(), place, problem)
        };
        let Some(map) = index.get("weight_map").and_then(Json::as_object) else {
            return Err(fault(
                "key \"weight_map\"",
                "an object of tensor names and file names is expected; fetch the file again".to_string(),
            ));
        };
        let mut files: Vec<(&str, Vec<&str>)> = Vec::new();
        let mut positions: HashMap<&str, usize> = HashMap::new();
        for (tensor, file) in map {
            let place = format!("key \"weight_map.{tensor}\"");
            let Some(file) = file.as_str() else {
                return Err(fault(&place, "a file name is expected; fetch the file again".to_string()));
            };
            if !is_plain_name(file) {
                return Err(fault(
                    &place,
                    format!(
                        "{file:?} is not the plain name of a .safetensors file in the folder; do not use this model"
                    ),
                ));
            }
            let at = *positions.entry(file).or_insert_with(|| {
                files.push((file, Vec::new()));
                files.len() - 1
            });
            if let Some((_, tensors)) = files.get_mut(at) {
                tensors.push(tensor);
            }
        }
        for (file, mut tensors) in files {
            tensors.sort_unstable();
            let path = dir.join(file);
            if !path.is_file() {
                return Err(fault(
                    &format!("shard {file:?}"),
                    format!("the file is missing ({} tensors are in it); fetch it", tensors.len()),
                ));
            }
            self.add_shard(&path, Some(&tensors))?;
            for tensor in tensors {
                if !self.index.contains_key(tensor) && !super::safetensors::is_buffer(tensor) {
                    return Err(fault(
                        &format!("tensor {tensor:?}"),
                        format!("{file} does not hold it; fetch the index and the shards again"),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether a name from an index stays inside the folder.
fn is_plain_name(file: &str) -> bool {
    let mut components = Path::new(file).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        && file.ends_with(".safetensors")
        && !file.contains(['/', '\\', '\0'])
}

/// Reads a JSON file; `None` when it does not exist.
fn read_json(path: &Path) -> Result<Option<Json>, CheckpointError> {
    match std::fs::read(path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(json) => Ok(Some(json)),
            Err(source) => Err(CheckpointError::Json { path: path.to_path_buf(), source }),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(CheckpointError::io("read", path, e)),
    }
}

/// Finds the chat template in the three places where folders keep it.
fn chat_template(dir: &Path, tokenizer_config: Option<&Json>) -> Result<Option<String>, CheckpointError> {
    let jinja = dir.join("chat_template.jinja");
    match std::fs::read_to_string(&jinja) {
        Ok(text) => return Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(CheckpointError::io("read", jinja, e)),
    }
    if let Some(json) = read_json(&dir.join("chat_template.json"))?
        && let Some(text) = json.get("chat_template").and_then(pick_template)
    {
        return Ok(Some(text));
    }
    Ok(tokenizer_config.and_then(|config| config.get("chat_template")).and_then(pick_template))
}

/// A template is a string, or a list of `{name, template}` of which the one named `default` counts (else the first).
fn pick_template(json: &Json) -> Option<String> {
    if let Some(text) = json.as_str() {
        return Some(text.to_string());
    }
    let list = json.as_array()?;
    let named = |item: &&Json| item.get("name").and_then(Json::as_str) == Some("default");
    let item = list.iter().find(named).or_else(|| list.first())?;
    item.get("template").and_then(Json::as_str).map(str::to_string)
}

/// The error for a folder without `config.json`, which may still hold something usable.
fn no_config(dir: &Path) -> CheckpointError {
    let gguf = std::fs::read_dir(dir).ok().and_then(|files| {
        let mut names: Vec<String> = files
            .flatten()
            .map(|file| file.file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".gguf"))
            .collect();
        names.sort();
        names.into_iter().next()
    });
    let problem = match gguf {
        Some(file) => format!("the folder has no config.json, but it holds {file}; pass that file"),
        None => "the folder has no config.json; pass a Hugging Face model folder or a .gguf file".to_string(),
    };
    CheckpointError::NotACheckpoint { path: dir.to_path_buf(), problem }
}

fn no_weights(dir: &Path) -> CheckpointError {
    let pickled = dir.join("pytorch_model.bin").exists() || dir.join("pytorch_model.bin.index.json").exists();
    let problem = if pickled {
        "the folder holds only pickled weights (pytorch_model.bin); save the model as safetensors".to_string()
    } else {
        format!("the folder has neither {WEIGHTS} nor {INDEX}; fetch the weights")
    };
    CheckpointError::NotACheckpoint { path: dir.to_path_buf(), problem }
}
