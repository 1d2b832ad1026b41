//! Logs go to stderr, so that stdout carries answers alone.

use tracing_subscriber::EnvFilter;

use crate::cli::Verbosity;

/// The variable that overrides `-v` and `-q`, in `tracing` filter syntax
/// (`LAMINAR_LOG=laminar_engine=debug`).
pub const VARIABLE: &str = "LAMINAR_LOG";

/// Starts logging. A filter that does not parse is an error of the user's.
pub fn start(verbosity: &Verbosity) -> anyhow::Result<()> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text)
            .map_err(|error| anyhow::anyhow!("{VARIABLE}: {error}; use for example {VARIABLE}=debug"))?,
        _ => EnvFilter::new(default_filter(verbosity)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(verbosity.verbose > 1)
        .init();
    Ok(())
}

/// The hub client logs what it also returns as an error; once is enough.
fn default_filter(verbosity: &Verbosity) -> &'static str {
    match (verbosity.quiet, verbosity.verbose) {
        (true, _) => "off",
        (false, 0) => "warn,hf_hub=off,xet=off",
        (false, 1) => "info",
        (false, 2) => "debug,hyper=info,hyper_util=info,reqwest=info",
        (false, _) => "trace",
    }
}
