//! Lengths, and perhaps times, out of a CSV file.

use crate::PlanError;

/// Prompt and output lengths of each row, and the times of all rows if the file has them.
type Rows = (Vec<(usize, usize)>, Option<Vec<f64>>);

/// Reads the columns `prompt_tokens`, `output_tokens` and, if it is there, `arrival_s`.
pub(super) fn read(text: &str) -> Result<Rows, PlanError> {
    let wrong = |what: String| PlanError::Workload(what);
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let head: Vec<&str> = lines.next().map(|(_, line)| line.split(',').map(str::trim).collect()).unwrap_or_default();
    let find = |name: &str| head.iter().position(|column| *column == name);
    let column = |name: &str| find(name).ok_or_else(|| wrong(format!("the file has no column `{name}`")));
    let (prompt, output, time) = (column("prompt_tokens")?, column("output_tokens")?, find("arrival_s"));
    let (mut rows, mut times) = (Vec::new(), Vec::new());
    for (number, line) in lines {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let count =
            |column: usize| cells.get(column).and_then(|cell| cell.parse().ok()).filter(|count: &usize| *count > 0);
        let (Some(prompt), Some(output)) = (count(prompt), count(output)) else {
            return Err(wrong(format!("line {} has no two lengths above 0", number + 1)));
        };
        rows.push((prompt, output));
        if let Some(column) = time {
            let time = cells.get(column).and_then(|cell| cell.parse().ok());
            let last = times.last().copied().unwrap_or(0.0);
            let time = time.filter(|time: &f64| time.is_finite() && *time >= last);
            times.push(
                time.ok_or_else(|| {
                    wrong(format!("line {}: arrival_s must be a time, not before the last", number + 1))
                })?,
            );
        }
    }
    if rows.is_empty() {
        return Err(wrong("the file has no rows".to_owned()));
    }
    Ok((rows, time.map(|_| times)))
}
