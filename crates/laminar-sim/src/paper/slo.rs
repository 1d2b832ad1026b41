//! Section 2.5: how many requests are in time at rising rates, and what `adaptive` makes of the same points.

use super::bench::{Bench, Way};
use super::published::{PANELS, Panel};
use super::row::{Row, Tolerance};
use crate::{Figures, Job, PlanError};
use serde::Serialize;

/// Each number of the paper's two policies is the median of so many runs: near its limit a server's queue depends on luck.
pub(super) const SEEDS: u64 = 5;

/// Chunk sizes that the best chunked prefill is taken from, beside the paper's 512.
const CHUNKS: [usize; 2] = [1024, 1536];

/// Share of requests in time that counts as sustained.
const ENOUGH: f64 = 0.9;

/// How much more than layered `adaptive` should sustain.
const MORE: f64 = 1.05;

/// One rate of a panel, shares in per cent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Requests a second.
    pub rate: f64,
    /// Published: chunked and layered.
    pub published: [f64; 2],
    /// Ours: chunked with 512 tokens, layered.
    pub ours: [f64; 2],
    /// Requests in the system, published: chunked and layered.
    pub published_in_system: [f64; 2],
    /// Requests in the system, ours.
    pub in_system: [f64; 2],
    /// Chunked with the chunk size that is best here.
    pub best_chunked: f64,
    /// That chunk size.
    pub best_chunk: usize,
    /// `adaptive`.
    pub adaptive: f64,
}

/// One panel of the figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// Model.
    pub model: &'static str,
    /// Workload.
    pub workload: &'static str,
    /// Its rates.
    pub points: Vec<Point>,
    /// Rates below the published ones that were tried to find the sustained ones: rate, chunked, layered.
    pub below: Vec<[f64; 3]>,
    /// Highest sustained rate: chunked and layered.
    pub sustained: [f64; 2],
    /// Per cent in time under `adaptive` at 1.05 times the rate that layered sustains here.
    pub adaptive_beyond: f64,
}

/// The rate at which a falling curve passes 90 %, on straight lines between its points; the last one's if it never does.
fn sustained(points: &[(f64, f64)]) -> f64 {
    let enough = 100.0 * ENOUGH;
    let Some(last) = points.iter().rposition(|(_, share)| *share >= enough) else {
        return 0.0;
    };
    match (points[last], points.get(last + 1)) {
        ((rate, share), Some((next, below))) => rate + (next - rate) * (share - enough) / (share - below),
        ((rate, _), None) => rate,
    }
}

/// Rates that a panel is tried at: the published ones, and two steps below.
fn rates(panel: &Panel) -> Vec<f64> {
    let (first, step) = (panel.points[0].0, panel.points[1].0 - panel.points[0].0);
    let count = panel.points.len() as i32;
    (-2..count).map(|index| first + step * f64::from(index)).collect()
}

/// Runs all panels.
pub(super) fn curves(run: &dyn Fn(Vec<Job>) -> Result<Vec<Figures>, PlanError>) -> Result<Vec<Curve>, PlanError> {
    let both = [Way::Chunked(512), Way::Layered];
    let benches = PANELS.iter().map(Bench::panel).collect::<Result<Vec<_>, _>>()?;
    let mut jobs = Vec::new();
    for (panel, bench) in PANELS.iter().zip(&benches) {
        for rate in rates(panel) {
            let seeds = |way| (1..=SEEDS).map(move |seed| (way, seed));
            jobs.extend(both.into_iter().flat_map(seeds).map(|(way, seed)| bench.job(way, rate, seed)));
        }
        for (rate, ..) in panel.points {
            jobs.extend(CHUNKS.map(|tokens| bench.job(Way::Chunked(tokens), rate, 1)));
            jobs.push(bench.job(Way::Adaptive, rate, 1));
        }
    }
    let figures = run(jobs)?;
    let mut figures = figures.into_iter();
    let mut next = |count: usize| -> Vec<Figures> { figures.by_ref().take(count).collect() };

    let mut curves = Vec::new();
    for panel in &PANELS {
        // Median, and the first seed's, for comparison with policies that have only that.
        let mut tried: Vec<(f64, [Figures; 2], [Figures; 2])> = Vec::new();
        for rate in rates(panel) {
            let runs = both.map(|_| next(SEEDS as usize));
            let first = [0, 1].map(|way: usize| runs[way].first().copied().unwrap_or_default());
            tried.push((rate, [Figures::median(&runs[0]), Figures::median(&runs[1])], first));
        }
        let mut points = Vec::new();
        for (rate, chunked, layered, in_chunked, in_layered) in panel.points {
            let (others, adaptive) = (next(CHUNKS.len()), next(1));
            let Some((_, medians, first)) = tried.iter().find(|(tried, ..)| (tried - rate).abs() < 1e-6) else {
                continue;
            };
            let mut best = (512, first[0].attainment);
            for (tokens, figures) in CHUNKS.iter().zip(&others) {
                if figures.attainment > best.1 {
                    best = (*tokens, figures.attainment);
                }
            }
            points.push(Point {
                rate,
                published: [chunked, layered],
                ours: [0, 1].map(|way: usize| 100.0 * medians[way].attainment),
                published_in_system: [in_chunked, in_layered],
                // The paper's script counts the request that comes, too.
                in_system: [0, 1].map(|way: usize| medians[way].in_system + 1.0),
                best_chunked: 100.0 * best.1,
                best_chunk: best.0,
                adaptive: 100.0 * adaptive.first().map_or(0.0, |figures| figures.attainment),
            });
        }
        let curve = |way: usize| -> Vec<(f64, f64)> {
            tried.iter().map(|(rate, medians, _)| (*rate, 100.0 * medians[way].attainment)).collect()
        };
        let known = |rate: f64| panel.points.iter().any(|point| (point.0 - rate).abs() < 1e-6);
        curves.push(Curve {
            model: panel.model,
            workload: panel.workload,
            points,
            below: tried
                .iter()
                .filter(|(rate, ..)| !known(*rate))
                .map(|(rate, medians, _)| [*rate, 100.0 * medians[0].attainment, 100.0 * medians[1].attainment])
                .collect(),
            sustained: [sustained(&curve(0)), sustained(&curve(1))],
            adaptive_beyond: 0.0,
        });
    }
    let beyond =
        curves.iter().zip(&benches).map(|(curve, bench)| bench.job(Way::Adaptive, MORE * curve.sustained[1], 1));
    let figures = run(beyond.collect())?;
    curves.iter_mut().zip(figures).for_each(|(curve, figures)| curve.adaptive_beyond = 100.0 * figures.attainment);
    Ok(curves)
}

