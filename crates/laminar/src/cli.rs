//! The command line: every flag, its default and its help, in one place.

mod bench_serve;
mod checkpoints;
mod simulate;

pub use bench_serve::{EndpointName, PromptForm, ScenarioName, ServeBenchArgs};
pub use checkpoints::{PerplexityArgs, QuantizeArgs};
pub use simulate::{PaperArgs, PlanArgs, RoutingName, SimulateArgs, SimulateCommand, SimulatedPolicy};

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// What `laminar --help` shows after the commands.
const EXAMPLES: &str = "\
Examples:
  laminar serve                                   the model built into the program
  laminar serve --model ./Qwen3-30B-A3B-Q4_K_M.gguf --tbt-target 200ms
  laminar run --model Qwen/Qwen3-0.6B-GGUF 'Why is the sky blue?'
  laminar inspect ./model.gguf --json
  laminar synth --preset tiny --out tiny.gguf
  laminar quantize ./folder model-q4_k_m.gguf --type q4_k_m
  laminar perplexity --model ./model.gguf --file text.txt
  laminar bench engine --model ./model.gguf --prompt 32,512 --batch 1,8
  laminar bench serve --url http://127.0.0.1:8080 --scenario mixed --html report.html

MODEL is a .gguf file (name the first part of a split one), a Hugging Face
folder, or a hub id: org/name, or org/name/file.gguf for one file of it.
Hub ids honour HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE.";

/// An LLM server that moves prompts through the model layer by layer, so that
/// running streams keep flowing.
#[derive(Debug, Parser)]
#[command(name = "laminar", version, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How much to log.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// How much goes to stderr.
#[derive(Debug, Args)]
pub struct Verbosity {
    /// Log more: -v info, -vv debug, -vvv trace (LAMINAR_LOG sets a precise filter)
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Log nothing and draw no progress bars; errors are still printed
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a model over an OpenAI-compatible HTTP API
    Serve(ServeArgs),
    /// Answer one prompt on stdout
    Run(RunArgs),
    /// Show what a model file holds: architecture, tensors, types, memory
    Inspect(InspectArgs),
    /// List the model families that can be opened
    Models(ModelsArgs),
    /// Write a GGUF of a published shape with seeded random weights
    Synth(SynthArgs),
    /// Write a GGUF file of another type, from a GGUF file or a Hugging Face folder
    Quantize(QuantizeArgs),
    /// Score how well a model predicts a text
    Perplexity(PerplexityArgs),
    /// Measure this machine, and models on it
    Bench(BenchArgs),
    /// Serve requests on a machine that is not here: plan hardware, compare policies, reproduce the paper
    Simulate(Box<SimulateArgs>),
}

/// How the engine is set up, for `serve` and `run` alike.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// GGUF file, Hugging Face folder or hub id; without it, the built-in tiny model
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
    /// How prompts share the machine with running streams
    #[arg(long, value_enum, default_value_t = PolicyName::Adaptive)]
    pub policy: PolicyName,
    /// Prompt tokens a step under --policy chunked; `auto` takes as many as --tbt-target allows
    #[arg(long, value_name = "N|auto", default_value = "512")]
    pub chunk: Chunk,
    /// Longest time between two tokens of a stream (200ms, 0.5s), under --policy adaptive or --chunk auto
    /// [default: about three times what streams need alone]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub tbt_target: Option<Duration>,
    /// Longest time to a first token (10s, 1m 30s); --policy adaptive runs those first that would miss it
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub ttft_target: Option<Duration>,
    /// Worker threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Longest context in tokens, prompt and answer together [default: the model's, at most 32768]
    #[arg(long, value_name = "N")]
    pub ctx: Option<NonZeroUsize>,
    /// Number type of the KV cache
    #[arg(long, value_enum, default_value_t = KvTypeName::F16)]
    pub kv_type: KvTypeName,
    /// Keep packed weights in DIR, so that the next start maps them and packs nothing; takes about the disk space of the
    /// model once more [default DIR: laminar/packed in the user's cache folder]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub packed_cache: Option<Option<PathBuf>>,
}

/// `laminar serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Model and engine.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Sequences that run at once; more requests wait in a queue
    #[arg(long, value_name = "N", default_value = "16")]
    pub max_seqs: NonZeroUsize,
    /// Requests that may wait; beyond it the answer is 429
    #[arg(long, value_name = "N", default_value = "1024")]
    pub max_waiting: NonZeroUsize,
    /// Run every prompt from its first token, even if another one began alike
    #[arg(long)]
    pub no_prefix_cache: bool,
    /// Name of the model in the API [default: from the model's file or id]
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// Let browsers on any origin call the API
    #[arg(long)]
    pub cors: bool,
}

/// `laminar run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Model and engine.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Most tokens to write [default: until the model stops or the context is full]
    #[arg(short = 'n', long, value_name = "N")]
    pub max_tokens: Option<NonZeroUsize>,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// Print one JSON object: text, token ids, finish reason, timings
    #[arg(long)]
    pub json: bool,
    /// Take the prompt as it is, without the model's chat template
    #[arg(long)]
    pub raw: bool,
    /// Prompt as token ids (1,2,3) in place of a text; implies --raw
    #[arg(long, value_name = "IDS", value_delimiter = ',', conflicts_with = "prompt")]
    pub prompt_ids: Vec<u32>,
    /// Go on after the model's end-of-text token, up to --max-tokens
    #[arg(long, requires = "max_tokens")]
    pub ignore_eos: bool,
    /// The prompt; `-` reads it from stdin
    #[arg(required_unless_present = "prompt_ids")]
    pub prompt: Option<String>,
}

