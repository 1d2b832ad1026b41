use super::*;
use laminar_schedule::{CohortId, Cursor, DecodeRow, Extent, SequenceId, TileRows};

fn machine(hardware: &str, model: &str) -> Roofline {
    let hardware = Hardware::named(hardware).unwrap().with_devices(2);
    Roofline::new(hardware, ModelProfile::named(model).unwrap(), Routing::FITTED).unwrap()
}

fn tile(rows: usize, from: Cursor, to: Cursor) -> Tile {
    let member = TileRows { sequence: SequenceId(9), start: 0, rows, ends_prompt: true, dropped: false };
    Tile { cohort: CohortId(1), members: vec![member], from, to }
}

fn step(decode: usize, position: usize, tiles: Vec<Tile>) -> Step {
    let row = |id| DecodeRow { sequence: SequenceId(id as u64), position };
    Step { decode: (0..decode).map(row).collect(), tiles, ..Step::default() }
}

#[test]
fn an_expert_is_read_once_for_the_prompt_and_the_streams_beside_it() {
    let machine = machine("h100-sxm", "qwen3-30b-a3b");
    let decode = machine.step(&step(8, 4000, Vec::new()));
    let whole = tile(8192, Cursor::at_layer(0), Cursor::at_layer(48));
    let prefill = machine.step(&step(0, 0, vec![whole.clone()]));
    let both = machine.step(&step(8, 4000, vec![whole]));
    assert!(
        both.loads < prefill.loads + 0.05 * decode.loads,
        "eight streams share nearly all of their experts with a prompt"
    );
    assert!(both.seconds() < prefill.seconds() + decode.seconds());
    assert_eq!(both.prefill_loads, prefill.loads);
}

#[test]
fn groups_of_layers_add_up_to_the_stack() {
    for model in ["qwen3-30b-a3b", "gpt-oss-20b", "qwen3-8b"] {
        let machine = machine("h100-sxm", model);
        let layers = machine.model().layers;
        let walk = |ends: &[usize]| {
            let mut cost = Cost::default();
            let mut from = 0;
            for end in ends {
                cost += machine.step(&step(0, 0, vec![tile(3000, Cursor::at_layer(from), Cursor::at_layer(*end))]));
                from = *end;
            }
            cost
        };
        let (one, many) = (walk(&[layers]), walk(&[5, 6, layers]));
        assert!((many.seconds() - many.host_s - one.seconds() + one.host_s).abs() < 1e-9);
        assert!((many.bytes / one.bytes - 1.0).abs() < 1e-9 && (many.loads - one.loads).abs() < 1e-6);
    }
}

#[test]
fn parts_of_a_layer_cost_at_least_the_layer_and_load_each_expert_once() {
    let machine = machine("h100-sxm", "qwen3-30b-a3b");
    let extent = Extent { rows: 2048, units: 128 };
    let places = [
        Cursor::at_layer(3),
        Cursor::after_attention(3, 1000, extent),
        Cursor::after_attention(3, 2048, extent),
        Cursor::after_feed_forward(3, 50, extent),
        Cursor::at_layer(4),
    ];
    let mut parts = Cost::default();
    for pair in places.windows(2) {
        parts += machine.step(&step(0, 0, vec![tile(2048, pair[0], pair[1])]));
    }
    let whole = machine.step(&step(0, 0, vec![tile(2048, places[0], places[4])]));
    let seconds = |cost: &Cost| cost.seconds() - cost.host_s;
    assert!((1.0..1.25).contains(&(seconds(&parts) / seconds(&whole))), "{parts:?} {whole:?}");
    assert!((parts.loads - whole.loads).abs() < 1e-6);
}

#[test]
fn windows_bound_what_a_row_sees() {
    let machine = machine("h100-sxm", "gpt-oss-20b");
    let near = machine.step(&step(16, 100, Vec::new()));
    let far = machine.step(&step(16, 10_100, Vec::new()));
    // Half of the layers read all of the 10,000 further positions, the others 28 of them.
    let kv = machine.model().kv_bytes_per_layer();
    let expected = 16.0 * 12.0 * kv * (10_000.0 + 27.0);
    assert!(((far.bytes - near.bytes) / expected - 1.0).abs() < 1e-6);
    let rows = machine.rows_of(&tile(300, Cursor::at_layer(0), Cursor::at_layer(1)), 0..300);
    let counted: usize = (0..300).map(|position| (position + 1).min(128)).sum();
    assert_eq!(rows.attended, [Work::context_of(0, 300), counted as f64]);
}

#[test]
fn what_does_not_fit_the_memory_comes_from_disk_or_is_refused() {
    let place = |hardware: &str, devices, model: &str| {
        let hardware = Hardware::named(hardware).unwrap().with_devices(devices);
        Roofline::new(hardware, ModelProfile::named(model).unwrap(), Routing::FITTED)
    };
    assert_eq!(place("h100-sxm", 2, "qwen3-30b-a3b").unwrap().missing(), 0.0);
    let small = place("rtx-4090", 1, "qwen3-30b-a3b").unwrap();
    assert!((0.6..0.9).contains(&small.missing()), "{}", small.missing());
    let large = place("rtx-4090", 4, "qwen3-30b-a3b").unwrap();
    let decode = step(4, 1000, Vec::new());
    assert!(small.step(&decode).seconds() > 5.0 * large.step(&decode).seconds());
    let tiny = Hardware { memory_gb: 8.0, ..Hardware::named("epyc-2core").unwrap() };
    let model = ModelProfile::named("qwen3-235b-a22b").unwrap();
    let error = Roofline::new(tiny, model, Routing::FITTED).unwrap_err();
    assert!(matches!(error, PlanError::TooLarge { .. }), "{error}");
    assert!(place("rtx-4090", 1, "qwen3-8b").is_ok());
}
