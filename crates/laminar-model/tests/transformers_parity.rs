//! Logits of tiny random checkpoints against Hugging Face `transformers`, in f32.
//!
//! Fixtures come from `tools/reference/tiny_checkpoints.py`: a folder per architecture with the checkpoint as the hub
//! would hold it, and `expected.safetensors` with the input ids and the reference's logits.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::Sequence;
use laminar_kernels::Pool;
use laminar_model::checkpoint::Checkpoint;
use laminar_model::{KvType, LoadOptions, Model};
use safetensors::SafeTensors;

const TOLERANCE: f32 = 1e-4;
/// Products with quantised weights take their inputs in 8 bits, which the reference does not.
const QUANTISED_TOLERANCE: f32 = 0.1;

struct Fixture {
    model: Model,
    ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut found: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.safetensors").is_file())
        .collect();
    found.sort();
    found
}

fn load(folder: &Path, pool: &Pool) -> Fixture {
    let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: &str| -> Vec<[u8; 4]> {
        let view = file.tensor(name).unwrap();
        view.data().chunks_exact(4).map(|c| c.try_into().unwrap()).collect()
    };
    let ids: Vec<u32> = words("input_ids").into_iter().map(|w| i32::from_le_bytes(w) as u32).collect();
    let flat: Vec<f32> = words("logits").into_iter().map(f32::from_le_bytes).collect();
    let logits = flat.chunks_exact(flat.len() / ids.len()).map(<[f32]>::to_vec).collect();
    let checkpoint = Checkpoint::open(folder).unwrap();
    // Some models rotate by the context they are loaded for; the reference knows the length of the text alone.
    let options = LoadOptions { kv: KvType::F32, context: Some(ids.len()), ..LoadOptions::default() };
    Fixture { model: Model::load(&checkpoint, pool, &options).unwrap(), ids, logits }
}

fn worst(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected).flat_map(|(f, e)| f.iter().zip(e));
    pairs.map(|(f, e)| (f - e).abs()).fold(0.0, |a, d| if d.is_nan() { f32::NAN } else { a.max(d) })
}

#[test]
fn every_architecture_agrees_with_transformers_in_prefill_and_decode() {
    let pool = Pool::new(2);
    let folders = fixtures();
    for family in laminar_model::arch::FAMILIES {
        let covered = folders.iter().any(|f| {
            let text = std::fs::read_to_string(f.join("config.json")).unwrap();
            family.hf_model_types.iter().any(|t| text.contains(&format!("\"model_type\": \"{t}\"")))
        });
        assert!(covered, "no fixture for {}", family.name);
    }
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let fixture = load(&folder, &pool);
        let len = fixture.ids.len();

        let mut whole = Sequence::new(&fixture.model, &pool, len, KvType::F32);
        let prefill = whole.feed(&fixture.ids);
        let difference = worst(&prefill, &fixture.logits);
        println!("{name}: max abs difference {difference:.2e}");
        let exact = fixture.model.weight_type().is_float();
        let tolerance = if exact { TOLERANCE } else { QUANTISED_TOLERANCE };
        assert!(difference <= tolerance, "{name}: logits differ by {difference}");

        let mut decode = Sequence::new(&fixture.model, &pool, len, KvType::F32);
        for (i, &id) in fixture.ids.iter().enumerate() {
            let row = decode.feed(&[id]);
            assert_eq!(row[0], prefill[i], "{name}: decoding position {i} differs from prefill");
        }

        for groups in 1..=fixture.model.layers() {
            let mut layered = Sequence::new(&fixture.model, &pool, len, KvType::F32);
            let hidden = layered.feed_grouped(&fixture.ids, groups);
            assert_eq!(layered.logits(&hidden), prefill, "{name}: {groups} layer groups change bits");
        }
    }
}
