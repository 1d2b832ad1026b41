//! The paper's experiments, and how ours come out beside them.
//!
//! [`run`] does all of them. The published numbers are those of our notes on *From Tokens to Layers* (Lee et al., arXiv
//! 2510.08055); the sections are the notes'.

mod bench;
mod calibration;
mod latency;
mod published;
mod row;
mod slo;

pub use calibration::{Constants, fit};
pub use row::{Kind, Row, Tolerance};
pub use slo::{Curve, Point};

use crate::workload::Answers;
use crate::{Figures, Job, PlanError, run_all};
use bench::{Bench, Way};
use published::PANELS;
use serde::Serialize;

/// Everything that `laminar simulate paper` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paper {
    /// The fitted constants.
    pub constants: Constants,
    /// Published numbers and ours.
    pub rows: Vec<Row>,
    /// The curves of section 2.5.
    pub curves: Vec<Curve>,
}

impl Paper {
    /// Whether every number that is judged holds.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.holds)
    }
}

/// Runs of [`run`].
pub const RUNS: usize = 525;

/// Runs all experiments. `done` is called after each of the [`RUNS`] runs.
///
/// # Errors
///
/// Never, unless a built-in profile is broken.
pub fn run(done: &(dyn Fn() + Sync)) -> Result<Paper, PlanError> {
    let run = |jobs: Vec<Job>| -> Result<Vec<Figures>, PlanError> { run_all(&jobs, done) };
    let mut rows = latency::fitted()?;
    rows.extend(latency::predicted(&run)?);
    rows.extend(latency::close_to_full(&run)?);
    rows.extend(latency::traced_request()?);
    let curves = slo::curves(&run)?;
    rows.extend(slo::rows(&curves));
    rows.extend(latency::answers_to_the_cap(&run)?);
    rows.extend(latency::slow_host(&run)?);
    rows.extend(slo::adaptive_rows(&curves));
    Ok(Paper { constants: Constants::built_in()?, rows, curves })
}

/// Ten minutes of traffic under which 256 sequences run: what the simulator's own speed is measured with.
///
/// # Errors
///
/// Never, unless a built-in profile is broken.
pub fn ten_minutes() -> Result<Job, PlanError> {
    let bench = Bench::panel(&PANELS[3])?.answering(Answers::AsGiven);
    Ok(bench.job(Way::Chunked(2048), 9.0, 1))
}

/// The row of the simulator's own speed: seconds that [`ten_minutes`] took.
pub fn speed_row(seconds: f64) -> Row {
    let what = "ten minutes of traffic with 256 sequences running, on one core";
    Row::new("speed", what, "s", [10.0, seconds], Tolerance::AtMost)
}
