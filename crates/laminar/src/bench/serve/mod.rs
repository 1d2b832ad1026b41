//! `laminar bench serve`: a load generator for servers with OpenAI's API.
//!
//! [`dialect`] finds out what the server understands, [`arrivals`] plans what is sent when, [`load`] sends it through
//! [`client`] with a time stamp for each event, [`mixed`] and [`sweep`] are the scenarios that need more than a plan,
//! [`stats`] adds up, and [`report`] is what all output ([`tables`], [`html`], JSON) is made from.

mod arrivals;
pub mod chart;
mod client;
mod csv;
mod dialect;
mod html;
mod lengths;
mod live;
mod load;
mod mixed;
mod prompts;
mod random;
mod record;
mod report;
mod sse;
mod stats;
mod sweep;
mod tables;
pub mod units;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::cli::{ScenarioName, ServeBenchArgs};
use arrivals::{End, Planned};
use client::Client;
use dialect::Dialect;
use lengths::LengthPair;
pub use lengths::LengthSpec;
use live::{Counters, Live};
use load::Load;
use mixed::MixedPlan;
use prompts::Material;
use report::{Measured, Report, ServerFacts};
use stats::Slo;
use sweep::Rates;

/// Requests of poisson and of each rate of sweep, unless told otherwise.
const REQUESTS: usize = 100;
/// Requests of a burst, unless told otherwise.
const BURST: usize = 16;

/// Measures, prints, writes.
pub fn serve(args: &ServeBenchArgs, quiet: bool) -> anyhow::Result<()> {
    let earlier: Vec<Report> = args.compare.iter().map(|path| Report::read(path)).collect::<anyhow::Result<_>>()?;
    // Before the load, not after it: a run must not end with a report that has no place.
    let files = args.json.as_deref().filter(|path| !is_stdout(path)).into_iter().chain(args.html.as_deref());
    files.into_iter().try_for_each(check_writable)?;
    let mut reports = Vec::new();
    if let (Some(url), Some(scenario)) = (&args.url, args.scenario) {
        let work = work(args, scenario)?;
        let key = args.api_key.clone().or_else(key_from_environment);
        let client = Client::new(url, key.as_deref(), args.timeout)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .thread_name("load")
            .build()
            .context("start the network threads")?;
        let report = runtime.block_on(measure(args, scenario, work, client, quiet))?;
        print(args, &report)?;
        reports.push(report);
    }
    reports.extend(earlier);
    if let Some(path) = &args.html {
        std::fs::write(path, html::page(&reports)).with_context(|| format!("--html {}", path.display()))?;
    }
    // After everything is written: what failed is in it.
    match reports.first() {
        Some(report) if args.url.is_some() && report.answered() == 0 => bail!("{}", nothing_answered(report)),
        _ => Ok(()),
    }
}

/// What a scenario is to do; everything that flags and files can get wrong is found while this is made.
#[derive(Debug)]
enum Work {
    Mixed(MixedPlan),
    Plan(Vec<Planned>),
    Sweep { rates: Rates, end: End, lengths: LengthPair },
}

fn work(args: &ServeBenchArgs, scenario: ScenarioName) -> anyhow::Result<Work> {
    let output = output_tokens(args, scenario);
    let lengths = LengthPair::load(&args.prompt_tokens, &output, args.seed)?;
    let requests = args.requests.map(|requests| requests.get());
    let seconds = args.duration.map(|duration| duration.as_secs_f64());
    // A duration alone is an end; without either there is a number.
    let end = End { requests: requests.or(seconds.is_none().then_some(REQUESTS)), seconds };
    Ok(match scenario {
        ScenarioName::Mixed => {
            let lengths_of = |index: usize| lengths.draw(index as u64).1;
            let once = args.prompts.iter().map(|tokens| tokens.get());
            let all = (0..args.repeat.get()).flat_map(|_| once.clone());
            Work::Mixed(MixedPlan {
                streams: args.streams.get(),
                stream_prompt: args.stream_prompt.get(),
                stream_tokens: args.stream_tokens.get(),
                arrivals: all.enumerate().map(|(index, tokens)| (tokens, lengths_of(index))).collect(),
                settle: args.settle,
            })
        }
        ScenarioName::Burst => Work::Plan(arrivals::burst(requests.unwrap_or(BURST), &lengths)),
        ScenarioName::Poisson => {
            let plan = arrivals::poisson(args.rate, end, &lengths, args.seed);
            if plan.is_empty() {
                bail!("--duration: nothing arrives in this time at {} requests a second; make it longer", args.rate);
            }
            Work::Plan(plan)
        }
        ScenarioName::Trace => {
            let path = args.trace.as_ref().ok_or_else(|| anyhow!("--scenario trace needs --trace FILE"))?;
            Work::Plan(arrivals::trace(path, args.time_scale, End { requests, seconds })?)
        }
        ScenarioName::Sweep => {
            if !slo(args).is_set() {
                bail!("--scenario sweep needs a target: --slo-ttft, --slo-tbt or both");
            }
            let rates = if args.rates.is_empty() { Rates::From(args.rate) } else { Rates::Listed(args.rates.clone()) };
            Work::Sweep { rates, end, lengths }
        }
    })
}

