//! The policies, side by side.
//!
//! A policy answers two questions, and only when no cohort is under way: which prompt rows go together next (`gather`),
//! and over how many groups of layers they walk (`groups`). Everything else (decode rows, admission order, blocks,
//! cancellation, the walk itself, what the prefix cache spares a prompt) is the same for all.

mod chunked;
mod layered;
mod whole;

use crate::cohort::split_layers;
use crate::queues::Queues;
use crate::{ConfigError, TileRows};
use std::ops::Range;

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

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match *self {
            Policy::Chunked { tokens: 0 } => Err(ConfigError::Zero { field: "chunked tokens" }),
            Policy::Layered { group_tokens: 0, .. } => Err(ConfigError::Zero { field: "layered group_tokens" }),
            Policy::Layered { cohort_tokens: 0, .. } => Err(ConfigError::Zero { field: "layered cohort_tokens" }),
            Policy::Layered { groups: Some(0), .. } => Err(ConfigError::Zero { field: "layered groups" }),
            _ => Ok(()),
        }
    }

    /// The rows that prefill together next, newcomers admitted; empty when there is nothing to prefill.
    pub(crate) fn gather(&self, queues: &mut Queues) -> Vec<TileRows> {
        match *self {
            Policy::Whole => whole::gather(queues),
            Policy::Chunked { tokens } => chunked::gather(queues, tokens),
            Policy::Layered { cohort_tokens, .. } => layered::gather(queues, cohort_tokens),
        }
    }

    /// The layer ranges that a cohort of `tokens` rows walks, one a step.
    pub(crate) fn groups(&self, tokens: usize, layers: usize) -> Vec<Range<usize>> {
        match *self {
            Policy::Whole | Policy::Chunked { .. } => split_layers(layers, 1),
            Policy::Layered { group_tokens, groups, .. } => {
                split_layers(layers, groups.unwrap_or_else(|| layered::group_count(tokens, group_tokens)))
            }
        }
    }
}
