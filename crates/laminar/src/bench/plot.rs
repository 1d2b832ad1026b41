//! The curve of `laminar bench engine --plot`: tokens a second by the rows that pass the weights together, below the
//! machine's roof.

use super::report::{Head, PointReport, Report};
use super::serve::chart::{self, Axis, Chart, Scale, Series, Shape, Unit};

/// Draws the prompts of a report as an SVG file.
pub fn svg(report: &Report) -> String {
    let mut prompts: Vec<&PointReport> = report.points.iter().filter(|point| point.kind == "prefill").collect();
    prompts.sort_by_key(|point| point.rows);
    let curve = |value: fn(&PointReport) -> f64| -> Vec<(f64, f64)> {
        prompts.iter().map(|point| (point.rows as f64, value(point))).collect()
    };
    let series = |name: String, colour, shape, points| Series { name, colour, shape, points };
    let Head { model, weight_type, threads, repeat, .. } = &report.head;
    let spans = prompts.iter().flat_map(|point| {
        let speed = point.tokens_per_s;
        [(point.rows as f64, speed.min), (point.rows as f64, speed.max)]
    });
    let all = vec![
        series("roof: memory or multiplications".to_owned(), 1, Shape::Dashes, curve(|point| point.roof_tokens_per_s)),
        series(String::new(), 0, Shape::Spans, spans.collect()),
        series(measured(*repeat), 0, Shape::Line, curve(|point| point.tokens_per_s.median)),
    ];
    let highest = all.iter().flat_map(|series| &series.points).map(|point| point.1).fold(0.0, f64::max);
    let chart = Chart {
        title: "Tokens a second by rows, beside the roof of the machine",
        x: Axis {
            label: "rows: tokens of a prompt that pass the weights together",
            scale: Scale::Doublings,
            unit: Unit::Number,
            range: None,
        },
        y: Axis {
            label: "tokens/s",
            scale: Scale::Linear,
            unit: Unit::Number,
            // From nothing, so that twice as high is twice as fast.
            range: Some((0.0, highest * 1.04)),
        },
        series: all,
        bands: Vec::new(),
        level: None,
    };
    let plural = if *threads == 1 { "" } else { "s" };
    chart::file(&chart, &format!("{model}, {weight_type}, {threads} thread{plural}"))
}

fn measured(repeat: usize) -> String {
    match repeat {
        1 => "measured once".to_owned(),
        _ => format!("measured: median, slowest and fastest of {repeat}"),
    }
}
