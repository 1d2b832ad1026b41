//! Hugging Face folders, made on the spot.

use serde_json::json;

use super::super::{Checkpoint, HfFolder};
use super::Folder;
use laminar_kernels::WeightType;

/// A safetensors file: the length of the header, the header, the data.
fn safetensors(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_string(), json!({"format": "pt"}));
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend(bytes);
        let info = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
        header.insert((*name).to_string(), info);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A folder with a configuration and nothing else.
fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    folder.file("config.json", br#"{"model_type": "llama", "vocab_size": 7, "max_position_embeddings": 64}"#);
    folder
}

fn fault(folder: &Folder) -> String {
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(!error.contains('\n') && !error.ends_with('.'), "{error}");
    error
}

#[test]
fn a_folder_gives_its_tensors_in_three_types() {
    let folder = folder("types");
    let bf16 = |x: f32| half::bf16::from_f32(x).to_le_bytes();
    let f16 = |x: f32| half::f16::from_f32(x).to_le_bytes();
    let file = safetensors(&[
        ("w", "F32", &[2, 3], f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("b", "BF16", &[2], [bf16(0.5), bf16(-2.0)].concat()),
        ("h", "F16", &[1, 2], [f16(0.25), f16(8.0)].concat()),
        ("model.embeddings.position_ids", "I64", &[1], vec![0; 8]),
    ]);
    folder.file("model.safetensors", file);
    folder.file("tokenizer.json", b"{}");
    folder.file("generation_config.json", br#"{"eos_token_id": [1, 2]}"#);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!((checkpoint.tensor_count(), checkpoint.total_bytes()), (3, 24 + 4 + 4));
    let w = checkpoint.tensor("w").unwrap();
    assert_eq!((w.ty, w.rows(), w.cols()), (WeightType::F32, 2, 3));
    assert_eq!(w.to_f32().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(checkpoint.tensor("b").unwrap().to_f32().unwrap(), [0.5, -2.0]);
    assert_eq!(checkpoint.tensor("h").unwrap().to_f32().unwrap(), [0.25, 8.0]);
    let summary = crate::inspect::inspect(&checkpoint).unwrap();
    assert_eq!(summary.architecture.as_deref(), Some("llama"));
    assert_eq!((summary.parameters, summary.vocab_size, summary.context_length), (10, Some(7), Some(64)));
    let Checkpoint::HuggingFace(hf) = checkpoint else { panic!("not a folder") };
    assert!(hf.tokenizer_json.is_some());
    assert_eq!(hf.generation_config.unwrap()["eos_token_id"][1], 2);
    assert_eq!(hf.config["model_type"], "llama");
}

#[test]
fn shards_are_found_through_the_index() {
    let folder = folder("shards");
    folder
        .file("a.safetensors", safetensors(&[("x", "F32", &[1], f32s(&[1.0])), ("extra", "F32", &[1], f32s(&[9.0]))]));
    folder.file("b.safetensors", safetensors(&[("y", "F32", &[1], f32s(&[2.0]))]));
    folder.file("model.safetensors.index.json", br#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#);
    let hf = HfFolder::open(folder.path()).unwrap();
    assert_eq!((hf.tensor_count(), hf.file_count()), (2, 2));
    assert_eq!(hf.tensor("y").unwrap().to_f32().unwrap(), [2.0]);
    assert!(hf.tensor("extra").is_none(), "only what the index names counts");
}

#[test]
fn a_wrong_index_is_refused() {
    let folder = folder("index");
    let index = |text: &str| folder.file("model.safetensors.index.json", text);
    index(r#"{"weight_map": {"x": "a.safetensors"}}"#);
    assert!(fault(&folder).contains("index.json: shard \"a.safetensors\": the file is missing"), "{}", fault(&folder));
    folder.file("a.safetensors", safetensors(&[("z", "F32", &[1], f32s(&[1.0]))]));
    assert!(fault(&folder).contains("tensor \"x\": a.safetensors does not hold it"), "{}", fault(&folder));
    for path in ["../a.safetensors", "/etc/a.safetensors", "sub/a.safetensors", "..", "a.safetensors/", "a.bin", ""] {
        index(&json!({"weight_map": {"x": path}}).to_string());
        assert!(fault(&folder).contains("is not the plain name of a .safetensors file"), "{path}: {}", fault(&folder));
    }
    index(r#"{"weight_map": {"x": 1}}"#);
    assert!(fault(&folder).contains("\"weight_map.x\": a file name is expected"), "{}", fault(&folder));
    index("[]");
    assert!(fault(&folder).contains("key \"weight_map\": an object"), "{}", fault(&folder));
}

#[test]
fn a_folder_that_is_no_model_says_what_is_missing() {
    let empty = Folder::new("empty");
    assert!(fault(&empty).contains("the folder has no config.json"), "{}", fault(&empty));
    empty.file("m.gguf", b"");
    assert!(fault(&empty).contains("it holds m.gguf; pass that file"), "{}", fault(&empty));
    empty.file("config.json", b"{\"a\": ");
    assert!(fault(&empty).contains("config.json: not valid JSON: EOF"), "{}", fault(&empty));
    let bare = folder("bare");
    assert!(fault(&bare).contains("neither model.safetensors nor"), "{}", fault(&bare));
    bare.file("pytorch_model.bin", b"");
    assert!(fault(&bare).contains("only pickled weights"), "{}", fault(&bare));
}

#[test]
fn damaged_weights_are_refused() {
    let folder = folder("damaged");
    let whole = safetensors(&[("w", "F32", &[2], f32s(&[1.0, 2.0]))]);
    for length in 0..whole.len() {
        folder.file("model.safetensors", &whole[..length]);
        let error = fault(&folder);
        assert!(error.contains("model.safetensors: safetensors header: "), "{length}: {error}");
    }
    for (dtype, bytes) in [("F8_E4M3", 2), ("I32", 8), ("F64", 16), ("U8", 2)] {
        folder.file("model.safetensors", safetensors(&[("w", dtype, &[2], vec![0; bytes])]));
        let error = fault(&folder);
        assert!(error.contains(&format!("tensor \"w\" has type {dtype}, which is not supported")), "{error}");
    }
    folder.file("model.safetensors", safetensors(&[("w", "F32", &[0, 2], vec![])]));
    assert!(fault(&folder).contains("tensor \"w\": the shape [0, 2] is empty"), "{}", fault(&folder));
    folder.file("model.safetensors", safetensors(&[("w", "F32", &[usize::MAX, 2], vec![])]));
    assert!(fault(&folder).contains("safetensors header"), "{}", fault(&folder));
}

#[test]
fn the_chat_template_is_found_in_each_of_its_places() {
    let folder = folder("template");
    folder.file("model.safetensors", safetensors(&[("w", "F32", &[1], f32s(&[1.0]))]));
    let found = || HfFolder::open(folder.path()).unwrap().chat_template;
    assert_eq!(found(), None);
    folder.file("tokenizer_config.json", br#"{"chat_template": "one"}"#);
    assert_eq!(found().as_deref(), Some("one"));
    let list = br#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "two"}]}"#;
    folder.file("tokenizer_config.json", list);
    assert_eq!(found().as_deref(), Some("two"));
    folder.file("chat_template.json", br#"{"chat_template": "three"}"#);
    assert_eq!(found().as_deref(), Some("three"));
    folder.file("chat_template.jinja", b"four");
    assert_eq!(found().as_deref(), Some("four"));
}
