//! `laminar bench engine` and `laminar bench roof`: what they print, never how fast anything was.

#![allow(clippy::unwrap_used)] // All of it is test code.

mod common;

use common::{Folder, embedded_model, finish, laminar};
use serde_json::Value;

/// Numbers so small that they say nothing.
const TINY: [&str; 11] =
    ["bench", "engine", "--prompt", "4,9", "--decode", "3", "--batch", "1,2", "--context", "8", "--repeat=2"];

fn positive(value: &Value) -> f64 {
    let number = value.as_f64().unwrap();
    assert!(number.is_finite() && number > 0.0, "{number}");
    number
}

fn check_spread(spread: &Value) {
    let [min, median, max] = ["min", "median", "max"].map(|key| positive(&spread[key]));
    assert!(min <= median && median <= max, "{spread}");
}

fn check_roofs(roofs: &Value) -> Vec<(u64, String)> {
    let check = |roof: &Value| {
        check_spread(roof);
        assert!(["GB/s", "GFLOP/s", "GOP/s"].contains(&roof["unit"].as_str().unwrap()));
        (roof["threads"].as_u64().unwrap(), roof["name"].as_str().unwrap().to_owned())
    };
    roofs.as_array().unwrap().iter().map(check).collect()
}

#[test]
fn json_holds_every_point_round_and_roof() {
    let report = finish(laminar().args(TINY).args(["--json", "--threads", "2"])).json();
    assert_eq!(report["model"], "laminar-tiny");
    assert_eq!(report["architecture"], "qwen3moe");
    assert_eq!(report["weight_type"], "Q8_0");
    assert_eq!((&report["threads"], &report["kv_type"]), (&Value::from(2), &Value::from("f16")));
    assert_eq!((&report["context"], &report["decode"], &report["repeat"]), (&8.into(), &3.into(), &2.into()));
    let roofs = check_roofs(&report["roofs"]);
    assert!(roofs.len() >= 3 && roofs.iter().all(|(threads, _)| *threads == 2), "{roofs:?}");
    assert_eq!(roofs[0].1, "memory read");
    assert_eq!(report["rounds"].as_array().unwrap().len(), 2);

    let points = report["points"].as_array().unwrap();
    let shapes: Vec<(&str, u64, u64, u64)> = points
        .iter()
        .map(|point| {
            let count = |key: &str| point[key].as_u64().unwrap();
            (point["kind"].as_str().unwrap(), count("rows"), count("steps"), count("tokens"))
        })
        .collect();
    assert_eq!(shapes, [("prefill", 4, 1, 4), ("prefill", 9, 1, 9), ("decode", 1, 3, 3), ("decode", 2, 3, 6)]);
    for point in points {
        check_spread(&point["tokens_per_s"]);
        for key in ["gb_s", "gop_s", "fraction_of_read", "fraction_of_multiply", "weight_bytes", "operations"] {
            positive(&point[key]);
        }
        assert!(["memory", "compute"].contains(&point["bound"].as_str().unwrap()));
        let samples = point["samples"].as_array().unwrap();
        assert_eq!(samples.len(), 2);
        for sample in samples {
            let tokens = point["tokens"].as_f64().unwrap();
            let speed = tokens / positive(&sample["seconds"]);
            assert!((speed / positive(&sample["tokens_per_s"]) - 1.0).abs() < 1e-9);
        }
    }
    // A row loads each of its experts in each layer: 2 of 16, in 6 layers.
    assert_eq!(points[2]["expert_loads"], 3 * 2 * 6);
    for point in points {
        let (rows, steps) = (point["rows"].as_u64().unwrap(), point["steps"].as_u64().unwrap());
        let loads = point["expert_loads"].as_u64().unwrap();
        assert!((steps * 2 * 6..=steps * 16.min(2 * rows) * 6).contains(&loads), "{loads}");
    }
    // More rows read the same matrices and perhaps more experts.
    let bytes = |index: usize| points[index]["weight_bytes"].as_u64().unwrap();
    assert!(bytes(0) <= bytes(1) && bytes(2) <= bytes(3));
    assert_eq!(points[3]["operations"].as_f64().unwrap(), 2.0 * points[2]["operations"].as_f64().unwrap());
}

/// The work is the seed's, whatever else is measured; a model by path is the same as the one built in.
#[test]
fn the_same_seed_does_the_same_work() {
    let loads = |extra: &[&str]| -> Vec<u64> {
        let report = finish(laminar().args(TINY).args(["--json", "--threads", "1"]).args(extra)).json();
        report["points"].as_array().unwrap().iter().map(|point| point["expert_loads"].as_u64().unwrap()).collect()
    };
    let zero = loads(&[]);
    assert_eq!(loads(&["--model", embedded_model()]), zero);
    let more = loads(&["--prompt", "21", "--batch", "3"]);
    assert_eq!([&more[..2], &more[3..5]].concat(), zero, "{more:?}");
    assert_ne!(loads(&["--seed", "5"]), zero);
}

