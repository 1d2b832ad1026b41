//! A model for images and text in whose folder the one for text is a part: its settings an object among others, its names
//! longer, and settings that its class has left out.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::Sequence;
use laminar_kernels::Pool;
use laminar_model::checkpoint::Checkpoint;
use laminar_model::{KvType, LoadOptions, Model};
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// A folder that is removed when a test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("laminar-text-part-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The folder of a model for text as a part of another: names changed by `rename`, settings in `text_config`.
fn within(fixture: &Path, folder: &Folder, rename: impl Fn(&str) -> String, config: impl Fn(Value) -> Value) {
    let bytes = std::fs::read(fixture.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, tensor)| (rename(&name), tensor));
    safetensors::serialize_to_file(tensors, None, &folder.0.join("model.safetensors")).unwrap();
    let text = std::fs::read_to_string(fixture.join("config.json")).unwrap();
    let whole = config(serde_json::from_str(&text).unwrap());
    std::fs::write(folder.0.join("config.json"), whole.to_string()).unwrap();
}

fn logits(folder: &Path) -> Vec<Vec<f32>> {
    let pool = Pool::new(1);
    let model = Model::load(&Checkpoint::open(folder).unwrap(), &pool, &LoadOptions::default()).unwrap();
    let ids: Vec<u32> = (0..30).map(|i| i * 7 % 96).collect();
    Sequence::new(&model, &pool, ids.len(), KvType::F32).feed(&ids)
}

#[test]
fn the_part_for_text_is_found_under_each_name() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gemma3");
    let expected = logits(&fixture);
    let of_gemma = |name: &str| format!("language_model.{name}");
    let newer = |name: &str| name.replace("model.", "model.language_model.");
    let outside = |text: Value| json!({ "model_type": "gemma3", "text_config": text, "vision_config": {} });
    for (test, rename) in [("older", &of_gemma as &dyn Fn(&str) -> String), ("newer", &newer)] {
        let folder = Folder::new(test);
        within(&fixture, &folder, rename, outside);
        assert_eq!(logits(&folder.0), expected, "{test}");
    }
}

#[test]
fn settings_that_a_class_has_may_be_left_out() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gemma3");
    let folder = Folder::new("defaults");
    let less = |mut text: Value| {
        // What the fixture has as the class does.
        assert_eq!(text["rope_theta"], 1_000_000.0);
        for field in ["rope_theta", "rope_local_base_freq", "rms_norm_eps", "sliding_window_pattern"] {
            text.as_object_mut().unwrap().remove(field);
        }
        json!({ "model_type": "gemma3", "text_config": text })
    };
    within(&fixture, &folder, |name| format!("language_model.{name}"), less);
    assert_eq!(logits(&folder.0), logits(&fixture));
}
