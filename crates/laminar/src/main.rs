//! `laminar`: serve a model, answer one prompt, look into a model file, write
//! a synthetic one, measure.
//!
//! This crate is flags and glue. [`cli`] holds every flag, [`commands`] one
//! file per command, [`bench`](mod@bench) what `laminar bench` measures,
//! [`source`] and [`hub`] find the model, [`setup`] starts the engine,
//! [`exit`] maps errors to exit codes. Answers go to stdout alone; logs,
//! progress bars and errors go to stderr.

mod bench;
mod cli;
mod commands;
mod exit;
mod hub;
mod logging;
mod progress;
mod setup;
mod source;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit::report(dispatch(&cli))
}

fn dispatch(cli: &Cli) -> anyhow::Result<()> {
    logging::start(&cli.verbosity)?;
    let quiet = cli.verbosity.quiet;
    match &cli.command {
        Command::Serve(args) => commands::serve::serve(args, quiet),
        Command::Run(args) => commands::run::run(args, quiet),
        Command::Inspect(args) => commands::inspect::inspect(args, quiet),
        Command::Models(args) => commands::models::models(args),
        Command::Synth(args) => commands::synth::synth(args, quiet),
        Command::Quantize(args) => commands::quantize::quantize(args, quiet),
        Command::Perplexity(args) => commands::perplexity::run(args, quiet),
        Command::Bench(args) => commands::bench::bench(args, quiet),
        Command::Simulate(args) => commands::simulate::simulate(args, quiet),
    }
}