/// The roof of a model is that of the instructions in use.
#[test]
fn the_portable_path_has_roofs_of_its_own() {
    let report = finish(laminar().args(TINY).arg("--json").env("LAMINAR_ISA", "portable")).json();
    let names: Vec<String> = check_roofs(&report["roofs"]).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["memory read", "int8 portable", "f32 portable"]);
}

#[test]
fn the_table_has_a_line_for_every_point() {
    let finished = finish(laminar().args(TINY).args(["--kv-type", "q8_0"]));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(finished.stdout.contains("Q8_0, KV q8_0;"), "{}", finished.stdout);
    assert_eq!(finished.stderr, "");
    for start in ["laminar-tiny: ", "roofs: memory read", "prefill 4 ", "prefill 9 ", "decode x1 ", "decode x2 "] {
        let lines = finished.stdout.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(lines, 1, "{start:?} in: {}", finished.stdout);
    }
}

/// Every tag is closed by the one it was opened with.
fn check_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap();
        assert!(!text.contains('>') && tag.matches('"').count() % 2 == 0, "{part}");
        let name = tag.split(' ').next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} is not closed");
}

/// Points of the last path of a colour that has this word in its tag; those before are in the legend.
fn path<'a>(svg: &'a str, colour: &str, word: &str) -> Vec<&'a str> {
    let stroke = format!("stroke=\"{colour}\"");
    let tags = svg.split("<path d=\"").skip(1).map(|part| part.split('>').next().unwrap());
    let tag = tags.filter(|tag| tag.contains(&stroke) && tag.contains(word)).last().unwrap();
    tag.split('"').next().unwrap().split(['M', 'L']).skip(1).collect()
}

#[test]
fn a_plot_has_every_prompt_below_its_roof() {
    let folder = Folder::new();
    let file = folder.join("curve.svg");
    let prompts = ["bench", "engine", "--prompt", "33,4,16,8", "--decode", "2", "--batch", "1", "--repeat=2", "--json"];
    let report = finish(laminar().args(prompts).arg("--plot").arg(&file)).json();
    let svg = std::fs::read_to_string(file).unwrap();
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" ") && svg.ends_with("</svg>\n"));
    check_well_formed(&svg);
    assert!(svg.contains(">laminar-tiny, Q8_0, "), "{svg}");
    let (measured, roof) = ("#2b7bd4", "#e0670c");
    assert_eq!(path(&svg, measured, "stroke-linecap=\"round\"").len(), 4);
    // The line is from left to right, whatever the order in which they were asked for.
    let line = path(&svg, measured, "stroke-width=\"2\"");
    let across: Vec<f64> = line.iter().map(|point| point.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(across.len() == 4 && across.is_sorted(), "{across:?}");
    assert_eq!(path(&svg, roof, "stroke-dasharray").len(), 4);
    // A line from the slowest to the fastest is two points.
    assert_eq!(path(&svg, measured, "stroke-width=\"1\"").len(), 2 * 4);

    for point in report["points"].as_array().unwrap() {
        let [of_read, of_multiply] = ["fraction_of_read", "fraction_of_multiply"].map(|key| positive(&point[key]));
        let share = positive(&point["tokens_per_s"]["median"]) / positive(&point["roof_tokens_per_s"]);
        assert!((share / of_read.max(of_multiply) - 1.0).abs() < 1e-9, "{point}");
    }
}

#[test]
fn roofs_are_measured_for_every_number_of_threads() {
    let report = finish(laminar().args(["bench", "roof", "--json", "--threads", "2"])).json();
    assert!(report["rounds"].as_u64().unwrap() >= 3);
    positive(&report["buffer_bytes"]);
    let roofs = check_roofs(&report["roofs"]);
    let (one, two): (Vec<_>, Vec<_>) = roofs.into_iter().partition(|(threads, _)| *threads == 1);
    let names = |roofs: &[(u64, String)]| roofs.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&one), names(&two));
    assert!(one.len() >= 3 && two.iter().all(|(threads, _)| *threads == 2));
}

#[test]
fn what_can_not_be_measured_is_explained() {
    let cases: [(&[&str], &[&str]); 10] = [
        (&["--repeat", "0"], &["--repeat 0", "at least 1"]),
        (&["--decode", "0"], &["--decode 0"]),
        (&["--prompt", "8,0"], &["--prompt 0"]),
        (&["--batch", "0,1"], &["--batch 0"]),
        (&["--context", "0"], &["--context 0"]),
        (&["--prompt", "32,4096"], &["--prompt 4096", "2048"]),
        (&["--context", "2000", "--decode", "49"], &["--context 2000", "--decode 49", "2048"]),
        (&["--batch", "4000000000"], &["--batch 4000000000", "memory"]),
        (&["--plot", "no/such/folder.svg"], &["no/such/folder.svg", "cannot be written"]),
        (&["--model", "no-such-model.gguf"], &["no-such-model.gguf", "no such file"]),
    ];
    for (arguments, words) in cases {
        finish(laminar().args(["bench", "engine"]).args(arguments)).refused(words);
    }
}
