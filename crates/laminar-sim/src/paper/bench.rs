//! The paper's testbed: two H100, its models, its workloads, its policies, its way of measuring.
//!
//! A run of the paper's script begins with an empty server (a minute of the same traffic has warmed it up and is over), sends
//! requests for ten minutes and counts all of them, those included that the server refuses for their length: their time to the
//! first token is 0 in its lists. When requests come is known to the microsecond, since the script seeds its generator with 0.

use super::published::Panel;
use crate::workload::{Answers, Arrivals, Workload};
use crate::{Hardware, Job, ModelProfile, PlanError, Roofline, Routing, Server, Slo};
use laminar_schedule::{Policy, Targets};
use std::time::Duration;

/// Seconds of arrivals.
const SECONDS: f64 = 600.0;

/// Seconds that are measured: all.
const WINDOW: std::ops::Range<f64> = 0.0..f64::INFINITY;

/// When requests come.
const ARRIVALS: Arrivals = Arrivals::Benchmark { seed: 0 };

/// Most sequences at once.
const MAX_SEQUENCES: usize = 256;

/// Longest prompt and answer.
const CONTEXT: usize = 32_768;

/// Most prompt tokens of a cohort.
const COHORT_TOKENS: usize = 8192;

/// A policy of the paper or ours, on a panel's model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    Chunked(usize),
    Layered,
    Groups(usize),
    Adaptive,
}

/// A machine with a model, and the targets.
#[derive(Clone, Debug)]
pub(super) struct Bench {
    roofline: Roofline,
    workload: Workload,
    slo: Slo,
    groups: usize,
}

impl Bench {
    /// Two devices with a model and a workload.
    pub fn new(hardware: &str, model: &str, workload: &str, slo: Slo, groups: usize) -> Result<Self, PlanError> {
        let hardware = Hardware::named(hardware)?.with_devices(2);
        let roofline = Roofline::new(hardware, ModelProfile::named(model)?, Routing::FITTED)?;
        // Published of arXiv is how many tokens go in for each that comes out. Of ShareGPT it is the trace whose answers are the
        // caps, and the engine ends an answer also where the model does.
        let answers = if workload == "sharegpt" { Answers::Capped } else { Answers::AsGiven };
        let workload = Workload { answers, arrivals: ARRIVALS, ..Workload::named(workload)? };
        Ok(Self { roofline, workload, slo, groups })
    }

    /// The testbed of one of the paper's panels.
    pub fn panel(panel: &Panel) -> Result<Self, PlanError> {
        let slo = Slo { ttft_s: panel.ttft_s, tbt_s: panel.tbt_s };
        Self::new("h100-sxm", panel.model, panel.workload, slo, panel.groups)
    }

    /// The same with other answers.
    pub fn answering(mut self, answers: Answers) -> Self {
        self.workload.answers = answers;
        self
    }

    /// The model on the machine.
    pub fn roofline(&self) -> &Roofline {
        &self.roofline
    }

    /// A run of it.
    pub fn job(&self, way: Way, rate: f64, seed: u64) -> Job {
        let time = Duration::from_secs_f64;
        let policy = match way {
            Way::Chunked(tokens) => Policy::ChunkedReleased { tokens },
            Way::Layered => Policy::LayeredReleased { cohort_tokens: COHORT_TOKENS, groups: self.groups },
            Way::Groups(groups) => Policy::LayeredReleased { cohort_tokens: COHORT_TOKENS, groups },
            Way::Adaptive => Policy::Adaptive {
                targets: Targets { tbt: Some(time(self.slo.tbt_s)), ttft: Some(time(self.slo.ttft_s)) },
                cohort_tokens: COHORT_TOKENS,
            },
        };
        let server = Server {
            roofline: self.roofline.clone(),
            policy,
            max_sequences: MAX_SEQUENCES,
            context: CONTEXT,
            slo: self.slo,
            window: WINDOW,
            counts_refused: true,
        };
        Job { server, workload: self.workload.clone(), rate, seconds: SECONDS, seed }
    }
}
