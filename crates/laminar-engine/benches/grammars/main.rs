//! What it costs to keep answers to a grammar.
//!
//! `cargo bench -p laminar-engine --bench grammars -- [--rounds N] [--tokens N] [--batch N] [--threads N]
//! [--greedy] [WORD ...]`, where words are parts of the names of models and grammars
//!
//! Each round generates the same number of tokens from the same prompts twice, one after the other: freely, and bound to a
//! grammar that is not complete before the last token. What counts is the ratio of the two, of which the median of all rounds
//! is shown, with the smallest and the largest. Grammars are compiled before the first round, as a server keeps them; copying
//! the parser for each answer, masks, and choosing tokens are all in the time.
//!
//! Two models: the one built into the program, and a scripted one with a vocabulary of 151,936 tokens, whose step keeps all
//! threads busy for a given time and then gives each sequence logits that were drawn beforehand. Processor time is that of all
//! threads of the process.

mod scripted;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use laminar_engine::{
    Constraint, Engine, EngineConfig, Event, GenerateRequest, Grammar, GrammarCompiler, Policy, SamplingParams,
};
use laminar_kernels::Pool;
use laminar_model::checkpoint::Checkpoint;
use laminar_model::tokenizer::{EncodeOptions, Tokenizer};
use laminar_model::{LoadOptions, Model};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use scripted::{Scripted, large_vocabulary};

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: cargo bench -p laminar-engine --bench grammars -- [--rounds N] [--tokens N] [--batch N] \
                     [--threads N] [--greedy] [WORD ...]";

/// Steps of the scripted model: one that costs nothing, and one like that of a model of about a billion parameters here.
const STEPS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(20)];

struct Options {
    rounds: usize,
    tokens: usize,
    batch: usize,
    threads: usize,
    greedy: bool,
    words: Vec<String>,
}