/// How `run` chooses tokens.
#[derive(Debug, Args)]
pub struct SamplingArgs {
    /// 0 takes the likeliest token; higher is more varied
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Choose among the K likeliest tokens only
    #[arg(long, value_name = "K")]
    pub top_k: Option<NonZeroUsize>,
    /// Choose among the likeliest tokens whose probabilities add up to P
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    pub top_p: f32,
    /// Drop tokens less likely than P times the likeliest
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    pub min_p: f32,
    /// Make tokens that are already there less likely; 1 changes nothing
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    pub repetition_penalty: f32,
    /// Seed of the random numbers; the same seed gives the same answer
    #[arg(long)]
    pub seed: Option<u64>,
    /// Stop before this text (may be repeated)
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

/// `laminar inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// GGUF file, Hugging Face folder or hub id; without it, the built-in tiny model
    pub model: Option<String>,
    /// Print everything, every tensor included, as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `laminar models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// `laminar synth`.
#[derive(Debug, Args)]
pub struct SynthArgs {
    /// Published shape to follow (an unknown name lists them)
    #[arg(long)]
    pub preset: String,
    /// Layers to write [default: the preset's]
    #[arg(long, value_name = "N")]
    pub layers: Option<NonZeroUsize>,
    /// Type of the large matrices
    #[arg(long, value_name = "TYPE", default_value = "q8_0")]
    pub quant: String,
    /// Seed of the random weights
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Vocabulary rows, at least the tokenizer's own [default: the tokenizer's]
    #[arg(long, value_name = "N")]
    pub vocab: Option<NonZeroU32>,
    /// File to write; an existing one is replaced once the new one is complete
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `laminar bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Speed of a model's prompt and decode steps, beside what this machine could do at best
    Engine(EngineBenchArgs),
    /// What this machine could do at best: memory, multiplications, dispatch
    Roof(RoofArgs),
    /// Put load on an OpenAI-compatible server, ours or another's, and time every token
    Serve(Box<ServeBenchArgs>),
}

/// `laminar bench engine`. Its counts are checked by the command, which says in one line what is wrong with them.
#[derive(Debug, Args)]
pub struct EngineBenchArgs {
    /// GGUF file, Hugging Face folder or hub id; without it, the built-in tiny model
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Lengths of the prompts, in tokens [default: those of 32,512,2048 that fit the model's context]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub prompt: Vec<usize>,
    /// Decode steps of a measurement
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub decode: usize,
    /// Sequences that decode at once
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,8")]
    pub batch: Vec<usize>,
    /// Tokens of every sequence before it decodes [default: 256, or half of the model's context]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Measurements of each kind; they take turns
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub repeat: usize,
    /// Worker threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Number type of the KV cache
    #[arg(long, value_enum, default_value_t = KvTypeName::F16)]
    pub kv_type: KvTypeName,
    /// Seed of the random token ids
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Write an SVG with tokens/s by prompt length and the machine's roof above it; say
    /// --prompt 8,16,32,64,128,256,512,1024,2048
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// `laminar bench roof`.
#[derive(Debug, Args)]
pub struct RoofArgs {
    /// Most threads to measure with [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Scheduling policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyName {
    /// A step runs as many rows and layers of prompts as its time allows
    Adaptive,
    /// A prompt runs through one group of layers a step
    Layered,
    /// A prompt runs in chunks of --chunk tokens
    Chunked,
    /// A prompt runs whole in one step; streams wait for it
    Whole,
}

/// `--chunk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// As many prompt tokens as the target allows.
    Auto,
    /// So many.
    Tokens(NonZeroUsize),
}

impl FromStr for Chunk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Chunk::Auto);
        }
        text.parse().map(Chunk::Tokens).map_err(|_| "it must be a number of tokens, at least 1, or `auto`".to_owned())
    }
}

/// A time as people write it: `200ms`, `1m 30s`.
fn duration(text: &str) -> Result<Duration, String> {
    // The parser's own messages speak of its insides.
    let duration = humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "it must be a time above zero with a unit, such as 200ms or 10s".to_owned())
}

/// Number types of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KvTypeName {
    /// Half precision
    F16,
    /// Single precision, for comparisons with references
    F32,
    /// 8 bits and a scale for every 32 values: about half the memory
    #[value(name = "q8_0")]
    Q8_0,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units_and_are_above_zero() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["200", "0s", "-1s", "", "soon", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_chunk_is_a_number_of_tokens_or_auto() {
        assert_eq!("auto".parse(), Ok(Chunk::Auto));
        assert_eq!("64".parse(), Ok(Chunk::Tokens(NonZeroUsize::MIN.saturating_add(63))));
        for bad in ["0", "-1", "many", ""] {
            assert!(bad.parse::<Chunk>().is_err(), "{bad}");
        }
    }
}
