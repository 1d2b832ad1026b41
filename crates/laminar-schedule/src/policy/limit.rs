//! Until when a step has to end.

use crate::Deadline;
use crate::costs::{Batch, Costs};
use crate::state::State;
use std::fmt;
use std::time::Duration;

/// With no stream to protect, a step still ends after about this time, so that a newcomer, a cancelled request or a shutdown
/// is seen soon.
const IDLE_STEP: f64 = 0.1;

/// Without a target, a stream may wait so many times as long as without a prompt beside it, ..
const AUTOMATIC: f64 = 3.0;

/// .. but a wait below this is none that anybody sees.
const AUTOMATIC_AT_LEAST: f64 = 0.05;

/// However regular the steps are, predictions are no better than this.
const MARGIN: f64 = 1.02;

/// How much sooner than in the limit a step should really be over, in seconds: its tokens still have to get to their clients,
/// some a little faster than others. ..
const ARRIVAL: f64 = 2.5e-3;

/// .. But at least and at most these shares of the limit.
const ARRIVAL_SHARES: (f64, f64) = (0.02, 0.06);

/// Where the decode rows alone leave less than this share of the target, it cannot be kept in any useful way, ..
const HOPELESS: f64 = 0.03;

/// .. and prompts get this share of the decode rows' time, so that they do not starve.
const SHARE: f64 = 0.25;

/// Why a step has to end when it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reason {
    /// There is no stream, but somebody may come.
    Interruptible,
    /// The tightest target among the streams.
    Target,
    /// A multiple of the decode rows' own time.
    Automatic,
    /// The decode rows alone take as long as the target, and prompts must not starve.
    Starving,
}

/// The time of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limit {
    /// Seconds after which the step should be over, also when it is one of the slow ones.
    pub until: f64,
    /// Seconds after which to end tiles early, so that it is.
    deadline: f64,
    /// Median seconds of the decode rows alone.
    pub decode: f64,
    /// Median seconds that prefill may add.
    pub room: f64,
    pub reason: Reason,
    /// Whether tiles end early when the deadline comes.
    pub is_watched: bool,
}

impl Limit {
    /// The limit beside these decode rows. Steps that are watched end their tiles early when they turn out slow.
    pub fn new(state: &State, target: Option<Duration>, batch: Batch, is_watched: bool) -> Self {
        let costs = &state.costs;
        let decode = costs.seconds(&costs.decode(batch));
        if batch.rows == 0 {
            return Self {
                until: IDLE_STEP,
                deadline: IDLE_STEP,
                decode,
                room: (IDLE_STEP - decode).max(SHARE * IDLE_STEP),
                reason: Reason::Interruptible,
                is_watched,
            };
        }
        let targets = state.queues.decoding().filter_map(|sequence| sequence.tbt_target.or(target));
        let (until, reason) = match targets.min() {
            Some(target) => (target.as_secs_f64(), Reason::Target),
            None => ((AUTOMATIC * decode).max(AUTOMATIC_AT_LEAST), Reason::Automatic),
        };
        // The slow ones among the steps have to end in time too; but nobody has to plan for the worst who can stop.
        let tail = match is_watched {
            true => until / (until - ARRIVAL.clamp(ARRIVAL_SHARES.0 * until, ARRIVAL_SHARES.1 * until)),
            false => costs.prefill_tail().max(MARGIN),
        };
        let room = until / tail - decode;
        if room < HOPELESS * until {
            return Self {
                until: decode * (1.0 + SHARE) * tail,
                deadline: decode * (1.0 + SHARE),
                decode,
                room: decode * SHARE,
                reason: Reason::Starving,
                is_watched,
            };
        }
        Self { until, deadline: until / tail, decode, room, reason, is_watched }
    }

    /// When the step should be over, if there are streams that wait for it.
    pub fn deadline(&self, costs: &Costs) -> Option<Deadline> {
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let decode = self.decode * costs.decode_tail();
        match self.reason {
            Reason::Interruptible => None,
            _ => Some(Deadline { until: seconds(self.deadline)?, decode: seconds(decode)? }),
        }
    }

    /// How many times longer prefill takes for the time that the decode rows get.
    pub fn stretch(&self) -> f64 {
        1.0 + self.decode / self.room
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { until, decode, .. } = self;
        let (until, decode) = (until * 1e3, decode * 1e3);
        match self.reason {
            Reason::Interruptible => write!(f, "no streams, so at most {until:.0} ms to stay interruptible"),
            Reason::Target => write!(f, "streams alone take {decode:.1} ms, the tightest target is {until:.1} ms"),
            Reason::Automatic => {
                write!(f, "streams alone take {decode:.1} ms and without a target may take {until:.1} ms")
            }
            Reason::Starving => {
                write!(
                    f,
                    "streams alone take {decode:.1} ms, which leaves prompts no time; they get up to {until:.1} ms"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CostPrior, Policy, SchedulerConfig};

    #[test]
    fn nobody_has_to_plan_for_the_worst_who_can_stop() {
        let state = State::new(&SchedulerConfig {
            policy: Policy::ADAPTIVE,
            layers: 8,
            experts: None,
            costs: CostPrior::default(),
            max_sequences: 4,
            kv_blocks: 64,
            block_len: 32,
            max_waiting: 4,
            context: 1024,
            snapshots: None,
        });
        let limit = |is_watched| Limit::new(&state, None, Batch { rows: 4, context: 100.0 }, is_watched);
        let (unwatched, watched) = (limit(false), limit(true));
        assert!(unwatched.room < watched.room);
        assert!(unwatched.deadline < watched.deadline && watched.deadline < watched.until);
    }
}
