//! Folders and files written as GGUF: they must answer as what they were made from.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Sequence, agrees_where_clear, first_choices};
use laminar_kernels::{Pool, WeightType};
use laminar_model::checkpoint::{Checkpoint, Gguf};
use laminar_model::convert::{Conversion, Recipe};
use laminar_model::synth::{Preset, SynthOptions, byte_tokenizer, to_vec};
use laminar_model::tokenizer::{EncodeOptions, Tokenizer};
use laminar_model::{KvType, LoadOptions, Model};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Both sides compute in f32, but partners of a rotation are summed in another order.
const TOLERANCE: f32 = 1e-4;
/// Products with quantised weights take their inputs in 8 bits, those with floats do not.
const QUANTISED_TOLERANCE: f32 = 0.1;
const GAP: f32 = 0.02;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn folders() -> Vec<String> {
    let entries = std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let folders = entries.filter(|path| path.join("expected.safetensors").is_file());
    let mut names: Vec<String> = folders.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn recipe(name: &str) -> Recipe {
    Recipe::named(name).unwrap()
}

/// A copy of a fixture with another `config.json`; gone with the test.
struct Edited(PathBuf);

impl Edited {
    fn new(name: &str, edits: &Map<String, Value>) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("convert-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        for entry in std::fs::read_dir(fixtures().join(name)).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, path.join(from.file_name().unwrap())).unwrap();
        }
        let config = path.join("config.json");
        let mut json: Map<String, Value> = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        json.extend(edits.clone());
        std::fs::write(config, serde_json::to_vec(&json).unwrap()).unwrap();
        Self(path)
    }

    fn open(&self) -> Checkpoint {
        Checkpoint::open(&self.0).unwrap()
    }
}

impl Drop for Edited {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn convert(checkpoint: &Checkpoint, kind: &str, pool: &Pool) -> Checkpoint {
    let conversion = Conversion::plan(checkpoint, recipe(kind)).unwrap();
    Checkpoint::Gguf(Gguf::from_vec(conversion.to_vec(pool).unwrap()).unwrap())
}

fn load(checkpoint: &Checkpoint, context: usize, pool: &Pool) -> Model {
    let options = LoadOptions { kv: KvType::F32, context: Some(context), ..LoadOptions::default() };
    Model::load(checkpoint, pool, &options).unwrap()
}

fn logits(model: &Model, ids: &[u32], pool: &Pool) -> Vec<Vec<f32>> {
    Sequence::new(model, pool, ids.len(), KvType::F32).feed(ids)
}

/// The largest difference, and the largest value.
fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let pairs = a.iter().zip(b).flat_map(|(a, b)| a.iter().zip(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, |most, d| if d.is_nan() { f32::NAN } else { most.max(d) })
}

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    folder: String,
    #[serde(rename = "type")]
    ty: String,
    edits: Map<String, Value>,
    prompt_ids: Vec<u32>,
    generated_ids: Vec<u32>,
    gaps: Vec<f32>,
}

fn reference() -> Vec<Case> {
    let text = std::fs::read(fixtures().join("llama_cpp_convert.json")).unwrap();
    serde_json::from_slice::<Reference>(&text).unwrap().cases
}

/// What GGUF files cannot say, and what the error names.
const NOT_CARRIED: [(&str, &str); 7] = [
    ("ernie4_5", "biases of the feed-forward network"),
    ("gemma2", "scale of attention scores"),
    ("gemma3", "scale of attention scores"),
    ("gemma3n_small", "residual streams"),
    ("lfm2_moe", "biases of convolutions"),
    ("qwen3_moe_plain_weights", "routing of experts"),
    ("smollm3", "which layers have no rotary embedding"),
];

#[test]
fn folders_answer_alike_as_files() {
    let pool = Pool::new(2);
    let ids: Vec<u32> = (0..40).map(|i| (i * 29 + 3) % 96).collect();
    for name in folders() {
        let folder = Checkpoint::open(&fixtures().join(&name)).unwrap();
        if let Some((_, why)) = NOT_CARRIED.iter().find(|(folder, _)| *folder == name) {
            let error = Conversion::plan(&folder, recipe("f32")).err().unwrap().to_string();
            assert!(error.contains(why), "{name}: {error}");
            continue;
        }
        // A window that files cannot say becomes the longest context.
        let file = convert(&folder, "f32", &pool);
        let context = load(&file, 40, &pool).context_length().min(40);
        let ids = &ids[..context];
        let (before, after) = (load(&folder, context, &pool), load(&file, context, &pool));
        let difference = difference(&logits(&before, ids, &pool), &logits(&after, ids, &pool));
        let tolerance = if before.weight_type().is_float() { TOLERANCE } else { QUANTISED_TOLERANCE };
        println!("{name}: {difference:.2e} over {context} tokens");
        assert!(difference <= tolerance, "{name}: {difference}");
    }
}

