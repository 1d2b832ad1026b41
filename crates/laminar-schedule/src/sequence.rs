//! One sequence, from its arrival to its end.

use crate::blocks::BlockTable;
use crate::prefix::Chain;
use crate::states::Held;
use crate::waiting::TenantSlot;
use crate::{DecodeRow, Prefix};
use std::time::Duration;

/// Names a sequence; chosen by the caller, never used again while the sequence lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Whose sequence it is. Tenants with waiting sequences get equal shares of the machine, however many each of them sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u64);

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
    /// Whose it is.
    pub tenant: TenantId,
    /// 0 for most. Each level counts as if the sequence had arrived [`PRIORITY_LEVEL`] earlier, and sequences of lower
    /// priority are preempted first.
    pub priority: i8,
    /// Longest time between two of its tokens, where the policy keeps targets; the policy's own without it.
    pub tbt_target: Option<Duration>,
    /// Longest time to its first token, where the policy keeps targets; the policy's own without it.
    pub ttft_target: Option<Duration>,
}

/// What one level of [`NewSequence::priority`] is worth: a head start, so that nobody waits for ever.
pub const PRIORITY_LEVEL: Duration = Duration::from_secs(10);

impl NewSequence {
    /// A sequence without anything special.
    pub fn new(id: SequenceId, prompt_tokens: usize, max_tokens: usize) -> Self {
        Self {
            id,
            prompt_tokens,
            max_tokens,
            prefix: None,
            tenant: TenantId::default(),
            priority: 0,
            tbt_target: None,
            ttft_target: None,
        }
    }
}

/// Where a sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In the waiting queue, without blocks.
    Waiting,
    /// Admitted; `done` rows have passed all layers, here or for an earlier sequence.
    Prefilling { done: usize },
    /// All rows are done but those of the newest tokens; mostly that is one.
    Decoding,
}

/// A sequence the scheduler knows.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub id: SequenceId,
    pub prompt_tokens: usize,
    /// Tokens generated so far; they stay when the sequence is preempted.
    pub generated: usize,
    /// The newest of them, whose rows have not run, while it decodes.
    pub pending: usize,
    /// Cut to the context already.
    pub max_tokens: usize,
    pub phase: Phase,
    /// Its full blocks, if it takes part in the prefix cache.
    pub chain: Option<Chain>,
    /// From admission on.
    pub blocks: Option<BlockTable>,
    /// Likewise.
    pub states: Option<Held>,
    /// Cancelled while a step with it was in flight; ends at that step's commit.
    pub cancelled: bool,
    /// Counts submissions.
    pub number: u64,
    /// When it came.
    pub arrival: Duration,
    pub priority: i8,
    pub tenant: TenantSlot,
    pub tbt_target: Option<Duration>,
    pub ttft_target: Option<Duration>,
    /// A cohort under way has rows of it.
    pub in_cohort: bool,
    /// The newest step with it.
    pub step: Option<u64>,
}

impl Sequence {
    /// Tokens there are. A sequence that is not decoding has to prefill all of them: those of its prompt, and those
    /// generated before it was preempted.
    pub fn tokens(&self) -> usize {
        self.prompt_tokens + self.generated
    }

    /// Rows that have passed all layers, here or for an earlier sequence.
    pub fn done(&self) -> usize {
        match self.phase {
            Phase::Waiting => 0,
            Phase::Prefilling { done } => done,
            Phase::Decoding => self.tokens() - self.pending,
        }
    }

    /// Rows still to prefill.
    pub fn remaining(&self) -> usize {
        match self.phase {
            Phase::Decoding => 0,
            _ => self.tokens() - self.done(),
        }
    }

    /// The rows it decodes next: those of the newest tokens.
    pub fn decode_rows(&self) -> impl Iterator<Item = DecodeRow> {
        let positions = self.tokens() - self.pending..self.tokens();
        positions.map(|position| DecodeRow { sequence: self.id, position })
    }

    /// Counts one more token, behind rows that are done; returns whether it was the last one allowed.
    pub fn count_token(&mut self) -> bool {
        self.pending = 0;
        self.phase = Phase::Decoding;
        self.count_further_token()
    }

    /// Counts one more token, behind one whose row has not run; returns whether it was the last one allowed.
    pub fn count_further_token(&mut self) -> bool {
        self.generated += 1;
        self.pending += 1;
        self.generated >= self.max_tokens
    }

    /// When it would have come with priority 0, in microseconds: what orders waiting sequences of one tenant.
    pub fn virtual_arrival(&self) -> i64 {
        let micros = i64::try_from(self.arrival.as_micros()).unwrap_or(i64::MAX);
        micros.saturating_sub(i64::from(self.priority).saturating_mul(PRIORITY_LEVEL.as_micros() as i64))
    }

    /// Larger for those that are preempted later: higher priority first, then the older one.
    pub fn seniority(&self) -> (i8, std::cmp::Reverse<u64>) {
        (self.priority, std::cmp::Reverse(self.number))
    }
}
