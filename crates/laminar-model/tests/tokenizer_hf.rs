//! Tokenizers of Hugging Face folders, over small `tokenizer.json` files written here.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use laminar_model::checkpoint::Checkpoint;
use laminar_model::tokenizer::{EncodeOptions, Tokenizer, TokenizerError};
use serde_json::{Map, Value, json};

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };
const PARSED: EncodeOptions = EncodeOptions { add_special: false, parse_special: true };
const WHOLE: EncodeOptions = EncodeOptions { add_special: true, parse_special: true };

/// A folder that disappears with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str, files: &[(&str, String)]) -> Self {
        let path = std::env::temp_dir().join(format!("laminar-tokenizer-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let header = br#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let mut weights = (header.len() as u64).to_le_bytes().to_vec();
        weights.extend(header);
        weights.extend([0; 4]);
        std::fs::write(path.join("model.safetensors"), weights).unwrap();
        for (name, text) in files {
            std::fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn tokenizer(&self) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::from_checkpoint(&Checkpoint::open(&self.0).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn added(id: usize, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": special})
}

fn byte_level() -> Value {
    let mut vocab = Map::new();
    for byte in 0..=255u8 {
        let code = u32::from(byte);
        let visible = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let char = if visible(code) {
            char::from(byte)
        } else {
            char::from_u32(0x100 + (0..code).filter(|&b| !visible(b)).count() as u32).unwrap()
        };
        vocab.insert(char.to_string(), json!(code));
    }
    for (id, token) in [(256, "he"), (257, "hel"), (258, "Ġhel")] {
        vocab.insert(token.into(), json!(id));
    }
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [added(259, "<|im_end|>", true), added(260, "<tool>", false), added(261, "<s>", true)],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [261], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": [["h", "e"], ["he", "l"], ["Ġ", "hel"]]},
    })
}

fn sentence_piece() -> Value {
    let mut vocab = Map::new();
    for (id, token) in ["<unk>", "<s>", "</s>", "▁", "a", "b", "▁a", "ab"].iter().enumerate() {
        vocab.insert((*token).into(), json!(id));
    }
    for byte in 0..256 {
        vocab.insert(format!("<0x{byte:02X}>"), json!(8 + byte));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<unk>", true), added(1, "<s>", true), added(2, "</s>", true)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": [["▁", "a"], ["a", "b"]]},
    })
}

fn config(eos: Value) -> (&'static str, String) {
    ("config.json", json!({"architectures": ["LlamaForCausalLM"], "eos_token_id": eos}).to_string())
}

#[test]
fn a_byte_level_folder_encodes_and_decodes() {
    let folder = Folder::new(
        "bytes",
        &[
            config(json!(261)),
            ("tokenizer.json", byte_level().to_string()),
            ("tokenizer_config.json", json!({"eos_token": {"content": "<|im_end|>"}, "bos_token": "<s>"}).to_string()),
            ("generation_config.json", json!({"eos_token_id": [259, 12]}).to_string()),
            ("chat_template.jinja", "{{ messages }}".to_string()),
        ],
    );
    let tokenizer = folder.tokenizer().unwrap();
    // The file's truncation to 2 tokens is for training, not for us.
    assert_eq!(tokenizer.encode("hel hel hel", PLAIN).unwrap(), [257, 258, 258]);
    assert_eq!(tokenizer.encode("hel", WHOLE).unwrap(), [261, 257]);
    assert!(tokenizer.adds_bos());
    let text = "hel<|im_end|><tool> 👩‍👩‍👧 漢\t\n";
    let parsed = tokenizer.encode(text, PARSED).unwrap();
    assert_eq!(parsed[..3], [257, 259, 260]);
    assert_eq!(tokenizer.decode(&parsed, false), text);
    let plain = tokenizer.encode(text, PLAIN).unwrap();
    assert!(!plain.contains(&259) && plain.contains(&260));
    assert_eq!(tokenizer.decode(&plain, true), text);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(261), Some(259)));
    assert_eq!(tokenizer.stop_ids(), [12, 259, 261]);
    assert_eq!(tokenizer.chat_template(), Some("{{ messages }}"));
    assert_eq!(tokenizer.vocab_size(), 262);
    tokenizer.check_vocab(262 + 122).unwrap();
    tokenizer.check_vocab(50_000).unwrap_err();
    tokenizer.check_vocab(261).unwrap_err();
}

