//! A server in virtual time: requests arrive, the real scheduler plans, the roofline says how long each step takes. Where the
//! policy sets a deadline, tiles end when it comes, as the real engine ends them.

use crate::early::Watch;
use crate::gaps::Gaps;
use crate::workload::Request;
use crate::{Cost, PlanError, Roofline, Slo};
use laminar_schedule::{NewSequence, Policy, Report, Scheduler, SchedulerConfig, SequenceId, Step};
use std::ops::Range;
use std::time::Duration;

/// Positions of a KV block, as in the paper's engine.
const BLOCK_LEN: usize = 16;

/// A server to be tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The model on its machine.
    pub roofline: Roofline,
    /// Who runs when.
    pub policy: Policy,
    /// Most sequences at once.
    pub max_sequences: usize,
    /// Longest prompt and answer together.
    pub context: usize,
    /// Targets that requests are judged by.
    pub slo: Slo,
    /// Requests that arrive within these seconds are measured; the others are there to make it a server under load.
    pub window: Range<f64>,
    /// Whether requests that do not fit count as answered at once with nothing, as in the layered prefill paper's evaluation.
    pub counts_refused: bool,
}

/// One step, as an observer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Seconds at its start.
    pub start_s: f64,
    /// What ran.
    pub step: &'a Step,
    /// What it cost.
    pub cost: &'a Cost,
    /// Sequences that wait.
    pub waiting: usize,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The request.
    pub request: Request,
    /// Requests in the system when it came, itself excluded.
    pub in_system: usize,
    /// Seconds to its first token.
    pub ttft_s: f64,
    /// Its longest gap.
    pub worst_gap_s: f64,
    /// Seconds to its last token.
    pub e2e_s: f64,
}

impl Outcome {
    /// Whether it keeps both targets.
    pub fn in_time(&self, slo: &Slo) -> bool {
        self.ttft_s <= slo.ttft_s && self.worst_gap_s <= slo.tbt_s
    }
}

/// What a run amounts to.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Requests of the window, in the order of their arrival. Those that the scheduler refused are missing unless they count.
    pub outcomes: Vec<Outcome>,
    /// Gaps between tokens of these requests.
    pub gaps: Gaps,
    /// Requests that do not fit the context or the memory.
    pub refused: usize,
    /// Steps of the whole run.
    pub steps: u64,
    /// Seconds of the whole run.
    pub seconds: f64,
    /// Seconds of these in which a step ran.
    pub busy_s: f64,
    /// Cost of all steps.
    pub cost: Cost,
    /// Joules of the whole run.
    pub joules: f64,
    /// Prompt and generated tokens of the whole run.
    pub tokens: u64,
    /// Most sequences that decoded in a step.
    pub most_running: usize,
    /// Preemptions.
    pub preemptions: u64,
}

/// A request while it is served.
#[derive(Clone, Copy, Debug)]
struct Live {
    request: Request,
    measured: bool,
    in_system: usize,
    tokens: usize,
    first_s: f64,
    last_s: f64,
    worst_gap_s: f64,
}

