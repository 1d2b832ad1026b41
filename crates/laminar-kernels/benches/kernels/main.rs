//! How fast the kernels are, and how far that is from what the machine could do.
//!
//! `cargo bench -p laminar-kernels --bench kernels -- [--threads N] [--rounds N] [--weights MIB] [--json] [WORD ...]`
//!
//! Prints the cases whose names hold every WORD: a kind (`linear`, `experts`, `attention`, `quantise`), a weight type
//! (`Q4_K`), a size (`x64`). Cases of a kind and a weight type are a group; each of its rounds measures the roofs of
//! [`laminar_kernels::roof`], then every case, with the dispatch rate before and after. A case is held against the roofs of
//! its own round, since a machine that others use changes its speed between one second and the next. Weights take
//! `--weights` MiB, which must be more than the caches hold, so few rows mean memory speed.

#[path = "../cases/mod.rs"]
mod cases;
mod measure;
mod report;

use std::process::ExitCode;

use cases::{Attending, Case, Failure, attention_case, expert_cases, linear_cases, quantise_case};
use laminar_kernels::roof::Reader;
use laminar_kernels::{Pool, WeightType};
use report::Head;

const USAGE: &str = "usage: cargo bench -p laminar-kernels --bench kernels -- [--threads N] [--rounds N] [--weights MIB] \
                     [--json] [WORD ...]";

/// Outputs and inputs of a matrix; inputs and hidden values of an expert. Those of Qwen3-30B-A3B.
const LINEAR: [usize; 2] = [2048, 2048];
const EXPERT: [usize; 2] = [2048, 768];
const LINEAR_ROWS: [usize; 5] = [1, 4, 16, 64, 512];
const EXPERT_ROWS: [usize; 6] = [1, 2, 4, 8, 32, 128];

/// What the command line asks for.
struct Options {
    threads: usize,
    rounds: usize,
    weights: usize,
    json: bool,
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
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        let mut options = Options { threads, rounds: 7, weights: 128, json: false, words: Vec::new() };
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<usize, Failure> {
                let value = arguments.next().and_then(|value| value.parse().ok()).filter(|value| *value > 0);
                value.ok_or_else(|| format!("{argument} needs a number, at least 1").into())
            };
            match argument.as_str() {
                "--threads" => options.threads = number()?,
                "--rounds" => options.rounds = number()?,
                "--weights" => options.weights = number()?,
                "--json" => options.json = true,
                // Cargo adds this one.
                "--bench" => {}
                flag if flag.starts_with('-') => return Err(USAGE.into()),
                word => options.words.push(word.to_lowercase()),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.words.iter().all(|word| name.split(' ').any(|part| part == word))
    }
}

/// Cases that share their data.
#[derive(Clone, Copy)]
enum Group {
    Linear(WeightType),
    Experts(WeightType),
    Attention,
    Quantise,
}

impl Group {
    fn all() -> impl Iterator<Item = Group> {
        let linear = WeightType::ALL.map(Group::Linear).into_iter();
        linear.chain(WeightType::ALL.map(Group::Experts)).chain([Group::Attention, Group::Quantise])
    }

    fn kind(self) -> &'static str {
        match self {
            Group::Linear(_) => "linear",
            Group::Experts(_) => "experts",
            Group::Attention => "attention",
            Group::Quantise => "quantise",
        }
    }

    /// Whether a case of the group can have all the words, so that nothing is made in vain.
    fn may_have(self, words: &[String]) -> bool {
        let ty = match self {
            Group::Linear(ty) | Group::Experts(ty) => Some(ty),
            Group::Attention | Group::Quantise => None,
        };
        words.iter().all(|word| {
            let other_kind = Group::all().any(|group| group.kind() == word) && self.kind() != word;
            let named = WeightType::ALL.into_iter().find(|ty| ty.name().eq_ignore_ascii_case(word));
            !other_kind && (named.is_none() || named == ty)
        })
    }

    fn cases(self, pool: &Pool, weights: usize) -> Result<Vec<Case>, Failure> {
        let attending = Attending { heads: [32, 4], rows: 1, context: 8192, sequences: 8, together: false };
        match self {
            Group::Linear(ty) => linear_cases(pool, ty, LINEAR, weights, &LINEAR_ROWS),
            Group::Experts(ty) => expert_cases(pool, ty, EXPERT, weights, &EXPERT_ROWS),
            Group::Attention => Ok(vec![
                attention_case(Attending { rows: 512, context: 512, sequences: 1, ..attending }),
                attention_case(Attending { rows: 512, context: 2048, sequences: 1, ..attending }),
                attention_case(attending),
                attention_case(Attending { together: true, ..attending }),
            ]),
            Group::Quantise => Ok(vec![quantise_case(1, LINEAR[1]), quantise_case(512, LINEAR[1])]),
        }
    }
}

/// Measures all groups and prints them as they come, or all as one JSON object.
fn bench(options: &Options) -> Result<(), Failure> {
    let pool = Pool::new(options.threads);
    let weights = options.weights << 20;
    let reader = Reader::new(&pool, 2 * weights);
    let head = Head { threads: pool.threads(), rounds: options.rounds, weights_mib: options.weights };
    let mut found = Vec::new();
    for group in Group::all().filter(|group| group.may_have(&options.words)) {
        let mut cases = group.cases(&pool, weights)?;
        cases.retain(|case| options.wants(&case.name));
        if cases.is_empty() {
            continue;
        }
        let measured = measure::group(&pool, &reader, options.rounds, &mut cases);
        if !options.json {
            if found.is_empty() {
                report::print_head(&head)?;
            }
            report::print_group(&measured)?;
        }
        found.push(measured);
    }
    if found.is_empty() {
        return Err(format!("no case has all of these words: {}", options.words.join(" ")).into());
    }
    if options.json { report::print_json(&head, &found) } else { Ok(()) }
}
