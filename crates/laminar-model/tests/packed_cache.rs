//! Packed weights on disk: the same bits as without them, and no file, however it is, keeps a model from loading.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use common::Sequence;
use laminar_kernels::{Pool, WeightType};
use laminar_model::checkpoint::Checkpoint;
use laminar_model::synth::{self, Preset, SynthOptions, byte_tokenizer};
use laminar_model::{KvType, LoadOptions, Model};

/// A folder that is removed at the end of a test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("laminar-packed-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// The one file of packed weights.
    fn packed(&self) -> PathBuf {
        let files: Vec<_> = fs::read_dir(self.cache()).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    fn model(&self, seed: u64) -> PathBuf {
        let path = self.0.join("tiny.gguf");
        let options = SynthOptions { quant: WeightType::Q4_0, seed, ..SynthOptions::new(Preset::Tiny) };
        synth::write(&path, &options, &byte_tokenizer(), &|_, _| ()).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Loads a model; the bits of some logits, and the bytes that were written to the cache.
fn load(path: &Path, cache: Option<&Path>) -> (Vec<u32>, u64) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let pool = Pool::new(2);
    let (packed, written) = (AtomicU64::new(0), AtomicU64::new(0));
    let report = |done: u64, total: u64| {
        assert!(done <= total);
        packed.fetch_max(done, Ordering::Relaxed);
    };
    let report_written = |done: u64, total: u64| {
        assert!(done <= total);
        written.fetch_max(done, Ordering::Relaxed);
    };
    let options = LoadOptions {
        progress: Some(&report),
        packed_cache: cache,
        cache_progress: Some(&report_written),
        ..LoadOptions::default()
    };
    let model = Model::load(&checkpoint, &pool, &options).unwrap();
    assert!(packed.into_inner() > 0);
    // The model keeps what it needs of its files.
    drop(checkpoint);
    let mut sequence = Sequence::new(&model, &pool, 20, KvType::F16);
    let logits = sequence.feed(&[1, 7, 30, 95, 5, 5, 80]);
    (logits.concat().into_iter().map(f32::to_bits).collect(), written.into_inner())
}

#[test]
fn logits_are_the_same_bits_without_a_cache_and_when_it_is_written_and_read() {
    let folder = Folder::new("same");
    let folders = ["qwen3_moe", "gemma3", "llama_tied", "qwen3_moe_sharded"];
    let fixtures = folders.map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name));
    for model in fixtures.into_iter().chain([folder.model(3)]) {
        let _ = fs::remove_dir_all(folder.cache());
        let (plain, _) = load(&model, None);
        assert!(!folder.cache().exists());
        let (first, written) = load(&model, Some(&folder.cache()));
        assert_eq!(written, fs::metadata(folder.packed()).unwrap().len());
        let (second, written) = load(&model, Some(&folder.cache()));
        assert_eq!(written, 0, "{}", model.display());
        assert!(plain == first && plain == second, "{}", model.display());
    }
}

#[test]
fn packed_weights_of_another_state_of_the_model_are_not_used() {
    let folder = Folder::new("stale");
    let model = folder.model(1);
    load(&model, Some(&folder.cache()));
    let before = fs::read(&model).unwrap();

    // Other weights of the same shapes, and so the same size and header.
    folder.model(2);
    assert_eq!(before.len(), fs::read(&model).unwrap().len());
    let file = fs::File::open(&model).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
    let (plain, _) = load(&model, None);
    let (cached, written) = load(&model, Some(&folder.cache()));
    assert!(plain == cached && written > 0);

    // As old as before, but with another header.
    let options = SynthOptions { quant: WeightType::Q8_0, ..SynthOptions::new(Preset::Tiny) };
    synth::write(&model, &options, &byte_tokenizer(), &|_, _| ()).unwrap();
    let (plain, _) = load(&model, None);
    let (cached, written) = load(&model, Some(&folder.cache()));
    assert!(plain == cached && written > 0);
    assert_eq!(load(&model, Some(&folder.cache())).1, 0);
}

