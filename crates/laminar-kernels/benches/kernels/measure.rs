//! Rounds of roofs and cases.

use std::time::{Duration, Instant};

use laminar_kernels::Pool;
use laminar_kernels::roof::{Form, Reader, dispatch_rate};

use crate::cases::{Case, Work};

/// How long a probe lasts. Reading goes on where the round before stopped.
const READ: Duration = Duration::from_millis(20);
const MULTIPLY: Duration = Duration::from_millis(6);
const DISPATCH: Duration = Duration::from_millis(2);
/// A case is repeated until so much time has passed.
const CASE: Duration = Duration::from_millis(25);

/// What the rounds of a group have shown.
pub struct Group {
    /// Bytes a second, in each round.
    pub read: Vec<f64>,
    /// Operations a second in the form of the group's products, in each round.
    pub multiply: Option<(Form, Vec<f64>)>,
    pub cases: Vec<Measured>,
}

/// What the rounds have shown of a case.
pub struct Measured {
    pub name: String,
    pub work: Work,
    pub samples: Vec<Sample>,
}

/// One case in one round.
#[derive(Clone, Copy)]
pub struct Sample {
    /// How long the case took.
    pub seconds: f64,
    /// The share of this time that reading its bytes would have taken at the round's roof.
    pub of_read: f64,
    /// The share that its operations would have taken.
    pub of_multiply: f64,
    /// Instructions without effect that a thread dispatched in a second: the mean of before and after.
    pub dispatch: Option<f64>,
}

/// Measures cases whose products all have the same form.
pub fn group(pool: &Pool, reader: &Reader, rounds: usize, cases: &mut [Case]) -> Group {
    let form = cases.iter().find_map(|case| case.form);
    let mut found = Group {
        read: Vec::new(),
        multiply: form.map(|form| (form, Vec::new())),
        cases: cases
            .iter()
            .map(|case| Measured { name: case.name.clone(), work: case.work, samples: Vec::new() })
            .collect(),
    };
    // Buffers reach their size here.
    cases.iter_mut().for_each(|case| case.run(pool));
    for _ in 0..rounds {
        let read = reader.rate(pool, READ);
        found.read.push(read);
        let multiply = found.multiply.as_mut().map(|(form, rates)| {
            let rate = form.rate(pool, MULTIPLY);
            rates.push(rate);
            rate
        });
        for (case, measured) in cases.iter_mut().zip(&mut found.cases) {
            let before = dispatch(pool);
            let seconds = time(|| case.run(pool));
            let dispatch = before.zip(dispatch(pool)).map(|(before, after)| (before + after) / 2.0);
            let of_read = case.work.bytes as f64 / read / seconds;
            let of_multiply = multiply.map_or(0.0, |rate| case.work.operations / rate / seconds);
            measured.samples.push(Sample { seconds, of_read, of_multiply, dispatch });
        }
    }
    found
}

/// Seconds of a run, the mean of as many as fit [`CASE`], at least one.
fn time(mut run: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut runs = 0;
    loop {
        run();
        runs += 1;
        let elapsed = begin.elapsed();
        if elapsed >= CASE {
            return elapsed.as_secs_f64() / f64::from(runs);
        }
    }
}

fn dispatch(pool: &Pool) -> Option<f64> {
    dispatch_rate(pool, DISPATCH).map(|rate| rate / pool.threads() as f64)
}
