//! The flags of `laminar bench serve`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration;
use crate::bench::serve::LengthSpec;

/// What `laminar bench serve --help` shows after the flags.
const NOTES: &str = "\
Examples:
  laminar bench serve --url http://127.0.0.1:8080 --scenario mixed --streams 4 --prompts 512,2048 --repeat 3
  laminar bench serve --url URL --scenario poisson --rate 2 --duration 1m --prompt-tokens 100-900 --slo-ttft 2s
  laminar bench serve --url URL --scenario trace --trace azure_conv_2023.csv --requests 200 --time-scale 0.5
  laminar bench serve --url URL --scenario sweep --rate 0.5 --slo-ttft 2s --slo-tbt 200ms --html sweep.html
  laminar bench serve --compare a.json,b.json --html both.html

LENGTH is a number of tokens, a range A-B (uniform, both ends included), or a
CSV file with a column prompt_tokens or output_tokens; if both flags name the
same file, a request takes both numbers from the same row.

Where the server takes them, requests carry ignore_eos (answers then have their
full length), cache_salt and cache_prompt (so that no run profits from an earlier
one); --extra '{\"ignore_eos\":null}' leaves a field out.

A time stamp is taken when a server-sent event with a token arrives. A gap is the
time between two such events of one answer. Percentile p is the smallest value
that at least p % of all values do not exceed. Probes and warm-up are left out.

Exit code 0: measured, even if some requests failed (they are counted by kind);
2: bad flags, no server, or not one request was answered.";

/// `laminar bench serve`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct ServeBenchArgs {
    /// Address of the server, such as http://127.0.0.1:8080 (a trailing /v1 may be there)
    #[arg(long, required_unless_present = "compare", requires = "scenario")]
    pub url: Option<String>,
    /// What to do to it
    #[arg(long, value_enum, required_unless_present = "compare", requires = "url")]
    pub scenario: Option<ScenarioName>,
    /// Model to ask for [default: the first one that the server lists]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Key for the header `Authorization: Bearer` [default: LAMINAR_API_KEY or OPENAI_API_KEY from the environment]
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Which API to use
    #[arg(long, value_enum, default_value_t = EndpointName::Completions)]
    pub endpoint: EndpointName,
    /// How prompts are sent; auto tries token ids first, as far as the endpoint has them
    #[arg(long, value_enum, default_value_t = PromptForm::Auto)]
    pub prompt_form: PromptForm,
    /// Token ids A-B that prompts of ids are made of; they should be ordinary tokens of the model
    #[arg(long, value_name = "A-B", default_value = "300-1999", value_parser = id_range)]
    pub token_ids: (u32, u32),
    /// Seed of prompts, lengths and arrivals; the same seed gives the same requests
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = finite)]
    pub temperature: f64,
    /// JSON object with more fields for each request ({"cache_prompt":false}); null takes a field out
    #[arg(long, value_name = "JSON")]
    pub extra: Option<String>,
    /// Longest silence of a server before a request counts as failed
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10m")]
    pub timeout: Duration,
    /// Requests before the measurement, one after the other, not counted
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub warmup: usize,

    /// Prompt lengths, except under mixed
    #[arg(long, value_name = "LENGTH", default_value = "512", help_heading = "Load")]
    pub prompt_tokens: LengthSpec,
    /// Answer lengths [default: 16 for the prompts of mixed, 128 otherwise]
    #[arg(long, value_name = "LENGTH", help_heading = "Load")]
    pub output_tokens: Option<LengthSpec>,
    /// Number of requests: of burst (default 16), poisson and each rate of sweep (default 100), or the first N of a trace
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub requests: Option<NonZeroUsize>,
    /// poisson, trace: no more arrivals after this time; sweep: length of each rate
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Load")]
    pub duration: Option<Duration>,
    /// poisson: mean arrivals a second; sweep: the first rate
    #[arg(long, value_name = "R", default_value_t = 1.0, value_parser = positive, help_heading = "Load")]
    pub rate: f64,
    /// sweep: rates to try in this order [default: double --rate until too many miss, then halve the step twice]
    #[arg(long, value_name = "R,R", value_delimiter = ',', value_parser = positive, help_heading = "Load")]
    pub rates: Vec<f64>,
    /// trace: CSV file with the columns arrival_s, prompt_tokens, output_tokens
    #[arg(long, value_name = "FILE", required_if_eq("scenario", "trace"), help_heading = "Load")]
    pub trace: Option<PathBuf>,
    /// trace: factor on all arrival times; 0.5 is twice as fast
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive, help_heading = "Load")]
    pub time_scale: f64,

    /// mixed: streams that decode all the time
    #[arg(long, value_name = "N", default_value = "4", help_heading = "Mixed load")]
    pub streams: NonZeroUsize,
    /// mixed: tokens in the prompt of each stream
    #[arg(long, value_name = "N", default_value = "64", help_heading = "Mixed load")]
    pub stream_prompt: NonZeroUsize,
    /// mixed: tokens after which a stream ends and is started anew (at first earlier for some, so that they spread)
    #[arg(long, value_name = "N", default_value = "1024", help_heading = "Mixed load")]
    pub stream_tokens: NonZeroUsize,
    /// mixed: lengths of the prompts that arrive, one after the other
    #[arg(
        long,
        value_name = "N,N",
        value_delimiter = ',',
        default_value = "512,2048,8192",
        help_heading = "Mixed load"
    )]
    pub prompts: Vec<NonZeroUsize>,
    /// mixed: how often each length arrives
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Mixed load")]
    pub repeat: NonZeroUsize,
    /// mixed: time before each prompt in which only the streams run
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", help_heading = "Mixed load")]
    pub settle: Duration,

    /// A request passes only if its first token comes within this time
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Targets")]
    pub slo_ttft: Option<Duration>,
    /// A request passes only if none of its gaps is longer
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Targets")]
    pub slo_tbt: Option<Duration>,

    /// Write everything that was measured as JSON; `-` is stdout, in place of the table
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub json: Option<PathBuf>,
    /// Write one HTML page with charts that needs no network
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub html: Option<PathBuf>,
    /// Put these earlier runs (--json) into the charts too; without --url, only them
    #[arg(long, value_name = "FILE,FILE", value_delimiter = ',', requires = "html", help_heading = "Reports")]
    pub compare: Vec<PathBuf>,
    /// Name of this run in reports [default: the model's name]
    #[arg(long, value_name = "TEXT", help_heading = "Reports")]
    pub label: Option<String>,
}

