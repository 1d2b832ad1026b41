//! `laminar inspect`: what a model file holds.

use std::io::{self, Write};

use laminar_model::inspect::{LayerSummary, Summary, inspect as summarise};

use crate::cli::InspectArgs;
use crate::source;

/// Prints a table, or with `--json` everything as one object.
pub fn inspect(args: &InspectArgs, quiet: bool) -> anyhow::Result<()> {
    let source = source::open(args.model.as_deref(), quiet)?;
    let summary = summarise(&source.checkpoint)?;
    let mut stdout = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut stdout, &summary).map_err(io::Error::from)?;
        writeln!(stdout)?;
    } else {
        write_table(&mut stdout, &source.name, &summary)?;
    }
    stdout.flush()?;
    Ok(())
}

fn write_table(out: &mut impl Write, name: &str, summary: &Summary) -> io::Result<()> {
    let unknown = || "not stated".to_owned();
    let version = summary.format_version.map_or_else(String::new, |v| format!(" v{v}"));
    let rows = [
        ("model", name.to_owned()),
        ("format", format!("{}{version}, {}", summary.format, count(summary.files, "file"))),
        ("architecture", summary.architecture.clone().unwrap_or_else(unknown)),
        ("parameters", format!("{:.3} billion", summary.parameters as f64 / 1e9)),
        ("context", summary.context_length.map_or_else(unknown, |n| format!("{n} tokens"))),
        ("tokenizer", summary.tokenizer.clone().unwrap_or_else(unknown)),
        ("vocabulary", summary.vocab_size.map_or_else(unknown, |n| format!("{n} tokens"))),
        ("chat template", if summary.chat_template { "yes" } else { "no" }.to_owned()),
    ];
    for (label, value) in rows {
        writeln!(out, "{label:<15}{value}")?;
    }

    writeln!(out, "\n{:<15}{:>9}{:>16}{:>14}", "type", "tensors", "parameters", "bytes")?;
    for (name, total) in &summary.by_type {
        let bytes = size(total.bytes);
        writeln!(out, "{name:<15}{:>9}{:>16}{bytes:>14}", total.tensors, total.parameters)?;
    }
    let (tensors, bytes) = (summary.tensors.len(), size(summary.total_bytes));
    writeln!(out, "{:<15}{tensors:>9}{:>16}{bytes:>14}", "all", summary.parameters)?;

    writeln!(out, "\n{:<15}{:>12}{:>14}{:>9}{:>14}", "layers", "bytes", "of experts", "experts", "one expert")?;
    for run in runs_of_equal_layers(&summary.layers) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        let label = match run.len() {
            1 => first.layer.to_string(),
            _ => format!("{} to {}, each", first.layer, last.layer),
        };
        let (all, experts, one) = (size(first.bytes), size(first.expert_bytes), size(first.bytes_per_expert));
        writeln!(out, "{label:<15}{all:>12}{experts:>14}{:>9}{one:>14}", first.experts)?;
    }
    let (outside, experts) = (size(summary.outside_layers_bytes), size(summary.expert_bytes));
    writeln!(out, "{:<15}{outside:>12}", "outside layers")?;
    writeln!(out, "{:<15}{:>12}{experts:>14}", "all", size(summary.total_bytes))
}

/// Neighbouring layers of the same make-up share a row.
fn runs_of_equal_layers(layers: &[LayerSummary]) -> impl Iterator<Item = &[LayerSummary]> {
    layers.chunk_by(|a, b| {
        let shape = |layer: &LayerSummary| (layer.bytes, layer.expert_bytes, layer.experts);
        shape(a) == shape(b) && a.layer + 1 == b.layer
    })
}

fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Bytes in the largest unit that keeps at least one digit before the point.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ => format!("{value:.2} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.50 KiB");
        assert_eq!(size(3 << 30), "3.00 GiB");
    }

    #[test]
    fn equal_neighbours_share_a_row() {
        let layer = |layer, bytes| LayerSummary { layer, bytes, ..LayerSummary::default() };
        let layers = [layer(0, 1), layer(1, 2), layer(2, 2), layer(4, 2)];
        let runs: Vec<usize> = runs_of_equal_layers(&layers).map(<[_]>::len).collect();
        assert_eq!(runs, [1, 2, 1]);
    }
}
