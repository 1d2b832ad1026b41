//! Runs as a table.

use std::io::{self, Write};

use laminar_sim::Figures;

use super::plan::Case;
use crate::bench::serve::units::{percent, time};
use crate::cli::PlanArgs;

/// Names of the columns.
pub const HEAD: [&str; 12] = [
    "hardware",
    "policy",
    "req/s",
    "in time",
    "TTFT mean",
    "TTFT p99",
    "TBT mean",
    "TBT p99",
    "TBT max",
    "in system",
    "mJ/token",
    "expert GB/req",
];

/// The columns of a run.
pub fn cells(case: &Case, figures: &Figures) -> [String; 12] {
    [
        case.label.hardware.clone(),
        case.label.policy.clone(),
        format!("{}", case.label.rate),
        percent(figures.attainment),
        time(figures.ttft_mean_s),
        time(figures.ttft_p99_s),
        time(figures.tbt_mean_s),
        time(figures.tbt_p99_s),
        time(figures.tbt_max_s),
        format!("{:.1}", figures.in_system),
        format!("{:.1}", figures.joules_per_token * 1e3),
        format!("{:.1}", figures.expert_bytes_per_request / 1e9),
    ]
}

/// What the numbers stand on, a line each.
pub fn notes(runs: &[(&Case, Figures)]) -> Vec<String> {
    let mut notes = Vec::new();
    for (case, figures) in runs {
        let (roofline, label) = (&case.job.server.roofline, &case.label);
        if roofline.missing() > 0.0 {
            let share = percent(roofline.missing());
            notes.push(format!(
                "{}: {share} of the expert weights do not fit the memory and come from disk",
                label.hardware
            ));
        }
        if figures.refused > 0 {
            notes.push(format!(
                "{}, {}: {} requests do not fit and were refused",
                label.hardware, label.policy, figures.refused
            ));
        }
    }
    notes.dedup();
    notes
}

/// Writes the table.
pub fn write(out: &mut impl Write, args: &PlanArgs, runs: &[(&Case, Figures)]) -> io::Result<()> {
    let model = runs.first().map(|(case, _)| case.job.server.roofline.model().name.clone()).unwrap_or_default();
    let (ttft, tbt) = (time(args.slo_ttft.as_secs_f64()), time(args.slo_tbt.as_secs_f64()));
    writeln!(out, "{model}, {}: simulated, in time is TTFT within {ttft} and every gap within {tbt}\n", args.workload)?;
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(runs.iter().map(|(case, figures)| cells(case, figures)));
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 | 1 => write!(out, "{cell:<width$}  ")?,
                _ => write!(out, "{cell:>width$}  ")?,
            }
        }
        writeln!(out)?;
    }
    notes(runs).iter().try_for_each(|note| writeln!(out, "\n{note}"))
}
