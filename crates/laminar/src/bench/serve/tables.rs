//! What a report says, as tables: printed on stdout, and put into the HTML page.

use super::record::Role;
use super::report::Report;
use super::stats::{Goodput, Slo, Spread, Summary, TOGETHER_S};
use super::units::{percent, three_digits, time};

/// A table: a title, column heads, rows. The first column is text, the others are numbers.
#[derive(Debug)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// Heads of the columns.
    pub head: Vec<String>,
    /// Rows, each as long as the head.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    fn new(title: impl Into<String>, head: &[&str]) -> Self {
        Self { title: title.into(), head: head.iter().map(|&cell| cell.to_owned()).collect(), rows: Vec::new() }
    }
}

/// All tables of a report.
pub fn tables(report: &Report) -> Vec<Table> {
    let mut tables = Vec::new();
    if !report.prompts.is_empty() {
        tables.push(prompts(report));
    }
    if !report.rates.is_empty() {
        tables.push(rates(report));
    } else {
        tables.extend(report.groups.iter().map(|group| summary(group.role, &group.summary)));
    }
    tables
}

/// One line on what was run.
pub fn headline(report: &Report) -> String {
    let server = &report.server;
    let form = if server.prompt_form == "ids" { "prompts of token ids" } else { "prompts of words" };
    let eos = if server.ignore_eos { "answers of full length" } else { "answers may end early" };
    format!("{}: {} at {}{} ({form}, {eos})", report.scenario, server.model, server.url, server.path)
}

/// Lines below the tables.
pub fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if report.rates.is_empty() {
        for group in &report.groups {
            if let Some(goodput) = &group.summary.goodput {
                notes.push(goodput_line(group.role, goodput, group.summary.requests, &report.slo));
            }
        }
    } else {
        notes.push(format!("targets: {}", targets(&report.slo)));
        let best = report.rates.iter().rfind(|point| point.is_good());
        notes.push(match best {
            Some(point) => format!(
                "highest rate with at least 90 % in time that the server keeps up with: {} requests/s, goodput {} requests/s",
                three_digits(point.rate),
                three_digits(point.summary.goodput.map_or(0.0, |goodput| goodput.requests_per_s))
            ),
            None => "no rate kept 90 % in time".to_owned(),
        });
    }
    if report.groups.iter().any(|group| group.summary.cached_tokens > 0) {
        let cached: u64 = report.groups.iter().map(|group| group.summary.cached_tokens).sum();
        notes.push(format!("{cached} prompt tokens came from the server's prefix cache"));
    }
    let gaps: usize = report.groups.iter().filter_map(|group| group.summary.gap_s).map(|gap| gap.count).sum();
    let together: usize = report.groups.iter().map(|group| group.summary.together).sum();
    if together * 20 > gaps {
        notes.push(format!(
            "{} of the tokens came together with the one before (within {}): the server sends several at once, or it and \
             this program share cores that are all busy",
            percent(together as f64 / gaps as f64),
            time(TOGETHER_S)
        ));
    }
    if report.send_lag_max_s > 0.05 {
        notes.push(format!(
            "a request was sent {} late: this machine was too busy to keep the plan",
            time(report.send_lag_max_s)
        ));
    }
    notes
}

/// The tables as text, columns aligned.
pub fn text(report: &Report) -> String {
    let mut text = headline(report);
    text.push('\n');
    for table in tables(report) {
        text.push('\n');
        text.push_str(&aligned(&table));
    }
    let notes = notes(report);
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        text.push_str(&note);
        text.push('\n');
    }
    text
}

fn aligned(table: &Table) -> String {
    let mut widths: Vec<usize> = table.head.iter().map(|cell| cell.chars().count()).collect();
    for row in &table.rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            line.push_str(&if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") });
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut text = table.title.clone() + "\n" + &line(&table.head);
    table.rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), time)
}