/// What the curves of ShareGPT hang on.
const ANSWERS: &str = "how long the model's own answers are is not published; here they are as long as the trace's. And the \
     published curve of GPT-OSS falls by single gaps above 100 ms, which our machine has no cause for: of the first tokens alone \
     96 % are in time at 6.8";

/// What those of arXiv hang on.
const PROMPTS: &str = "of the prompts' lengths only the mean is published";

/// Rows of the curves.
pub(super) fn rows(curves: &[Curve]) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut wrong, mut compared) = (0, 0);
    for (curve, panel) in curves.iter().zip(&PANELS) {
        let (chunked, layered) = panel.sustained();
        for (way, published, ours) in
            [("chunked", chunked, curve.sustained[0]), ("layered", layered, curve.sustained[1])]
        {
            let what = format!("highest rate with 90 % in time, {} {}, {way}", panel.model, panel.workload);
            let row = Row::new("2.5", what, "requests/s", [published, ours], Tolerance::Share(0.1));
            rows.push(row.reason(if panel.workload == "sharegpt" { ANSWERS } else { PROMPTS }));
        }
        for point in &curve.points {
            let sign = |[chunked, layered]: [f64; 2]| {
                // Both at 100 % or at nothing is no order.
                let difference: f64 = layered - chunked;
                if difference.abs() < 0.5 { 0.0 } else { difference.signum() }
            };
            compared += 1;
            wrong += usize::from(sign(point.published) * sign(point.ours) < 0.0);
        }
    }
    let what = format!("rates of {compared} at which the other policy is ahead");
    rows.push(Row::new("2.5", what, "rates", [3.0, wrong as f64], Tolerance::AtMost));
    for (curve, panel) in curves.iter().zip(&PANELS) {
        for (index, way) in ["chunked", "layered"].into_iter().enumerate() {
            let Some(point) = curve.points.first() else { continue };
            let what = format!("requests in the system, {} {} at {}, {way}", panel.model, panel.workload, point.rate);
            let both = [point.published_in_system[index], point.in_system[index]];
            rows.push(Row::new("2.5", what, "requests", both, Tolerance::Share(0.25)).shown());
        }
    }
    rows
}

/// What a single step does.
const ONE_STEP: &str = "one step beyond the limit fails every request that decodes in it";

/// Rows of `adaptive`: nothing of it is published, so what it should reach stands in the published column.
pub(super) fn adaptive_rows(curves: &[Curve]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut ahead = 0;
    for curve in curves {
        for point in &curve.points {
            let best = point.best_chunked.max(point.ours[1]);
            let what = format!(
                "adaptive against the better of chunked ({}) and layered, {} {} at {}",
                point.best_chunk, curve.model, curve.workload, point.rate
            );
            let row = Row::new("adaptive", what, "% in time", [best, point.adaptive], Tolerance::AtLeast);
            rows.push(row.reason(ONE_STEP));
        }
        ahead += usize::from(curve.adaptive_beyond >= 100.0 * ENOUGH);
    }
    let half = curves.len().div_ceil(2) as f64;
    let what = "panels on which adaptive sustains 5 % more than layered";
    rows.push(Row::new("adaptive", what, "panels", [half, ahead as f64], Tolerance::AtLeast));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_sustained_up_to_where_it_passes_90_per_cent() {
        assert_eq!(sustained(&[(1.0, 100.0), (2.0, 95.0), (3.0, 85.0), (4.0, 0.0)]), 2.5);
        assert_eq!(sustained(&[(1.0, 100.0), (2.0, 95.0)]), 2.0);
        assert_eq!(sustained(&[(1.0, 50.0)]), 0.0);
    }

    #[test]
    fn the_published_curves_have_the_published_summary() {
        let sustained: Vec<(f64, f64)> = PANELS.iter().map(Panel::sustained).collect();
        assert_eq!(sustained, [(1.4, 1.7), (2.1, 2.7), (4.2, 4.6), (6.0, 6.4)]);
    }
}
