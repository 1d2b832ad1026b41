//! Runs as one HTML page: no script, no network.

use std::fmt::Write;

use laminar_sim::Figures;

use super::plan::Case;
use super::table::{HEAD, cells, notes};
use crate::bench::serve::chart::{Axis, COLOURS, Chart, Scale, Series, Shape, Unit, escape, svg};
use crate::cli::PlanArgs;

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--text:#1c2126;--soft:#59636e;--line:#d5dae0}\
@media(prefers-color-scheme:dark){:root{--back:#14171a;--text:#e4e8ec;--soft:#9aa5b1;--line:#384049}}\
body{background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:2em auto;\
padding:0 1em}h1{font-size:1.5em}h2{font-size:1.15em;margin:2em 0 .3em}p{margin:.3em 0}.soft{color:var(--soft)}\
svg{width:100%;height:auto;display:block}.scroll{overflow-x:auto}\
table{border-collapse:collapse;font-size:.9em;font-variant-numeric:tabular-nums;margin:.4em 0 1em}\
th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}\
.key{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin-right:.4em}.name{margin-right:1.4em}";

/// Writes the page.
pub fn page(args: &PlanArgs, runs: &[(&Case, Figures)]) -> String {
    let model = runs.first().map(|(case, _)| case.job.server.roofline.model().name.clone()).unwrap_or_default();
    let title = format!("{model}, {}", args.workload);
    let title = escape(&title);
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    // Writing to a string can not fail.
    let _ = write!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width\"><title>laminar simulate</title><style>{STYLE}</style>\
         </head><body><h1>{title}</h1><p class=\"soft\">Simulated by laminar simulate, seed {}: the real scheduler on a \
         machine that is known from its profile.</p><p>",
        args.seed
    );
    let names = names(runs);
    for (index, name) in names.iter().enumerate() {
        let colour = COLOURS.get(index % COLOURS.len()).copied().unwrap_or_default();
        let key = format!("<span class=\"key\" style=\"background:{colour}\"></span>");
        let _ = write!(out, "<span class=\"name\">{key}{}</span>", escape(name));
    }
    out.push_str("</p>");
    for (heading, chart) in charts(runs, &names, args) {
        let _ = write!(out, "<h2>{heading}</h2>{}", svg(&chart));
    }
    out.push_str("<h2>Numbers</h2><div class=\"scroll\"><table><tr>");
    for head in HEAD {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr>");
    for (case, figures) in runs {
        out.push_str("<tr>");
        for cell in cells(case, figures) {
            let _ = write!(out, "<td>{}</td>", escape(&cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
    for note in notes(runs) {
        let _ = write!(out, "<p>{}</p>", escape(&note));
    }
    out.push_str("</body></html>\n");
    out
}

/// One name for each machine and policy.
fn names(runs: &[(&Case, Figures)]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (case, _) in runs {
        let name = series_name(case);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn series_name(case: &Case) -> String {
    format!("{}, {}", case.label.hardware, case.label.policy)
}

fn charts(runs: &[(&Case, Figures)], names: &[String], args: &PlanArgs) -> [(&'static str, Chart); 5] {
    let series = |value: fn(&Figures) -> f64| -> Vec<Series> {
        let points = |name: &String| {
            let same = runs.iter().filter(|(case, _)| series_name(case) == *name);
            same.map(|(case, figures)| (case.label.rate, value(figures))).collect()
        };
        let one = |(colour, name): (usize, &String)| Series {
            name: name.clone(),
            colour,
            shape: Shape::Line,
            points: points(name),
        };
        names.iter().enumerate().map(one).collect()
    };
    let chart = |title: &'static str, label, unit: Unit, range, level, value: fn(&Figures) -> f64| Chart {
        title,
        x: Axis { label: "requests/s", scale: Scale::Linear, unit: Unit::Number, range: None },
        y: Axis { label, scale: if unit == Unit::Time { Scale::Log } else { Scale::Linear }, unit, range },
        series: series(value),
        bands: Vec::new(),
        level,
    };
    let (ttft, tbt) = (Some(args.slo_ttft.as_secs_f64()), Some(args.slo_tbt.as_secs_f64()));
    let whole = Some((0.0, 1.0));
    let time = Unit::Time;
    [
        ("Requests in time", chart("Requests in time", "in time", Unit::Share, whole, Some(0.9), |run| run.attainment)),
        ("Time to the first token, mean", chart("Mean TTFT", "TTFT", time, None, ttft, |run| run.ttft_mean_s)),
        ("Gap between tokens, p99", chart("p99 TBT", "TBT", time, None, tbt, |run| run.tbt_p99_s)),
        ("Energy", chart("Energy", "mJ/token", Unit::Number, None, None, |run| run.joules_per_token * 1e3)),
        (
            "Expert weights read",
            chart("Expert weights", "GB a request", Unit::Number, None, None, |run| run.expert_bytes_per_request / 1e9),
        ),
    ]
}
