//! `laminar bench engine`: how fast the engine's executor runs prompts and decode steps of a model, and how far that is
//! from what the machine could do at best.
//!
//! A *point* is a prompt length or a number of sequences that decode together. A round measures the machine's roofs, then
//! every point once; rounds are repeated, so that a machine that changes its pace changes it for all points alike.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use laminar_engine::{ModelExecutor, available_memory};
use laminar_kernels::Pool;
use laminar_kernels::roof::{Form, Reader};
use laminar_model::arch::read_config;
use laminar_model::{BLOCK_LEN, KvCache, ModelConfig};

use super::driver::{Driver, Room};
use super::machine::buffer_bytes;
use super::plot;
use super::probes::Probes;
use super::report::{self, Head, Report, Round};
use super::serve::check_writable;
use super::work::{Done, Work};
use crate::cli::EngineBenchArgs;
use crate::{progress, setup, source};

/// Prompt lengths and context where none are asked for, as far as they fit the model.
const PROMPTS: [usize; 3] = [32, 512, 2048];
const CONTEXT: usize = 256;

/// Something to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A prompt of so many tokens.
    Prefill(usize),
    /// So many sequences that decode together.
    Decode(usize),
}

/// One measurement of a point.
pub struct Sample {
    /// How long all its steps took.
    pub time: Duration,
    /// What they had to do.
    pub done: Done,
    /// Experts they read, each once a layer call.
    pub expert_loads: u64,
    /// Billions of instructions without effect that a thread dispatched in a second: the mean of before and after.
    pub dispatch_g_s: Option<f64>,
}

/// What to measure, checked against the model.
#[derive(Debug)]
struct Plan {
    points: Vec<Point>,
    room: Room,
    repeat: usize,
}

/// Measures, and prints a table or one JSON object.
pub fn run(args: &EngineBenchArgs, quiet: bool) -> anyhow::Result<()> {
    // Before the measuring, not after it.
    args.plot.as_deref().map_or(Ok(()), check_writable)?;
    let source = source::open(args.model.as_deref(), quiet)?;
    let shape = read_config(&source.checkpoint).with_context(|| format!("model {}", source.name))?;
    let plan = Plan::new(args, &shape)?;
    let kv_type = setup::kv_type(args.kv_type);
    let blocks = kv_blocks(&plan.room, KvCache::bytes_per_block(&shape, BLOCK_LEN, kv_type))?;

    let pool = Pool::new(setup::threads(args.threads));
    let threads = pool.threads();
    let model = Arc::new(setup::load(&source, &pool, kv_type, None, None, quiet)?);
    let head = Head {
        model: source.name.clone(),
        architecture: model.config().architecture,
        weight_type: model.weight_type().name(),
        threads,
        kv_type,
        seed: args.seed,
        context: plan.room.context,
        decode: plan.room.decode,
        repeat: plan.repeat,
    };
    let work = Work::of(&source.checkpoint, model.config());
    let reader = Reader::new(&pool, buffer_bytes());
    let mut probes = Probes::new(threads, &reader, forms(&work));
    let executor = ModelExecutor::new(model, pool, blocks, kv_type).with_states(1 + 2 * plan.room.batch, 0);
    let mut driver = Driver::new(executor, plan.room, args.seed);

    let bar = progress::Count::new("measuring", 1 + plan.repeat * plan.points.len(), quiet);
    warm_up(&mut driver, &plan)?;
    bar.step();
    let mut rounds = Vec::with_capacity(plan.repeat);
    for _ in 0..plan.repeat {
        let dispatch_g_s = probes.round();
        let mut samples = Vec::with_capacity(plan.points.len());
        for point in &plan.points {
            samples.push(sample(&mut driver, &plan.room, *point, &work, &probes)?);
            bar.step();
        }
        rounds.push(Round { dispatch_g_s, samples });
    }
    drop(bar);
    let report = Report::new(head, &plan.points, &rounds, &probes);
    report::print(&report, args.json)?;
    match &args.plot {
        Some(path) => std::fs::write(path, plot::svg(&report)).with_context(|| format!("--plot {}", path.display())),
        None => Ok(()),
    }
}

/// The ways to multiply that any step of the model uses.
fn forms(work: &Work) -> Vec<Form> {
    let step = work.step(1, 0..1, 1, &Default::default());
    step.operations.forms().collect()
}

