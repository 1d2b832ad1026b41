//! Thousands of made-up worlds for the scheduler: random sizes, arrivals and faults, watched by the auditor.
//!
//! `cargo run --release -p laminar-sim --example worlds -- --seeds 10000` runs that many. A seed that fails is made small
//! and printed; `--seed N --trace` then shows every call of it.

mod scenarios;

use clap::Parser;
use laminar_sim::Summary;
use serde_json::json;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

/// Runs made-up worlds and checks every rule of the scheduler after every call.
#[derive(Parser)]
struct Arguments {
    /// Worlds to run
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Runs this one seed alone
    #[arg(long)]
    seed: Option<u64>,
    /// Prints a line for every call of the one seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Stops at the first seed that fails
    #[arg(long)]
    stop: bool,
    /// Prints the summary as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.seed {
        Some(seed) if arguments.trace => trace(seed),
        _ => run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Nobody reads any more.
        Err(_) => ExitCode::SUCCESS,
    }
}

/// Runs many seeds; the answer is whether all of them passed.
fn run(arguments: &Arguments) -> io::Result<bool> {
    let begin = Instant::now();
    let (first, count) = arguments.seed.map_or((arguments.first, arguments.seeds), |seed| (seed, 1));
    let mut sum = Summary::default();
    let mut failed = Vec::new();
    for seed in first..first.saturating_add(count) {
        match scenarios::run_seed(seed) {
            Ok(summary) => add(&mut sum, &summary),
            Err(worst) => {
                let (scenario, violation) = *worst;
                failed.push(seed);
                let mut err = io::stderr().lock();
                writeln!(err, "\nseed {seed} fails: {violation}\n\nmade small:\n{scenario:#?}\n")?;
                writeln!(err, "cargo run --release -p laminar-sim --example worlds -- --seed {seed} --trace\n")?;
            }
        }
        if arguments.stop && !failed.is_empty() {
            break;
        }
        if (seed + 1 - first).is_multiple_of(1000) {
            eprintln!("{} of {count} worlds, {} failed, {:.1?}", seed + 1 - first, failed.len(), begin.elapsed());
        }
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        let json = json!({
            "worlds": count,
            "first_seed": first,
            "failed_seeds": failed,
            "steps": sum.steps,
            "accepted": sum.accepted,
            "refused": sum.refused,
            "finished": sum.finished,
            "ended_early": sum.ended_early,
            "tokens": sum.tokens,
            "preemptions": sum.preemptions,
            "prefix_hit_tokens": sum.hit_tokens,
            "refused_calls": sum.refused_calls,
            "virtual_s": sum.time.as_secs_f64(),
            "wall_s": begin.elapsed().as_secs_f64(),
        });
        writeln!(out, "{json:#}")?;
    } else {
        writeln!(
            out,
            "{count} worlds, {} failed, in {:.1?}: {} steps, {} sequences accepted and {} refused, {} finished, {} ended \
             early, {} tokens, {} preemptions, {} rows from the prefix cache, {} calls refused, {:.0?} of virtual time",
            failed.len(),
            begin.elapsed(),
            sum.steps,
            sum.accepted,
            sum.refused,
            sum.finished,
            sum.ended_early,
            sum.tokens,
            sum.preemptions,
            sum.hit_tokens,
            sum.refused_calls,
            sum.time,
        )?;
    }
    Ok(failed.is_empty())
}

/// Prints one seed call by call.
fn trace(seed: u64) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let Some(scenario) = scenarios::scenario(seed) else { return Ok(true) };
    writeln!(out, "{:?}\n{:?}\n", scenario.config, scenario.faults)?;
    let outcome = laminar_sim::trace(&scenario, &mut |line| {
        // Whoever stops reading misses lines, nothing else.
        let _ = writeln!(out, "{line}");
    });
    match &outcome {
        Ok(summary) => writeln!(out, "\npassed: {summary:?}")?,
        Err(violation) => writeln!(out, "\nfailed at {violation}")?,
    }
    Ok(outcome.is_ok())
}

fn add(sum: &mut Summary, one: &Summary) {
    sum.steps += one.steps;
    sum.accepted += one.accepted;
    sum.refused += one.refused;
    sum.finished += one.finished;
    sum.ended_early += one.ended_early;
    sum.tokens += one.tokens;
    sum.preemptions += one.preemptions;
    sum.hit_tokens += one.hit_tokens;
    sum.refused_calls += one.refused_calls;
    sum.time += one.time;
}