#[test]
fn control_tokens_at_the_end_need_no_rows() {
    let mut json = byte_level();
    json["added_tokens"].as_array_mut().unwrap().push(added(262, "<image_soft_token>", true));
    let special = json!({"bos_token": "<s>"}).to_string();
    let files = [config(json!(259)), ("tokenizer.json", json.to_string()), ("tokenizer_config.json", special)];
    let tokenizer = Folder::new("image", &files).tokenizer().unwrap();
    assert_eq!(tokenizer.vocab_size(), 263);
    tokenizer.check_vocab(262).unwrap();
    // 261 is `<s>`, which begins texts.
    tokenizer.check_vocab(261).unwrap_err();
    assert!(tokenizer.encode("<image_soft_token>", PLAIN).unwrap().iter().all(|&id| id < 262));
}

#[test]
fn a_sentence_piece_folder_encodes_and_decodes() {
    let folder = Folder::new(
        "pieces",
        &[
            config(json!(2)),
            ("tokenizer.json", sentence_piece().to_string()),
            ("tokenizer_config.json", json!({"bos_token": "<s>", "add_bos_token": true}).to_string()),
        ],
    );
    let tokenizer = folder.tokenizer().unwrap();
    // No post-processor: the configuration says what to add.
    assert_eq!(tokenizer.encode("a ab", WHOLE).unwrap(), [1, 6, 6, 5]);
    assert_eq!(tokenizer.token_bytes(6), b" a");
    for text in ["a ab", "é漢👍", " a", ""] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, WHOLE).unwrap(), true), text);
    }
    assert_eq!(tokenizer.stop_ids(), [2]);
}

#[test]
fn long_runs_are_not_quadratic() {
    for (name, json) in [("long-bytes", byte_level()), ("long-pieces", sentence_piece())] {
        let folder = Folder::new(name, &[config(json!(2)), ("tokenizer.json", json.to_string())]);
        let tokenizer = folder.tokenizer().unwrap();
        for char in ["a", " ", "\n"] {
            let text = char.repeat(1 << 20);
            let start = std::time::Instant::now();
            let ids = tokenizer.encode(&text, PLAIN).unwrap();
            println!("{name} {char:?}: {:?}", start.elapsed());
            assert!(start.elapsed().as_secs() < 10);
            assert!(tokenizer.decode(&ids, true) == text);
        }
    }
}

#[test]
fn broken_files_are_errors() {
    let mut no_decoder = byte_level();
    no_decoder["decoder"] = Value::Null;
    let mut word_piece = byte_level();
    word_piece["decoder"] = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
    let mut bad_merge = byte_level();
    bad_merge["model"]["merges"] = json!([["x", "y"]]);
    let mut long_merge = byte_level();
    let long = "<".repeat(90);
    long_merge["model"]["vocab"][&long] = json!(300);
    long_merge["model"]["merges"] = json!([[long, long]]);
    let mut huge_id = byte_level();
    huge_id["model"]["vocab"]["huge"] = json!(u32::MAX);
    for (name, text, expected) in [
        ("truncated", "{\"version\": ".to_string(), "tokenizer.json"),
        ("list", "[]".to_string(), "tokenizer.json"),
        ("no-decoder", no_decoder.to_string(), "null"),
        ("word-piece", word_piece.to_string(), "WordPiece"),
        ("bad-merge", bad_merge.to_string(), "tokenizer.json"),
        ("long-merge", long_merge.to_string(), "longer than any token"),
        ("huge-id", huge_id.to_string(), "4294967295"),
    ] {
        let folder = Folder::new(name, &[config(json!(2)), ("tokenizer.json", text)]);
        let error = folder.tokenizer().unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    let folder = Folder::new("nothing", &[config(json!(2))]);
    assert!(folder.tokenizer().unwrap_err().to_string().contains("no tokenizer.json"));
}
