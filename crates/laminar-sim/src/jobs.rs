//! Many runs at once, on a few threads; the results do not depend on how many.

use crate::workload::Workload;
use crate::{Figures, PlanError, Server, serve};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One run to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The server.
    pub server: Server,
    /// What comes to it.
    pub workload: Workload,
    /// Requests a second.
    pub rate: f64,
    /// Seconds of arrivals.
    pub seconds: f64,
    /// Seed of the requests.
    pub seed: u64,
}

impl Job {
    /// Does it.
    ///
    /// # Errors
    ///
    /// A workload or a configuration that cannot be.
    pub fn run(&self) -> Result<Figures, PlanError> {
        let requests = self.workload.requests(self.rate, self.seconds, self.seed)?;
        let served = serve(&self.server, &requests, |_| {})?;
        Ok(Figures::of(&served, &self.server, requests.len()))
    }
}

/// Does all of them, each as it would be alone. `done` is called after each.
///
/// # Errors
///
/// The first job's that cannot be.
pub fn run_all(jobs: &[Job], done: &(dyn Fn() + Sync)) -> Result<Vec<Figures>, PlanError> {
    let results: Mutex<Vec<Option<Result<Figures, PlanError>>>> = Mutex::new(vec![None; jobs.len()]);
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((index, job)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, jobs.get(index)?)))
        {
            let result = job.run();
            if let Ok(mut results) = results.lock()
                && let Some(place) = results.get_mut(index)
            {
                *place = Some(result);
            }
            done();
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(jobs.len());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let results = results.into_inner().unwrap_or_default();
    results
        .into_iter()
        .map(|result| result.unwrap_or_else(|| Err(PlanError::Workload("a run was lost".to_owned()))))
        .collect()
}
