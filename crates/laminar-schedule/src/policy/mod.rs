//! The policies, side by side.
//!
//! A policy says which prefill tiles run beside the decode rows of the next step. Everything else (decode rows, whose turn it
//! is, blocks, preemption, cancellation, the walk itself, what the prefix cache spares a prompt) is the same for all. All but
//! `adaptive` have one cohort under way, and answer two questions when there is none: which rows go together next
//! (`gather`), and over how many equal groups of layers they walk.

mod adaptive;
mod chunked;
mod layered;
mod limit;
mod whole;

use crate::cohort::{Member, split_layers};
use crate::queues::{Queues, Slot};
use crate::state::State;
use crate::{ConfigError, Tile};
pub(crate) use limit::Limit;
use std::time::Duration;

/// How prompts are cut into tiles. Decode runs in every step under each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A prompt runs in one step, through all layers (Orca).
    Whole,
    /// A step runs at most so many prompt tokens, through all layers (Sarathi-Serve). Decode rows do not count.
    Chunked {
        /// Prompt tokens a step.
        tokens: usize,
    },
    /// As [`Policy::Chunked`], by the rules of the paper's released code: a baseline for comparisons. The budget is shared: each
    /// decode row of a step leaves room for one prompt token less, and so many of them as there are tokens leave none.
    ChunkedReleased {
        /// Decode rows and prompt tokens a step.
        tokens: usize,
    },
    /// A step runs a whole cohort through one group of layers (layered prefill, arXiv 2510.08055).
    Layered {
        /// Prompt tokens that one layer group stands for; the paper's 512.
        group_tokens: usize,
        /// Most prompt tokens of a cohort; the paper's 8192. Longer prompts are chunked and layered.
        cohort_tokens: usize,
        /// Uses this number of groups instead of the formula.
        groups: Option<usize>,
    },
    /// As [`Policy::Layered`], by the rules of the paper's released code: a baseline for comparisons. A prompt is cut to fill
    /// up a cohort, and the number of groups comes from a table of the cohort's tokens.
    LayeredReleased {
        /// Most prompt tokens of a cohort; the paper's 8192.
        cohort_tokens: usize,
        /// Groups of a large cohort: 16 for models of 48 layers, 12 for those of 24.
        groups: usize,
    },
    /// As [`Policy::Chunked`], but with the most prompt tokens that let the step end within the target (deadline-adaptive).
    ChunkedDeadline {
        /// Longest time between two tokens of a stream; `None` derives one from the streams' own time.
        tbt: Option<Duration>,
        /// Prompt tokens a step at most.
        tokens: usize,
    },
    /// Chooses rows x layers of each step so that it ends within the target and reads few experts.
    Adaptive {
        /// What to keep.
        targets: Targets,
        /// Most prompt tokens of a cohort: they bound the memory of a step and of what is kept between steps.
        cohort_tokens: usize,
    },
}

/// Latency targets. Single sequences may have their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Longest time between two tokens of a stream; `None` derives one from the streams' own time.
    pub tbt: Option<Duration>,
    /// Longest time to the first token; it only orders prompts among each other. `None` is no bound.
    pub ttft: Option<Duration>,
}

impl Policy {
    /// `chunked` with the usual 512 tokens a step.
    pub const CHUNKED: Policy = Policy::Chunked { tokens: 512 };

    /// `layered` with the paper's constants.
    pub const LAYERED: Policy = Policy::Layered { group_tokens: 512, cohort_tokens: 8192, groups: None };

    /// `adaptive` without targets of its own.
    pub const ADAPTIVE: Policy = Policy::Adaptive { targets: Targets { tbt: None, ttft: None }, cohort_tokens: 8192 };