/// Serves all requests, which are in the order of their arrival. `observe` sees every step.
///
/// # Errors
///
/// A configuration that the scheduler refuses.
pub fn serve(server: &Server, requests: &[Request], mut observe: impl FnMut(Moment<'_>)) -> Result<Served, PlanError> {
    let Server { roofline, policy, max_sequences, context, window, .. } = server;
    let refused = |error: &dyn std::fmt::Display| PlanError::Scheduler(error.to_string());
    let mut scheduler = Scheduler::new(SchedulerConfig {
        policy: *policy,
        layers: roofline.model().layers,
        experts: roofline.model().experts(),
        costs: roofline.model().cost_prior(),
        max_sequences: *max_sequences,
        kv_blocks: roofline.kv_tokens() / BLOCK_LEN,
        block_len: BLOCK_LEN,
        max_waiting: requests.len().max(1),
        context: *context,
        snapshots: None,
    })
    .map_err(|error| refused(&error))?;

    let mut served = Served {
        outcomes: Vec::with_capacity(requests.len()),
        gaps: Gaps::default(),
        refused: 0,
        steps: 0,
        seconds: 0.0,
        busy_s: 0.0,
        cost: Cost::default(),
        joules: 0.0,
        tokens: 0,
        most_running: 0,
        preemptions: 0,
    };
    let mut live: Vec<Live> = Vec::with_capacity(requests.len());
    let (mut now, mut in_system, mut watch) = (0.0, 0, Watch::default());
    let mut coming = requests.iter().peekable();
    loop {
        while let Some(request) = coming.next_if(|request| request.arrival_s <= now) {
            let id = SequenceId(live.len() as u64);
            live.push(Live {
                request: *request,
                measured: window.contains(&request.arrival_s),
                in_system,
                tokens: 0,
                first_s: 0.0,
                last_s: 0.0,
                worst_gap_s: 0.0,
            });
            let new = NewSequence::new(id, request.prompt, request.output);
            match scheduler.submit(new, Duration::from_secs_f64(request.arrival_s)) {
                Ok(()) => in_system += 1,
                Err(_) => served.refused += 1,
            }
        }
        if scheduler.is_idle() {
            let Some(next) = coming.peek() else { break };
            now = next.arrival_s;
            continue;
        }
        let planned = scheduler.plan(Duration::from_secs_f64(now));
        let (step, cost, reached) = watch.run(roofline, planned);
        observe(Moment { start_s: now, step: &step, cost: &cost, waiting: scheduler.stats().waiting });
        let seconds = cost.seconds();
        now += seconds;
        served.busy_s += seconds;
        served.steps += 1;
        served.joules += roofline.joules(&cost);
        served.cost += cost;
        served.most_running = served.most_running.max(step.decode.len());

        // Rows that have kept the beat all have the same gap; they are counted in one go.
        let mut at_beat = 0;
        let mut token = |id: SequenceId| {
            let Some(sequence) = live.get_mut(id.0 as usize) else { return };
            sequence.tokens += 1;
            if sequence.tokens == 1 {
                sequence.first_s = now;
            } else {
                let gap = now - sequence.last_s;
                sequence.worst_gap_s = sequence.worst_gap_s.max(gap);
                match sequence.measured {
                    true if (gap - seconds).abs() < 1e-9 => at_beat += 1,
                    true => served.gaps.push(gap, 1),
                    false => {}
                }
            }
            sequence.last_s = now;
            if sequence.tokens >= sequence.request.output {
                in_system -= 1;
            }
        };
        step.decode.iter().for_each(|row| token(row.sequence));
        for tile in &step.tiles {
            if tile.to.layer >= roofline.model().layers {
                tile.members
                    .iter()
                    .filter(|member| member.ends_prompt && !member.dropped)
                    .for_each(|member| token(member.sequence));
            }
        }
        served.gaps.push(seconds, at_beat);
        let report = Report {
            step: step.number,
            duration: Duration::from_secs_f64(seconds),
            prefill_expert_loads: cost.prefill_loads.round() as u64,
            total_expert_loads: cost.loads.round() as u64,
            reached: step.deadline.map(|_| reached),
            ..Report::default()
        };
        scheduler.commit(&report).map_err(|error| refused(&error))?;
    }
    served.seconds = now;
    served.joules += roofline.static_watts() * now;
    served.preemptions = scheduler.stats().preemptions;
    for sequence in &live {
        let refused = sequence.tokens == 0;
        if !refused {
            served.tokens += (sequence.request.prompt + sequence.tokens) as u64;
        }
        if refused && sequence.measured && server.counts_refused {
            let Live { request, in_system, .. } = *sequence;
            served.outcomes.push(Outcome { request, in_system, ttft_s: 0.0, worst_gap_s: 0.0, e2e_s: 0.0 });
        } else if !refused && sequence.measured {
            served.outcomes.push(Outcome {
                request: sequence.request,
                in_system: sequence.in_system,
                ttft_s: sequence.first_s - sequence.request.arrival_s,
                worst_gap_s: sequence.worst_gap_s,
                e2e_s: sequence.last_s - sequence.request.arrival_s,
            });
        }
    }
    Ok(served)
}

impl Served {
    /// Share of the measured requests that are in time; 1 of none.
    pub fn attainment(&self, slo: &Slo) -> f64 {
        let kept = self.outcomes.iter().filter(|outcome| outcome.in_time(slo)).count();
        if self.outcomes.is_empty() { 1.0 } else { kept as f64 / self.outcomes.len() as f64 }
    }

    /// Mean of something over the measured requests; 0 of none.
    pub fn mean(&self, of: impl Fn(&Outcome) -> f64) -> f64 {
        self.outcomes.iter().map(of).sum::<f64>() / self.outcomes.len().max(1) as f64
    }

    /// The smallest value that a share of the measured requests does not exceed; 0 of none.
    pub fn quantile(&self, share: f64, of: impl Fn(&Outcome) -> f64) -> f64 {
        let mut values: Vec<f64> = self.outcomes.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let place = (share * values.len() as f64).ceil() as usize;
        values.get(place.saturating_sub(1).min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }

    /// Joules for each prompt or generated token.
    pub fn joules_per_token(&self) -> f64 {
        self.joules / self.tokens.max(1) as f64
    }
}
