//! One sequence, from its arrival to its end.

use crate::blocks::BlockTable;
use crate::prefix::Chain;
use crate::{DecodeRow, Prefix};

/// Names a sequence; chosen by the caller, never used again while the sequence lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// A sequence as it is submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSequence {
    /// Its name.
    pub id: SequenceId,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Most tokens to generate; cut to what the context leaves beside the prompt.
    pub max_tokens: usize,
    /// What the prefix cache may know of the prompt; with none, nothing is looked up and nothing published.
    pub prefix: Option<Prefix>,
}

/// Where a sequence stands.
#[derive(Debug)]
pub(crate) enum Phase {
    /// In the waiting queue, without blocks.
    Waiting,
    /// Admitted; `done` prompt rows have passed all layers, here or for an earlier sequence.
    Prefilling { done: usize },
    /// The prompt is done and `generated` tokens are there.
    Decoding { generated: usize },
}

/// A sequence the scheduler knows.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub prompt_tokens: usize,
    /// Cut to the context already.
    pub max_tokens: usize,
    pub phase: Phase,
    /// Its full prompt blocks, if it takes part in the prefix cache.
    pub chain: Option<Chain>,
    /// From admission on.
    pub blocks: Option<BlockTable>,
    /// Cancelled while a step with it was in flight; ends at that step's commit.
    pub cancelled: bool,
}

impl Sequence {
    /// Prompt rows that have passed all layers.
    pub fn done(&self) -> usize {
        match self.phase {
            Phase::Waiting => 0,
            Phase::Prefilling { done } => done,
            Phase::Decoding { .. } => self.prompt_tokens,
        }
    }

    /// Prompt rows still to run.
    pub fn remaining(&self) -> usize {
        self.prompt_tokens - self.done()
    }

    /// The row the sequence decodes next, if it is decoding.
    pub fn decode_row(&self, id: SequenceId) -> Option<DecodeRow> {
        match self.phase {
            // The newest of `generated` tokens has not been fed yet, hence the one less.
            Phase::Decoding { generated } => {
                Some(DecodeRow { sequence: id, position: self.prompt_tokens + generated - 1 })
            }
            _ => None,
        }
    }

    /// Counts one more token; returns whether it was the last one allowed.
    pub fn count_token(&mut self) -> bool {
        let generated = match self.phase {
            Phase::Decoding { generated } => generated + 1,
            _ => 1,
        };
        self.phase = Phase::Decoding { generated };
        generated >= self.max_tokens
    }
}
