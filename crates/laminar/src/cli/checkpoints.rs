//! The flags of the commands that make and judge model files: `laminar quantize` and `laminar perplexity`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::KvTypeName;

/// `laminar quantize`.
#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// GGUF file, Hugging Face folder or hub id
    #[arg(value_name = "IN")]
    pub input: String,
    /// GGUF file to write
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Type of the file: f32, f16, bf16, q8_0, q6_k, q5_k_m, q5_k_s, q5_1, q5_0, q4_k_m, q4_k_s, q4_1, q4_0 or mxfp4
    #[arg(short, long = "type", value_name = "TYPE")]
    pub ty: String,
    /// Replace OUT if it is there
    #[arg(long)]
    pub force: bool,
    /// Worker threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Print what was written as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `laminar perplexity`.
#[derive(Debug, Args)]
pub struct PerplexityArgs {
    /// GGUF file, Hugging Face folder or hub id; without it, the built-in tiny model
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Text to score, UTF-8
    #[arg(short, long, value_name = "TEXT")]
    pub file: PathBuf,
    /// Tokens of a chunk; the second half of each is scored
    #[arg(long, value_name = "N", default_value = "512")]
    pub context: NonZeroUsize,
    /// Score so many chunks at most [default: all]
    #[arg(long, value_name = "N")]
    pub chunks: Option<NonZeroUsize>,
    /// Worker threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Number type of the KV cache
    #[arg(long, value_enum, default_value_t = KvTypeName::F16)]
    pub kv_type: KvTypeName,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
