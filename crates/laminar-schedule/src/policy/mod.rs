//! The policies, side by side.
//!
//! A policy answers two questions, and only when no cohort is under way: which prompt rows go together next (`gather`),
//! and over how many groups of layers they walk (`groups`). Everything else (decode rows, admission order, blocks,
//! cancellation, the walk itself, what the prefix cache spares a prompt) is the same for all.

mod chunked;
mod layered;
mod whole;

use crate::cohort::{Member, split_layers};
use crate::queues::{Queues, Slot};
use crate::state::State;
use crate::{ConfigError, Tile};

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
    /// A step runs a whole cohort through one group of layers (layered prefill, arXiv 2510.08055).
    Layered {
        /// Prompt tokens that one layer group stands for; the paper's 512.
        group_tokens: usize,
        /// Most prompt tokens of a cohort; the paper's 8192. Longer prompts are chunked and layered.
        cohort_tokens: usize,
        /// Uses this number of groups instead of the formula.
        groups: Option<usize>,
    },
}

impl Policy {
    /// `chunked` with the usual 512 tokens a step.
    pub const CHUNKED: Policy = Policy::Chunked { tokens: 512 };

    /// `layered` with the paper's constants.
    pub const LAYERED: Policy = Policy::Layered { group_tokens: 512, cohort_tokens: 8192, groups: None };

    /// The policy's name, as users write it.
    pub fn name(&self) -> &'static str {
        match self {
            Policy::Whole => "whole",
            Policy::Chunked { .. } => "chunked",
            Policy::Layered { .. } => "layered",
        }
    }

    pub(crate) fn check(&self, layers: usize) -> Result<(), ConfigError> {
        match *self {
            Policy::Chunked { tokens: 0 } => Err(ConfigError::Zero { field: "chunked tokens" }),
            Policy::Layered { group_tokens: 0, .. } => Err(ConfigError::Zero { field: "layered group_tokens" }),
            Policy::Layered { cohort_tokens: 0, .. } => Err(ConfigError::Zero { field: "layered cohort_tokens" }),
            Policy::Layered { groups: Some(0), .. } => Err(ConfigError::Zero { field: "layered groups" }),
            Policy::Layered { groups: Some(groups), .. } if groups > layers => {
                Err(ConfigError::MoreGroupsThanLayers { groups, layers })
            }
            _ => Ok(()),
        }
    }

    /// The prefill tiles of the next step, newcomers admitted.
    pub(crate) fn tiles(&self, state: &mut State) -> Vec<Tile> {
        match *self {
            Policy::Whole => one_cohort(state, whole::gather, |_| 1),
            Policy::Chunked { tokens } => one_cohort(state, |queues| chunked::gather(queues, tokens), |_| 1),
            Policy::Layered { group_tokens, cohort_tokens, groups } => {
                let count = |tokens| groups.unwrap_or_else(|| layered::group_count(tokens, group_tokens));
                one_cohort(state, |queues| layered::gather(queues, cohort_tokens), count)
            }
        }
    }
}

/// The next tile of the one cohort under way: one of so many equal groups of layers. Without a cohort, one is gathered.
fn one_cohort(
    state: &mut State,
    gather: impl FnOnce(&mut Queues) -> Vec<Member>,
    groups: impl FnOnce(usize) -> usize,
) -> Vec<Tile> {
    if state.cohorts.is_empty() {
        let members = gather(&mut state.queues);
        let tokens = members.iter().map(|member| member.rows.rows).sum();
        let groups = split_layers(state.layers, groups(tokens));
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