/// What llama.cpp answered on the same files (`tools/reference/convert_reference.py`), in full precision and quantised.
#[test]
fn files_of_folders_agree_with_llama_cpp() {
    let pool = Pool::new(2);
    let cases = reference();
    for case in &cases {
        let Case { folder, ty, edits, prompt_ids, generated_ids, gaps } = case;
        let edited = Edited::new(folder, edits);
        let file = convert(&edited.open(), ty, &pool);
        let options = LoadOptions { context: Some(256), ..LoadOptions::default() };
        let model = Model::load(&file, &pool, &options).unwrap();
        let name = format!("{folder} {ty}");
        if !model.weight_type().is_float() {
            // Both round the inputs of products with quantised weights, each in its own way, and in a random model that may
            // go far: llama.cpp's own logits move by half of their spread where heads are normed or rows meet other experts.
            let ours = first_choices(&model, &pool, prompt_ids, generated_ids);
            let same = ours.iter().zip(generated_ids).filter(|(a, b)| a == b).count();
            println!("{name}: {same} of {} choices are the same", ours.len());
            assert!(same * 4 >= ours.len() * 3, "{name}: {same} choices are the same");
            continue;
        }
        let compared = agrees_where_clear(&model, &pool, prompt_ids, generated_ids, gaps, GAP, &name);
        assert!(compared * 2 > gaps.len(), "{name}: too few clear steps");
    }
    let here = |family: &&&laminar_model::arch::Family| family.checked_against.contains(&"llama.cpp");
    for family in laminar_model::arch::FAMILIES.iter().filter(here) {
        for ty in ["f32", "q8_0"] {
            let covered = cases.iter().filter(|case| case.ty == ty).any(|case| {
                let config = std::fs::read_to_string(fixtures().join(&case.folder).join("config.json")).unwrap();
                let types = family.hf_model_types.iter();
                types.into_iter().any(|ty| config.contains(&format!("\"model_type\": \"{ty}\"")))
            });
            assert!(covered, "no case for {} in {ty}", family.name);
        }
    }
}

#[test]
fn a_folder_keeps_its_tokenizer_and_template() {
    let pool = Pool::new(1);
    let folder = Checkpoint::open(&fixtures().join("qwen3_moe_bf16")).unwrap();
    let file = convert(&folder, "q8_0", &pool);
    let (before, after) = (Tokenizer::from_checkpoint(&folder).unwrap(), Tokenizer::from_checkpoint(&file).unwrap());
    for text in ["the layers of the model", "", " x  y\n\n", "<|im_start|>user\nÉté 12 👩‍👩‍👧<|im_end|>"]
    {
        for parse_special in [false, true] {
            let options = EncodeOptions { add_special: true, parse_special };
            assert_eq!(before.encode(text, options).unwrap(), after.encode(text, options).unwrap(), "{text:?}");
        }
    }
    assert_eq!(before.chat_template(), after.chat_template());
    assert_eq!((before.eos(), before.bos(), before.pad()), (after.eos(), after.bos(), after.pad()));
    // A GGUF file has a token for every row.
    let model = load(&file, 32, &pool);
    after.check_vocab(model.vocab_size()).unwrap();
}

#[test]
fn a_file_in_its_own_type_keeps_its_bytes() {
    let pool = Pool::new(2);
    let options = SynthOptions { quant: WeightType::Q8_0, ..SynthOptions::new(Preset::Tiny) };
    let bytes = to_vec(&options, &byte_tokenizer()).unwrap();
    let file = Checkpoint::Gguf(Gguf::from_vec(bytes.clone()).unwrap());
    let same = Conversion::plan(&file, recipe("q8_0")).unwrap();
    assert_eq!(same.summary().requantised, 0);
    assert!(same.to_vec(&pool).unwrap() == bytes);
    let smaller = Conversion::plan(&file, recipe("q4_0")).unwrap();
    assert!(smaller.summary().requantised > 0);
    assert!(smaller.to_vec(&pool).unwrap().len() < bytes.len());
}

#[test]
fn every_recipe_writes_a_file_that_opens_and_is_near_the_original() {
    let options = SynthOptions { quant: WeightType::F32, ..SynthOptions::new(Preset::Tiny) };
    let bytes = to_vec(&options, &byte_tokenizer()).unwrap();
    let file = Checkpoint::Gguf(Gguf::from_vec(bytes).unwrap());
    let (one, two) = (Pool::new(1), Pool::new(2));
    for recipe in Recipe::ALL {
        let conversion = Conversion::plan(&file, recipe).unwrap();
        let bytes = conversion.to_vec(&two).unwrap();
        assert!(bytes == conversion.to_vec(&one).unwrap(), "{}: threads change bytes", recipe.name);
        let made = Gguf::from_vec(bytes).unwrap();
        let (mut wrong, mut power) = (0f64, 0f64);
        for tensor in made.tensors() {
            let original = file.tensor(tensor.name).unwrap();
            assert_eq!(tensor.shape, original.shape);
            for (a, b) in original.to_f32().unwrap().iter().zip(tensor.to_f32().unwrap()) {
                wrong += f64::from(a - b).powi(2);
                power += f64::from(*a).powi(2);
            }
        }
        let error = (wrong / power).sqrt();
        println!("{}: {error:.5}", recipe.name);
        let bound = match recipe.name {
            "f32" => 0.0,
            "bf16" | "f16" => 0.002,
            "q8_0" => 0.006,
            "mxfp4" => 0.13,
            _ => 0.1,
        };
        assert!(error <= bound, "{}: {error}", recipe.name);
        load(&Checkpoint::Gguf(made), 32, &two);
    }
}

#[test]
fn a_tensor_without_a_name_is_refused() {
    let edited = Edited::new("llama", &Map::new());
    let path = edited.0.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    // Of the same length, so that the file stays whole.
    let text = String::from_utf8_lossy(&bytes);
    let at = text.find("self_attn.q_proj").unwrap();
    let mut renamed = bytes.clone();
    renamed[at..at + 16].copy_from_slice(b"self_attn.x_proj");
    std::fs::write(path, renamed).unwrap();
    let folder = edited.open();
    let error = Conversion::plan(&folder, recipe("q8_0")).err().unwrap().to_string();
    assert!(error.contains("x_proj") && error.contains("llama"), "{error}");
}
