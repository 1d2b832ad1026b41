//! The flags of `laminar simulate`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::duration;

/// What `laminar simulate --help` shows after the flags.
const NOTES: &str = "\
Examples:
  laminar simulate list
  laminar simulate --hardware h100-sxm --devices 2 --model qwen3-30b-a3b --workload arxiv --rate 1.3 --policy layered
  laminar simulate --devices 8 --model qwen3-235b-a22b --workload azure-conv --rate 1,2,4,8 --policy chunked,adaptive \\
    --slo-tbt 50ms --html plan.html
  laminar simulate --hardware my-box.toml --model ./model.gguf --workload lengths.csv --perfetto trace.json
  laminar simulate paper --json

Several values of a flag, separated by commas, are all tried with each other.

The scheduler is the real one; the machine is a roofline in virtual time. Shares of the data sheet that kernels reach are
fitted for h100-sxm and assumed for some others: see the comments in their profiles and `laminar simulate paper`.";

/// `laminar simulate`.
#[derive(Debug, Args)]
#[command(after_help = NOTES, args_conflicts_with_subcommands = true)]
pub struct SimulateArgs {
    /// What to do instead of a simulation.
    #[command(subcommand)]
    pub command: Option<SimulateCommand>,
    /// The simulation.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// What else there is.
#[derive(Debug, Subcommand)]
pub enum SimulateCommand {
    /// Show the built-in machines, models, workloads and policies
    List {
        /// Print one JSON object, with everything that is in the profiles
        #[arg(long)]
        json: bool,
    },
    /// Run the experiments of the layered prefill paper and put ours beside theirs; exit code 0 only if all hold
    Paper(PaperArgs),
}

/// `laminar simulate paper`.
#[derive(Debug, Args)]
pub struct PaperArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Also write a Markdown page, and its plots as SVG files beside it
    #[arg(long, value_name = "FILE.md")]
    pub doc: Option<PathBuf>,
}

/// A simulation, or several.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Machines: names from `laminar simulate list`, or .toml files
    #[arg(long, value_name = "NAME|FILE", value_delimiter = ',', default_value = "h100-sxm")]
    pub hardware: Vec<String>,
    /// Devices of a machine, which share every layer [default: the profile's]
    #[arg(long, value_name = "N")]
    pub devices: Option<NonZeroUsize>,
    /// A name from `laminar simulate list`, a .toml file, or any checkpoint that `laminar run` takes
    #[arg(short, long, value_name = "NAME|FILE", default_value = "qwen3-30b-a3b")]
    pub model: String,
    /// A name from `laminar simulate list`, or a .csv file with prompt_tokens, output_tokens and perhaps arrival_s
    #[arg(long, value_name = "NAME|FILE", default_value = "sharegpt")]
    pub workload: String,
    /// Requests a second
    #[arg(long, value_name = "R,R", value_delimiter = ',', default_value = "1")]
    pub rate: Vec<f64>,
    /// Policies
    #[arg(long, value_enum, value_name = "P,P", value_delimiter = ',', default_value = "adaptive")]
    pub policy: Vec<SimulatedPolicy>,
    /// Prompt tokens a step under chunked, at most under chunked-deadline, and with decode rows under chunked-released
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "512")]
    pub chunk: Vec<NonZeroUsize>,
    /// Layer groups under layered, and of a full cohort under layered-released [default: one for each 512 tokens; 16]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub groups: Vec<NonZeroUsize>,
    /// How the times between requests vary; 1 is Poisson, more are bursts
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub bursts: f64,
    /// Time that is measured; a tenth of it comes before to warm up, and one after
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10m")]
    pub duration: Duration,
    /// Longest time to the first token of a request in time
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    pub slo_ttft: Duration,
    /// Longest gap between tokens of a request in time
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "125ms")]
    pub slo_tbt: Duration,
    /// What adaptive and chunked-deadline aim at between two tokens [default: --slo-tbt, and 0.8 of it]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub tbt_target: Option<Duration>,
    /// Sequences that run at once
    #[arg(long, value_name = "N", default_value = "256")]
    pub max_seqs: NonZeroUsize,
    /// Longest context in tokens, prompt and answer together
    #[arg(long, value_name = "N", default_value = "32768")]
    pub ctx: NonZeroUsize,
    /// How rows choose experts
    #[arg(long, value_enum, default_value_t = RoutingName::Skewed)]
    pub routing: RoutingName,
    /// Seed of the requests; the same seed gives the same numbers
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Write a page with plots and tables
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the first run as a trace for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
    /// Seconds of the run that the trace shows
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1m", requires = "perfetto")]
    pub perfetto_duration: Duration,
}

/// Policies that can be simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SimulatedPolicy {
    /// A step runs as many rows and layers of prompts as its time allows
    Adaptive,
    /// A prompt runs through one group of layers a step
    Layered,
    /// The same by the rules of the paper's released code
    LayeredReleased,
    /// A prompt runs in chunks of --chunk tokens
    Chunked,
    /// The same by the rules of the paper's released code: --chunk counts decode rows, too
    ChunkedReleased,
    /// A prompt runs in chunks that end within the target
    ChunkedDeadline,
    /// A prompt runs whole in one step; streams wait for it
    Whole,
}

/// How rows choose experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoutingName {
    /// As fitted on published coverage
    Skewed,
    /// At random
    Uniform,
}
