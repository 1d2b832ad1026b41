//! What a run amounts to, in the numbers that reports show.

use crate::{Served, Server, Slo};
use serde::Serialize;

/// The numbers of one run, requests of the window alone where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Requests measured.
    pub requests: usize,
    /// Requests that do not fit the context or the memory, of the whole run.
    pub refused: usize,
    /// Share that keeps both targets.
    pub attainment: f64,
    /// Share that keeps the target for the first token.
    pub ttft_attainment: f64,
    /// Share that keeps the target for gaps.
    pub tbt_attainment: f64,
    /// Requests in the system when one came, on average.
    pub in_system: f64,
    /// Mean time to the first token, in seconds.
    pub ttft_mean_s: f64,
    /// 99 % of the times to the first token are at most this.
    pub ttft_p99_s: f64,
    /// Mean gap between tokens, in seconds.
    pub tbt_mean_s: f64,
    /// 99 % of the gaps are at most this.
    pub tbt_p99_s: f64,
    /// The longest gap.
    pub tbt_max_s: f64,
    /// Mean time to the last token.
    pub e2e_mean_s: f64,
    /// Most sequences that decoded in a step.
    pub most_running: usize,
    /// Steps of the whole run.
    pub steps: u64,
    /// Seconds of the whole run.
    pub seconds: f64,
    /// Share of these in which a step ran.
    pub busy: f64,
    /// Joules for each prompt or generated token of the whole run.
    pub joules_per_token: f64,
    /// Bytes of expert weights for each request of the whole run.
    pub expert_bytes_per_request: f64,
    /// Preemptions of the whole run.
    pub preemptions: u64,
}

impl Figures {
    /// Sums up a run of so many requests.
    pub fn of(served: &Served, server: &Server, requests: usize) -> Self {
        let Server { slo, .. } = server;
        let Slo { ttft_s, tbt_s } = *slo;
        let share = |kept: &dyn Fn(&crate::Outcome) -> bool| served.mean(|outcome| f64::from(u8::from(kept(outcome))));
        Self {
            requests: served.outcomes.len(),
            refused: served.refused,
            attainment: served.attainment(slo),
            ttft_attainment: share(&|outcome| outcome.ttft_s <= ttft_s),
            tbt_attainment: share(&|outcome| outcome.worst_gap_s <= tbt_s),
            in_system: served.mean(|outcome| outcome.in_system as f64),
            ttft_mean_s: served.mean(|outcome| outcome.ttft_s),
            ttft_p99_s: served.quantile(0.99, |outcome| outcome.ttft_s),
            tbt_mean_s: served.gaps.mean(),
            tbt_p99_s: served.gaps.quantile(0.99),
            tbt_max_s: served.gaps.quantile(1.0),
            e2e_mean_s: served.mean(|outcome| outcome.e2e_s),
            most_running: served.most_running,
            steps: served.steps,
            seconds: served.seconds,
            busy: if served.seconds > 0.0 { served.busy_s / served.seconds } else { 0.0 },
            joules_per_token: served.joules_per_token(),
            expert_bytes_per_request: served.cost.expert_bytes / (requests - served.refused).max(1) as f64,
            preemptions: served.preemptions,
        }
    }

    /// The median of each number over several runs; of an even number of runs the upper one.
    pub fn median(runs: &[Figures]) -> Self {
        let middle = |of: &dyn Fn(&Figures) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        Self {
            requests: middle(&|run| run.requests as f64) as usize,
            refused: middle(&|run| run.refused as f64) as usize,
            attainment: middle(&|run| run.attainment),
            ttft_attainment: middle(&|run| run.ttft_attainment),
            tbt_attainment: middle(&|run| run.tbt_attainment),
            in_system: middle(&|run| run.in_system),
            ttft_mean_s: middle(&|run| run.ttft_mean_s),
            ttft_p99_s: middle(&|run| run.ttft_p99_s),
            tbt_mean_s: middle(&|run| run.tbt_mean_s),
            tbt_p99_s: middle(&|run| run.tbt_p99_s),
            tbt_max_s: middle(&|run| run.tbt_max_s),
            e2e_mean_s: middle(&|run| run.e2e_mean_s),
            most_running: middle(&|run| run.most_running as f64) as usize,
            steps: middle(&|run| run.steps as f64) as u64,
            seconds: middle(&|run| run.seconds),
            busy: middle(&|run| run.busy),
            joules_per_token: middle(&|run| run.joules_per_token),
            expert_bytes_per_request: middle(&|run| run.expert_bytes_per_request),
            preemptions: middle(&|run| run.preemptions as f64) as u64,
        }
    }
}