    /// The policy's name, as users write it.
    pub fn name(&self) -> &'static str {
        match self {
            Policy::Whole => "whole",
            Policy::Chunked { .. } => "chunked",
            Policy::ChunkedReleased { .. } => "chunked-released",
            Policy::Layered { .. } => "layered",
            Policy::LayeredReleased { .. } => "layered-released",
            Policy::ChunkedDeadline { .. } => "chunked-deadline",
            Policy::Adaptive { .. } => "adaptive",
        }
    }

    /// Whether the tiles of a step may end earlier than planned. Those of the other policies end where their words say.
    pub(crate) fn can_end_early(&self) -> bool {
        matches!(self, Policy::Adaptive { .. })
    }

    pub(crate) fn check(&self, layers: usize) -> Result<(), ConfigError> {
        match *self {
            Policy::Chunked { tokens: 0 } | Policy::ChunkedReleased { tokens: 0 } => {
                Err(ConfigError::Zero { field: "chunked tokens" })
            }
            Policy::Layered { group_tokens: 0, .. } => Err(ConfigError::Zero { field: "layered group_tokens" }),
            Policy::Layered { cohort_tokens: 0, .. } => Err(ConfigError::Zero { field: "layered cohort_tokens" }),
            Policy::Layered { groups: Some(0), .. } => Err(ConfigError::Zero { field: "layered groups" }),
            Policy::Layered { groups: Some(groups), .. } if groups > layers => {
                Err(ConfigError::MoreGroupsThanLayers { groups, layers })
            }
            Policy::LayeredReleased { cohort_tokens: 0, .. } => {
                Err(ConfigError::Zero { field: "layered cohort_tokens" })
            }
            Policy::LayeredReleased { groups: 0, .. } => Err(ConfigError::Zero { field: "layered groups" }),
            Policy::LayeredReleased { groups, .. } if groups > layers => {
                Err(ConfigError::MoreGroupsThanLayers { groups, layers })
            }
            Policy::ChunkedDeadline { tokens: 0, .. } => Err(ConfigError::Zero { field: "chunked tokens" }),
            Policy::ChunkedDeadline { tbt: Some(Duration::ZERO), .. } => Err(ConfigError::Zero { field: "tbt target" }),
            Policy::Adaptive { cohort_tokens: 0, .. } => Err(ConfigError::Zero { field: "adaptive cohort_tokens" }),
            Policy::Adaptive { targets, .. } => targets.check(),
            _ => Ok(()),
        }
    }

    /// The prefill tiles of the next step, newcomers admitted, and when the step has to end if the policy minds.
    pub(crate) fn tiles(&self, state: &mut State, now: Duration) -> (Option<Limit>, Vec<Tile>) {
        match *self {
            Policy::Whole => (None, one_cohort(state, |state| whole::gather(&mut state.queues), |_| 1)),
            Policy::Chunked { tokens } => {
                (None, one_cohort(state, |state| chunked::gather(&mut state.queues, tokens), |_| 1))
            }
            Policy::ChunkedReleased { tokens } => {
                let left = tokens.saturating_sub(state.batch().rows);
                (None, one_cohort(state, |state| chunked::gather(&mut state.queues, left), |_| 1))
            }
            Policy::Layered { group_tokens, cohort_tokens, groups } => {
                let gather = |state: &mut State| layered::gather(&mut state.queues, cohort_tokens);
                let count = |tokens| groups.unwrap_or_else(|| layered::group_count(tokens, group_tokens));
                (None, one_cohort(state, gather, count))
            }
            Policy::LayeredReleased { cohort_tokens, groups } => {
                let gather = |state: &mut State| chunked::gather(&mut state.queues, cohort_tokens);
                (None, one_cohort(state, gather, |tokens| layered::released_count(tokens, groups)))
            }
            Policy::ChunkedDeadline { tbt, tokens } => {
                let limit = Limit::new(state, tbt, state.batch(), false);
                (Some(limit), one_cohort(state, |state| chunked::gather_within(state, &limit, tokens), |_| 1))
            }
            Policy::Adaptive { targets, cohort_tokens } => {
                let (limit, tiles) = adaptive::tiles(state, targets, cohort_tokens, now);
                (Some(limit), tiles)
            }
        }
    }
}

impl Targets {
    fn check(self) -> Result<(), ConfigError> {
        match self {
            Targets { tbt: Some(Duration::ZERO), .. } => Err(ConfigError::Zero { field: "tbt target" }),
            Targets { ttft: Some(Duration::ZERO), .. } => Err(ConfigError::Zero { field: "ttft target" }),
            Targets { tbt: Some(tbt), ttft: Some(ttft) } if tbt > ttft => {
                Err(ConfigError::ContradictoryTargets { tbt, ttft })
            }
            _ => Ok(()),
        }
    }
}

/// The next tile of the one cohort under way: one of so many equal groups of layers. Without a cohort, one is gathered.
fn one_cohort(
    state: &mut State,
    gather: impl FnOnce(&mut State) -> Vec<Member>,
    groups: impl FnOnce(usize) -> usize,
) -> Vec<Tile> {
    if state.cohorts.is_empty() {
        let members = gather(state);
        let tokens = members.iter().map(|member| member.rows.rows).sum();
        let groups = split_layers(state.costs.layers(), groups(tokens));
        state.form_cohort(members, groups.into_iter().map(|group| group.end).collect());
    }
    let next = state.cohorts.first().and_then(|cohort| Some(cohort.tile(cohort.next_border()?)));
    next.into_iter().collect()
}

/// Adds the next rows of started prompts, in the order of their admission, as far as the budget goes.
fn take_started(queues: &Queues, members: &mut Vec<Member>, budget: &mut usize) {
    for slot in queues.unfinished() {
        let Some(rows) = queues.next_rows(slot, *budget) else { return };
        *budget -= rows.rows;
        members.push(Member { slot, rows });
    }
}

/// Admits the next waiting sequence and adds its first rows, as far as the budget goes.
fn take_newcomer(queues: &mut Queues, slot: Slot, members: &mut Vec<Member>, budget: &mut usize) -> Option<()> {
    queues.admit(slot)?;
    let rows = queues.next_rows(slot, *budget)?;
    *budget -= rows.rows;
    members.push(Member { slot, rows });
    Some(())
}
