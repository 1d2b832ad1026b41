//! How much memory a start takes, and how `--packed-cache` behaves. Linux tells the first.
#![cfg(target_os = "linux")]
// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{Folder, Server, finish, laminar};
use serde_json::Value;

/// Writes a model; its path and its bytes. A layer of `moe-deep` takes 44 MB.
fn synth(folder: &Folder, preset: &str, layers: &str) -> (String, u64) {
    let path = folder.join("model.gguf");
    let path = path.to_str().unwrap();
    let args = ["synth", "--preset", preset, "--layers", layers, "--quant", "q4_0", "--vocab", "1024", "--out", path];
    assert_eq!(finish(laminar().args(args)).code, 0);
    (path.to_owned(), std::fs::metadata(path).unwrap().len())
}

/// The most memory a server of this model has held, in bytes, once it is ready.
fn peak(model: &str, flags: &[&str]) -> u64 {
    let server = Server::start(&[&["--model", model, "--ctx", "256", "--threads", "2"], flags].concat());
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// The weights alone are as large as the file, so the file's own pages must be gone again when they are packed.
#[test]
fn a_load_takes_little_more_memory_than_the_file() {
    let (folder, other) = (Folder::new(), Folder::new());
    let (small, small_bytes) = synth(&folder, "tiny", "1");
    let (large, large_bytes) = synth(&other, "moe-deep", "2");
    assert!(large_bytes > 80 << 20, "{large_bytes} bytes are too few to measure");
    // What the program takes beside the weights.
    let constant = peak(&small, &[]).saturating_sub(small_bytes);
    let limit = large_bytes + large_bytes / 10 + constant;
    let found = peak(&large, &[]);
    assert!(found <= limit, "{found} bytes at most, for a file of {large_bytes} and {constant} beside it");
}

#[test]
fn a_second_start_takes_its_weights_from_the_cache() {
    let folder = Folder::new();
    let (model, bytes) = synth(&folder, "moe-deep", "1");
    let answer = |flags: &[&str]| {
        let args = ["run", "--model", &model, "--json", "--ignore-eos", "-n", "8", "--raw"];
        let finished = finish(laminar().args(args).args(flags).arg("Once upon a time"));
        assert_eq!(finished.stderr, "");
        finished.json()["token_ids"].clone()
    };
    let cache = folder.join("cache");
    let flag = format!("--packed-cache={}", cache.display());
    let plain = answer(&[]);
    let first = answer(&[&flag]);
    let second = answer(&[&flag]);
    assert!(plain == first && plain == second, "{plain} {first} {second}");
    // Mapped weights are touched when they are used, so a start needs next to none of them.
    let (packed, mapped) = (peak(&model, &[]), peak(&model, &[&flag]));
    assert!(mapped + bytes / 2 < packed, "{mapped} {packed} {bytes}");
}

#[test]
fn the_cache_has_a_folder_of_its_own_among_the_users() {
    let folder = Folder::new();
    let (model, _) = synth(&folder, "tiny", "1");
    let run = |variable: &str, value: &Path| {
        let args = ["run", "--packed-cache", "--model", &model, "-n", "1", "--raw", "Hi"];
        let mut command = laminar();
        command.args(args).env_remove("XDG_CACHE_HOME").env(variable, value);
        assert_eq!(finish(&mut command).code, 0);
    };
    run("XDG_CACHE_HOME", &folder.join("xdg"));
    run("HOME", &folder.join("home"));
    for packed in ["xdg/laminar/packed", "home/.cache/laminar/packed"] {
        let files = std::fs::read_dir(folder.join(packed)).unwrap();
        let names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        assert!(names.len() == 1 && names[0].starts_with("model-") && names[0].ends_with(".packed"), "{names:?}");
    }
}

#[test]
fn a_cache_that_can_not_be_written_is_a_warning() {
    let folder = Folder::new();
    let (model, _) = synth(&folder, "tiny", "1");
    let file = folder.write("file", "not a folder");
    let run = |flags: &[&str]| {
        let args = ["run", "--model", &model, "--json", "-n", "1", "--raw", "Hi"];
        finish(laminar().args(args).args(flags).arg(format!("--packed-cache={file}")))
    };
    let finished = run(&[]);
    assert!(finished.stderr.contains("WARN") && finished.stderr.contains(&file), "{}", finished.stderr);
    assert!(matches!(finished.json()["token_ids"], Value::Array(_)));
    assert_eq!(run(&["-q"]).stderr, "");
}
