//! Steps worked out by hand.

use super::*;
use laminar_schedule::{CohortId, Cursor, DecodeRow, Extent, SequenceId, TileRows};

/// 1,000 bytes and 4,000 operations a second: balance at two rows a weight. Four experts, two for each row.
const SHAPE: ModelShape = ModelShape {
    layers: 4,
    hidden: 10,
    q_heads: 1,
    kv_heads: 1,
    head_dim: 5,
    vocab: 100,
    feed_forward: FeedForward::Experts { count: 4, top_k: 2, width: 1 },
    bytes_per_weight: 1.0,
};
const DENSE: ModelShape = ModelShape { feed_forward: FeedForward::Dense { width: 2 }, ..SHAPE };
const ROOFS: Roofs = Roofs { bytes: 1e3, ops: 4e3, attention: 1e3, host: 0.5 };

fn member(rows: usize) -> TileRows {
    TileRows { sequence: SequenceId(9), start: 0, rows, ends_prompt: true, dropped: false }
}

fn tile(members: Vec<TileRows>, from: Cursor, to: Cursor) -> Tile {
    Tile { cohort: CohortId(0), members, from, to }
}

fn step(decode: &[usize], tiles: Vec<Tile>) -> Step {
    let row =
        |(number, position): (usize, &usize)| DecodeRow { sequence: SequenceId(number as u64), position: *position };
    Step { decode: decode.iter().enumerate().map(row).collect(), tiles, ..Step::default() }
}

/// Seconds, prefill loads and total loads.
fn run(shape: ModelShape, step: &Step) -> (f64, u64, u64) {
    let report = VirtualMachine::new(shape, ROOFS).execute(step);
    (report.duration.as_secs_f64(), report.prefill_expert_loads, report.total_expert_loads)
}

fn assert_close(one: f64, other: f64) {
    assert!((one - other).abs() < 1e-6, "{one} is not {other}");
}

#[test]
fn a_decode_row_reads_everything_it_needs_once() {
    let (seconds, prefill, total) = run(SHAPE, &step(&[6], vec![]));
    // A layer: 200 attention weights, 7 positions of 20 FLOP and 20 bytes, 2 experts of 30 weights. Head: 1,000 weights.
    assert_close(seconds, 0.5 + 4.0 * (0.2 + 0.14 + 0.14 + 0.06) + 1.0);
    assert_eq!((prefill, total), (0, 8));
}

#[test]
fn decode_rows_share_the_whole_layers_of_the_first_tile_only() {
    let shared = tile(vec![member(8)], Cursor::at_layer(1), Cursor::at_layer(3));
    let (seconds, prefill, total) = run(SHAPE, &step(&[6], vec![shared.clone()]));
    // Eight rows attend to 1 + .. + 8 = 36 positions. Nine rows over 200 weights are 3,600 operations, and 18 over 30
    // weights are 1,080 where 4 experts have but 120 bytes.
    let together = 0.9 + 36.0 * 0.02 + 0.14 + 0.14 + 0.27;
    let alone = 0.2 + 0.14 + 0.14 + 0.06;
    assert_close(seconds, 0.5 + 2.0 * together + 2.0 * alone + 1.0);
    // Eight rows touch 4 (1 - 1/256) experts, which is 4 as a count.
    assert_eq!((prefill, total), (8, 8 + 4));

    let first = tile(vec![member(1)], Cursor::at_layer(0), Cursor::at_layer(1));
    let (seconds, prefill, total) = run(SHAPE, &step(&[6], vec![first, shared]));
    let own = 0.8 + 36.0 * 0.02 + 0.24;
    // With one more row the first layer's experts are 4 (1 - 1/4) of 30 bytes.
    let one = 0.2 + 0.02 + 0.14 + 0.14 + 0.09;
    assert_close(seconds, 0.5 + one + 3.0 * alone + 2.0 * own + 1.0);
    assert_eq!((prefill, total), (2 + 8, 3 + 6 + 8));
}

#[test]
fn the_end_of_a_prompt_samples_and_its_middle_does_not() {
    let whole = |ends_prompt| {
        let members = vec![TileRows { ends_prompt, ..member(8) }];
        run(SHAPE, &step(&[], vec![tile(members, Cursor::at_layer(0), Cursor::at_layer(4))])).0
    };
    assert_close(whole(true) - whole(false), 1.0);
}