fn main() -> ExitCode {
    match Options::read(std::env::args().skip(1)).and_then(|options| bench(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Options { rounds: 9, tokens: 160, batch: 8, threads, greedy: false, words: Vec::new() };
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<usize, Failure> {
                let value = arguments.next().and_then(|value| value.parse().ok()).filter(|value| *value > 0);
                value.ok_or_else(|| format!("{argument} needs a number, at least 1").into())
            };
            match argument.as_str() {
                "--rounds" => options.rounds = number()?,
                "--tokens" => options.tokens = number()?,
                "--batch" => options.batch = number()?,
                "--threads" => options.threads = number()?,
                "--greedy" => options.greedy = true,
                // What cargo itself adds.
                "--bench" => {}
                word if !word.starts_with('-') => options.words.push(word.to_owned()),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

/// Grammars that no answer of a few hundred tokens completes.
fn grammars() -> Vec<(&'static str, Grammar)> {
    let record = json!({"type": "object", "additionalProperties": false, "required": ["name", "size", "kind", "tags"],
        "properties": {"name": {"type": "string"}, "size": {"type": "integer", "minimum": 0, "maximum": 9999},
        "kind": {"enum": ["animal", "plant", "stone"]}, "tags": {"type": "array", "items": {"type": "string",
        "maxLength": 12}, "maxItems": 3}}});
    let list = |items| Grammar::Json(json!({"type": "array", "items": items, "minItems": 400}));
    vec![
        ("records", list(record)),
        ("any objects", list(json!({"type": "object"}))),
        ("regex", Grammar::Regex("([A-Z][a-z]{2,9}( [a-z]{1,12}){2,9}[.!?] ){400}".into())),
    ]
}

/// A model to generate with.
struct Subject {
    name: String,
    engine: Engine,
    compiler: GrammarCompiler,
    tokenizer: Arc<Tokenizer>,
}

/// What one run took.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    processor: Duration,
}

fn bench(options: &Options) -> Result<(), Failure> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../laminar/assets/laminar-tiny.gguf");
    let checkpoint = Checkpoint::open(Path::new(path))?;
    println!(
        "batch {}, {} tokens each, {} rounds, {} threads, {}; tokens/s and microseconds a token are medians",
        options.batch,
        options.tokens,
        options.rounds,
        options.threads,
        if options.greedy { "greedy" } else { "temperature 1" }
    );
    println!(
        "{:<28} {:<12} {:>10} {:>10}   {:<22} {:>9} {:>9} {:>9} {:>9}",
        "model",
        "grammar",
        "free tok/s",
        "kept tok/s",
        "ratio (min .. max)",
        "free us",
        "kept us",
        "free cpu",
        "kept cpu"
    );
    let of_grammars = |word: &&String| grammars().iter().any(|(name, _)| name.contains(word.as_str()));
    let wanted = |name: &str| options.words.iter().filter(|word| !of_grammars(word)).all(|word| name.contains(&**word));
    if wanted("embedded") {
        measure(&embedded(&checkpoint, options)?, options)?;
    }
    for step in STEPS {
        let name = format!("scripted 150k, {} ms a step", step.as_millis());
        if wanted(&name) {
            measure(&scripted(name, &checkpoint, step, options)?, options)?;
        }
    }
    Ok(())
}

fn config(options: &Options) -> EngineConfig {
    EngineConfig {
        policy: Policy::Chunked { tokens: 256 },
        context: 64 + options.tokens,
        max_sequences: options.batch,
        prefix_cache: false,
        ..EngineConfig::default()
    }
}

fn embedded(checkpoint: &Checkpoint, options: &Options) -> Result<Subject, Failure> {
    let pool = Pool::new(options.threads);
    let tokenizer = Arc::new(Tokenizer::from_checkpoint(checkpoint)?);
    let model = Model::load(checkpoint, &pool, &LoadOptions::default())?;
    let engine = Engine::start(model, Arc::clone(&tokenizer), pool, config(options))?;
    let compiler = GrammarCompiler::new(&tokenizer)?;
    Ok(Subject { name: format!("embedded ({} tokens)", tokenizer.vocab_size()), engine, compiler, tokenizer })
}

fn scripted(name: String, checkpoint: &Checkpoint, step: Duration, options: &Options) -> Result<Subject, Failure> {
    let tokenizer = Arc::new(Tokenizer::from_gguf(&large_vocabulary(checkpoint)?)?);
    let blocks = options.batch * (64 + options.tokens).div_ceil(Scripted::BLOCK_LEN);
    let executor = Scripted::new(&tokenizer, step, Pool::new(options.threads), blocks);
    let engine = Engine::start_with(Box::new(executor), Arc::clone(&tokenizer), config(options))?;
    let compiler = GrammarCompiler::new(&tokenizer)?;
    Ok(Subject { name, engine, compiler, tokenizer })
}

fn measure(subject: &Subject, options: &Options) -> Result<(), Failure> {
    let all = grammars();
    let is_named = |name: &str| options.words.iter().any(|word| name.contains(word.as_str()));
    let any_is_named = all.iter().any(|(name, _)| is_named(name));
    for (name, grammar) in all.into_iter().filter(|(name, _)| !any_is_named || is_named(name)) {
        let constraint = subject.compiler.compile(&grammar)?;
        // Warm: threads, memory, pages.
        run(subject, options, None, 0)?;
        run(subject, options, Some(&constraint), 0)?;
        let mut rounds = Vec::new();
        for round in 0..options.rounds {
            let free = || run(subject, options, None, round);
            let kept = || run(subject, options, Some(&constraint), round);
            rounds.push(match round % 2 {
                0 => {
                    let free = free()?;
                    (free, kept()?)
                }
                _ => {
                    let kept = kept()?;
                    (free()?, kept)
                }
            });
        }
        report(&subject.name, name, options, &rounds);
    }
    Ok(())
}

fn report(subject: &str, grammar: &str, options: &Options, rounds: &[(Took, Took)]) {
    let tokens = (options.batch * options.tokens) as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / tokens;
    let of = |pick: fn(&(Took, Took)) -> Duration| median(rounds.iter().map(|round| micros(pick(round))).collect());
    let (free, kept) = (of(|round| round.0.wall), of(|round| round.1.wall));
    let mut ratios: Vec<f64> = rounds.iter().map(|(free, kept)| free.wall.div_duration_f64(kept.wall)).collect();
    ratios.sort_by(f64::total_cmp);
    let spread = format!(
        "{:.3} ({:.3} .. {:.3})",
        median(ratios.clone()),
        ratios.first().copied().unwrap_or_default(),
        ratios.last().copied().unwrap_or_default()
    );
    println!(
        "{subject:<28} {grammar:<12} {:>10.0} {:>10.0}   {spread:<22} {free:>9.1} {kept:>9.1} {:>9.1} {:>9.1}",
        1e6 / free,
        1e6 / kept,
        of(|round| round.0.processor),
        of(|round| round.1.processor),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn run(subject: &Subject, options: &Options, constraint: Option<&Constraint>, round: usize) -> Result<Took, Failure> {
    let requests: Vec<GenerateRequest> = (0..options.batch)
        .map(|number| {
            let text = format!("Here is a list of things, number {number}:");
            Ok(GenerateRequest {
                prompt: subject.tokenizer.encode(&text, EncodeOptions::default())?,
                sampling: SamplingParams {
                    temperature: if options.greedy { 0.0 } else { 1.0 },
                    seed: Some((round * options.batch + number) as u64),
                    ..SamplingParams::default()
                },
                max_tokens: Some(options.tokens),
                ignore_eos: true,
                constraint: constraint.cloned(),
                ..GenerateRequest::default()
            })
        })
        .collect::<Result<_, Failure>>()?;
    let (begun, processor) = (Instant::now(), processor_time());
    let generations = requests.into_iter().map(|request| subject.engine.submit(request));
    let generations: Vec<_> = generations.collect::<Result<_, _>>()?;
    let mut tokens = 0;
    for mut generation in generations {
        while let Some(event) = generation.blocking_next() {
            match event {
                Event::Token(_) => tokens += 1,
                Event::Finished(_) => {}
                Event::Failed(error) => return Err(error.into()),
            }
        }
    }
    let took = Took { wall: begun.elapsed(), processor: processor_time() - processor };
    if tokens != options.batch * options.tokens {
        return Err(format!("{tokens} tokens came instead of {}", options.batch * options.tokens).into());
    }
    Ok(took)
}

/// What all threads of this process have taken so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
