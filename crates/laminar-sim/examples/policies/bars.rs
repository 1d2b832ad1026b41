//! What must hold.

use crate::cells::Cell;
use crate::measure::{Bench, Error, Hardware, POLICIES, has_first_token, measure};
use laminar_schedule::Policy;
use laminar_sim::ModelShape;
use serde_json::{Value, json};
use std::time::Duration;

/// A claim, and the situations in which it was tried.
pub struct Bar {
    /// The claim.
    pub claim: &'static str,
    /// Situations tried.
    pub tried: usize,
    /// Those where it does not hold, and why.
    pub broken: Vec<Value>,
    /// The largest ratio seen, against the one allowed.
    pub worst: f64,
}

impl Bar {
    fn new(claim: &'static str) -> Self {
        Self { claim, tried: 0, broken: Vec::new(), worst: 0.0 }
    }

    /// Tries the claim: `ratio` may be 1 at most.
    fn try_on(&mut self, ratio: f64, situation: impl FnOnce() -> Value) {
        self.tried += 1;
        self.worst = self.worst.max(ratio);
        if ratio > 1.0 {
            self.broken.push(situation());
        }
    }

    /// Whether it holds wherever it was tried, and was tried at all.
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.tried > 0
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let Self { claim, tried, broken, worst, .. } = self;
        json!({ "claim": claim, "holds": self.holds(), "tried": tried, "worst": worst, "broken": broken })
    }
}

/// The claims about single situations.
pub fn of_cells(cells: &[Cell]) -> Vec<Bar> {
    let mut target = Bar::new("adaptive meets the target wherever any policy does");
    let mut ttft = Bar::new("where adaptive meets the target, its TTFT is at most 1.03 times the best that meets it");
    let mut loads =
        Bar::new("where layered meets the target, adaptive's expert loads are at most 1.05 times layered's");
    for cell in cells {
        let Some(adaptive) = cell.of("adaptive") else { continue };
        let situation = |cell: &Cell| {
            let outcome = |name| cell.of(name).map(|one| json!([one.ttft, one.longest_step, one.total_loads]));
            let outcomes: Vec<_> = POLICIES.iter().map(|(name, _)| json!({ *name: outcome(name) })).collect();
            let Cell { shape, prompt, streams, target, .. } = cell;
            json!({ "shape": shape, "prompt": prompt, "streams": streams, "target_ms": target, "outcomes": outcomes })
        };
        let Some(best) = cell.meeting().map(|outcome| outcome.ttft).min_by(f64::total_cmp) else { continue };
        let stall = if cell.streams == 0 { 0.0 } else { adaptive.longest_step / (cell.target as f64 * 1e-3 * 1.001) };
        target.try_on(stall, || situation(cell));
        if cell.meets(adaptive) {
            ttft.try_on(adaptive.ttft / best / 1.03, || situation(cell));
        }
        if let Some(layered) = cell.of("layered").filter(|one| cell.meets(one) && one.total_loads > 0) {
            let ratio = adaptive.total_loads as f64 / layered.total_loads as f64;
            loads.try_on(ratio / 1.05, || situation(cell));
        }
    }
    vec![target, ttft, loads]
}

const LONG: usize = 32_768;
const SHORT: usize = 64;
/// Seconds that a step may take with nobody to protect.
const INTERRUPTIBLE: f64 = 0.12;

/// The claims about a long prompt with nobody to protect.
pub fn of_long_prompts(hardware: Hardware) -> Result<Vec<Bar>, Error> {
    let mut steps = Bar::new("beside a 32k prompt and a 64-token newcomer no step is longer than 120 ms");
    let mut newcomer = Bar::new("a 64-token newcomer's TTFT is below 3 % of the 32k prompt's");
    let mut big = Bar::new("the 32k prompt's TTFT is within 3 % of that under whole and the newcomer's work");
    let mut cancel = Bar::new("a cancel in the middle of a 32k prompt frees its blocks within 120 ms");
    for (name, shape) in ModelShape::PRESETS {
        let hardware = Hardware { shape, ..hardware };
        let alone = |prompt| measure(hardware, Policy::Whole, 0, prompt).map(|outcome| outcome.ttft);
        let (long, short) = (alone(LONG)?, alone(SHORT)?);
        let mut bench = Bench::warm(hardware, Policy::ADAPTIVE, 0)?;
        let begin = bench.now;
        let first = bench.submit(LONG, 1)?;
        let middle = begin + Duration::from_secs_f64(long / 2.0);
        let (mut second, mut newcomers, mut longest) = (None, f64::INFINITY, 0.0f64);
        let bigs = loop {
            if second.is_none() && bench.now >= middle {
                second = Some((bench.submit(SHORT, 1)?, bench.now));
            }
            let (step, report) = bench.step()?;
            longest = longest.max(report.duration.as_secs_f64());
            if let Some((id, arrival)) = second
                && has_first_token(&step, id, SHORT, shape.layers)
            {
                newcomers = (bench.now - arrival).as_secs_f64();
            }
            if has_first_token(&step, first, LONG, shape.layers) {
                break (bench.now - begin).as_secs_f64();
            }
        };
        let situation = |seconds: f64| json!({ "shape": name, "seconds": seconds });
        steps.try_on(longest / INTERRUPTIBLE, || situation(longest));
        newcomer.try_on(newcomers / bigs / 0.03, || situation(newcomers));
        big.try_on(bigs / ((long + short) * 1.03), || situation(bigs));

        let mut bench = Bench::warm(hardware, Policy::ADAPTIVE, 0)?;
        let id = bench.submit(LONG, 1)?;
        let middle = bench.now + Duration::from_secs_f64(long / 3.0);
        while bench.now < middle {
            bench.step()?;
        }
        // At the worst moment: the step has just begun.
        let taken = bench.cancelled_step(id)?;
        let taken = if bench.scheduler.stats().used_blocks == 0 { taken } else { f64::INFINITY };
        cancel.try_on(taken / INTERRUPTIBLE, || situation(taken));
    }
    Ok(vec![steps, newcomer, big, cancel])
}
