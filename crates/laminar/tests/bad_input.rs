//! Bad input ends as one line on stderr that names what was wrong, with exit
//! code 2: never a panic, never half an answer.

mod common;

use std::net::TcpListener;

use common::{Folder, embedded_model, finish, gguf, laminar};

/// Files that are not models, given to every command that opens one.
#[test]
fn files_that_are_no_models_are_named() {
    let folder = Folder::new();
    let model = std::fs::read(embedded_model()).unwrap();
    let empty_folder = folder.join("empty");
    std::fs::create_dir(&empty_folder).unwrap();
    let no_weights = folder.join("no-weights");
    std::fs::create_dir(&no_weights).unwrap();
    std::fs::write(no_weights.join("config.json"), r#"{"model_type":"llama"}"#).unwrap();
    let broken_config = folder.join("broken-config");
    std::fs::create_dir(&broken_config).unwrap();
    std::fs::write(broken_config.join("config.json"), "{").unwrap();
    let mut huge_count = gguf(&[]);
    huge_count[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut huge_keys = gguf(&[]);
    huge_keys[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut version = gguf(&[]);
    version[4..8].copy_from_slice(&9u32.to_le_bytes());

    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let cases: [(String, &[&str]); 14] = [
        (text(&folder.join("missing.gguf")), &["missing.gguf", "no such file"]),
        (folder.write("empty.gguf", ""), &["empty.gguf"]),
        (folder.write("notes.gguf", "just some text"), &["notes.gguf"]),
        (folder.write("notes.txt", "just some text"), &["notes.txt"]),
        (folder.write("magic.gguf", "GGUF"), &["magic.gguf"]),
        (folder.write("version.gguf", version), &["version.gguf", "version"]),
        (folder.write("tensors.gguf", huge_count), &["tensors.gguf"]),
        (folder.write("keys.gguf", huge_keys), &["keys.gguf"]),
        (folder.write("head.gguf", &model[..1000]), &["head.gguf"]),
        (folder.write("tail.gguf", &model[..model.len() - 1000]), &["tail.gguf"]),
        (
            folder.write("mamba.gguf", gguf(&[("general.architecture", "mamba")])),
            &["mamba", "architecture", "qwen3moe"],
        ),
        (folder.write("nameless.gguf", gguf(&[])), &["general.architecture"]),
        (text(&empty_folder), &["empty", "config.json"]),
        (text(&broken_config), &["config.json"]),
    ];
    for (model, words) in &cases {
        finish(laminar().args(["run", "--model", model, "Hi"])).refused(words);
        finish(laminar().args(["serve", "--port", "0", "--model", model])).refused(words);
    }
    finish(laminar().args(["run", "--model", &text(&no_weights), "Hi"])).refused(&["no-weights"]);
}

/// Every cut of a valid file is refused cleanly.
#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = Folder::new();
    let model = std::fs::read(embedded_model()).unwrap();
    for eighth in 0..8 {
        let cut = folder.write("cut.gguf", &model[..model.len() * eighth / 8]);
        finish(laminar().args(["inspect", &cut])).refused(&["cut.gguf"]);
    }
}

#[test]
fn requests_the_model_can_not_meet_are_explained() {
    let long = "word ".repeat(3000);
    let cases: [(&[&str], &[&str]); 8] = [
        (&["--ctx", "64", &long], &["context", "64"]),
        (&["--ctx", "99999999", "Hi"], &["--ctx"]),
        (&["--prompt-ids", "1,99999999"], &["99999999"]),
        (&["--temperature", "-1", "Hi"], &["temperature"]),
        (&["--temperature", "nan", "Hi"], &["temperature"]),
        (&["--top-p", "2", "Hi"], &["top_p"]),
        (&["--min-p", "-0.5", "Hi"], &["min_p"]),
        (&["--raw", ""], &["prompt"]),
    ];
    for (arguments, words) in cases {
        finish(laminar().arg("run").args(arguments)).refused(words);
    }
}

/// What the argument parser refuses; its messages may have several lines.
#[test]
fn unknown_arguments_end_with_code_2() {
    let cases: [(&[&str], &str); 13] = [
        (&["serve", "--policy", "magic"], "magic"),
        (&["serve", "--chunk", "0"], "--chunk"),
        (&["serve", "--chunk", "some"], "`auto`"),
        (&["serve", "--tbt-target", "200"], "200ms"),
        (&["run", "--ttft-target", "0s", "Hi"], "--ttft-target"),
        (&["serve", "--port", "99999"], "99999"),
        (&["serve", "--host", "nowhere at all"], "nowhere"),
        (&["serve", "--threads", "0"], "--threads"),
        (&["serve", "--max-seqs", "-1"], "-1"),
        (&["run", "--kv-type", "q4", "Hi"], "q4"),
        (&["run"], "PROMPT"),
        (&["dance"], "dance"),
        (&["synth", "--preset", "tiny"], "--out"),
    ];
    for (arguments, word) in cases {
        let finished = finish(laminar().args(arguments));
        assert_eq!(finished.code, 2, "{arguments:?}");
        assert_eq!(finished.stdout, "");
        assert!(finished.stderr.contains(word), "{arguments:?}: {}", finished.stderr);
    }
}

#[test]
fn targets_that_nobody_would_keep_are_refused() {
    let cases: [(&[&str], &[&str]); 5] = [
        (&["--policy", "whole", "--tbt-target", "200ms"], &["--tbt-target", "adaptive"]),
        (&["--policy", "chunked", "--tbt-target", "200ms"], &["--tbt-target", "--chunk auto"]),
        (&["--policy", "chunked", "--chunk", "auto", "--ttft-target", "1s"], &["--ttft-target", "adaptive"]),
        (&["--policy", "layered", "--ttft-target", "1s"], &["--ttft-target", "adaptive"]),
        (&["--tbt-target", "2s", "--ttft-target", "1s"], &["--tbt-target 2s", "--ttft-target 1s"]),
    ];
    for (arguments, words) in cases {
        finish(laminar().args(["run", "Hi"]).args(arguments)).refused(words);
        finish(laminar().args(["serve", "--port", "0"]).args(arguments)).refused(words);
    }
}

#[test]
fn a_taken_port_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    finish(laminar().args(["serve", "--port", &port])).refused(&[&address.to_string(), "in use", "--port"]);
}

#[test]
fn a_log_filter_that_does_not_parse_is_named() {
    finish(laminar().args(["run", "Hi"]).env("LAMINAR_LOG", "=[")).refused(&["LAMINAR_LOG"]);
}

#[test]
fn a_prompt_on_stdin_must_be_text() {
    let folder = Folder::new();
    let binary = folder.write("prompt", [0xff, 0xfe, 0x00]);
    let file = std::fs::File::open(binary).unwrap();
    finish(laminar().args(["run", "-"]).stdin(file)).refused(&["stdin", "UTF-8"]);
}

#[test]
fn synth_names_what_it_does_not_know() {
    let folder = Folder::new();
    let out = folder.join("out.gguf");
    let out = out.to_str().unwrap();
    finish(laminar().args(["synth", "--preset", "huge", "--out", out])).refused(&["huge", "qwen3-30b-a3b"]);
    finish(laminar().args(["synth", "--preset", "tiny", "--quant", "q2_0", "--out", out])).refused(&["q2_0"]);
    let nowhere = folder.join("no/such/folder/out.gguf");
    finish(laminar().args(["synth", "--preset", "tiny", "--out", nowhere.to_str().unwrap()])).refused(&["folder"]);
    assert!(!std::path::Path::new(out).exists());
}