#[test]
fn damaged_files_are_ignored_and_written_anew() {
    let folder = Folder::new("damaged");
    let model = folder.model(1);
    let (plain, _) = load(&model, Some(&folder.cache()));
    let path = folder.packed();
    let good = fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let header = u64::from_le_bytes(good[8..16].try_into().unwrap()) as usize;
    let cases = [
        Vec::new(),
        good[..10].to_vec(),
        good[..4096].to_vec(),
        good[..good.len() - 1].to_vec(),
        [good.as_slice(), &[0; 4096]].concat(),
        vec![0; good.len()],
        // A whole header, and nothing behind it.
        [&good[..header], vec![0; good.len() - header].as_slice()].concat(),
        // Magic, length, checksum, layout, a name, the last byte of the table.
        flipped(0),
        flipped(9),
        flipped(17),
        flipped(25),
        flipped(100),
        flipped(header - 1),
        // The last weight.
        flipped(good.len() - 1),
    ];
    for (case, bytes) in cases.iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let (logits, written) = load(&model, Some(&folder.cache()));
        assert!(logits == plain && written > 0, "case {case}");
        assert!(fs::read(folder.packed()).unwrap() == good, "case {case}");
    }
}

#[test]
fn a_folder_that_can_not_be_written_is_no_reason_to_fail() {
    let folder = Folder::new("unwritable");
    let model = folder.model(1);
    let (plain, _) = load(&model, None);
    // A file is where the folder should be.
    fs::write(folder.cache(), "in the way").unwrap();
    for cache in [folder.cache(), folder.cache().join("deeper")] {
        let (logits, written) = load(&model, Some(&cache));
        assert!(logits == plain && written == 0);
    }
    // A folder is where the file should be: it can be neither read nor replaced, and nothing half-written stays.
    fs::remove_file(folder.cache()).unwrap();
    load(&model, Some(&folder.cache()));
    let path = folder.packed();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("full"), "").unwrap();
    assert!(load(&model, Some(&folder.cache())).0 == plain);
    assert_eq!(folder.packed(), path);
}

#[test]
fn starts_side_by_side_do_not_hurt_each_other() {
    let folder = Folder::new("side-by-side");
    let model = folder.model(1);
    let (plain, _) = load(&model, None);
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| load(&model, Some(&folder.cache())).0)).collect();
        assert!(starts.into_iter().all(|start| start.join().unwrap() == plain));
    });
    assert_eq!(load(&model, Some(&folder.cache())), (plain, 0));
    folder.packed();
}

#[test]
fn what_a_dead_process_left_behind_is_removed() {
    let folder = Folder::new("left-behind");
    let model = folder.model(1);
    load(&model, Some(&folder.cache()));
    let path = folder.packed();
    let name = path.file_name().unwrap().to_str().unwrap();
    let unfinished = |who: &str| folder.cache().join(format!(".{name}.{who}.tmp"));
    for who in ["1-0", "2-0"] {
        fs::write(unfinished(who), "half of it").unwrap();
    }
    let old = SystemTime::now() - Duration::from_secs(7200);
    fs::File::options().write(true).open(unfinished("1-0")).unwrap().set_modified(old).unwrap();
    fs::remove_file(&path).unwrap();
    load(&model, Some(&folder.cache()));
    assert!(!unfinished("1-0").exists());
    assert!(unfinished("2-0").exists(), "its writer may be at work");
}

#[test]
fn a_model_in_memory_is_not_kept() {
    let folder = Folder::new("in-memory");
    let bytes = fs::read(folder.model(1)).unwrap();
    let checkpoint = Checkpoint::Gguf(laminar_model::checkpoint::Gguf::from_vec(bytes).unwrap());
    let cache = folder.cache();
    let options = LoadOptions { packed_cache: Some(&cache), ..LoadOptions::default() };
    Model::load(&checkpoint, &Pool::new(1), &options).unwrap();
    assert!(!cache.exists());
}
