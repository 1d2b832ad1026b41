//! Every policy in every situation.

use crate::measure::{Error, Hardware, MOST_STEPS, Outcome, POLICIES, decode_step, measure, minds_target};
use std::time::Duration;

/// Lengths of the prompt.
const PROMPTS: [usize; 5] = [64, 512, 2048, 8192, 32_768];
/// Streams that run when it comes.
const STREAMS: [usize; 6] = [0, 1, 4, 16, 64, 128];
/// Targets for the time between tokens, in milliseconds.
const TARGETS: [u64; 5] = [30, 60, 120, 250, 500];

/// One situation and what came of it.
pub struct Cell {
    /// The model's name.
    pub shape: &'static str,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Streams beside it.
    pub streams: usize,
    /// The target in milliseconds.
    pub target: u64,
    /// One for each policy; none where it would take too many steps.
    pub outcomes: [Option<Outcome>; POLICIES.len()],
}

impl Cell {
    /// Whether no stream has waited longer than the target.
    pub fn meets(&self, outcome: &Outcome) -> bool {
        self.streams == 0 || outcome.longest_step <= self.target as f64 * 1e-3 * 1.001
    }

    /// The outcome of a policy.
    pub fn of(&self, name: &str) -> Option<&Outcome> {
        let place = POLICIES.iter().position(|(other, _)| *other == name)?;
        self.outcomes[place].as_ref()
    }

    /// Outcomes that meet the target.
    pub fn meeting(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().flatten().filter(|outcome| self.meets(outcome))
    }
}

/// All situations of a model.
pub fn of_shape(name: &'static str, hardware: Hardware) -> Result<Vec<Cell>, Error> {
    let mut cells = Vec::new();
    for prompt in PROMPTS {
        let whole = POLICIES[0].1(Duration::ZERO);
        let alone = measure(hardware, whole, 0, prompt)?.ttft;
        for streams in STREAMS {
            let decode = decode_step(hardware, streams);
            let mut blind = [None; POLICIES.len()];
            for (outcome, (name, policy)) in blind.iter_mut().zip(POLICIES) {
                if !minds_target(name) {
                    *outcome = Some(measure(hardware, policy(Duration::ZERO), streams, prompt)?);
                }
            }
            for target in TARGETS {
                let seconds = target as f64 * 1e-3;
                let room = if streams == 0 { 0.1 } else { (seconds - decode).max(0.03 * seconds) };
                let mut outcomes = blind;
                for (outcome, (name, policy)) in outcomes.iter_mut().zip(POLICIES) {
                    if minds_target(name) && alone / room < MOST_STEPS {
                        let policy = policy(Duration::from_millis(target));
                        *outcome = Some(measure(hardware, policy, streams, prompt)?);
                    }
                }
                cells.push(Cell { shape: name, prompt, streams, target, outcomes });
            }
        }
    }
    Ok(cells)
}
