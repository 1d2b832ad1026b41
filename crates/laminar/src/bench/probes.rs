//! The roofs of the machine, measured round after round, each with the dispatch rate beside it.

use std::time::Duration;

use laminar_kernels::Pool;
use laminar_kernels::roof::{Form, Reader, dispatch_rate};
use serde::Serialize;

use super::spread::Spread;

/// How long a probe lasts: reading goes through a part of the buffer that is large beside what the caches keep of it.
const READ: Duration = Duration::from_millis(25);
const MULTIPLY: Duration = Duration::from_millis(8);
const DISPATCH: Duration = Duration::from_millis(3);

/// Probes for one number of threads, and what they have shown.
pub struct Probes<'a> {
    pool: Pool,
    reader: &'a Reader,
    read: Series,
    forms: Vec<(Form, Series)>,
}

/// What one probe has shown, in units a second.
#[derive(Default)]
struct Series {
    rates: Vec<f64>,
    /// Of one thread, just before.
    dispatch: Vec<f64>,
}

/// One roof.
#[derive(Serialize)]
pub struct Roof {
    /// Threads at work.
    pub threads: usize,
    /// What was measured.
    pub name: &'static str,
    /// Of the rate: GB/s, GFLOP/s or GOP/s.
    pub unit: &'static str,
    /// Of all threads together.
    #[serde(flatten)]
    pub rate: Spread,
    /// Billions of instructions without effect that a thread dispatched in a second, beside the rate.
    pub dispatch_g_s: Option<Spread>,
}

impl<'a> Probes<'a> {
    /// Probes for some ways to multiply, with threads of their own.
    pub fn new(threads: usize, reader: &'a Reader, forms: impl IntoIterator<Item = Form>) -> Self {
        let forms = forms.into_iter().map(|form| (form, Series::default())).collect();
        Self { pool: Pool::new(threads), reader, read: Series::default(), forms }
    }

    /// Measures everything once more; the middle one of the dispatch rates.
    pub fn round(&mut self) -> Option<f64> {
        let Self { pool, reader, read, forms } = self;
        let mut dispatch = read.measure(pool, || reader.rate(pool, READ));
        for (form, series) in forms {
            dispatch.extend(series.measure(pool, || form.rate(pool, MULTIPLY)));
        }
        Spread::of(dispatch).map(|spread| spread.median)
    }

    /// Billions of instructions without effect that a thread dispatches in a second now.
    pub fn dispatch(&self) -> Option<f64> {
        dispatch(&self.pool)
    }

    /// Bytes a second, the middle of all rounds.
    pub fn read_rate(&self) -> f64 {
        self.read.median()
    }

    /// Operations a second in a form, the middle of all rounds; 0 of a form that is not probed.
    pub fn multiply_rate(&self, form: Form) -> f64 {
        self.forms.iter().find(|(probed, _)| *probed == form).map_or(0.0, |(_, series)| series.median())
    }

    /// All roofs, if there was a round.
    pub fn roofs(&self) -> impl Iterator<Item = Roof> {
        let multiply = self.forms.iter().map(|(form, series)| {
            let unit = if form.is_float() { "GFLOP/s" } else { "GOP/s" };
            (form.name(), unit, series)
        });
        let threads = self.pool.threads();
        std::iter::once(("memory read", "GB/s", &self.read)).chain(multiply).filter_map(move |(name, unit, series)| {
            let rate = Spread::of(series.rates.iter().map(|rate| rate / 1e9))?;
            Some(Roof { threads, name, unit, rate, dispatch_g_s: Spread::of(series.dispatch.iter().copied()) })
        })
    }
}

impl Series {
    /// One more value; the dispatch rate before it.
    fn measure(&mut self, pool: &Pool, rate: impl FnOnce() -> f64) -> Vec<f64> {
        let before = dispatch(pool);
        self.dispatch.extend(before);
        self.rates.push(rate());
        before.into_iter().collect()
    }

    fn median(&self) -> f64 {
        Spread::of(self.rates.iter().copied()).map_or(0.0, |spread| spread.median)
    }
}

fn dispatch(pool: &Pool) -> Option<f64> {
    dispatch_rate(pool, DISPATCH).map(|rate| rate / 1e9 / pool.threads() as f64)
}
