//! `laminar simulate`: plans, lists, traces.

mod common;

use common::{Folder, finish, laminar};

#[test]
fn a_sweep_prints_a_run_for_each_combination_and_the_same_numbers_each_time() {
    let args = [
        "simulate",
        "--rate",
        "1,4",
        "--policy",
        "chunked,layered",
        "--chunk",
        "512,2048",
        "--duration",
        "20s",
        "--json",
    ];
    let json = finish(laminar().args(args)).json();
    let runs = json["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 6);
    assert_eq!(runs[2]["case"]["policy"], "chunked 2048");
    assert!(runs.iter().all(|run| run["figures"]["requests"].as_u64().unwrap() > 0));
    assert_eq!(finish(laminar().args(args)).json(), json);
    let table = finish(laminar().args(["simulate", "--duration", "20s"]));
    assert_eq!(table.code, 0, "{}", table.stderr);
    assert!(table.stdout.contains("adaptive"), "{}", table.stdout);
}

#[test]
fn a_page_and_a_trace_are_written() {
    let folder = Folder::new();
    let (html, trace) = (folder.join("plan.html"), folder.join("trace.json"));
    let mut command = laminar();
    command.args(["simulate", "--rate", "1,2", "--policy", "layered", "--duration", "20s"]);
    let done = finish(command.arg("--html").arg(&html).arg("--perfetto").arg(&trace));
    assert_eq!(done.code, 0, "{}", done.stderr);
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("<svg") && !page.contains("http://") && !page.contains("<script"));
    let trace: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(trace).unwrap()).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 100);
}

#[test]
fn the_list_names_what_there_is_and_json_has_the_profiles() {
    let list = finish(laminar().args(["simulate", "list"]));
    assert_eq!(list.code, 0);
    for name in ["h100-sxm", "epyc-2core", "qwen3-235b-a22b", "arxiv", "layered-released", "chunked-released"] {
        assert!(list.stdout.contains(name), "{name}");
    }
    let json = finish(laminar().args(["simulate", "list", "--json"])).json();
    assert_eq!(json["hardware"][0]["bandwidth_gbs"], 3350.0);
}

#[test]
fn any_checkpoint_and_any_profile_can_be_simulated() {
    let folder = Folder::new();
    let (model, lengths) = (folder.join("tiny.gguf"), folder.join("lengths.csv"));
    let model = model.to_str().unwrap();
    let written = finish(laminar().args(["synth", "--preset", "tiny", "--layers", "3", "--out", model]));
    assert_eq!(written.code, 0, "{}", written.stderr);
    std::fs::write(&lengths, "arrival_s,prompt_tokens,output_tokens\n2.5,100,10\n3,200,20\n").unwrap();
    let lengths = lengths.to_str().unwrap();
    let args = [
        "simulate",
        "--hardware",
        "epyc-2core",
        "--model",
        model,
        "--workload",
        lengths,
        "--duration",
        "20s",
        "--json",
    ];
    let json = finish(laminar().args(args)).json();
    assert_eq!(json["runs"][0]["figures"]["requests"], 2);
    assert!(json["runs"][0]["figures"]["expert_bytes_per_request"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    for (args, about) in [
        (["--hardware", "h1000"], "h100-sxm"),
        (["--model", "qwen9"], "qwen3-30b-a3b"),
        (["--workload", "novels"], "sharegpt"),
        (["--rate", "0"], "rate"),
        (["--groups", "100"], "48 layers"),
        (["--model", "qwen3-235b-a22b"], "disk"),
    ] {
        let done = finish(laminar().arg("simulate").args(args).args(["--duration", "5s"]));
        match about {
            // That one runs, from disk.
            "disk" => assert!(done.code == 0 && done.stdout.contains(about), "{}{}", done.stdout, done.stderr),
            _ => assert!(done.code == 2 && done.stderr.contains(about), "{args:?}: {}", done.stderr),
        }
    }
}