/// Fills the contexts, and makes every buffer as large as it will be.
fn warm_up(driver: &mut Driver<ModelExecutor>, plan: &Plan) -> anyhow::Result<()> {
    driver.fill(plan.room.context)?;
    for point in &plan.points {
        match *point {
            Point::Prefill(rows) if rows == plan.room.prompt => driver.prefill(rows)?,
            Point::Prefill(_) => continue,
            Point::Decode(batch) => driver.decode(batch, plan.room.context, 0)?,
        };
    }
    Ok(())
}

/// Measures a point once.
fn sample(
    driver: &mut Driver<ModelExecutor>,
    room: &Room,
    point: Point,
    work: &Work,
    probes: &Probes<'_>,
) -> anyhow::Result<Sample> {
    let before = probes.dispatch();
    let (mut time, mut done, mut expert_loads) = (Duration::ZERO, Done::default(), 0);
    match point {
        Point::Prefill(rows) => {
            let ran = driver.prefill(rows)?;
            time += ran.time;
            done += work.step(1, 0..rows, 1, &ran.loads);
            expert_loads += ran.loads.total;
        }
        Point::Decode(batch) => {
            for step in 0..room.decode {
                let ran = driver.decode(batch, room.context, step)?;
                time += ran.time;
                let position = room.context + step;
                done += work.step(batch, position..position + 1, batch, &ran.loads);
                expert_loads += ran.loads.total;
            }
        }
    }
    let dispatch_g_s = before.zip(probes.dispatch()).map(|(before, after)| (before + after) / 2.0);
    Ok(Sample { time, done, expert_loads, dispatch_g_s })
}

impl Point {
    /// Steps of a measurement.
    pub fn steps(self, decode: usize) -> usize {
        match self {
            Point::Prefill(_) => 1,
            Point::Decode(_) => decode,
        }
    }

    /// Rows of a step, each of which is a token.
    pub fn rows(self) -> usize {
        match self {
            Point::Prefill(rows) | Point::Decode(rows) => rows,
        }
    }
}

impl Plan {
    fn new(args: &EngineBenchArgs, shape: &ModelConfig) -> anyhow::Result<Self> {
        let longest = shape.context_length;
        let prompts = match args.prompt.as_slice() {
            [] => PROMPTS.into_iter().filter(|tokens| *tokens <= longest).collect(),
            asked => asked.to_vec(),
        };
        let (decode, repeat) = (args.decode, args.repeat);
        let context = args.context.unwrap_or_else(|| CONTEXT.min(longest / 2).max(1));
        let numbers = prompts.iter().map(|tokens| ("--prompt", *tokens));
        let numbers = numbers.chain(args.batch.iter().map(|sequences| ("--batch", *sequences)));
        for (flag, number) in numbers.chain([("--decode", decode), ("--context", context), ("--repeat", repeat)]) {
            if number == 0 {
                bail!("{flag} 0: it must be at least 1");
            }
        }
        if let Some(tokens) = prompts.iter().find(|tokens| **tokens > longest) {
            bail!("--prompt {tokens}: the model's context is {longest} tokens; use at most that");
        }
        if context.saturating_add(decode) > longest {
            bail!(
                "--context {context} and --decode {decode}: the model's context is {longest} tokens; use less of one"
            );
        }
        let room = Room {
            prompt: prompts.iter().copied().max().unwrap_or(0),
            batch: args.batch.iter().copied().max().unwrap_or(0),
            context,
            decode,
        };
        let prefill = prompts.into_iter().map(Point::Prefill);
        let points = prefill.chain(args.batch.iter().copied().map(Point::Decode)).collect();
        Ok(Self { points, room, repeat })
    }
}

/// KV blocks for all sequences, which must fit the memory.
fn kv_blocks(room: &Room, block_bytes: usize) -> anyhow::Result<usize> {
    let most = available_memory().map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let blocks = room.blocks(BLOCK_LEN).filter(|blocks| u32::try_from(*blocks).is_ok());
    match blocks.and_then(|blocks| Some((blocks, blocks.checked_mul(block_bytes)?))) {
        Some((blocks, bytes)) if bytes <= most => Ok(blocks),
        _ => bail!(
            "--batch {}: its KV memory does not fit the {} MiB of memory available; use a smaller --batch, --context or \
             --decode",
            room.batch,
            most >> 20
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kv_memory_that_can_not_be_is_refused() {
        let room = Room { prompt: 33, batch: 2, context: 30, decode: 3 };
        assert_eq!(kv_blocks(&room, 1).unwrap(), 2 + 2 * 2);
        for batch in [usize::MAX, u32::MAX as usize] {
            assert!(kv_blocks(&Room { batch, ..room }, 1).is_err());
        }
    }
}
