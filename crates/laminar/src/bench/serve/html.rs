//! One or several runs as one HTML page: no script, no network.

use std::fmt::Write;

use super::chart::{Axis, COLOURS, Chart, Scale, Series, Shape, Unit, escape, svg};
use super::record::Role;
use super::report::Report;
use super::sweep::ENOUGH;
use super::tables;

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--text:#1c2126;--soft:#59636e;--line:#d5dae0}\
@media(prefers-color-scheme:dark){:root{--back:#14171a;--text:#e4e8ec;--soft:#9aa5b1;--line:#384049}}\
body{background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;\
padding:0 1em}h1{font-size:1.5em}h2{font-size:1.15em;margin:2em 0 .3em}p{margin:.3em 0}.soft{color:var(--soft)}\
svg{width:100%;height:auto;display:block}.scroll{overflow-x:auto}\
table{border-collapse:collapse;font-size:.9em;font-variant-numeric:tabular-nums;margin:.4em 0 1em}\
th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child{text-align:left}caption{text-align:left;padding:.3em 0}\
.key{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin-right:.4em}.name{margin-right:1.4em}";

/// Writes the page.
pub fn page(reports: &[Report]) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\"><title>laminar bench serve</title>");
    // Writing to a string can not fail.
    let _ = write!(out, "<style>{STYLE}</style></head><body><h1>laminar bench serve</h1>");
    if reports.len() > 1 {
        out.push_str("<p>");
        for (index, report) in reports.iter().enumerate() {
            let _ = write!(out, "<span class=\"name\">{}{}</span>", key(index), escape(&report.label));
        }
        out.push_str("</p>");
    }
    for (heading, note, chart) in charts(reports) {
        if chart.series.iter().any(|series| !series.points.is_empty()) {
            let _ = write!(out, "<h2>{heading}</h2><p class=\"soft\">{note}</p>{}", svg(&chart));
        }
    }
    for (index, report) in reports.iter().enumerate() {
        numbers(&mut out, report, index);
    }
    out.push_str(
        "<p class=\"soft\">A gap is the time between two events with text of one answer, taken when they arrive. \
         Percentile p is the smallest value that at least p % of all values do not exceed. A request is in time if its \
         first token and every one of its gaps keep the targets. Probes and warm-up are left out.</p></body></html>\n",
    );
    out
}

/// The mark of a run.
fn key(index: usize) -> String {
    let colour = COLOURS.get(index % COLOURS.len()).copied().unwrap_or_default();
    format!("<span class=\"key\" style=\"background:{colour}\"></span>")
}

/// The tables of one run.
fn numbers(out: &mut String, report: &Report, index: usize) {
    let _ = write!(out, "<h2>{}{}</h2>", key(index), escape(&report.label));
    // An address that is not a link: nothing on this page leads elsewhere.
    let headline = tables::headline(report).replace("https://", "").replace("http://", "");
    let _ = write!(out, "<p class=\"soft\">{}</p>", escape(&headline));
    for table in tables::tables(report) {
        let _ = write!(out, "<div class=\"scroll\"><table><caption>{}</caption><tr>", escape(&table.title));
        for cell in &table.head {
            let _ = write!(out, "<th>{}</th>", escape(cell));
        }
        out.push_str("</tr>");
        for row in &table.rows {
            out.push_str("<tr>");
            for cell in row {
                let _ = write!(out, "<td>{}</td>", escape(cell));
            }
            out.push_str("</tr>");
        }
        out.push_str("</table></div>");
    }
    for note in tables::notes(report) {
        let _ = write!(out, "<p>{}</p>", escape(&note));
    }
}

