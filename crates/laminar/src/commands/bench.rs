//! `laminar bench`: what this machine can do, and what models make of it.

use crate::bench;
use crate::cli::{BenchArgs, BenchCommand};

/// Measures and prints.
pub fn bench(args: &BenchArgs, quiet: bool) -> anyhow::Result<()> {
    match &args.command {
        BenchCommand::Engine(args) => bench::engine::run(args, quiet),
        BenchCommand::Roof(args) => bench::roof::run(args, quiet),
        BenchCommand::Serve(args) => bench::serve::serve(args, quiet),
    }
}
