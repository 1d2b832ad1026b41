//! What arrives when: requests with the lengths of published traces, made up from a seed.

mod arrivals;
mod csv;
mod lengths;
mod mersenne;

pub use arrivals::Arrivals;
pub use lengths::Lengths;

use crate::PlanError;
use crate::random::mix;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Seconds from the start of the run.
    pub arrival_s: f64,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens of the answer.
    pub output: usize,
}

/// When answers end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    /// At the workload's length.
    #[default]
    AsGiven,
    /// The workload's length is a cap. The model would end its answer after a length of its own, which has the same
    /// distribution but is another number; whichever comes first.
    Capped,
}

/// Separates the random numbers of the model's own answers from those of the workload's.
const OWN: u64 = 0x656e_646f_6674_6578;

/// Where requests come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Name in lists and reports.
    pub name: String,
    /// How long they are.
    pub lengths: Lengths,
    /// When they come.
    pub arrivals: Arrivals,
    /// When answers end.
    pub answers: Answers,
}

impl Workload {
    /// Names of the built-in workloads.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Lengths::BUILT_IN.iter().map(|(name, _, _)| *name)
    }

    /// A built-in workload with Poisson arrivals.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    pub fn named(name: &str) -> Result<Self, PlanError> {
        let lengths = Lengths::named(name)?;
        Ok(Self { name: name.to_owned(), lengths, arrivals: Arrivals::Poisson, answers: Answers::AsGiven })
    }

    /// A workload out of a CSV file with the columns `prompt_tokens` and `output_tokens`; where it has `arrival_s` too, its
    /// rows are replayed in time.
    ///
    /// # Errors
    ///
    /// A column that is missing, a row that is no row, no rows at all.
    pub fn from_csv(name: &str, text: &str) -> Result<Self, PlanError> {
        let (rows, times) = csv::read(text)?;
        let arrivals = times.map_or(Arrivals::Poisson, Arrivals::Replay);
        Ok(Self { name: name.to_owned(), lengths: Lengths::Rows(rows), arrivals, answers: Answers::AsGiven })
    }

    /// The requests of so many seconds, `rate` of them a second: exactly their product, as the paper's own runs had, and with
    /// lengths that have the distribution's statistics exactly, so that one seed differs from another in the order alone.
    /// Replayed arrivals keep their own times and number.
    ///
    /// # Errors
    ///
    /// A rate or a time that is no positive number, or more than a million requests.
    pub fn requests(&self, rate: f64, seconds: f64, seed: u64) -> Result<Vec<Request>, PlanError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(rate) || !positive(seconds) || rate * seconds > 1e6 {
            return Err(PlanError::Workload(
                "rate and seconds must be above 0, for at most a million requests".to_owned(),
            ));
        }
        let times = self.arrivals.times(rate, seconds, seed);
        let mut lengths = self.lengths.list(times.len(), seed);
        if self.answers == Answers::Capped {
            let own = self.lengths.list(times.len(), mix(seed, OWN));
            lengths.iter_mut().zip(own).for_each(|((_, cap), (_, own))| *cap = own.min(*cap));
        }
        let request = |(arrival_s, (prompt, output))| Request { arrival_s, prompt, output };
        Ok(times.into_iter().zip(lengths).map(request).collect())
    }
}

#[cfg(test)]
mod tests;