#[test]
fn a_layer_in_parts_costs_what_reading_the_dense_weights_again_costs() {
    for (shape, units) in [(SHAPE, 4), (DENSE, 10)] {
        let extent = Extent { rows: 10, units };
        let members = vec![TileRows { ends_prompt: false, ..member(10) }];
        let cost = |from: Cursor, to: Cursor| {
            let (seconds, loads, _) = run(shape, &step(&[], vec![tile(members.clone(), from, to)]));
            (seconds - ROOFS.host, loads)
        };
        let whole = cost(Cursor::at_layer(1), Cursor::at_layer(2));
        let cuts = [
            Cursor::at_layer(1),
            Cursor::after_attention(1, 8, extent),
            Cursor::after_feed_forward(1, 0, extent),
            Cursor::after_feed_forward(1, units - 2, extent),
            Cursor::at_layer(2),
        ];
        let parts = cuts.windows(2).map(|cut| cost(cut[0], cut[1]));
        let parts = parts.fold((0.0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        // Blocks of two rows and more are at the roof of operations on both sides of a cut: no time is lost here.
        assert_close(parts.0, whole.0);
        assert_eq!(parts.1, whole.1);
    }
    // A single row behind a cut is not: it pays for reading 200 weights though it needs half of that time.
    let extent = Extent { rows: 9, units: 4 };
    let cut = Cursor::after_attention(1, 8, extent);
    let cost = |from, to| run(SHAPE, &step(&[], vec![tile(vec![member(9)], from, to)])).0 - ROOFS.host;
    let (whole, first) = (cost(Cursor::at_layer(1), Cursor::at_layer(2)), cost(Cursor::at_layer(1), cut));
    assert_close(first + cost(cut, Cursor::at_layer(2)) - whole, 0.1);
}

#[test]
fn loads_of_a_layer_are_those_of_its_parts_wherever_it_is_cut() {
    let shape = ModelShape { layers: 8, ..ModelShape::QWEN3_30B_8L };
    let extent = |rows| Extent { rows, units: 128 };
    for rows in [1, 2, 5, 9, 30, 100] {
        let members = vec![member(rows)];
        let loads = |from, to| run(shape, &step(&[], vec![tile(members.clone(), from, to)])).1;
        let place = |unit| Cursor::after_feed_forward(3, unit, extent(rows));
        let whole = loads(Cursor::at_layer(3), Cursor::at_layer(4));
        for width in [1, 3, 50] {
            let cuts: Vec<usize> = (0..128).step_by(width).chain([128]).collect();
            let parts: u64 = cuts.windows(2).map(|cut| loads(place(cut[0]), place(cut[1]))).sum();
            assert_eq!(parts, whole, "{rows} rows, {width} experts at a time");
        }
    }
}

#[test]
fn dropped_rows_cost_nothing_and_keep_their_places() {
    let gone = TileRows { sequence: SequenceId(8), dropped: true, ..member(6) };
    let with = tile(vec![gone, member(8)], Cursor::at_layer(1), Cursor::at_layer(2));
    let without = tile(vec![member(8)], Cursor::at_layer(1), Cursor::at_layer(2));
    assert_eq!(run(SHAPE, &step(&[], vec![with.clone()])), run(SHAPE, &step(&[], vec![without])));
    assert_eq!(rows_of(&with, 4..8), Rows { count: 2, attended: 3.0, cached: 0.0 });
    assert_eq!(rows_of(&with, 8..14), Rows { count: 6, attended: 33.0, cached: 0.0 });
}

#[test]
fn noise_is_around_one_and_fixed_by_its_seed() {
    let step = step(&[6], vec![]);
    let times = |seed| -> Vec<f64> {
        let mut machine = VirtualMachine::new(SHAPE, ROOFS).with_noise(seed, 0.1);
        (0..1000).map(|_| machine.execute(&step).duration.as_secs_f64()).collect()
    };
    let exact = run(SHAPE, &step).0;
    let below = times(1).iter().filter(|time| **time < exact).count();
    assert!((450..550).contains(&below), "{below}");
    assert_eq!(times(1), times(1));
    assert_ne!(times(1), times(2));
}
