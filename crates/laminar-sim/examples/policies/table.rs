//! The document: one table for each model.

use crate::bars::Bar;
use crate::cells::Cell;
use crate::measure::{Outcome, POLICIES};
use laminar_sim::Roofs;
use std::fmt::Write;

/// What the tables show of all situations.
const PROMPTS: [usize; 4] = [512, 2048, 8192, 32_768];
const STREAMS: [usize; 4] = [0, 4, 16, 64];
const TARGETS: [u64; 2] = [60, 250];

/// The whole document.
pub fn document(roofs: &Roofs, cells: &[Cell], bars: &[Bar]) -> String {
    let Roofs { bytes, ops, attention, .. } = roofs;
    let (bytes, ops, attention) = (bytes * 1e-9, ops * 1e-9, attention * 1e-9);
    let mut text = format!(
        "# The policies side by side\n\n\
         One prompt arrives among decoding streams on a virtual machine: {bytes} GB/s, {ops} GOP/s in matrix products, \
         {attention} GFLOP/s in attention, weights in Q4_0. The scheduler is the real one, with the cost prior that the engine \
         uses; only the machine is made up. Streams have 512 positions when the prompt comes, and one more after each step.\n\n\
         Each cell: time to the first token / longest stall of the streams / expert loads of all rows until then (in \
         thousands). **Bold**: a first token within 3 % of the best among those that keep the target. ~~Struck~~: a stall \
         beyond the target. A dash: more steps than are worth simulating. With no stream there is nothing to stall.\n\n\
         Made by `cargo run --release -p laminar-sim --example policies -- --markdown docs/policies.md`; `--json` gives \
         all situations.\n\n## Claims\n\n| claim | tried | holds |\n|---|---|---|\n",
    );
    for bar in bars {
        let holds = if bar.holds() { "yes".to_string() } else { format!("not in {}", bar.broken.len()) };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} | {} | {holds} |", bar.claim, bar.tried);
    }
    let mut shape = "";
    for cell in cells.iter().filter(|cell| is_shown(cell)) {
        if cell.shape != shape {
            shape = cell.shape;
            let names: Vec<_> = POLICIES.iter().map(|(name, _)| *name).collect();
            let _ = writeln!(text, "\n## {shape}\n\n| prompt | streams | target | {} |", names.join(" | "));
            let _ = writeln!(text, "|---|---|---|{}", "---|".repeat(POLICIES.len()));
        }
        let best = cell.meeting().map(|outcome| outcome.ttft).min_by(f64::total_cmp);
        let shown: Vec<_> = cell.outcomes.iter().map(|outcome| show(cell, outcome.as_ref(), best)).collect();
        let target = if cell.streams == 0 { "-".to_string() } else { format!("{} ms", cell.target) };
        let _ = writeln!(text, "| {} | {} | {target} | {} |", cell.prompt, cell.streams, shown.join(" | "));
    }
    text
}

fn is_shown(cell: &Cell) -> bool {
    let target = if cell.streams == 0 { cell.target == TARGETS[0] } else { TARGETS.contains(&cell.target) };
    PROMPTS.contains(&cell.prompt) && STREAMS.contains(&cell.streams) && target
}

fn show(cell: &Cell, outcome: Option<&Outcome>, best: Option<f64>) -> String {
    let Some(outcome) = outcome else { return "-".into() };
    let mut text = format!("{} s", short(outcome.ttft));
    if cell.meets(outcome) && best.is_some_and(|best| outcome.ttft <= 1.03 * best) {
        text = format!("**{text}**");
    }
    if cell.streams > 0 {
        let stall = match outcome.longest_step {
            seconds @ 1.0.. => format!("{} s", short(seconds)),
            seconds => format!("{} ms", short(seconds * 1e3)),
        };
        text += &if cell.meets(outcome) { format!(" / {stall}") } else { format!(" / ~~{stall}~~") };
    }
    if outcome.total_loads > 0 {
        text += &format!(" / {}k", short(outcome.total_loads as f64 * 1e-3));
    }
    text
}

/// Three digits.
fn short(number: f64) -> String {
    match number {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}
