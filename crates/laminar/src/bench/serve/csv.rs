//! Tables of numbers: a line of column names, then rows, separated by commas.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

/// A table in memory.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    columns: Vec<String>,
    /// The line in the file and the numbers of each row.
    rows: Vec<(usize, Vec<f64>)>,
}

impl Table {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is no row of numbers; the message names the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> anyhow::Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let cells = |line: &str| line.split(',').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let (_, head) = lines.next().ok_or_else(|| anyhow!("{}: is empty", path.display()))?;
        let columns = cells(head);
        let mut rows = Vec::new();
        for (index, line) in lines {
            let number = index + 1;
            let cells = cells(line);
            if cells.len() != columns.len() {
                bail!("{}: line {number} has {} values for {} columns", path.display(), cells.len(), columns.len());
            }
            let row: Option<Vec<f64>> =
                cells.iter().map(|cell| cell.parse().ok().filter(|value: &f64| value.is_finite())).collect();
            let row = row.ok_or_else(|| anyhow!("{}: line {number} has a value that is no number", path.display()))?;
            rows.push((number, row));
        }
        Ok(Self { path: path.to_owned(), columns, rows })
    }

    /// The values of a column.
    ///
    /// # Errors
    /// No such column.
    pub fn numbers(&self, column: &str) -> anyhow::Result<Vec<f64>> {
        let index = self.columns.iter().position(|name| name == column).ok_or_else(|| {
            anyhow!("{}: has no column {column}; it has {}", self.path.display(), self.columns.join(", "))
        })?;
        Ok(self.rows.iter().filter_map(|(_, row)| row.get(index).copied()).collect())
    }

    /// The values of a column that holds counts of tokens.
    ///
    /// # Errors
    /// No such column, or a value that is not a whole number above 0.
    pub fn counts(&self, column: &str) -> anyhow::Result<Vec<usize>> {
        let numbers = self.numbers(column)?;
        let whole = |value: f64| value >= 1.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0;
        self.rows
            .iter()
            .zip(numbers)
            .map(|((line, _), value)| {
                if !whole(value) {
                    bail!("{}: line {line}: {column} must be a whole number above 0, got {value}", self.path.display());
                }
                Ok(value as usize)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Table> {
        Table::parse(Path::new("t.csv"), text)
    }

    #[test]
    fn columns_are_found_by_name() {
        let table = parse("\u{feff}arrival_s, prompt_tokens\r\n0.5,3\r\n\r\n1e1, 4\r\n").unwrap();
        assert_eq!(table.numbers("arrival_s").unwrap(), [0.5, 10.0]);
        assert_eq!(table.counts("prompt_tokens").unwrap(), [3, 4]);
        let error = table.counts("output_tokens").unwrap_err().to_string();
        assert_eq!(error, "t.csv: has no column output_tokens; it has arrival_s, prompt_tokens");
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, word) in [
            ("", "empty"),
            ("a,b\n1,2\n3\n", "line 3"),
            ("a\n1\nx\n", "line 3"),
            ("a\nnan\n", "line 2"),
            ("a\n\n1,2\n", "line 3"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("t.csv") && error.contains(word), "{error}");
        }
        for text in ["a\n0\n", "a\n1.5\n", "a\n-1\n"] {
            let error = parse(text).unwrap().counts("a").unwrap_err().to_string();
            assert!(error.contains("line 2"), "{error}");
        }
    }
}
