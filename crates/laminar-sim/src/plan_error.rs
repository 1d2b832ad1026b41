//! What can be wrong with a plan: a profile, a workload, a combination of both.

use thiserror::Error;

/// Why a simulation cannot be run.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PlanError {
    /// There is no such built-in thing.
    #[error("no {kind} is called `{name}`; there are {known}")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// The name that was given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A profile is wrong.
    #[error("profile: {0}")]
    Profile(String),
    /// A workload is wrong.
    #[error("workload: {0}")]
    Workload(String),
    /// The model does not fit the machine.
    #[error(
        "{model} does not fit {hardware}: beside {needed_gb:.1} GB that must be in memory, {memory_gb:.1} GB leave no room \
         for a sequence"
    )]
    TooLarge {
        /// The model's name.
        model: String,
        /// The machine's name.
        hardware: String,
        /// What must be in memory, in 10^9 bytes.
        needed_gb: f64,
        /// What there is, in 10^9 bytes.
        memory_gb: f64,
    },
    /// The scheduler refuses the configuration or a request.
    #[error("the scheduler refuses it: {0}")]
    Scheduler(String),
}

impl PlanError {
    /// The error that lists what there is.
    pub(crate) fn unknown<'a>(kind: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::Unknown { kind, name: name.to_owned(), known: known.collect::<Vec<_>>().join(", ") }
    }
}
