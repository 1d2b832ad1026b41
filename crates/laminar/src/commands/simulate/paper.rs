//! `laminar simulate paper`: the paper's experiments, ours beside theirs.

use std::io::{self, Write};
use std::time::Instant;

use laminar_sim::paper::{self, Kind, Paper, Row, Tolerance};
use serde_json::json;

use super::doc;
use crate::cli::PaperArgs;
use crate::exit::Internal;
use crate::progress;

/// Runs and prints everything.
///
/// # Errors
/// Also when one of the published numbers does not hold, after everything is printed.
pub fn paper(args: &PaperArgs, quiet: bool) -> anyhow::Result<()> {
    let bar = progress::Count::new("simulating", paper::RUNS, quiet);
    let mut paper = paper::run(&|| bar.step())?;
    drop(bar);
    let job = paper::ten_minutes()?;
    let began = Instant::now();
    job.run()?;
    paper.rows.push(paper::speed_row(began.elapsed().as_secs_f64()));
    if let Some(path) = &args.doc {
        doc::write(path, &paper)?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        let missed: Vec<&str> = missed(&paper).map(|row| row.what.as_str()).collect();
        let all = json!({
            "holds": paper.holds(),
            "not_met": missed,
            "constants": paper.constants,
            "rows": paper.rows,
            "curves": paper.curves,
        });
        serde_json::to_writer_pretty(&mut out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write_table(&mut out, &paper)?;
    }
    out.flush()?;
    match paper.holds() {
        true => Ok(()),
        false => Err(Internal("not all of the published numbers hold; those that do not are marked").into()),
    }
}

/// Rows that do not hold.
pub fn missed(paper: &Paper) -> impl Iterator<Item = &Row> {
    paper.rows.iter().filter(|row| !row.holds)
}

/// A tolerance as people write it.
pub fn tolerance(row: &Row) -> String {
    match row.tolerance {
        None => "shown".to_owned(),
        Some(Tolerance::Share(share)) => format!("{:.0} %", 100.0 * share),
        Some(Tolerance::Difference(most)) => format!("+-{most}"),
        Some(Tolerance::AtMost) => "at most".to_owned(),
        Some(Tolerance::AtLeast) => "at least".to_owned(),
        Some(Tolerance::Sign) => "sign".to_owned(),
    }
}

/// What came of a row.
pub fn verdict(row: &Row) -> &'static str {
    match (row.tolerance, row.holds) {
        (None, _) => "",
        (_, true) => "holds",
        (_, false) => "NOT MET",
    }
}

/// Fitted or predicted.
pub fn kind(row: &Row) -> &'static str {
    match row.kind {
        Kind::Fit => "fit",
        Kind::Prediction => "prediction",
    }
}

/// A number with three digits that say something.
pub fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn write_table(out: &mut impl Write, paper: &Paper) -> io::Result<()> {
    writeln!(
        out,
        "{:<9}{:<86}{:>10}{:>10}  {:<20}{:<10}{:<11}",
        "section", "what", "published", "ours", "unit", "may differ", ""
    )?;
    for row in &paper.rows {
        let Row { section, what, unit, published, ours, .. } = row;
        let (published, ours) = (number(*published), number(*ours));
        let (may, kind, verdict) = (tolerance(row), kind(row), verdict(row));
        writeln!(out, "{section:<9}{what:<86}{published:>10}{ours:>10}  {unit:<20}{may:<10}{kind:<11}{verdict}")?;
        if !row.note.is_empty() {
            writeln!(out, "{:<9}  {}", "", row.note)?;
        }
    }
    for curve in &paper.curves {
        writeln!(out, "\n{} {}: % in time, published and ours", curve.model, curve.workload)?;
        let head = ["req/s", "chunked", "ours", "layered", "ours", "best chunk", "adaptive"];
        head.iter().try_for_each(|head| write!(out, "{head:>14}"))?;
        writeln!(out)?;
        for point in &curve.points {
            let [[chunked, layered], ours] = [point.published, point.ours];
            let best = format!("{:.1} ({})", point.best_chunked, point.best_chunk);
            writeln!(
                out,
                "{:>14}{chunked:>14.1}{:>14.1}{layered:>14.1}{:>14.1}{best:>14}{:>14.1}",
                point.rate, ours[0], ours[1], point.adaptive
            )?;
        }
    }
    let count = missed(paper).count();
    let judged = paper.rows.iter().filter(|row| row.tolerance.is_some()).count();
    writeln!(out, "\n{} of {judged} hold", judged - count)
}