fn output_tokens(args: &ServeBenchArgs, scenario: ScenarioName) -> LengthSpec {
    let default = if scenario == ScenarioName::Mixed { 16 } else { 128 };
    args.output_tokens.clone().unwrap_or(LengthSpec::Fixed(default))
}

fn slo(args: &ServeBenchArgs) -> Slo {
    let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
    Slo { ttft_s: seconds(args.slo_ttft), tbt_s: seconds(args.slo_tbt) }
}

fn key_from_environment() -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|key| !key.is_empty());
    set("LAMINAR_API_KEY").or_else(|| set("OPENAI_API_KEY"))
}

async fn measure(
    args: &ServeBenchArgs,
    scenario: ScenarioName,
    work: Work,
    client: Client,
    quiet: bool,
) -> anyhow::Result<Report> {
    let counters = Arc::new(Counters::default());
    let live = Live::start(&counters, quiet);
    let dialect = Dialect::find(&client, args).await?;
    let server = ServerFacts {
        url: client.base().to_owned(),
        model: dialect.model.clone(),
        path: dialect.path().to_owned(),
        prompt_form: if matches!(dialect.material, Material::Ids { .. }) { "ids" } else { "text" }.to_owned(),
        ignore_eos: dialect.extensions,
    };
    let slo = slo(args);
    let name = scenario.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let load = Load::start(client, dialect, counters);
    let (prompt, output) = warm_up_lengths(&work);
    load.warm_up(args.warmup, prompt, output).await;
    let measured = match work {
        Work::Mixed(plan) => {
            let (records, prompts) = mixed::run(&load, &plan, &live).await?;
            Measured { records, prompts, ..Measured::default() }
        }
        Work::Plan(plan) => {
            live.phase(&format!("{name}, {} requests", plan.len()));
            Measured { records: load.replay(&plan, None).await?, ..Measured::default() }
        }
        Work::Sweep { rates, end, lengths } => {
            let (records, rates) = sweep::run(&load, &rates, end, &lengths, args.seed, &slo, &live).await?;
            Measured { records, rates, ..Measured::default() }
        }
    };
    let label = args.label.clone().unwrap_or_else(|| server.model.clone());
    Ok(Report::new(label, name, server, settings(args, scenario), slo, measured))
}

/// The lengths of a request that is like those to come.
fn warm_up_lengths(work: &Work) -> (usize, usize) {
    match work {
        Work::Mixed(plan) => (plan.stream_prompt, 16),
        Work::Plan(plan) => plan.first().map_or((16, 16), |first| (first.prompt_tokens, first.output_tokens)),
        Work::Sweep { lengths, .. } => lengths.draw(0),
    }
}

/// The flags that shape the load, for the report.
fn settings(args: &ServeBenchArgs, scenario: ScenarioName) -> Map<String, Value> {
    let mut settings = Map::new();
    let mut set = |name: &str, value: Value| settings.insert(name.to_owned(), value);
    set("seed", json!(args.seed));
    set("temperature", json!(args.temperature));
    set("extra", json!(args.extra));
    set("warmup", json!(args.warmup));
    set("output_tokens", json!(output_tokens(args, scenario).to_string()));
    if scenario == ScenarioName::Mixed {
        set("streams", json!(args.streams));
        set("stream_prompt", json!(args.stream_prompt));
        set("stream_tokens", json!(args.stream_tokens));
        set("settle_s", json!(args.settle.as_secs_f64()));
    } else {
        set("prompt_tokens", json!(args.prompt_tokens.to_string()));
        set("requests", json!(args.requests));
        set("duration_s", json!(args.duration.map(|duration| duration.as_secs_f64())));
    }
    match scenario {
        ScenarioName::Poisson | ScenarioName::Sweep => {
            set("rate", json!(args.rate));
        }
        ScenarioName::Trace => {
            set("trace", json!(args.trace));
            set("time_scale", json!(args.time_scale));
        }
        ScenarioName::Mixed | ScenarioName::Burst => {}
    }
    settings
}

/// The table or the JSON on stdout, the JSON in its file.
fn print(args: &ServeBenchArgs, report: &Report) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let to_stdout = args.json.as_deref().is_some_and(is_stdout);
    if to_stdout {
        serde_json::to_writer(&mut stdout, report).map_err(io::Error::from)?;
        writeln!(stdout)?;
    } else {
        write!(stdout, "{}", tables::text(report))?;
    }
    stdout.flush()?;
    if let Some(path) = args.json.as_ref().filter(|_| !to_stdout) {
        let text = serde_json::to_vec(report).context("write the report")?;
        std::fs::write(path, text).with_context(|| format!("--json {}", path.display()))?;
    }
    Ok(())
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

pub fn check_writable(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    if is_stdout(path) || path.is_dir() || !folder.is_dir() {
        bail!("{}: cannot be written; name a file in a folder that exists", path.display());
    }
    Ok(())
}

fn nothing_answered(report: &Report) -> String {
    let records = report.requests.iter().filter_map(|record| record.answer.failure.as_ref());
    let first = records.map(|failure| format!("{}: {}", failure.kind, failure.message)).next();
    let first = first.unwrap_or_else(|| "all were stopped".to_owned());
    format!("{}: not one of {} requests was answered; the first: {first}", report.server.url, report.requests.len())
}
