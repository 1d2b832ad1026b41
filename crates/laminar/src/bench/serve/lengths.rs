//! How long prompts and answers are: a number, a range, or a column of a file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::bail;

use super::csv::Table;
use super::random::{Purpose, Random};

/// A length as the command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LengthSpec {
    /// Always the same.
    Fixed(usize),
    /// Uniform, both ends included.
    Uniform(usize, usize),
    /// Rows of a CSV file.
    File(PathBuf),
}

impl FromStr for LengthSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|number: &usize| *number > 0);
        if let Some(number) = number(text) {
            return Ok(Self::Fixed(number));
        }
        if let Some((low, high)) = text.split_once('-').and_then(|(low, high)| Some((number(low)?, number(high)?)))
            && low <= high
        {
            return Ok(Self::Uniform(low, high));
        }
        if Path::new(text).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            return Ok(Self::File(PathBuf::from(text)));
        }
        Err("it must be a number of tokens above 0, a range such as 100-900, or a .csv file".to_owned())
    }
}

impl fmt::Display for LengthSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(number) => write!(f, "{number}"),
            Self::Uniform(low, high) => write!(f, "{low}-{high}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A length that can be drawn.
#[derive(Debug)]
enum Lengths {
    Uniform(usize, usize),
    Rows(Vec<usize>),
}

impl Lengths {
    fn load(spec: &LengthSpec, column: &str) -> anyhow::Result<Self> {
        match spec {
            LengthSpec::Fixed(number) => Ok(Self::Uniform(*number, *number)),
            LengthSpec::Uniform(low, high) => Ok(Self::Uniform(*low, *high)),
            LengthSpec::File(path) => {
                let rows = Table::read(path)?.counts(column)?;
                if rows.is_empty() {
                    bail!("{}: has no rows", path.display());
                }
                Ok(Self::Rows(rows))
            }
        }
    }

    fn draw(&self, random: &mut Random) -> usize {
        match self {
            Self::Uniform(low, high) => low + random.below((high - low) as u64 + 1) as usize,
            Self::Rows(rows) => rows.get(random.below(rows.len() as u64) as usize).copied().unwrap_or(1),
        }
    }
}

/// The two lengths of requests.
#[derive(Debug)]
pub struct LengthPair {
    prompt: Lengths,
    output: Lengths,
    seed: u64,
}

impl LengthPair {
    /// Reads the files, if there are any.
    ///
    /// # Errors
    /// A file that cannot be read, or lacks the column.
    pub fn load(prompt: &LengthSpec, output: &LengthSpec, seed: u64) -> anyhow::Result<Self> {
        Ok(Self {
            prompt: Lengths::load(prompt, "prompt_tokens")?,
            output: Lengths::load(output, "output_tokens")?,
            seed,
        })
    }

    /// Prompt and answer length of request `number`, in tokens.
    ///
    /// From one file both come from one row: lengths of prompt and answer are related.
    pub fn draw(&self, number: u64) -> (usize, usize) {
        let mut random = Random::new(self.seed, Purpose::Lengths, number);
        let same_rows = matches!((&self.prompt, &self.output), (Lengths::Rows(_), Lengths::Rows(_)));
        let mut other = random.clone();
        let prompt = self.prompt.draw(&mut random);
        let output = self.output.draw(if same_rows { &mut other } else { &mut random });
        (prompt, output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_parse_and_print() {
        for text in ["7", "1-9", "rows.csv", "a/b-c.CSV"] {
            let spec: LengthSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
        for bad in ["0", "", "-3", "9-1", "0-4", "many", "1.5"] {
            assert!(bad.parse::<LengthSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_reaches_both_ends_and_no_further() {
        let pair = LengthPair::load(&LengthSpec::Uniform(2, 4), &LengthSpec::Fixed(9), 1).unwrap();
        let drawn: Vec<_> = (0..200).map(|number| pair.draw(number)).collect();
        for length in 2..=4 {
            assert!(drawn.contains(&(length, 9)), "{length}");
        }
        assert!(drawn.iter().all(|(prompt, _)| (2..=4).contains(prompt)));
        assert_eq!(drawn[17], pair.draw(17));
    }

    #[test]
    fn both_lengths_of_one_file_come_from_one_row() {
        let rows = |factor: usize| Lengths::Rows((1..50).map(|row| row * factor).collect());
        let pair = LengthPair { prompt: rows(1), output: rows(100), seed: 3 };
        assert!((0..100).map(|number| pair.draw(number)).all(|(prompt, output)| output == prompt * 100));
    }
}
