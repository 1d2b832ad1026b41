//! Which prompt goes next.
//!
//! A prompt's *slowdown* is the time from its arrival to its first token, as predicted now, over the time it would take alone.
//! The prompt with the largest one goes next (highest response ratio next): short prompts gain slowdown fast and overtake
//! long ones soon; a long one gains slowly but without end, so it does not starve. A target for the first token goes before
//! that order as long as it can still be met.
//!
//! Among those that wait, the tenant whose turn it is comes first ([`crate::waiting`]), and its own prompts are compared.

use super::MAX_COHORTS;
use crate::Targets;
use crate::cohort::Cohort;
use crate::costs::{Batch, Rows};
use crate::policy::limit::Limit;
use crate::queues::Slot;
use crate::sequence::Sequence;
use crate::state::State;
use std::time::Duration;

/// Whose turn it is.
pub(super) enum Next {
    /// The cohort that was asked about, if there is one.
    Continue,
    /// This sequence, in a new cohort.
    Begin(Slot),
}

/// A prompt, or several that walk together.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Seconds until it is through, when nothing comes between but the decode rows.
    remaining: f64,
    slowdown: f64,
    /// Seconds it could wait and still meet its target; infinite without one.
    slack: f64,
}

impl Candidate {
    /// Whether it meets its target now and would miss it after so many seconds.
    fn cannot_wait(&self, seconds: f64) -> bool {
        (0.0..seconds).contains(&self.slack)
    }
}

/// Whether to go on with a cohort or to begin with a sequence.
pub(super) fn next(
    state: &State,
    newest: Option<usize>,
    targets: Targets,
    limit: &Limit,
    batch: Batch,
    now: Duration,
) -> Next {
    let view = View { state, targets, limit, batch, now };
    if state.cohorts.len() >= MAX_COHORTS {
        return Next::Continue;
    }
    let Some((slot, newcomer)) = view.newcomer() else {
        return Next::Continue;
    };
    let under_way: Vec<Candidate> = state.cohorts.iter().map(|cohort| view.cohort(cohort)).collect();
    let overtakes = match newest.and_then(|index| under_way.get(index)) {
        None => true,
        Some(top) => {
            let shorter = newcomer.remaining < top.remaining;
            let patient = under_way.iter().all(|other| newcomer.slowdown > other.slowdown);
            let urgent = newcomer.cannot_wait(top.remaining);
            let harmless = under_way.iter().all(|other| !other.cannot_wait(newcomer.remaining));
            shorter && (patient || urgent) && harmless
        }
    };
    if overtakes { Next::Begin(slot) } else { Next::Continue }
}

/// Everything that prompts are compared by.
struct View<'a> {
    state: &'a State,
    targets: Targets,
    limit: &'a Limit,
    batch: Batch,
    now: Duration,
}

impl View<'_> {
    /// Among the prompts that no cohort has, the one to begin with: it can, and it is first in order.
    fn newcomer(&self) -> Option<(Slot, Candidate)> {
        let queues = &self.state.queues;
        let started = self.first(queues.unfinished());
        // The first of those that wait may have to wait for blocks; then nobody takes them away.
        let waiting = self.first(queues.contenders().filter(|_| queues.has_room()));
        let waiting = waiting.filter(|(slot, _)| queues.admissible(*slot).is_some());
        let (Some(one), Some(other)) = (started, waiting) else {
            return started.or(waiting);
        };
        let other_is_first = match (one.1.cannot_wait(other.1.remaining), other.1.cannot_wait(one.1.remaining)) {
            (true, false) => false,
            (false, true) => true,
            _ => other.1.slowdown > one.1.slowdown,
        };
        Some(if other_is_first { other } else { one })
    }

    /// The first in order: the most pressed one if it cannot wait for the one with the largest slowdown, or else that.
    fn first(&self, slots: impl Iterator<Item = Slot>) -> Option<(Slot, Candidate)> {
        let mut slowest: Option<(Slot, Candidate)> = None;
        let mut pressed: Option<(Slot, Candidate)> = None;
        for slot in slots {
            let Some(sequence) = self.state.queues.get(slot) else { continue };
            let candidate = self.sequence(sequence);
            if slowest.is_none_or(|(_, other)| candidate.slowdown > other.slowdown) {
                slowest = Some((slot, candidate));
            }
            if candidate.slack >= 0.0 && pressed.is_none_or(|(_, other)| candidate.slack < other.slack) {
                pressed = Some((slot, candidate));
            }
        }
        let (_, first) = slowest?;
        pressed.filter(|(_, pressed)| pressed.cannot_wait(first.remaining)).or(slowest)
    }

    fn sequence(&self, sequence: &Sequence) -> Candidate {
        let costs = &self.state.costs;
        let service = costs.service(Rows::of(0, sequence.tokens()));
        let remaining = costs.service(Rows::of(sequence.done(), sequence.remaining()));
        self.candidate(sequence, service, remaining)
    }

    fn cohort(&self, cohort: &Cohort) -> Candidate {
        let costs = &self.state.costs;
        let end = crate::Cursor::at_layer(costs.layers());
        let left = costs.seconds(&costs.tile(cohort, end, self.batch, true));
        let live = cohort.members().iter().filter(|member| !member.rows.dropped);
        let candidates = live.filter_map(|member| {
            let sequence = self.state.queues.get(member.slot)?;
            let behind = member.rows.start + member.rows.rows;
            let later = sequence.tokens() - behind;
            let later = if later > 0 { costs.service(Rows::of(behind, later)) } else { 0.0 };
            Some(self.candidate(sequence, costs.service(Rows::of(0, sequence.tokens())), left + later))
        });
        let most = |one: Candidate, other: Candidate| Candidate {
            remaining: one.remaining.max(other.remaining),
            slowdown: one.slowdown.max(other.slowdown),
            slack: one.slack.min(other.slack),
        };
        candidates.reduce(most).unwrap_or(Candidate { remaining: left, slowdown: 1.0, slack: f64::INFINITY })
    }

    fn candidate(&self, sequence: &Sequence, service: f64, remaining: f64) -> Candidate {
        let remaining = remaining * self.limit.stretch();
        let waited = self.now.as_secs_f64() - sequence.virtual_arrival() as f64 * 1e-6;
        let waited = waited.max(0.0);
        let slowdown = (waited + remaining) / (service * self.limit.stretch());
        let target = sequence.ttft_target.or(self.targets.ttft);
        let since = self.now.saturating_sub(sequence.arrival).as_secs_f64();
        let slack = target.map_or(f64::INFINITY, |target| target.as_secs_f64() - since - remaining);
        Candidate { remaining, slowdown, slack }
    }
}
