//! What `laminar bench engine` prints.

use std::io::{self, Write};

use laminar_model::KvType;
use serde::{Serialize, Serializer};

use super::engine::{Point, Sample};
use super::probes::{Probes, Roof};
use super::roof::number;
use super::spread::Spread;

/// What was measured, and how.
#[derive(Serialize)]
pub struct Head {
    pub model: String,
    pub architecture: &'static str,
    /// Of most of the weights.
    pub weight_type: &'static str,
    pub threads: usize,
    #[serde(serialize_with = "kv_type")]
    pub kv_type: KvType,
    pub seed: u64,
    /// Tokens of every sequence before it decodes.
    pub context: usize,
    /// Decode steps of a measurement.
    pub decode: usize,
    pub repeat: usize,
}

/// One turn through all points.
pub struct Round {
    /// Of the roofs at its begin.
    pub dispatch_g_s: Option<f64>,
    /// One of each point.
    pub samples: Vec<Sample>,
}

/// What `--json` prints.
#[derive(Serialize)]
pub struct Report {
    /// What was measured, and how.
    #[serde(flatten)]
    pub head: Head,
    roofs: Vec<Roof>,
    /// In the order of the rounds.
    pub points: Vec<PointReport>,
    /// The dispatch rate of each round, at its begin and in the middle of its samples, in billions a second and thread.
    rounds: Vec<RoundReport>,
}

#[derive(Serialize)]
struct RoundReport {
    dispatch_g_s: Option<f64>,
}

/// One point. Bytes, operations and loads are those of a whole measurement; rates are those of the middle one.
#[derive(Serialize)]
pub struct PointReport {
    /// `prefill` or `decode`.
    pub kind: &'static str,
    /// Rows of a step: tokens of the prompt, or sequences that decode.
    pub rows: usize,
    steps: usize,
    tokens: usize,
    /// What was reached.
    pub tokens_per_s: Spread,
    /// What could be reached at best: at the closer of the two roofs.
    pub roof_tokens_per_s: f64,
    weight_bytes: u64,
    operations: f64,
    expert_loads: u64,
    gb_s: f64,
    gop_s: f64,
    /// Shares of the time that reading the weights, and that all multiplications, would take at the machine's roofs.
    fraction_of_read: f64,
    fraction_of_multiply: f64,
    /// The roof that is closer: `memory` or `compute`.
    bound: &'static str,
    samples: Vec<SampleReport>,
}

#[derive(Serialize)]
struct SampleReport {
    seconds: f64,
    tokens_per_s: f64,
    dispatch_g_s: Option<f64>,
}

fn kv_type<S: Serializer>(kv_type: &KvType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kv_type.name())
}

impl Report {
    /// Puts together what the rounds have shown.
    pub fn new(head: Head, points: &[Point], rounds: &[Round], probes: &Probes<'_>) -> Self {
        let points = points
            .iter()
            .enumerate()
            .filter_map(|(index, point)| {
                let samples: Vec<&Sample> = rounds.iter().filter_map(|round| round.samples.get(index)).collect();
                PointReport::new(*point, head.decode, &samples, probes)
            })
            .collect();
        let rounds = rounds
            .iter()
            .map(|round| {
                let samples = round.samples.iter().filter_map(|sample| sample.dispatch_g_s);
                let all = Spread::of(round.dispatch_g_s.into_iter().chain(samples));
                RoundReport { dispatch_g_s: all.map(|spread| spread.median) }
            })
            .collect();
        Self { head, roofs: probes.roofs().collect(), points, rounds }
    }
}

impl PointReport {
    fn new(point: Point, decode: usize, samples: &[&Sample], probes: &Probes<'_>) -> Option<Self> {
        let (rows, steps) = (point.rows(), point.steps(decode));
        let tokens = rows * steps;
        let speed = |sample: &Sample| tokens as f64 / sample.time.as_secs_f64();
        let tokens_per_s = Spread::of(samples.iter().map(|sample| speed(sample)))?;
        let seconds = tokens as f64 / tokens_per_s.median;
        // The tokens are the same in every round, and so is the work.
        let Sample { done, expert_loads, .. } = samples.first()?;
        let operations = done.operations.total();
        let fraction_of_read = done.bytes as f64 / probes.read_rate() / seconds;
        let fraction_of_multiply = done.operations.seconds(|form| probes.multiply_rate(form)) / seconds;
        Some(Self {
            kind: match point {
                Point::Prefill(_) => "prefill",
                Point::Decode(_) => "decode",
            },
            rows,
            steps,
            tokens,
            tokens_per_s,
            roof_tokens_per_s: tokens_per_s.median / fraction_of_read.max(fraction_of_multiply),
            weight_bytes: done.bytes,
            operations,
            expert_loads: *expert_loads,
            gb_s: done.bytes as f64 / seconds / 1e9,
            gop_s: operations / seconds / 1e9,
            fraction_of_read,
            fraction_of_multiply,
            bound: if fraction_of_read > fraction_of_multiply { "memory" } else { "compute" },
            samples: samples
                .iter()
                .map(|sample| SampleReport {
                    seconds: sample.time.as_secs_f64(),
                    tokens_per_s: speed(sample),
                    dispatch_g_s: sample.dispatch_g_s,
                })
                .collect(),
        })
    }
}

/// Prints the report on stdout, as a table or as one JSON object.
pub fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut stdout, report).map_err(io::Error::from)?;
        writeln!(stdout)?;
    } else {
        write_table(&mut stdout, report)?;
    }
    stdout.flush()?;
    Ok(())
}

fn write_table(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Head { model, architecture, weight_type, threads, kv_type, context, decode, repeat, .. } = &report.head;
    let kv = kv_type.name();
    writeln!(out, "{model}: {architecture}, {weight_type}, KV {kv}; threads {threads}, rounds {repeat}")?;
    writeln!(out, "decode: {decode} steps behind {context} tokens")?;
    write!(out, "roofs:")?;
    for (index, roof) in report.roofs.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(out, "{comma} {} {} {}", roof.name, number(roof.rate.median), roof.unit)?;
    }
    writeln!(
        out,
        "\n\n{:<14}{:>9}{:>9}{:>9}{:>8}{:>7}{:>9}{:>7}  {:<8}{:>11}{:>10}",
        "", "t/s min", "median", "max", "GB/s", "roof", "GOP/s", "roof", "bound", "loads/step", "dispatch"
    )?;
    for point in &report.points {
        let name = match point.kind {
            "decode" => format!("decode x{}", point.rows),
            kind => format!("{kind} {}", point.rows),
        };
        let speed = point.tokens_per_s;
        let percent = |fraction: f64| format!("{:.0}%", 100.0 * fraction);
        let dispatch = Spread::of(point.samples.iter().filter_map(|sample| sample.dispatch_g_s));
        writeln!(
            out,
            "{name:<14}{:>9}{:>9}{:>9}{:>8}{:>7}{:>9}{:>7}  {:<8}{:>11.1}{:>10}",
            number(speed.min),
            number(speed.median),
            number(speed.max),
            number(point.gb_s),
            percent(point.fraction_of_read),
            number(point.gop_s),
            percent(point.fraction_of_multiply),
            point.bound,
            point.expert_loads as f64 / point.steps as f64,
            dispatch.map_or_else(|| "-".to_owned(), |spread| number(spread.median)),
        )?;
    }
    write!(out, "\ndispatch by round, billions of NOPs a second and thread:")?;
    for round in &report.rounds {
        write!(out, " {}", round.dispatch_g_s.map_or_else(|| "-".to_owned(), number))?;
    }
    writeln!(out)
}