fn prompts(report: &Report) -> Table {
    let mut table = Table::new(
        "Arriving prompts, and the gaps of the streams before and during each",
        &["tokens", "ttft", "before p50", "p99", "max", "during p50", "p99", "max", "tokens/s before", "during"],
    );
    for prompt in &report.prompts {
        let spread = |spread: Option<Spread>, pick: fn(&Spread) -> f64| cell(spread.as_ref().map(pick));
        table.rows.push(vec![
            prompt.prompt_tokens.to_string(),
            prompt.failure.clone().unwrap_or_else(|| cell(prompt.ttft_s)),
            spread(prompt.plain_gap_s, |gap| gap.p50),
            spread(prompt.plain_gap_s, |gap| gap.p99),
            spread(prompt.plain_gap_s, |gap| gap.max),
            spread(prompt.during_gap_s, |gap| gap.p50),
            spread(prompt.during_gap_s, |gap| gap.p99),
            spread(prompt.during_gap_s, |gap| gap.max),
            three_digits(prompt.plain_tokens_per_s),
            three_digits(prompt.during_tokens_per_s),
        ]);
    }
    table
}

fn rates(report: &Report) -> Table {
    let mut table = Table::new(
        "Rates",
        &["requests/s", "requests", "failed", "in time", "goodput/s", "ttft p50", "p99", "gap p50", "p99", "max"],
    );
    for point in &report.rates {
        let Summary { ttft_s, gap_s, .. } = &point.summary;
        table.rows.push(vec![
            three_digits(point.rate),
            point.summary.requests.to_string(),
            point.summary.failed.to_string(),
            percent(attainment(&point.summary)),
            three_digits(point.summary.goodput.map_or(0.0, |goodput| goodput.requests_per_s)),
            cell(ttft_s.map(|ttft| ttft.p50)),
            cell(ttft_s.map(|ttft| ttft.p99)),
            cell(gap_s.map(|gap| gap.p50)),
            cell(gap_s.map(|gap| gap.p99)),
            cell(gap_s.map(|gap| gap.max)),
        ]);
    }
    table
}

fn attainment(summary: &Summary) -> f64 {
    summary.goodput.map_or(0.0, |goodput| goodput.attainment)
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Request => "Requests",
        Role::Stream => "Streams",
        Role::Prompt => "Prompts",
    }
}

fn summary(role: Role, summary: &Summary) -> Table {
    let mut counts = format!("{} sent, {} completed", summary.requests, summary.completed);
    if summary.stopped > 0 {
        counts += &format!(", {} stopped at the end", summary.stopped);
    }
    if summary.failed > 0 {
        let kinds: Vec<_> = summary.errors.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
        counts += &format!(", {} failed ({})", summary.failed, kinds.join(", "));
    }
    let title = format!(
        "{}: {counts}; {} output tokens in {} ({} tokens/s, {} requests/s)",
        role_name(role),
        summary.output_tokens,
        time(summary.duration_s),
        three_digits(summary.output_tokens_per_s),
        three_digits(summary.requests_per_s)
    );
    let mut table = Table::new(title, &["", "p50", "p90", "p99", "max", "mean", "count"]);
    let mut row = |name: &str, spread: &Option<Spread>, show: fn(f64) -> String| {
        if let Some(spread) = spread {
            let values = [spread.p50, spread.p90, spread.p99, spread.max, spread.mean].map(show);
            table.rows.push([vec![name.to_owned()], values.to_vec(), vec![spread.count.to_string()]].concat());
        }
    };
    row("time to first token", &summary.ttft_s, time);
    row("gap between tokens", &summary.gap_s, time);
    row("longest gap of each answer", &summary.stall_s, time);
    row("request to end", &summary.e2e_s, time);
    row("tokens/s of one answer", &summary.decode_tokens_per_s, three_digits);
    table
}

fn goodput_line(role: Role, goodput: &Goodput, requests: usize, slo: &Slo) -> String {
    format!(
        "{} in time: {} of {requests} ({}), {} a second; targets: {}",
        role_name(role).to_lowercase(),
        goodput.passed,
        percent(goodput.attainment),
        three_digits(goodput.requests_per_s),
        targets(slo)
    )
}

fn targets(slo: &Slo) -> String {
    let ttft = slo.ttft_s.map(|limit| format!("first token within {}", time(limit)));
    let tbt = slo.tbt_s.map(|limit| format!("every gap within {}", time(limit)));
    ttft.into_iter().chain(tbt).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new("T", &["", "p50"]);
        table.rows.push(vec!["gap".to_owned(), "1.00 ms".to_owned()]);
        assert_eq!(aligned(&table), "T\n         p50\ngap  1.00 ms\n");
    }
}