/// What is done to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScenarioName {
    /// Streams decode; prompts arrive one after the other
    Mixed,
    /// Requests arrive at random at a mean rate
    Poisson,
    /// Requests arrive as a file says
    Trace,
    /// All requests at once
    Burst,
    /// Poisson at rising rates until fewer than 90 % of the requests keep the targets, or the server falls behind
    Sweep,
}

/// Which API requests go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EndpointName {
    /// /v1/completions
    Completions,
    /// /v1/chat/completions
    Chat,
}

/// How prompts are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PromptForm {
    /// Token ids where the server takes them, else text
    Auto,
    /// Lists of token ids: exact lengths
    Ids,
    /// English words, as many as the server's own count says are needed
    Text,
}

fn id_range(text: &str) -> Result<(u32, u32), String> {
    let ends = text.split_once('-').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    ends.filter(|(low, high)| low <= high).ok_or_else(|| "it must be a range such as 300-1999".to_owned())
}

fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "it must be a number, at least 0".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    finite(text).ok().filter(|number| *number > 0.0).ok_or_else(|| "it must be a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_checked() {
        assert_eq!(id_range("5-9"), Ok((5, 9)));
        assert_eq!(positive("0.5"), Ok(0.5));
        assert_eq!(finite("0"), Ok(0.0));
        for bad in ["9-5", "-", "5", "a-b", ""] {
            assert!(id_range(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-1", "inf", "nan", ""] {
            assert!(positive(bad).is_err(), "{bad}");
        }
    }
}
