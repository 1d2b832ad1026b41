//! `laminar bench`: measurements.

use crate::bench::serve;
use crate::cli::{BenchArgs, BenchCommand};

/// Runs the measurement that was asked for.
pub fn bench(args: &BenchArgs, quiet: bool) -> anyhow::Result<()> {
    match &args.command {
        BenchCommand::Serve(args) => serve::serve(args, quiet),
    }
}
