//! What was measured, as a table or as JSON.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cases::Failure;
use crate::measure::{Group, Measured, Sample};

/// How it was measured.
pub struct Head {
    pub threads: usize,
    pub rounds: usize,
    pub weights_mib: usize,
}

/// The smallest, the middle and the largest of some values, of which there is at least one.
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(0.0);
        let last = values.len().saturating_sub(1);
        Spread { min: at(0), median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, max: at(last) }
    }

    fn json(&self) -> Value {
        json!({ "min": self.min, "median": self.median, "max": self.max })
    }
}

impl Measured {
    fn spread(&self, value: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(value))
    }

    fn dispatch(&self) -> Option<Spread> {
        let rates: Vec<f64> = self.samples.iter().filter_map(|sample| sample.dispatch).collect();
        (!rates.is_empty()).then(|| Spread::of(rates))
    }

    /// The roof that the middle sample is closer to.
    fn bound(&self) -> &'static str {
        let memory = self.spread(|sample| sample.of_read).median > self.spread(|sample| sample.of_multiply).median;
        if memory { "memory" } else { "compute" }
    }
}

/// The lines above all groups.
pub fn print_head(head: &Head) -> io::Result<()> {
    let Head { threads, rounds, weights_mib } = head;
    let mut out = io::stdout().lock();
    writeln!(out, "threads {threads}, rounds {rounds}, weights of {weights_mib} MiB; rates are medians")?;
    writeln!(out, "of roof: the share of the time that the work takes at the closer roof of the same round")?;
    writeln!(out, "dispatch: billions of NOPs a second and thread beside the case; compare only what has the same")
}

/// A line for every case.
pub fn print_group(group: &Group) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "\nroofs: memory read {} GB/s", number(Spread::of(group.read.iter().copied()).median / 1e9))?;
    if let Some((form, rates)) = &group.multiply {
        let unit = if form.is_float() { "GFLOP/s" } else { "GOP/s" };
        write!(out, ", {} {} {unit}", form.name(), number(Spread::of(rates.iter().copied()).median / 1e9))?;
    }
    writeln!(
        out,
        "\n{:<38}{:>9}{:>8}{:>8}{:>14}{:>8}{:>7}  {:<8}{:>8}",
        "", "us", "GB/s", "GOP/s", "of roof: min", "median", "max", "bound", "dispatch"
    )?;
    for case in &group.cases {
        let seconds = case.spread(|sample| sample.seconds).median;
        let roof = case.spread(|sample| sample.of_read.max(sample.of_multiply));
        let percent = |share: f64| format!("{:.0}%", 100.0 * share);
        let operations = case.work.operations / seconds / 1e9;
        writeln!(
            out,
            "{:<38}{:>9}{:>8}{:>8}{:>14}{:>8}{:>7}  {:<8}{:>8}",
            case.name,
            number(seconds * 1e6),
            number(case.work.bytes as f64 / seconds / 1e9),
            if operations > 0.0 { number(operations) } else { "-".to_owned() },
            percent(roof.min),
            percent(roof.median),
            percent(roof.max),
            case.bound(),
            case.dispatch().map_or_else(|| "-".to_owned(), |rate| number(rate.median / 1e9)),
        )?;
    }
    out.flush()
}

/// Everything as one object.
pub fn print_json(head: &Head, groups: &[Group]) -> Result<(), Failure> {
    let groups: Vec<Value> = groups.iter().map(group_json).collect();
    let all = json!({
        "threads": head.threads,
        "rounds": head.rounds,
        "weights_mib": head.weights_mib,
        "groups": groups,
    });
    let mut out = io::stdout().lock();
    writeln!(out, "{all:#}")?;
    Ok(out.flush()?)
}

fn group_json(group: &Group) -> Value {
    let giga = |rates: &[f64]| Spread::of(rates.iter().map(|rate| rate / 1e9)).json();
    let multiply = group.multiply.as_ref().map(|(form, rates)| json!({ "form": form.name(), "gop_s": giga(rates) }));
    let case = |case: &Measured| {
        let rate = |amount: f64| case.spread(|sample| amount / sample.seconds / 1e9).json();
        let dispatch = |rate: f64| rate / 1e9;
        json!({
            "name": case.name,
            "bytes": case.work.bytes,
            "operations": case.work.operations,
            "seconds": case.spread(|sample| sample.seconds).json(),
            "gb_s": rate(case.work.bytes as f64),
            "gop_s": rate(case.work.operations),
            "fraction_of_read": case.spread(|sample| sample.of_read).json(),
            "fraction_of_multiply": case.spread(|sample| sample.of_multiply).json(),
            "fraction_of_roof": case.spread(|sample| sample.of_read.max(sample.of_multiply)).json(),
            "bound": case.bound(),
            "dispatch_g_s": case.samples.iter().map(|sample| sample.dispatch.map(dispatch)).collect::<Vec<_>>(),
        })
    };
    json!({
        "roofs": { "read_gb_s": giga(&group.read), "multiply": multiply },
        "cases": group.cases.iter().map(case).collect::<Vec<_>>(),
    })
}

/// One digit behind the point where there are few before it.
fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}