/// Headings, notes and charts; those without points are left out by the caller.
fn charts(reports: &[Report]) -> [(&'static str, &'static str, Chart); 4] {
    let each = |shape, points: fn(&Report) -> Vec<(f64, f64)>| -> Vec<Series> {
        let series = |(colour, report): (usize, &Report)| Series {
            name: report.label.clone(),
            colour,
            shape,
            points: points(report),
        };
        reports.iter().enumerate().map(series).collect()
    };
    let share = Axis { label: "share", scale: Scale::Linear, unit: Unit::Share, range: Some((0.0, 1.0)) };
    let times = |label| Axis { label, scale: Scale::Log, unit: Unit::Time, range: None };
    let seconds = |label| Axis { label, scale: Scale::Linear, unit: Unit::Number, range: None };
    let most_gaps = reports.iter().map(|report| gaps_over_time(report).len()).max().unwrap_or(0);
    // Only of one run: the times of several do not lie over each other.
    let bands = match reports {
        [report] => report.prompts.iter().map(|prompt| (prompt.sent_s, prompt.until_s)).collect(),
        _ => Vec::new(),
    };
    let gap_note = if bands.is_empty() {
        "Each dot is a token, at the time at which it came. Below 0.1 ms are tokens that came together."
    } else {
        "Each dot is a token of a stream, at the time at which it came. Grey: from the sending of a prompt to its first \
         token."
    };
    [
        (
            "In time, by arrival rate",
            "Share of the requests that keep all targets. Dashed: 90 %.",
            Chart {
                title: "Share of requests in time by arrival rate",
                x: Axis { label: "arrivals (requests/s)", scale: Scale::Log, unit: Unit::Number, range: None },
                y: Axis { label: "requests in time", ..share.clone() },
                series: each(Shape::Line, attained),
                bands: Vec::new(),
                level: Some(ENOUGH),
            },
        ),
        (
            "Gaps over time",
            gap_note,
            Chart {
                title: "Gaps between tokens over time",
                x: seconds("time since the start (s)"),
                y: times("gap before the token"),
                series: each(Shape::Dots, gaps_over_time),
                bands,
                level: reports.first().and_then(|report| report.slo.tbt_s),
            },
        ),
        (
            "Long gaps",
            "Share of the gaps that are longer than this; the line ends at the longest.",
            Chart {
                title: "Share of gaps between tokens that are longer",
                x: times("gap between tokens"),
                y: Axis {
                    label: "share of gaps that are longer",
                    scale: Scale::Log,
                    range: Some((0.5 / most_gaps.max(1) as f64, 1.0)),
                    ..share.clone()
                },
                series: each(Shape::Steps, |report| longer(gaps_over_time(report).into_iter().map(|(_, gap)| gap))),
                bands: Vec::new(),
                level: None,
            },
        ),
        (
            "Distribution of times to the first token",
            "Share of the answered requests whose first token came within so long.",
            Chart {
                title: "Distribution of times to the first token",
                x: times("time to the first token"),
                y: Axis { label: "share of requests", ..share },
                series: each(Shape::Steps, |report| {
                    let about = report.requests.iter().filter(|record| record.role != Role::Stream);
                    distribution(about.filter_map(|record| record.answer.ttft()))
                }),
                bands: Vec::new(),
                level: None,
            },
        ),
    ]
}

/// Whose gaps are shown: those of the streams where there are any.
fn shown(report: &Report) -> impl Iterator<Item = &super::record::Record> {
    report.requests.iter().filter(|record| record.role != Role::Prompt)
}

fn attained(report: &Report) -> Vec<(f64, f64)> {
    let attained = |point: &super::sweep::Point| Some((point.rate, point.summary.goodput?.attainment));
    report.rates.iter().filter_map(attained).collect()
}

/// Each gap at the time of its end.
fn gaps_over_time(report: &Report) -> Vec<(f64, f64)> {
    let answers = shown(report).map(|record| &record.answer);
    answers.flat_map(|answer| answer.token_s.windows(2).map(|pair| (pair[1], pair[1] - pair[0]))).collect()
}

/// Values with the share of all that is at most as large.
fn distribution(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    let sorted = sorted(values);
    let count = sorted.len() as f64;
    let start = sorted.first().map(|first| (*first, 0.0));
    start.into_iter().chain(sorted.iter().enumerate().map(|(i, value)| (*value, (i + 1) as f64 / count))).collect()
}

/// Values with the share of all that is larger.
fn longer(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    distribution(values).into_iter().map(|(value, share)| (value, 1.0 - share)).collect()
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_goes_from_none_to_all() {
        assert_eq!(distribution([3.0, 1.0].into_iter()), [(1.0, 0.0), (1.0, 0.5), (3.0, 1.0)]);
        assert_eq!(longer([3.0, 1.0].into_iter()), [(1.0, 1.0), (1.0, 0.5), (3.0, 0.0)]);
        assert!(distribution([].into_iter()).is_empty());
    }
}
