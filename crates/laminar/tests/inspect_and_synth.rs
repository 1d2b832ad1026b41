//! `laminar synth` writes files that `inspect` and `run` accept; `laminar models` lists what can be opened.

mod common;

use common::{Folder, finish, laminar};

#[test]
fn a_synthetic_model_can_be_inspected_and_run() {
    let folder = Folder::new();
    let out = folder.join("tiny.gguf");
    let out = out.to_str().unwrap();
    let written = finish(laminar().args(["synth", "--preset", "tiny", "--layers", "3", "--seed", "5", "--out", out]));
    assert_eq!(written.code, 0, "{}", written.stderr);

    let summary = finish(laminar().args(["inspect", out, "--json"])).json();
    assert_eq!(summary["architecture"], "qwen3moe");
    assert_eq!(summary["layers"].as_array().unwrap().len(), 3);
    assert!(summary["layers"][0]["bytes_per_expert"].as_u64().unwrap() > 0);
    let table = finish(laminar().args(["inspect", out]));
    assert_eq!(table.code, 0, "{}", table.stderr);
    assert!(table.stdout.contains("qwen3moe"));

    let answer =
        finish(laminar().args(["run", "--model", out, "--json", "--max-tokens", "4", "--ignore-eos", "Hi"])).json();
    assert_eq!(answer["token_ids"].as_array().unwrap().len(), 4);
}

#[test]
fn the_same_seed_writes_the_same_bytes() {
    let folder = Folder::new();
    let write = |name: &str, seed: &str| {
        let out = folder.join(name);
        let path = out.to_str().unwrap();
        let written = finish(laminar().args(["synth", "--preset", "tiny", "--seed", seed, "--out", path]));
        assert_eq!(written.code, 0, "{}", written.stderr);
        std::fs::read(out).unwrap()
    };
    let first = write("a.gguf", "1");
    assert!(first == write("b.gguf", "1"));
    assert!(first != write("c.gguf", "2"));
    // The last one was complete before it got its name.
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn the_embedded_model_is_a_mixture_of_experts() {
    let summary = finish(laminar().args(["inspect", "--json"])).json();
    assert_eq!(summary["architecture"], "qwen3moe");
}

#[test]
fn help_names_every_command() {
    let help = finish(laminar().arg("--help"));
    assert_eq!(help.code, 0);
    for command in ["serve", "run", "inspect", "models", "synth"] {
        assert!(help.stdout.contains(command), "{command}");
    }
}

#[test]
fn models_lists_what_can_be_opened() {
    let rows = finish(laminar().args(["models", "--json"])).json();
    let rows = rows.as_array().unwrap();
    let find = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(find("mixtral")["gguf"], "llama");
    assert_eq!(find("gpt-oss")["safetensors"][0], "gpt_oss");
    assert!(rows.iter().all(|row| row["checked_against"][0] == "transformers"));
    let table = finish(laminar().arg("models"));
    assert_eq!(table.code, 0, "{}", table.stderr);
    for row in rows {
        assert!(table.stdout.contains(row["models"].as_str().unwrap()), "{row}");
    }
}
