//! The policies side by side: one prompt among running streams, on a virtual machine.
//!
//! `cargo run --release -p laminar-sim --example policies` prints a document with the results; it exits with 0 only if
//! all claims about `adaptive` hold. They are claims about the reference machine; `--bytes`, `--ops`, `--attention` and
//! `--noise` show what becomes of them on another one.

mod bars;
mod cells;
mod measure;
mod table;

use cells::Cell;
use clap::Parser;
use laminar_sim::{ModelShape, Roofs};
use measure::{Error, Hardware, POLICIES};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Compares the scheduler's policies on a virtual machine.
#[derive(Parser)]
struct Arguments {
    /// Prints all situations and claims as JSON instead of a document
    #[arg(long)]
    json: bool,
    /// Gigabytes that the machine reads in a second
    #[arg(long, default_value_t = Roofs::REFERENCE.bytes * 1e-9)]
    bytes: f64,
    /// Billions of operations of its matrix products in a second
    #[arg(long, default_value_t = Roofs::REFERENCE.ops * 1e-9)]
    ops: f64,
    /// Billions of float operations of attention in a second
    #[arg(long, default_value_t = Roofs::REFERENCE.attention * 1e-9)]
    attention: f64,
    /// Standard deviation of the logarithm of a step's time
    #[arg(long, default_value_t = 0.0)]
    noise: f64,
    /// Writes the document to this file as well
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The answer is whether all claims hold.
fn run(arguments: &Arguments) -> Result<bool, Error> {
    let roofs = Roofs {
        bytes: arguments.bytes * 1e9,
        ops: arguments.ops * 1e9,
        attention: arguments.attention * 1e9,
        ..Roofs::REFERENCE
    };
    let hardware = Hardware { roofs, noise: arguments.noise, shape: ModelShape::QWEN3_30B_8L };
    // One thread for each model; the models have nothing to do with each other.
    let cells = std::thread::scope(|scope| {
        let threads = ModelShape::PRESETS.map(|(name, shape)| {
            scope
                .spawn(move || cells::of_shape(name, Hardware { shape, ..hardware }).map_err(|error| error.to_string()))
        });
        let mut cells = Vec::new();
        for thread in threads {
            cells.extend(thread.join().map_err(|_| "a measurement has panicked")??);
        }
        Ok::<Vec<Cell>, Error>(cells)
    })?;
    let mut bars = bars::of_cells(&cells);
    bars.extend(bars::of_long_prompts(hardware)?);
    let holds = bars.iter().all(bars::Bar::holds);
    let document = table::document(&roofs, &cells, &bars);
    if let Some(file) = &arguments.markdown {
        std::fs::write(file, &document)?;
    }
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let bars: Vec<_> = bars.iter().map(bars::Bar::json).collect();
        let cells: Vec<_> = cells.iter().map(cell_json).collect();
        writeln!(out, "{:#}", json!({ "holds": holds, "bars": bars, "cells": cells }))?;
    } else {
        write!(out, "{document}")?;
    }
    for bar in bars.iter().filter(|bar| !bar.holds()) {
        eprintln!("does not hold in {} of {} situations: {}", bar.broken.len(), bar.tried, bar.claim);
    }
    Ok(holds)
}

fn cell_json(cell: &Cell) -> Value {
    let outcomes = POLICIES.iter().zip(&cell.outcomes).map(|((name, _), outcome)| {
        let outcome = outcome.map(|outcome| {
            json!({
                "meets_target": cell.meets(&outcome),
                "ttft_s": outcome.ttft,
                "longest_stall_s": (cell.streams > 0).then_some(outcome.longest_step),
                "total_expert_loads": outcome.total_loads,
                "prefill_expert_loads": outcome.prefill_loads,
                "steps": outcome.steps,
            })
        });
        (name.to_string(), outcome.unwrap_or(Value::Null))
    });
    json!({
        "shape": cell.shape,
        "prompt": cell.prompt,
        "streams": cell.streams,
        "target_ms": cell.target,
        "policies": Value::Object(outcomes.collect()),
    })
}
